"""How well each map of pretrained methods finds the defect, at several blurs: one Markdown table.

    python benchmarks/localisation.py --config=configs/breast_ultrasound.py:cpu \
        --config.data.root=DIR --config.data.protocol=folders --config.data.image_size=256 \
        --config.data.calibration.normal=0.4 \
        --config.method=baselines_ad.padim,baselines_ad.patchcore [--split=calibration]
        [--sigmas=0,0.0156] [--positions=none --positions=mean]
        [--pictures=DIR --only=padim.distance]

Every method learns from the normal images of the training split. Its maps are compared with the
masks of another split, in the files' pixels: of the calibration split, which may choose settings,
or of the test split, which judges them once. --positions tells maps by those of the normal images
that teach, each seen by one of five memories that has not learnt it. --pictures draws ten defects
of --only at the last sigma: image, mask, map, map over the image.
"""

import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from ad_core.data.batches import eval_batches  # noqa: E402
from ad_core.data.shape import image_shape  # noqa: E402
from ad_core.data.source import open_source  # noqa: E402
from ad_core.data.splits import make_splits  # noqa: E402
from ad_core.runtime.command import run  # noqa: E402
from ad_core.scoring.localisation import Localiser, fit_scale  # noqa: E402
from ad_core.scoring.pictures import colour, grid, overlay, to_rgb, write_png  # noqa: E402
from ad_core.scoring.profile import KINDS, NONE, NormalMaps  # noqa: E402
from ad_core.stages.job import make_methods  # noqa: E402
from ad_core.stages.pixels import Pixels  # noqa: E402
from ad_core.training.cross_fit import fit_parts, make_folds  # noqa: E402
from ad_core.types import OnePass, View  # noqa: E402

flags.DEFINE_enum("split", "calibration", ("calibration", "test"), "Whose masks are compared.")
flags.DEFINE_list("sigmas", ["0.0156"], "Blurs, as shares of the shorter side.")
flags.DEFINE_multi_enum(
    "positions", [NONE], KINDS, "What normal maps at each position take out of a map; repeatable."
)
flags.DEFINE_string("pictures", "", "Folder of PNG files of defects; none without.")
flags.DEFINE_string("only", "", "METHOD.MAP that is drawn.")
flags.DEFINE_integer("seed", 0, "Of the defects that are drawn.")
DRAWN = 10
FIGURES = ("auroc", "aupro", "pointing")


def split_images(config):
    """The source, the normal images that train, and the images of --split."""
    source = open_source(config.data)
    splits = make_splits(
        source.records,
        protocol=config.data.protocol,
        calibration=config.data.calibration,
        seed=config.seed,
        train_abnormal=False,
    )
    normal = [i for i in splits["train"] if source.records[i].label == 0]
    return source, np.array(normal), np.asarray(splits[flags.FLAGS.split])


def read(source, indices, config):
    """The readings of some images in order."""
    size = config.score.batch_size
    return eval_batches(source, indices, batch_size=size, workers=config.score.workers)


def learn(method, source, normal, config):
    """What a one-pass method keeps of the normal images, on the device."""
    assert isinstance(method.learn, OnePass)
    batches = (reading.batch for reading in read(source, normal, config))
    return jax.device_put(method.learn.fit(batches, jax.random.key(config.seed)))


def folds_of(method, source, normal, config):
    """Yields (rows, state) of five folds of the normal images, whose state has not learnt them."""
    groups = np.array([source.records[i].group for i in normal])
    fold = make_folds(np.zeros(len(normal), int), groups, folds=5, seed=config.seed)
    parts = fold[None] != np.unique(fold)[:, None]
    batches = lambda: (reading.batch for reading in read(source, normal, config))  # noqa: E731
    for part, state in zip(
        parts, fit_parts(method.learn, batches, parts, seed=config.seed), strict=True
    ):
        yield ~part, jax.device_put(state)


def look_at_normals(config, source, normal):
    """METHOD.MAP -> out-of-fold maps of the normal images that teach."""
    found = {}
    for name, (method, own) in make_methods(config).items():
        view = jax.jit(lambda s, x, m=method: m.view(s, x, None).maps)
        for rows, state in folds_of(method, source, normal, own):
            for reading in read(source, normal[rows], config):
                valid = np.asarray(reading.batch.valid)
                for key, x in view(state, jnp.asarray(reading.batch.image)).items():
                    found.setdefault(f"{name}.{key}", []).append(np.asarray(x)[valid])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def told_by(kind, maps, normal_maps):
    """Maps at the images' size, told by the profile of normal ones of that size."""
    gathered = NormalMaps()
    for number, one in enumerate(normal_maps):
        gathered.add(one, (0, 0, one.shape[1], one.shape[0]), group=str(number))
    profile, _ = gathered.fit(kind=kind, level_quantile=0.9)
    return maps if profile is None else profile(maps)


