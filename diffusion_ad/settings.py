"""Settings of pixel and latent diffusion, in two sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from ad_core.errors import UserError, require_choice
from ad_core.networks.blocks import REMAT
from ad_core.training.optimisers import explain_optimiser, optimiser_defaults
from diffusion_ad.noise import NOISES, Simplex
from diffusion_ad.schedule import PREDICTIONS, SCHEDULES

NETWORKS = ("unet", "dit")
SECTIONS = ("optimiser", "perceptual", "autoencoder")  # read by others than the settings

EXPLAINED = {  # what --help says of each
    "network": "that denoises (unet | dit)",
    "unet.width": "channels of the finest level",
    "unet.multipliers": "of each level, times width; each after the first halves the sides",
    "unet.blocks": "residual blocks a level",
    "unet.attention": "levels with self-attention, 0 the finest",
    "dit.patch": "side of a patch, which is one token",
    "dit.width": "numbers of a token",
    "dit.depth": "transformer blocks",
    "dit.heads": "of the attention",
    "remat": REMAT,
    "schedule": "how the noise grows with time (linear | cosine)",
    "times": "from a clean image to noise",
    "prediction": "what the network tells (noise | clean | velocity)",
    "min_snr": "gamma of min-SNR weighting; 0: every time weighs the same",
    "noise": "that images are mixed with (gaussian | simplex)",
    "simplex.wavelength": "of the first octave, as a share of the shorter side",
    "simplex.octaves": "each of half the wavelength of the one before",
    "simplex.persistence": "amplitude of an octave, as a share of the one before",
    "ema": "decay of the averaged weights, warmed up, which then denoise; 0: none",
    **explain_optimiser("optimiser", "of the network"),
    "start": "time to which an image is mixed with noise, to be drawn again from there",
    "steps": "in which it is drawn again; 1: at once",
    "eta": "share of fresh noise in each step; 0: none (DDIM), 1: as DDPM",
    "draws": "of noise, over which normal version, maps and losses are means",
    "guidance": "pull towards the image while it is drawn again; 0: none",
    "noise_levels": "times at which a residual and a denoising error are measured in one step",
    "perceptual.backbone": "which network compares image and normal version; '': none",
    "perceptual.levels": "of that network; (): all",
}


def common_defaults(size: str) -> ConfigDict:
    """The part of `config.reconstructor` that both methods have, for "cpu" or "accelerator"."""
    small = size == "cpu"
    optimiser = optimiser_defaults(lr=1e-3 if small else 2e-4, b1=0.9, b2=0.99)
    optimiser.clip_norm = 1.0
    return ConfigDict(
        {
            # Learning.
            "remat": False,
            "schedule": "cosine",
            "times": 1000,
            "prediction": "velocity",
            "min_snr": 5.0,
            "noise": "gaussian",
            "simplex": Simplex()._asdict(),
            "ema": 0.995 if small else 0.9999,
            "optimiser": optimiser,
            # Scoring.
            "start": 250,
            "steps": 4 if small else 10,
            "eta": 0.0,
            "draws": 2 if small else 4,
            "guidance": 0.0,
            "noise_levels": (100, 250, 400),
            "perceptual": {"backbone": "", "levels": ()},
        }
    )


@dataclass(frozen=True, kw_only=True)
class DiffusionSettings:
    """Part of a configuration that networks, step and view read; checked here once.

    shape: of the network that `network` names.
    """

    network: str
    shape: Mapping[str, Any]
    remat: bool
    schedule: str
    times: int
    prediction: str
    min_snr: float
    noise: str
    simplex: Simplex
    ema: float
    start: int
    steps: int
    eta: float
    draws: int
    guidance: float
    noise_levels: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        """Raises UserError on a value that diffusion does not know."""
        require_choice("reconstructor.network", self.network, NETWORKS)
        require_choice("reconstructor.schedule", self.schedule, SCHEDULES)
        require_choice("reconstructor.prediction", self.prediction, PREDICTIONS)
        require_choice("reconstructor.noise", self.noise, NOISES)
        _require_range("ema", self.ema, 0.0, 0.999999)
        _require_range("eta", self.eta, 0.0, 1.0)
        _require_range("times", self.times, 2, 100_000)
        _require_range("start", self.start, 1, self.times)
        _require_range("steps", self.steps, 1, self.start)
        _require_range("draws", self.draws, 1, 1000)
        _require_range("min_snr", self.min_snr, 0.0, 1e9)
        _require_range("simplex.octaves", self.simplex.octaves, 1, 16)
        _require_range("simplex.wavelength", self.simplex.wavelength, 1e-3, 10.0)
        for level in self.noise_levels:
            _require_range("noise_levels", level, 1, self.times)
        if not self.noise_levels or len(set(self.noise_levels)) < len(self.noise_levels):
            raise UserError(
                f"`reconstructor.noise_levels` (={self.noise_levels}) must name one time or more, "
                "each once."
            )

    @property
    def latest(self) -> int:
        """The latest time that scoring asks for, and so the latest to learn."""
        return max(self.start, *self.noise_levels)


def _require_range(name: str, value: int | float, low: int | float, high: int | float) -> None:
    if not low <= value <= high:
        raise UserError(f"`reconstructor.{name}` (={value}) must lie in [{low:g}, {high:g}].")


def make_settings(config: ConfigDict) -> DiffusionSettings:
    """Settings of a complete configuration. Raises UserError if a value is unknown."""
    section = config.reconstructor.to_dict()
    values = {key: value for key, value in section.items() if key not in (*SECTIONS, *NETWORKS)}
    values["noise_levels"] = tuple(int(level) for level in values["noise_levels"])
    values["simplex"] = Simplex(**values["simplex"])
    require_choice("reconstructor.network", values["network"], NETWORKS)
    shape = section[values["network"]]
    return DiffusionSettings(**values, shape=shape, dtype=config.train.dtype)
