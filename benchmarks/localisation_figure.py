"""The poster's figure of localisation, of trained detectors on images of a set with masks.

    python benchmarks/localisation_figure.py --detectors=runs/a/detector,runs/b/detector \
        --picture=localisation.png [--abnormal=3 --normal=1 --seed=0] [--images=test/bent/003]
        [--root=DIR]

Images are drawn by chance from the test folder of the first detector's set, or named by a part of
their paths. Every detector reads them at its own size. --root says where the set lies now.
"""

import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from ad_core.data.source import open_source  # noqa: E402
from ad_core.errors import UserError  # noqa: E402
from ad_core.reporting.localisation_figure import localisation_figure  # noqa: E402
from ad_core.reporting.localisation_rows import localisation_rows  # noqa: E402
from ad_core.scoring import load_detector  # noqa: E402
from ad_core.scoring.pictures import write_png  # noqa: E402

flags.DEFINE_list("detectors", [], "Folders of detectors.")
flags.DEFINE_list("images", [], "Parts of paths; without, images are drawn by chance.")
flags.DEFINE_string("picture", "localisation.png", "The picture that is written.")
flags.DEFINE_string("root", "", "Folder of the images, where it is no longer the detectors'.")
flags.DEFINE_integer("abnormal", 3, "Abnormal images with a mask that are drawn by chance.")
flags.DEFINE_integer("normal", 1, "Normal images that are drawn by chance.")
flags.DEFINE_integer("side", 160, "Longer side of a panel in pixels.")
flags.DEFINE_integer("seed", 0, "Of the draw.")


def source_of(detector):
    """The set of a detector's configuration."""
    data = detector.parts.config.data.copy_and_resolve_references()
    with data.unlocked():
        data.root = flags.FLAGS.root or data.root
    return open_source(data)


def choose(records):
    """The paths of the images that are shown, abnormal ones first."""
    args = flags.FLAGS
    test = [record for record in records if record.folder in ("", "test")]
    if args.images:
        chosen = [r for part in args.images for r in records if part in r.path]
        return [record.path for record in chosen]
    rng, chosen = np.random.default_rng(args.seed), []
    for label, count in ((1, args.abnormal), (0, args.normal)):
        own = [r.path for r in test if r.label == label and (r.has_mask or not label)]
        chosen += sorted(rng.permutation(own)[:count])
    return chosen


def rows_of(folder, paths):
    """What a detector makes of images, which it reads at its own size."""
    detector = load_detector(Path(folder), batch_size=4)
    source = source_of(detector)
    index_of = {record.path: i for i, record in enumerate(source.records)}
    indices = [index_of[path] for path in paths]
    return localisation_rows(
        detector,
        [source.read(i) for i in indices],
        names=paths,
        abnormal=[source.records[i].label == 1 for i in indices],
    )


def main(_):
    """Writes the picture."""
    args = flags.FLAGS
    if not args.detectors:
        raise UserError("`--detectors` is missing: folders of detectors, joined by commas.")
    paths = choose(source_of(load_detector(Path(args.detectors[0]))).records)
    rows = [row for folder in args.detectors for row in rows_of(folder, paths)]
    write_png(args.picture, localisation_figure(rows, side_px=args.side))
    print(f"{len(paths)} images under {len(args.detectors)} detectors: {args.picture}")


if __name__ == "__main__":
    app.run(main)
