"""The upper stages of a backbone with a linear classifier on their pooled activations."""

from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from ad_core.backbones import Network, network_of
from ad_core.errors import UserError
from baselines_ad.frozen import Frozen


class Classifier(NamedTuple):
    """A linear classifier of standardised features: its logit rises with abnormality.

    Those of several members are stacked along the first axis.
    """

    mean: Float[Array | np.ndarray, "*m d"]
    scale: Float[Array | np.ndarray, "*m d"]
    weight: Float[Array | np.ndarray, "*m d"]
    bias: Float[Array | np.ndarray, "*m"]


class Upper(NamedTuple):
    """Stages of a network from the one after `below` to the last; it holds no weights."""

    network: Network
    below: str

    @property
    def last(self) -> str:
        """Name of the last level, whose mean over positions is classified."""
        return self.network.levels[-1].name

    def activations(
        self, fixed: Any, tuned: Any, x: Float[Array, "b h w c"]
    ) -> Float[Array, "b h2 w2 d"]:
        """The last level, from activations of the level `below`."""
        weights = join_weights(fixed, tuned)
        found = self.network.stages(weights, x, start=self.below, levels=(self.last,))
        return found[self.last]

    def features(self, fixed: Any, tuned: Any, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """Mean over positions of the last level, from activations of the level `below`."""
        return jnp.mean(self.activations(fixed, tuned, x), axis=(1, 2))

    def logits(
        self, fixed: Any, member: dict[str, Any], x: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """Logit of each image by a member: its "tuned" weights and its "classifier"."""
        return classify(
            Classifier(**member["classifier"]), self.features(fixed, member["tuned"], x)
        )

    def split(self, params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The weights of these stages that stay fixed, and those that are tuned.

        Kernels of depthwise convolutions stay: they are a hundredth of the weights, and their
        gradient on a CPU costs as much as all else together.
        """
        names = list(self.network.strides)
        own = {name: params[name] for name in names[names.index(self.below) + 1 :]}
        flat: dict[Any, Any] = flax.traverse_util.flatten_dict(own)
        stays = {path: x.ndim == 4 and x.shape[2] == 1 for path, x in flat.items()}
        fixed, tuned = (
            {path: x for path, x in flat.items() if stays[path] == kept} for kept in (True, False)
        )
        return flax.traverse_util.unflatten_dict(fixed), flax.traverse_util.unflatten_dict(tuned)


def classify(classifier: Classifier, features: Float[Array, "b d"]) -> Float[Array, " b"]:
    """Logit of each row of features."""
    z = (features - classifier.mean[None]) / classifier.scale[None]
    return jnp.sum(z * classifier.weight[None], axis=1) + classifier.bias


def join_weights(fixed: Any, tuned: Any) -> dict[str, Any]:
    """The weights of the stages, as the network takes them."""
    flat = {
        **flax.traverse_util.flatten_dict(fixed),
        **flax.traverse_util.flatten_dict(tuned),
    }
    return flax.traverse_util.unflatten_dict(flat)


def make_upper(config: ConfigDict) -> tuple[Frozen, Upper]:
    """The stages below `reconstructor.tuned_from`, which stay frozen, and those from it on.

    Raises:
        UserError: no such backbone or level, or nothing lies below it.
    """
    spec, first = config.reconstructor.backbone, config.reconstructor.tuned_from
    network = network_of(spec)
    names = list(network.strides)
    if first not in names[1:]:
        raise UserError(
            f"`reconstructor.tuned_from` (={first}) must be a level of {spec} above its first; "
            f"known: {', '.join(names[1:])}."
        )
    below = names[names.index(first) - 1]
    return Frozen(spec, (below,), config.train.dtype, whole=True), Upper(network, below)


def member_logits(
    upper: Upper, fixed: Any, members: Any, x: Float[Array, "b h w c"]
) -> Float[Array, "s b h2 w2"]:
    """Logits at each position by each of the members stacked along the first axis.

    Their mean over the positions is the logit of the image: a class activation map (Zhou et al.
    2016, "Learning Deep Features for Discriminative Localization").
    """

    def logits(member: dict[str, Any]) -> Float[Array, "b h2 w2"]:
        found = upper.activations(fixed, member["tuned"], x)
        rows = found.reshape(-1, found.shape[-1])
        return classify(Classifier(**member["classifier"]), rows).reshape(found.shape[:3])

    return jax.vmap(logits)(members)
