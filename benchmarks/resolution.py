"""Pooled features and their head, of whole images and of tiles: which way of looking ranks best.

    python benchmarks/resolution.py --data=DIR --cache=DIR --ways stretch:1024:256:64:4 \
        stretch:1024:256 stretch:1024:256+stretch:1024:256:64:4 [--channels=1 --seeds=3]

A way is RESIZE:SIDE[:TILE[:OVERLAP[:SCALE]]]: images are brought to SIDE as `data.resize` says,
reduced by SCALE and cut into tiles; ways joined by + stand side by side. DIR is in the layout of a
folder. The features are those of `baselines_ad.features` (EfficientNet-Lite0): of tiles their mean
and their largest. The head is the one of the decision, and its values out of fold, by the groups
that the main job finds, are those of calibration. Prints Markdown, in per cent, mean over the seeds
of split and head: AUC and false alarms at a threshold that misses 5 % of the calibration's abnormal
images, on calibration and test. What is to be chosen is chosen by the first two columns.

Features are kept in --cache: another way costs only its own.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from ad_core.backbones import load_backbone  # noqa: E402
from ad_core.data.batches import eval_batches  # noqa: E402
from ad_core.data.likeness import group_alike  # noqa: E402
from ad_core.data.source import open_source  # noqa: E402
from ad_core.data.splits import make_splits  # noqa: E402
from ad_core.data.tiles import Tiling, cut, make_grid, reduce, shows  # noqa: E402
from ad_core.decision.classifiers.deep_head import DeepHead  # noqa: E402
from ad_core.runtime.config import complete  # noqa: E402
from baselines_ad.features import pool  # noqa: E402

BACKBONE = "efficientnet_lite0"
MISSED = 0.05  # share of the abnormal images that calibrate, below the threshold


class Way(NamedTuple):
    """How images are brought to a side, reduced and cut."""

    resize: str
    side: int
    tile: int
    overlap: int
    scale: int


def way_of(text: str) -> Way:
    """The way that RESIZE:SIDE:TILE:OVERLAP:SCALE states; without tiles the whole image."""
    resize, *numbers = text.split(":")
    side, *rest = map(int, numbers)
    tile = rest[0] if rest else side
    return Way(resize, side, tile, rest[1] if rest[1:] else tile // 4, rest[2] if rest[2:] else 1)


def main() -> None:
    """Computes the features that are not kept yet, and prints a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", required=True)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print("| way | AUC, calibration | false alarms | AUC, test | false alarms | missed |")
    print("|" + " --- |" * 6)
    for text in given.ways:
        found = [features(given, way_of(part)) for part in text.split("+")]
        source = source_of(given, way_of(text.partition("+")[0]))
        figures = [judge(source, np.concatenate(found, axis=1), s) for s in range(given.seeds)]
        cells = " | ".join(f"{100 * x:.1f}" for x in np.mean(figures, axis=0))
        print(f"| `{text}` | {cells} |", flush=True)


def config_of(given: argparse.Namespace, way: Way) -> ConfigDict:
    """A configuration whose data section reads the images in that way."""
    data = {
        "source": "ad_core.data.layouts.folder",
        "root": str(given.data),
        "channels": given.channels,
        "image_size": way.side,
        "resize": way.resize,
        "protocol": "folders",
    }
    return complete(ConfigDict({"method": "baselines_ad.features", "size": "cpu", "data": data}))


def source_of(given: argparse.Namespace, way: Way):
    """The images, grouped as the main job groups them."""
    config = config_of(given, way)
    source = open_source(config.data)
    group_alike(source, config.data)
    return source


def features(given: argparse.Namespace, way: Way) -> np.ndarray:
    """[n, d], of all images in the order of the source's records."""
    name = hashlib.sha256(f"{given.data.resolve()} {way}".encode()).hexdigest()[:16]
    kept = given.cache / f"{name}.npy"
    if kept.is_file():
        return np.load(kept)
    source = open_source(config_of(given, way).data)
    look, found = look_of(way), []
    indices = np.arange(len(source.records))
    for reading in eval_batches(source, indices, batch_size=4, workers=2):
        h, w, _ = source.image_shape
        content = reading.batch.content
        whole = np.tile(np.array([0, 0, w, h], np.int32), (len(reading.samples), 1))
        seen = look(reading.batch.image, whole if content is None else content)
        found.append(np.asarray(seen)[np.asarray(reading.batch.index) >= 0])
    given.cache.mkdir(parents=True, exist_ok=True)
    np.save(kept, np.concatenate(found))
    return np.load(kept)


def look_of(way: Way):
    """A compiled function from images and their content to pooled features."""
    backbone = load_backbone(BACKBONE)
    network, levels = backbone.network, tuple(backbone.network.strides)
    weights = network.part(backbone.params, levels)
    tiling = Tiling(way.tile, way.overlap)
    grid = make_grid((way.side, way.side), tiling, scale=way.scale)

    @jax.jit
    def look(image, content):
        tiles = cut(reduce(image, way.scale), grid)
        b, n = tiles.shape[:2]
        flat = tiles.reshape(b * n, *tiles.shape[2:])
        maps = network.stages(weights, flat, levels=levels, dtype="float32", whole=False)
        pooled = pool({name: x.astype(jnp.float32) for name, x in maps.items()})
        x = jnp.concatenate(list(pooled.values()), axis=-1).reshape(b, n, -1)
        if n == 1:
            return x[:, 0]
        counted = shows(grid, content, scale=way.scale)[..., None]
        mean = jnp.sum(jnp.where(counted, x, 0.0), axis=1) / jnp.sum(counted, axis=1)
        return jnp.concatenate([mean, jnp.max(jnp.where(counted, x, -jnp.inf), axis=1)], axis=1)

    return look


def judge(source, x: np.ndarray, seed: int) -> tuple[float, ...]:
    """AUC and false alarms of calibration, then AUC, false alarms and misses of the test images."""
    shares = {"normal": 1.0, "abnormal": 1.0, "abnormal_of_test": 0.5}
    splits = make_splits(
        source.records, protocol="folders", calibration=shares, seed=seed, cross_fitted=True
    )
    label = np.array([record.label for record in source.records])
    group = np.array([record.group for record in source.records])
    taught, test = splits["calibration"], splits["test"]
    head = DeepHead(columns=range(x.shape[1]), random_state=seed)
    own = head.fit_transform(x[taught], label[taught], group[taught])[:, -1]
    later = head.transform(x[test])[:, -1]
    known, truth = label[taught], label[test]
    limit = np.sort(own[known == 1])[int(MISSED * known.sum())]
    return (
        roc_auc_score(known, own),
        float(np.mean(own[known == 0] >= limit)),
        roc_auc_score(truth, later),
        float(np.mean(later[truth == 0] >= limit)),
        float(np.mean(later[truth == 1] < limit)),
    )


if __name__ == "__main__":
    main()
