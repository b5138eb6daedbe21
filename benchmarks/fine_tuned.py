"""The fine-tuned head beside the linear one, each by itself, on a set of images on disk.

    python benchmarks/fine_tuned.py --root=DIR [--channels=1 --augment=hflip --folds=5 --steps=100]

Both learn from train/ and judge test/; with --folds they learn from parts of train/ and judge the
rest of it, near-duplicates kept together, and test/ is not opened. Prints AUC, false alarms at a
sensitivity of 95 % and at the fourth lowest abnormal image, and processor seconds of the tuning.
"""

import argparse
import sys
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import jax  # noqa: E402
import numpy as np  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from ad_core.data.batches import eval_batches  # noqa: E402
from ad_core.data.source import open_source  # noqa: E402
from ad_core.decision.classifiers.deep_head import DeepHead  # noqa: E402
from ad_core.metrics import auroc  # noqa: E402
from ad_core.runtime.config import complete  # noqa: E402
from ad_core.runtime.registry import resolve  # noqa: E402
from ad_core.training.cross_fit import make_folds  # noqa: E402

BATCH = 16


def config_of(method, given):
    """The complete configuration of a method for the images that were named."""
    own = {"steps": given.steps} if given.steps and method == "fine_tuned" else {}
    data = {"root": given.root, "channels": given.channels, "augment": given.augment}
    data |= {"source": "ad_core.data.layouts.folder", "image_size": 256, "near_duplicates": 4}
    method = f"baselines_ad.{method}"
    return complete(ConfigDict(dict(method=method, size="cpu", data=data, reconstructor=own)))


def read(source, indices):
    """Batches of host arrays."""
    for reading in eval_batches(source, indices, batch_size=BATCH, workers=2):
        yield reading.batch


def seen(method, state, source, indices, of):
    """The arrays that `of` takes of the views of images, side by side, a row an image."""
    look, found = jax.jit(method.view), []
    for batch in read(source, indices):
        keys = jax.random.split(jax.random.key(0), len(batch.image))
        view = look(state, jax.numpy.asarray(batch.image), keys)
        rows = np.concatenate([np.asarray(x) for x in of(view)], axis=1)
        found.append(rows[np.asarray(batch.valid)])
    return np.concatenate(found)


def figures(labels, scores):
    """AUC, false alarms at 95 % sensitivity and at the fourth lowest abnormal image, in %."""
    lowest, normal = np.sort(scores[labels == 1]), scores[labels == 0]
    lines = lowest[int(0.05 * len(lowest))], lowest[3]
    alarms = ", ".join(f"{100 * np.mean(normal >= line):.0f}" for line in lines)
    return f"AUC {100 * auroc(labels, scores):.1f}, false alarms {alarms}"


def divide(source, folds):
    """Images that teach; which of them teach each state; the images that each state judges."""
    records = source.records
    train, test = (
        np.array([i for i, r in enumerate(records) if r.folder == name])
        for name in ("train", "test")
    )
    if not folds:
        return train, np.ones((1, len(train)), bool), [test]
    labels, groups = (np.array([getattr(records[i], k) for i in train]) for k in ("label", "group"))
    fold = make_folds(labels, groups, folds=folds, seed=0)
    parts = fold[None] != np.arange(fold.max() + 1)[:, None]
    return train, parts, [train[~part] for part in parts]


def linear_scores(config, source, train, parts, judged):
    """The linear head's score of each image that is judged, in the order of `judged`."""
    records, method = source.records, resolve(config.method).make(config)
    labels, groups = (np.array([getattr(r, k) for r in records]) for k in ("label", "group"))
    state = method.learn.fit(read(source, train[labels[train] == 0]), jax.random.key(0))

    def table(indices):
        return seen(method, state, source, indices, lambda view: [*view.features.values()])

    rows, found = table(train), []
    for part, later in zip(parts, judged, strict=True):
        own, head = train[part], DeepHead(np.arange(rows.shape[1]))
        head.fit(rows[part], labels[own], groups[own])
        found.append(head.transform(rows[~part] if len(parts) > 1 else table(later))[:, -1])
    return np.concatenate(found)


def tuned_scores(config, source, train, parts, judged):
    """As `linear_scores` of the fine-tuned head, and the processor seconds that it learnt for."""
    method, began = resolve(config.method).make(config), time.process_time()
    states = list(method.learn.fit_parts(lambda: read(source, train), parts, jax.random.key(0)))
    spent = time.process_time() - began
    found = [
        seen(method, state, source, later, lambda view: [view.losses["likeness"][:, None]])[:, 0]
        for state, later in zip(states, judged, strict=True)
    ]
    return np.concatenate(found), spent


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--augment", default="hflip")
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    given = parser.parse_args()
    tuned, pooled = (config_of(name, given) for name in ("fine_tuned", "features"))
    source = open_source(tuned.data)
    train, parts, judged = divide(source, given.folds)
    linear = linear_scores(pooled, source, train, parts, judged)
    likeness, spent = tuned_scores(tuned, source, train, parts, judged)
    labels = np.array([source.records[i].label for i in np.concatenate(judged)])
    both = sum((x - x.mean()) / x.std() for x in (linear, likeness))
    for name, scores in (("linear", linear), ("tuned", likeness), ("mean of both", both)):
        print(f"{name}: {figures(labels, scores)}")
    print(f"{len(train)} images, {len(parts)} states: {spent:.0f} processor seconds")


if __name__ == "__main__":
    main()
