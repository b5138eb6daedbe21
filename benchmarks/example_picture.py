"""The picture of README.md: a made-up retina scan, its map and its verdict, by a trained detector.

A detector that draws no normal version has no panel of it.

    python launch/train.py --config=configs/retina_oct.py:phantom,cpu --workdir=runs/demo
    python benchmarks/example_picture.py --detector=runs/demo/detector --picture=docs/example.png

The scan is drawn by ad_core.data.phantoms.worlds, from the test split, which the detector has not
seen: no patient, no image of a published set.
"""

import argparse
import sys
import textwrap
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from ad_core.data.phantoms.worlds import open_source  # noqa: E402
from ad_core.scoring import load_detector  # noqa: E402
from ad_core.scoring.pictures import overlay, to_rgb, write_png  # noqa: E402

SIDE = 240  # of a panel, in pixels
MARGIN, LINE, LETTER = 10, 24, 8
INK, PAPER = (30, 30, 40), (255, 255, 255)
FIRST = 4  # a scan with a neovascular membrane, in the worlds' default numbers


def examine(detector, number):
    """(image, normal version or None, verdict) of an abnormal test image of its own world."""
    source = open_source(detector.parts.config.data)
    judging = [i for i, r in enumerate(source.records) if r.label and r.folder == "test"]
    image = source.read(judging[number]).image
    drawn = detector.score(image[None]).drawn
    (verdict,) = detector.judge([(image + 1) / 2])
    return image, None if drawn is None else drawn[0], verdict


def enlarged(bands):
    """An image [h, w, c] at the size of a panel, bilinear."""
    large = [
        Image.fromarray(band.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        for band in np.moveaxis(bands, -1, 0)
    ]
    return np.stack([np.asarray(band) for band in large], axis=-1)


def in_words(verdict, threshold):
    """The verdict: the decision, and what pushed the score most."""
    return (
        f"verdict: {verdict.decision} (score {verdict.score:.2f}, inspected from {threshold:.2f})",
        f"first reason: {verdict.reasons[0]}",
    )


def compose(panels, said):
    """Panels, by their titles, side by side, and what was said below."""
    width = len(panels) * (SIDE + MARGIN) + MARGIN
    said = [row for text in said for row in textwrap.wrap(text, width // LETTER)]
    sheet = Image.new("RGB", (width, SIDE + (len(said) + 1) * LINE + 2 * MARGIN), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for column, (title, panel) in enumerate(panels.items()):
        left = MARGIN + column * (SIDE + MARGIN)
        pen.text((left, MARGIN // 2), title, INK, font)
        sheet.paste(Image.fromarray(panel), (left, MARGIN // 2 + LINE))
    for row, text in enumerate(said):
        pen.text((MARGIN, SIDE + (row + 1) * LINE + MARGIN), text, INK, font)
    return np.asarray(sheet)


def main():
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--detector", required=True, help="of configs/retina_oct.py:phantom")
    parser.add_argument("--picture", required=True)
    parser.add_argument("--number", type=int, default=FIRST, help="of an abnormal test image")
    arguments = parser.parse_args()
    detector = load_detector(arguments.detector)
    image, drawn, verdict = examine(detector, arguments.number)
    large, anomaly = enlarged(image), enlarged(verdict.map[..., None])[..., 0]
    over = overlay(large, anomaly, detector.parts.scale)
    said = in_words(verdict, detector.threshold.value)
    panels = {"a made-up scan": to_rgb(large)}
    if drawn is not None:
        panels["its normal version"] = to_rgb(enlarged(drawn))
    write_png(arguments.picture, compose({**panels, "the map over it": over}, said))
    print(*said, sep="\n")


if __name__ == "__main__":
    main()
