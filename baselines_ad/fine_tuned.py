"""The upper stages of a pretrained backbone, fine-tuned on the labelled images that calibrate.

Cross-entropy beside a full-sensitivity loss over pairs of a normal and an abnormal image, in the
manner of partial-AUC networks, end to end; a linear classifier on the pooled last level, begun as
a logistic regression (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features").
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone
from ad_core.data.augment import versions_of_each
from ad_core.decision.classifiers.pairwise_losses import LOSSES
from ad_core.errors import UserError
from ad_core.types import Batch, Method, OnePass, TrainState, View
from baselines_ad.bank import Bank, fewest, fill_bank, make_versions
from baselines_ad.frozen import Frozen, in_range, make_look
from baselines_ad.members import HELD, make_members
from baselines_ad.objective import Tuning
from baselines_ad.tuning import tune
from baselines_ad.upper_stages import Classifier, Upper, make_upper, member_logits

log = logging.getLogger(__name__)

LIKENESS = "likeness"  # the one loss of its views, and their map
EXPLAINED = {  # what --help says of each
    "backbone": "whose upper stages are tuned",
    "tuned_from": "first level that is tuned, with all above it",
    "seeds": "networks whose logits are averaged, at most 5",
    "steps": "of the tuning, however many images there are",
    "batch": "images of a step, half of them abnormal",
    "lr": "largest rate of AdamW",
    "weight_decay": "of AdamW",
    "loss": "over pairs of a normal and an abnormal image, beside cross-entropy",
    "loss_weight": "weight of that loss",
    "least_images": "of each class; with fewer it learns nothing",
    "most_images": "of each class, drawn where there are more",
    "flips": "judge an image and its mirror image: twice the time",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    return ConfigDict(
        {
            "backbone": "efficientnet_lite0" if small else "efficientnet_lite2",
            "tuned_from": "stage6",
            "seeds": 2 if small else 5,
            "steps": 80 if small else 200,
            "batch": 16,
            "lr": 3e-4,
            "weight_decay": 0.0,
            "loss": "wmw",  # of ad_core.decision.classifiers.pairwise_losses
            "loss_weight": 1.0,
            "least_images": 20,
            "most_images": 1000,
            "flips": not small,
        }
    )


class FineTuned(NamedTuple):
    """The method's networks, without weights, and its settings.

    mirrored: images are learnt as they are and mirrored. flips: they are judged so too.
    """

    frozen: Frozen
    upper: Upper
    tuning: Tuning
    seeds: int
    batch: int
    least_images: int
    most_images: int
    mirrored: bool
    flips: bool


def make(config: ConfigDict) -> Method:
    """The method of a complete configuration; reads no weights.

    Raises:
        UserError: a backbone, a level or a setting that does not exist.
    """
    own = _fine_tuned(config)
    return Method(
        learn=OnePass(
            lambda batches, key: next(_fit_parts(own, batches, None, key)),
            lambda batches, parts, key: _fit_parts(own, batches(), parts, key),
        ),
        view=lambda state, image, keys: _view(own, state, image),
        learns_from_calibration=True,
        losses=(LIKENESS,),
        maps=(LIKENESS,),
    )


def _fine_tuned(config: ConfigDict) -> FineTuned:
    frozen, upper = make_upper(config)
    versions_of_each(config.data.augment)  # UserError if there is no such augmentation
    return FineTuned(
        frozen=frozen,
        upper=upper,
        tuning=_tuning(config),
        seeds=in_range(config, "seeds", 1, HELD),
        batch=in_range(config, "batch", 2, 1024),
        least_images=in_range(config, "least_images", HELD, 100_000),
        most_images=in_range(config, "most_images", HELD, 100_000),
        mirrored=config.data.augment != "none",
        flips=bool(config.reconstructor.flips),
    )


def _tuning(config: ConfigDict) -> Tuning:
    loss = config.reconstructor.loss
    known = sorted(set(LOSSES) - {"tapauc"})
    if loss not in known:
        raise UserError(f"`reconstructor.loss` (={loss}): unknown; known: {', '.join(known)}.")
    return Tuning(
        steps=in_range(config, "steps", 1, 100_000),
        lr=in_range(config, "lr", 1e-8, 1.0),
        weight_decay=in_range(config, "weight_decay", 0.0, 100.0),
        loss=loss,
        loss_weight=in_range(config, "loss_weight", 0.0, 100.0),
    )


def _fit_parts(
    own: FineTuned,
    batches: Iterable[Batch],
    parts: Bool[np.ndarray, "p n"] | None,
    key: PRNGKeyArray,
) -> Iterator[TrainState]:
    """A state for each part, None for all images as one: all are tuned before the first is given.

    Where a part lacks images of a class no part is tuned: their column is then constant and left
    out, whether or not all images together are enough.
    """
    params = load_backbone(own.frozen.spec).params
    below = own.frozen.network.part(params, own.frozen.levels)
    seed = tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel())
    versions = make_versions(own.frozen, flips=own.mirrored)
    look = make_look(versions, below)
    bank = fill_bank(look, batches, room=own.most_images, seed=seed)
    chosen = np.ones((1, len(bank.label)), bool) if parts is None else parts[:, bank.place]
    if _too_few(bank, chosen, own.least_images):
        members = _untuned(own.upper, params, len(chosen) * own.seeds)
    else:
        members = _tune(own, params, bank, chosen, seed)
    fixed, _ = own.upper.split(params)
    for first in range(0, len(chosen) * own.seeds, own.seeds):
        rows = slice(first, first + own.seeds)
        tuned = jax.tree.map(lambda x, rows=rows: x[rows], members)
        state = {"backbone": {**below, **fixed}, "members": tuned}
        yield TrainState(jnp.ones((), jnp.int32), state, (), {})


def _too_few(bank: Bank, chosen: Bool[np.ndarray, "p n"], least: int) -> bool:
    """Tells, and says, whether a part has too few images of a class to be tuned."""
    counts = fewest(bank, chosen)
    if min(counts) >= least:
        return False
    log.warning(
        "The fine-tuned head has %d normal and %d abnormal images to learn from and needs %d of "
        "each: it learns nothing and decides nothing. Give more labelled images.",
        *counts,
        least,
    )
    return True


def _untuned(upper: Upper, params: Any, count: int) -> dict[str, Any]:
    """Members whose logits are 0 whatever the image."""
    _, pretrained = upper.split(params)
    width = jax.tree.leaves(pretrained[upper.last])[-1].shape[-1]
    zeros = np.zeros((count, width), np.float32)
    classifier = Classifier(zeros, zeros + 1, zeros, zeros[:, 0])
    tuned = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (count, *x.shape)), pretrained)
    return {"tuned": tuned, "classifier": classifier._asdict()}


def _tune(
    own: FineTuned,
    params: Any,
    bank: Bank,
    chosen: Bool[np.ndarray, "p n"],
    seed: tuple[int, ...],
) -> dict[str, Any]:
    """The members of all parts, `seeds` of each after the other."""
    members = []
    for rows in map(np.flatnonzero, chosen):
        members += make_members(
            rows,
            bank.label[rows],
            seeds=own.seeds,
            steps=own.tuning.steps,
            batch=own.batch,
            versions=bank.activations.shape[1],
            seed=seed,
        )
    return tune(own.upper, params, bank, members, seeds=own.seeds, settings=own.tuning)


def _view(own: FineTuned, state: TrainState, image: Float[Array, "b h w c"]) -> View:
    """The mean logit of the members: smooth, not saturated, higher where more abnormal.

    It is the mean of the map, which tells where the image looks so.
    """
    backbone, members = state.params["backbone"], state.params["members"]
    logits = []
    for mirrored in (False, True) if own.flips else (False,):
        x = image[:, :, ::-1] if mirrored else image
        below = own.frozen.maps(backbone, x)[own.upper.below]
        found = member_logits(own.upper, backbone, members, below)
        logits.append(found[..., ::-1] if mirrored else found)
    where = jnp.mean(jnp.concatenate(logits), axis=0)
    likeness = jnp.mean(where, axis=(1, 2))
    return View(maps={LIKENESS: where}, losses={LIKENESS: likeness}, anomaly=LIKENESS)
