"""Detection over dose: the counts that it takes to see an activation in a sinogram.

    python benchmarks/fpet_dose.py --workdirs=runs/fpet_dose [--figure=docs/fpet_dose.svg]

Phantoms only: made-up brains, Poisson counts. For each dose the main job trains and calibrates as
configs/fpet_sinogram.py:cpu says, and is judged on its test split, with four observers beside it:

    limit       the log-likelihood ratio of the test sinogram's very own means, which only the
                simulation knows. No observer can do better on average
    regression  logistic regression on the bins, for a user who has labels and no networks
    template    the mean difference of both classes, correlated with the sinogram
    peak        the brightest bin, for a user who has nothing

Regression and template learn from the training normals and the calibration split. Nothing has
seen the test split. A run that is finished is not run again. Prints Markdown.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ad_core.data.phantoms.fpet_sinogram import Expected, expected
from ad_core.data.phantoms.worlds import open_source
from ad_core.data.splits import Splits, make_splits
from ad_core.metrics import auroc
from ad_core.reporting.svg import Axes, frame, line, path, sheet, text
from ad_core.runtime.config import complete
from ad_core.runtime.methods import with_share
from ad_core.runtime.recipes import load_recipe

ROOT = Path(__file__).resolve().parent.parent
RECIPE = f"{ROOT}/configs/fpet_sinogram.py:cpu"
DOSES = (1e2, 1e3, 1e4, 1e5, 1e6)
CLASSES = ("normal", "abnormal")
SERIES = {  # colour and dash of a line
    "limit": ("#1b2126", "2 3"),
    "regression": ("#00805f", "7 3"),
    "template": ("#8a5a9e", "9 3 2 3"),
    "peak": ("#5b6770", "1 4"),
    "detector": ("#c8500a", ""),
}


def main() -> None:
    """Runs what is missing, then prints the table and writes the figure of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="where to write the SVG")
    given = parser.parse_args()
    for dose in DOSES:
        run(given.workdirs / f"{dose:.0f}", dose)
    areas = observe(DOSES)
    rows = {dose: areas[dose] | reached(given.workdirs / f"{dose:.0f}") for dose in DOSES}
    print(table(rows))
    if given.figure:
        given.figure.parent.mkdir(parents=True, exist_ok=True)
        given.figure.write_text(figure(rows) + "\n")


def run(workdir: Path, dose: float) -> None:
    """One main job, unless it is finished; all doses share their compiled programs."""
    if (workdir / "results.json").exists():
        return
    command = [
        sys.executable,
        str(ROOT / "launch" / "train.py"),
        f"--config={RECIPE}",
        f"--config.data.phantom.dose={dose}",
        f"--workdir={workdir}",
    ]
    cache = str(workdir.parent.resolve() / "compiled")
    environment = {"JAX_COMPILATION_CACHE_DIR": cache} | dict(os.environ)
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def reached(workdir: Path) -> dict[str, float]:
    """Figures that the main job reached on its test split."""
    results = json.loads((workdir / "results.json").read_text())
    rule = results["held_out"]["zfn"]
    counts = results["counts"]["test"]
    figures = {"detector": results["oracle"]["auc"], "missed": 1 - rule["tpr"]}
    return figures | {"alarms": rule["fpr"]} | {name: counts[name] for name in CLASSES}


def observe(doses: Sequence[float]) -> dict[float, dict[str, float]]:
    """Dose -> area under the ROC curve of each of the other observers on the test split."""
    config = with_share(complete(load_recipe(RECIPE)))
    sources = {}
    for dose in doses:
        config.data.phantom.dose = dose
        sources[dose] = open_source(config.data)
    records = sources[doses[0]].records
    shares = config.data.calibration
    splits = make_splits(
        records,
        protocol=config.data.protocol,
        calibration=shares,
        seed=config.seed,
        cross_fitted=True,
    )
    images: dict[float, list[np.ndarray]] = {dose: [] for dose in doses}
    ratios: dict[float, list[float]] = {dose: [] for dose in doses}
    for index in range(len(records)):  # all doses of an image in turn: its brain is drawn once
        for dose, source in sources.items():
            image = source.read(index).image
            mean = expected(*source.part(index), size=config.data.image_size, dose=dose)
            images[dose].append(image.ravel())
            ratios[dose].append(ratio(image, mean))
    labels = np.array([record.label for record in records])
    return {d: compare(np.array(images[d]), np.array(ratios[d]), labels, splits) for d in doses}


