"""Cross-fitting: states none of which has learnt the images that it measures.

Images that teach a method can calibrate it too, if each is measured by a state that has learnt
neither the image nor one of its group. So the images are divided into folds, and for each fold a
state learns from all others. The state that judges later learns from all of them.

A promise on misses concerns abnormal images alone. Those that teach nothing are measured by the
state that judges later, as later parts are: nothing changes for them. Images that teach are
measured by states that have learnt a little less than the one that judges. What is promised of
them (false alarms; misses too, of a method that learns from abnormal images) holds as far as both
rank images alike, as with the out-of-fold scores of a classifier; it is not exact.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax
import numpy as np
from jaxtyping import Bool, Int, PRNGKeyArray, Shaped

from ad_core.types import Batch, OnePass, TrainState, inference_state

Batches = Callable[[], Iterable[Batch]]


def make_folds(
    labels: Int[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], *, folds: int, seed: int
) -> Int[np.ndarray, " n"]:
    """The fold of each image, from 0; a group lies in one.

    Each class is divided as evenly as whole groups allow: groups come in random order, those with
    abnormal images and then large ones first, each to the fold that has least of what it holds.

    Args:
        labels: 0 normal, 1 abnormal. folds: at least 1; there are no more than groups.
        seed: of the order.
    """
    names, members = np.unique(groups, return_inverse=True)
    sizes = np.stack(
        [np.bincount(members[labels == kind], minlength=len(names)) for kind in (0, 1)]
    )
    shares = (sizes / np.maximum(sizes.sum(axis=1, keepdims=True), 1)).T
    order = np.random.default_rng(seed).permutation(len(names))
    order = sorted(order.tolist(), key=lambda g: (not sizes[1, g], -sizes[:, g].sum()))
    held = np.zeros((min(folds, len(names)), 2))
    fold_of = np.zeros(len(names), np.int64)
    for group in order:
        # Of folds that have equally little of its classes the one with the least of all.
        least = np.lexsort((held.sum(axis=1), np.round(held @ shares[group], 12)))[0]
        fold_of[group] = least
        held[least] += shares[group]
    return fold_of[members]


def fit_parts(
    learn: OnePass, batches: Batches, parts: Bool[np.ndarray, "p n"], *, seed: int
) -> Iterator[TrainState]:
    """Inference states on the host, the j-th learnt from the images i with parts[j, i].

    All learn with the same key, so that what they draw at random is the same: their measures can
    be compared.

    Args:
        batches: begins a pass anew; i counts its valid rows.
    """
    fit = learn.fit_parts or partial(_one_by_one, learn)
    for state in fit(batches, parts, jax.random.key(seed)):
        yield jax.device_get(inference_state(state))


def _one_by_one(
    learn: OnePass, batches: Batches, parts: Bool[np.ndarray, "p n"], key: PRNGKeyArray
) -> Iterator[TrainState]:
    for part in parts:
        yield learn.fit(only(batches(), part), key)


def only(batches: Iterable[Batch], part: Bool[np.ndarray, " n"]) -> Iterator[Batch]:
    """The batches of a pass, valid in the rows of a part alone; `part` counts the valid rows."""
    first = 0
    for batch in batches:
        chosen = choose(np.asarray(batch.valid), part, first)
        first += int(np.sum(batch.valid))
        yield batch._replace(valid=chosen)


def choose(
    valid: Bool[np.ndarray, " b"], part: Bool[np.ndarray, " n"], first: int
) -> Bool[np.ndarray, " b"]:
    """Rows of a batch that are valid and in `part`; `first` is the number of the first of them."""
    chosen = valid.copy()
    chosen[valid] = part[first : first + int(valid.sum())]
    return chosen
