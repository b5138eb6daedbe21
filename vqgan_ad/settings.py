"""VQGAN's settings: the poster's choices as defaults, in two sizes."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from ad_core.data.shape import check_divisible_sides
from ad_core.errors import UserError, require_choice
from ad_core.losses import ADVERSARIAL, RECONSTRUCTION
from ad_core.networks import discriminators
from ad_core.networks.blocks import REMAT
from ad_core.networks.vit_settings import (
    VitSettings,
    explain_vit,
    read_vit,
    vit_defaults,
)
from ad_core.training.optimisers import explain_optimiser, optimiser_defaults
from ad_core.training.perceptual_loss import (
    PerceptualSettings,
    explain_perceptual,
    perceptual_defaults,
)
from ad_core.training.players import SECTIONS

NETWORKS = ("cnn", "vit", "hybrid")

EXPLAINED = {  # what --help says of each
    "network": "of both halves (cnn | vit), or hybrid: encoder cnn, decoder vit",
    "width": "channels of the finest level, of cnn",
    "multipliers": "channels of each level, times width; each after the first halves the sides",
    "blocks": "residual blocks a level",
    "attention": "levels with self-attention, 0 the finest",
    **explain_vit("vit", "of vit and hybrid", draws=True),
    "vit.patch": "pixels of the side of a patch, of vit; hybrid has that of `multipliers`",
    "latent": "channels of the latent, and of a code",
    "remat": f"{REMAT}, of encoder and decoder",
    **discriminators.EXPLAINED,
    "codes": "in the codebook",
    "unit_codes": "compare unit vectors",
    "codebook_update": "how codes move (gradient | ema)",
    "codebook_decay": "of the EMA codebook",
    "codebook_start": "what the first codes are (kmeans | uniform)",
    "kmeans_at": "step at which the latents replace the uniform codes",
    "restart_dead": "codes unused for an epoch start again on random latents",
    "reconstruction": "loss between image and normal version (l2 | l1)",
    "quantisation": "weight of the codebook loss",
    "beta": "weight of the commitment term; VQGAN's paper has 0.25",
    **explain_perceptual("perceptual"),
    "adversarial": "loss of the two players (log | non_saturating | hinge | least_squares)",
    "disc_weight": "weight of the adversarial term",
    "adaptive": "lambda at the decoder's last convolution balances that term",
    "delta": "added to the denominator of lambda",
    "lambda_max": "largest lambda",
    "disc_start": "step from which the discriminator enters the generator's loss",
    "disc_ramp": "steps in which its weight rises from 0",
    "ema": "decay of the generator's averaged weights, warmed up; 0: none",
    **explain_optimiser("optimiser", "of the generator"),
    **explain_optimiser("disc_optimiser", "of the discriminator"),
    "unquantised": "scoring also decodes the unquantised latent (one more decoder pass)",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    optimiser = optimiser_defaults(lr=1e-3 if small else 2e-4, b1=0.5, b2=0.9)
    return ConfigDict(
        {
            # Networks.
            "network": "cnn",
            "width": 16 if small else 128,
            "multipliers": (1, 2, 4) if small else (1, 1, 2, 2, 4),
            "blocks": 1 if small else 2,
            "attention": () if small else (4,),
            "vit": _vit(small),
            "latent": 32 if small else 256,
            "remat": False,
            **discriminators.discriminator_defaults(small=small, norm="group"),
            # Codebook.
            "codes": 64 if small else 512,
            "unit_codes": False,
            "codebook_update": "gradient",
            "codebook_decay": 0.99,
            "codebook_start": "kmeans",
            "kmeans_at": 20,
            "restart_dead": True,
            # Losses (poster: l2, both quantiser terms with weight 1, no perceptual term).
            "reconstruction": "l2",  # l2 | l1
            "quantisation": 1.0,
            "beta": 1.0,  # on the commitment term; VQGAN's paper has 0.25
            "perceptual": perceptual_defaults(),
            "adversarial": "log",  # log | non_saturating | hinge | least_squares
            "disc_weight": 0.2,
            "adaptive": True,
            "delta": 1e-4,
            "lambda_max": 1e4,
            # The discriminator trains from the first step; from disc_start on it enters the
            # generator's loss.
            "disc_start": 150 if small else 7_500,
            "disc_ramp": 100 if small else 2_500,
            "ema": 0.999,
            "optimiser": optimiser,
            "disc_optimiser": optimiser.copy_and_resolve_references(),
            # Scoring.
            "unquantised": False,
        }
    )


def _vit(small: bool) -> ConfigDict:
    """ViT-VQGAN's small size (Yu et al. 2022, table 2) on an accelerator."""
    if small:
        return vit_defaults(patch=4, width=64, depth=2, heads=4, features=16)
    return vit_defaults(patch=8, width=512, depth=8, heads=8, features=32)


@dataclass(frozen=True, kw_only=True)
class VqganSettings:
    """Part of a configuration that the networks and the step read; checked here once."""

    network: str
    width: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    vit: VitSettings
    latent: int
    remat: bool
    discriminator: discriminators.DiscriminatorSettings
    codes: int
    unit_codes: bool
    codebook_update: str
    codebook_decay: float
    codebook_start: str
    kmeans_at: int
    restart_dead: bool
    reconstruction: str
    quantisation: float
    beta: float
    perceptual: PerceptualSettings
    adversarial: str
    disc_weight: float
    adaptive: bool
    delta: float
    lambda_max: float
    disc_start: int
    disc_ramp: int
    ema: float
    unquantised: bool
    epoch_steps: int
    dtype: str

    def __post_init__(self) -> None:
        """Raises UserError on a value that no part of VQGAN knows."""
        require_choice("reconstructor.network", self.network, NETWORKS)
        require_choice("reconstructor.reconstruction", self.reconstruction, RECONSTRUCTION)
        require_choice("reconstructor.adversarial", self.adversarial, ADVERSARIAL)
        require_choice("reconstructor.codebook_update", self.codebook_update, ("gradient", "ema"))
        require_choice("reconstructor.codebook_start", self.codebook_start, ("kmeans", "uniform"))
        if self.codes < 2:
            raise UserError(f"`reconstructor.codes` (={self.codes}) must be at least 2.")

    @property
    def stride(self) -> int:
        """Pixels of the side that a position of the latent stands for."""
        return self.vit.patch if self.network == "vit" else 2 ** (len(self.multipliers) - 1)


def make_settings(config: ConfigDict) -> VqganSettings:
    """Settings of a complete configuration.

    Raises UserError if a value is unknown or the image does not divide by the downsampling or
    into patches.
    """
    section = config.reconstructor.to_dict()
    beside = (*SECTIONS, *discriminators.NAMES)
    values = {key: value for key, value in section.items() if key not in beside}
    values["multipliers"] = tuple(values["multipliers"])
    values["attention"] = tuple(values["attention"])
    values["perceptual"] = PerceptualSettings(**values["perceptual"])
    values["discriminator"] = discriminators.read_discriminator(section, config.data)
    values["vit"] = read_vit("vit", values["vit"])
    found = VqganSettings(**values, epoch_steps=config.train.epoch_steps, dtype=config.train.dtype)
    patches = "`reconstructor.vit.patch`"
    halvings = "the downsampling of `reconstructor.multipliers`"
    reason = patches if found.network == "vit" else halvings
    check_divisible_sides(config.data, found.stride, reason)
    return found