def compare(
    images: np.ndarray, ratios: np.ndarray, labels: np.ndarray, splits: Splits
) -> dict[str, float]:
    """Areas of the observers that learn from all but the test split, or from nothing."""
    known = np.concatenate([splits["train"], splits["calibration"]])
    x, y, test = images[known], labels[known], images[splits["test"]]
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    template = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
    scores = {
        "limit": ratios[splits["test"]],
        "regression": regression.fit(x, y).decision_function(test),
        "template": test @ template,
        "peak": test.max(axis=1),
    }
    return {name: float(auroc(labels[splits["test"]], s)) for name, s in scores.items()}


def ratio(image: np.ndarray, mean: Expected) -> float:
    """Log p(counts | activated) - log p(counts | rest), both means known: Poisson's own ratio.

    For a weak activation it is the matched filter: counts weighted by added / rest.
    """
    counts = np.round((image[:, :, 0].astype(np.float64) + 1) / 2 * mean.full)
    seen = mean.rest > 0
    gain = np.log1p(mean.added[seen] / mean.rest[seen])
    return float(counts[seen] @ gain - mean.added.sum())


def table(rows: dict[float, dict[str, float]]) -> str:
    """A row a dose: areas and rates in per cent."""
    names = ["counts", *SERIES, "missed, `zfn`", "alarms, `zfn`"]
    head = "| " + " | ".join(names) + " |"
    return "\n".join([head, "|" + " --- |" * 8, *(row(dose, rows[dose]) for dose in rows)])


def row(dose: float, values: dict[str, float]) -> str:
    """One dose; each area with its standard error."""
    cells = [f"{dose:,.0f}"]
    for name in SERIES:
        error = standard_error(values[name], values["abnormal"], values["normal"])
        cells.append(f"{100 * values[name]:.1f} ± {100 * error:.1f}")
    cells += [f"{100 * values[name]:.1f}" for name in ("missed", "alarms")]
    return "| " + " | ".join(cells) + " |"


def standard_error(area: float, abnormal: float, normal: float) -> float:
    """Standard error of an area under the ROC curve.

    Source: Hanley and McNeil, Radiology 143 (1982), eq. 1.
    """
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (abnormal - 1) * (q1 - area**2) + (normal - 1) * (q2 - area**2)
    return float(np.sqrt(max(spread, 0) / (abnormal * normal)))


def figure(rows: dict[float, dict[str, float]]) -> str:
    """Area over dose, on a logarithmic axis, a line an observer."""
    doses = np.log10(list(rows))
    axes = Axes(52, 44, 350, 246, (doses.min(), doses.max()), (0.45, 1.0))
    parts = [
        '<rect width="460" height="296" fill="#fff"/>',
        frame(
            axes,
            x_label="expected counts of a sinogram (dose)",
            y_label="area under the ROC curve",
            x_ticks={float(d): f"{10**d:,.0f}" for d in doses if abs(d - round(d)) < 1e-9},
            y_ticks={0.5: "0.5", 0.6: "0.6", 0.7: "0.7", 0.8: "0.8", 0.9: "0.9", 1.0: "1.0"},
        ),
    ]
    for place, (name, (colour, dash)) in enumerate(SERIES.items()):
        x = [axes.at_x(float(d)) for d in doses]
        y = [axes.at_y(rows[dose][name]) for dose in rows]
        parts.append(path(x, y, colour=colour, dash=dash))
        marks = zip(x, y, strict=True)
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in marks]
        high = 150 + 20 * place
        parts.append(line(364, high - 4, 388, high - 4, colour=colour, width=1.8, dash=dash))
        parts.append(text(394, high, name, anchor="start"))
    return sheet(296, "Detection of activated sinograms over dose", parts).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1
    )


if __name__ == "__main__":
    main()
