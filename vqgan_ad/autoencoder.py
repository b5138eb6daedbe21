"""A trained VQGAN as encoder and decoder, for methods that work on its latents.

"vqgan_ad.autoencoder:DETECTOR" names it, where DETECTOR is the folder of a detector with a VQGAN in
it. Its network has a name that tells its settings, so that it is made again without the detector;
the weights travel with whoever uses them.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from ad_core.backbones import Backbone, Level, Network, with_weights
from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.scoring.files import load_parts
from vqgan_ad import backbone, quantiser, vqgan
from vqgan_ad.model import Model, make_model
from vqgan_ad.networks.cnn import LATENT
from vqgan_ad.settings import make_settings

NAMES = ("autoencoder",)
# Of `config.reconstructor`: what encoder, decoder and codebook are made of.
SHAPE = ("network", "width", "multipliers", "blocks", "attention", "vit")
SHAPE += ("latent", "codes", "unit_codes")


@functools.cache
def network(name: str) -> Network:
    """The autoencoder whose settings `name` tells; one level, its latent.

    Raises:
        UserError: no name of an autoencoder.
    """
    if not name.startswith("{"):
        raise UserError(f"Unknown autoencoder {name!r}; name one by {__name__}:DETECTOR.")
    config = _config(name)
    return Network(
        name=name,
        module=__name__,
        prepare=functools.partial(backbone.prepare, channels=config.data.channels),
        levels=(Level(LATENT, make_settings(config).stride, functools.partial(_encode, name)),),
        licence="that of the images it was trained on",
        origin="a VQGAN that the user trained",
        decode=functools.partial(_decode, name),
    )


def named(spec: str) -> str:
    """Name of the network of a detector's folder; any other `spec` is one itself.

    Raises:
        UserError: no detector there, or none with a VQGAN.
    """
    if spec.startswith("{"):
        return spec
    config = taught(spec).to_dict()
    shape = {key: config["reconstructor"][key] for key in SHAPE}
    shape |= {key: config["data"][key] for key in ("channels", "image_size")}
    return json.dumps(shape, sort_keys=True, separators=(",", ":"))


def load(spec: str) -> Backbone:
    """The autoencoder of the VQGAN in the detector of that folder.

    Raises:
        UserError: no detector there, one that was changed, or none with a VQGAN.
    """
    found = network(named(spec))
    parts = load_parts(Path(spec)).methods
    state = next(part.state for part in parts if part.config.method == vqgan.__name__)
    source = f"the VQGAN in {spec}, trained on the user's normal images"
    return with_weights(found, state.params["generator"], source=source)


def taught(spec: str) -> ConfigDict:
    """Configuration of the VQGAN in the detector of that folder; errors as `named`."""
    return backbone.taught(f"vqgan:{spec}")


def _config(name: str) -> ConfigDict:
    """A configuration with the network's settings; the others are defaults."""
    own = {key: tuple(x) if isinstance(x, list) else x for key, x in json.loads(name).items()}
    data = {key: own.pop(key) for key in ("channels", "image_size")}
    recipe = {"method": vqgan.__name__, "size": "cpu", "data": data, "reconstructor": own}
    return complete(ConfigDict(recipe))


@functools.cache
def _model(name: str, dtype: str) -> tuple[Model, bool]:
    """Functions of the network, and whether codes are compared as unit vectors."""
    config = _config(name)
    config.train.dtype = dtype
    return make_model(make_settings(config), config.data.channels), config.reconstructor.unit_codes


def _encode(name: str, params: Any, x: Float[Array, "b h w c"]) -> Float[Array, "b hz wz d"]:
    model, _ = _model(name, x.dtype.name)
    return model.encode(params, x).astype(x.dtype)


def _decode(
    name: str, params: Any, latent: Float[Array, "b hz wz d"], dtype: DTypeLike
) -> Float[Array, "b h w c"]:
    """The image of the latent's nearest codes, as the VQGAN draws it."""
    model, unit = _model(name, jnp.dtype(dtype).name)
    codes = quantiser.quantise(params["codebook"], latent.astype(jnp.float32), unit=unit)
    return model.decode(params, codes.latent)
