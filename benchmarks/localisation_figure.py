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

from absl import app, flags  # noqa: E402

from ad_core.data.source import printable  # noqa: E402
from ad_core.errors import UserError  # noqa: E402
from ad_core.reporting.localisation_figure import localisation_figure  # noqa: E402
from ad_core.scoring import load_detector  # noqa: E402
from ad_core.scoring.pictures import write_png  # noqa: E402
from ad_core.stages.benchmark_localisation import (  # noqa: E402
    ABNORMAL,
    BATCH,
    NORMAL,
    choose_images,
    rows_of,
    source_of,
)

flags.DEFINE_list("detectors", [], "Folders of detectors.")
flags.DEFINE_list("images", [], "Parts of paths; without, images are drawn by chance.")
flags.DEFINE_string("picture", "localisation.png", "The picture that is written.")
flags.DEFINE_string("root", "", "Folder of the images, where it is no longer the detectors'.")
flags.DEFINE_integer("abnormal", ABNORMAL, "Abnormal images with a mask that are drawn by chance.")
flags.DEFINE_integer("normal", NORMAL, "Normal images that are drawn by chance.")
flags.DEFINE_integer("side", 160, "Longer side of a panel in pixels.")
flags.DEFINE_integer("seed", 0, "Of the draw.")


def choose(source):
    """The paths of the images that are shown, abnormal ones first."""
    args = flags.FLAGS
    if args.images:
        return [r.path for part in args.images for r in source.records if part in r.path]
    test = [printable(r.path) for r in source.records if r.folder in ("", "test")]
    counts = {"abnormal": args.abnormal, "normal": args.normal}
    return choose_images(source, test, **counts, seed=args.seed)


def main(_):
    """Writes the picture."""
    args = flags.FLAGS
    if not args.detectors:
        raise UserError("`--detectors` is missing: folders of detectors, joined by commas.")
    paths, rows = [], []
    for folder in args.detectors:
        detector = load_detector(Path(folder), batch_size=BATCH)
        source = source_of(detector, root=args.root)
        paths = paths or choose(source)
        rows += rows_of(detector, source, paths)
    write_png(args.picture, localisation_figure(rows, side_px=args.side))
    print(f"{len(paths)} images under {len(args.detectors)} detectors: {args.picture}")


if __name__ == "__main__":
    app.run(main)
