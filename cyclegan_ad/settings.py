"""CycleGAN's settings: the recipe of CycleGAN-AD as defaults, in two sizes."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from ad_core.data.shape import check_divisible_sides
from ad_core.errors import UserError, require_choice
from ad_core.losses import ADVERSARIAL
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
from cyclegan_ad.variation import KINDS

NETWORKS = ("cnn", "vit")
UPSAMPLE = ("resize", "transposed")


EXPLAINED = {  # what --help says of each
    "network": "of the generators (cnn | vit)",
    "width": "channels of the generators' first layer, of cnn",
    "blocks": "residual blocks, of cnn; the recipe has 6 at 64 px",
    "upsample": "how generators enlarge, of cnn (resize | transposed, the recipe's)",
    **explain_vit("vit", "of the generators vit", draws=True),
    "remat": f"{REMAT}, of the generators",
    **discriminators.EXPLAINED,
    "adversarial": "loss of the players (log | non_saturating | hinge | least_squares)",
    "adversarial_weight": "weight of that loss",
    "cycle_weight": "weight of the loss between an image and its way there and back",
    "identity_weight": "weight of the loss on images that are of the wanted class already",
    **explain_perceptual("perceptual"),
    "pool": "past fakes of each domain that the discriminators are shown",
    **explain_optimiser("optimiser", "of both generators together"),
    **explain_optimiser("disc_optimiser", "of each discriminator"),
    "disc_augment": "what varies the images that discriminators see (colour, shift, hole)",
    "ema": "decay of averaged generators, which then draw; 0: none",
    "spectral_norm": "of the discriminators' kernels",
    "monitor": "warn where a generator redraws both classes alike or collapses",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    optimiser = optimiser_defaults(lr=5e-4 if small else 2e-4, b1=0.5, b2=0.999)
    # Constant for the first tenth of the epochs, then straight to 0.
    optimiser.schedule, optimiser.lr_decay_start = "linear", 0.1
    return ConfigDict(
        {
            # Networks; two generators and two discriminators of these sizes.
            "network": "cnn",
            "width": 16 if small else 64,
            "blocks": 3 if small else 9,
            "upsample": "resize",
            "vit": _vit(small),
            "remat": False,
            **discriminators.discriminator_defaults(small=small, norm="instance"),
            # Losses of the generators.
            "adversarial": "least_squares",  # log | non_saturating | hinge | least_squares
            "adversarial_weight": 1.0,
            "cycle_weight": 10.0,
            "identity_weight": 5.0,
            "perceptual": perceptual_defaults(),  # between an image and its cycle
            "pool": 50,  # past fakes of each domain that the discriminators are shown
            "optimiser": optimiser,  # of both generators together
            "disc_optimiser": optimiser.copy_and_resolve_references(),  # of each discriminator
            # For few abnormal images.
            "disc_augment": (),
            "ema": 0.0,
            "spectral_norm": False,
            "monitor": False,
        }
    )


def _vit(small: bool) -> ConfigDict:
    if small:
        return vit_defaults(patch=4, width=64, depth=2, heads=4, features=16)
    return vit_defaults(patch=8, width=384, depth=6, heads=6, features=32)


@dataclass(frozen=True, kw_only=True)
class CycleganSettings:
    """Part of a configuration that the networks and the step read; checked here once."""

    network: str
    width: int
    blocks: int
    upsample: str
    vit: VitSettings
    remat: bool
    discriminator: discriminators.DiscriminatorSettings
    adversarial: str
    adversarial_weight: float
    cycle_weight: float
    identity_weight: float
    perceptual: PerceptualSettings
    pool: int
    disc_augment: tuple[str, ...]
    ema: float
    spectral_norm: bool
    monitor: bool
    dtype: str

    def __post_init__(self) -> None:
        """Raises UserError on a value that no part of CycleGAN knows."""
        require_choice("reconstructor.network", self.network, NETWORKS)
        require_choice("reconstructor.upsample", self.upsample, UPSAMPLE)
        require_choice("reconstructor.adversarial", self.adversarial, ADVERSARIAL)
        for kind in self.disc_augment:
            require_choice("reconstructor.disc_augment", kind, KINDS)
        if not 0.0 <= self.ema < 1.0:
            raise UserError(f"`reconstructor.ema` (={self.ema}) must be at least 0 and below 1.")


def make_settings(config: ConfigDict) -> CycleganSettings:
    """Settings of a complete configuration.

    Raises UserError if a value is unknown or the image does not divide by the downsampling or
    into patches.
    """
    section = config.reconstructor.to_dict()
    beside = (*SECTIONS, *discriminators.NAMES)
    values = {key: value for key, value in section.items() if key not in beside}
    values["disc_augment"] = tuple(values["disc_augment"])
    values["perceptual"] = PerceptualSettings(**values["perceptual"])
    values["discriminator"] = discriminators.read_discriminator(section, config.data)
    values["vit"] = read_vit("vit", values["vit"])
    found = CycleganSettings(**values, dtype=config.train.dtype)
    if found.network == "vit":
        check_divisible_sides(config.data, found.vit.patch, "`reconstructor.vit.patch`")
    else:
        check_divisible_sides(config.data, 4, "the downsampling of the generators")
    return found