def look(config, source, normal, judged):
    """The samples of `judged`, and METHOD.MAP -> its maps [n, h', w'] at their own resolution."""
    states = {n: (m, learn(m, source, normal, c)) for n, (m, c) in make_methods(config).items()}
    views = {n: jax.jit(lambda s, x, m=m: m.view(s, x, None).maps) for n, (m, _) in states.items()}
    samples, found = [], {}
    for reading in read(source, judged, config):
        image, valid = jnp.asarray(reading.batch.image), np.asarray(reading.batch.valid)
        samples += [sample for sample in reading.samples if sample is not None]
        for name, (_, state) in states.items():
            for key, x in views[name](state, image).items():
                found.setdefault(f"{name}.{key}", []).append(np.asarray(x)[valid])
    return samples, {name: np.concatenate(parts) for name, parts in found.items()}


def localised(maps, sigma, config):
    """Maps at the images' size, blurred by `sigma` of the shorter side."""
    height, width, _ = image_shape(config.data)
    localiser = Localiser("map", sigma * min(height, width))
    localise = jax.jit(lambda image, view: localiser(image, view))
    parts = np.array_split(maps, -(-len(maps) // 32))
    size = [jnp.zeros((len(part), height, width, 1)) for part in parts]
    return np.concatenate(
        [
            np.asarray(localise(image, View(maps={"map": jnp.asarray(part)})))
            for image, part in zip(size, parts, strict=True)
        ]
    )


def figures(samples, labels, maps):
    """The pixel figures of maps at the images' size."""
    pixels = Pixels()
    for sample, label, anomaly in zip(samples, labels, maps, strict=True):
        pixels.add(sample, anomaly, abnormal=label == 1, has_mask=sample.mask is not None)
    return pixels.figures()


def row(name, sigma, found):
    """One line of the table, in per cent."""
    values = [f"{100 * found[figure]:.1f}" for figure in FIGURES] if found else ["no masks"] * 3
    return "| " + " | ".join([name, f"{sigma:g}", *values]) + " |"


def draw(folder, samples, records, maps, labels, config):
    """Writes a PNG for each of DRAWN defects."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = maps[labels == 0]
    scale = fit_scale([normal], level_quantile=config.localisation.level)
    abnormal = np.flatnonzero(labels == 1)
    chosen = np.random.default_rng(flags.FLAGS.seed).permutation(abnormal)[:DRAWN]
    for i in np.sort(chosen):
        sample, image = samples[i], samples[i].image
        anomaly = maps[i]
        panels = [to_rgb(image)]
        if sample.mask is not None:
            mask = to_file_size(sample.mask, image.shape)
            panels.append(np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, -1))
        span = max(float(np.ptp(anomaly)), 1e-9)
        panels += [colour((anomaly - anomaly.min()) / span), overlay(image, anomaly, scale)]
        name = records[i].path.replace("/", "_")
        write_png(folder / f"{name}.png", grid(panels, columns=4))


def to_file_size(mask, shape):
    """A mask of a stretched image at the network's size."""
    rows = np.arange(shape[0]) * mask.shape[0] // shape[0]
    columns = np.arange(shape[1]) * mask.shape[1] // shape[1]
    return mask[np.ix_(rows, columns)]


def main(config):
    """Prints the table, and draws what is asked for."""
    source, normal, judged = split_images(config)
    records = [source.records[i] for i in judged]
    labels = np.array([record.label for record in records])
    samples, maps = look(config, source, normal, judged)
    kinds = flags.FLAGS.positions
    others = look_at_normals(config, source, normal) if kinds != [NONE] else {}
    print("| map | sigma | pixel AUROC | AUPRO | hottest place in the defect |")
    print("|" + " --- |" * 5)
    sigmas = [float(sigma) for sigma in flags.FLAGS.sigmas]
    for name, raw in maps.items():
        for sigma in sigmas:
            full = localised(raw, sigma, config)
            beside = localised(others[name], sigma, config) if others else []
            for kind in kinds:
                told = told_by(kind, full, beside)
                told_name = name if kind == NONE else f"{name}, {kind}"
                print(row(told_name, sigma, figures(samples, labels, told)), flush=True)
        if flags.FLAGS.pictures and name == flags.FLAGS.only:
            draw(Path(flags.FLAGS.pictures), samples, records, full, labels, config)


if __name__ == "__main__":
    run(main)
