"""Contents of a report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ad_core.reporting.panels import Panel
from ad_core.reporting.svg import Number
from ad_core.scoring.localisation import MapScale

Series = Sequence[Number] | np.ndarray


class Example(NamedTuple):
    """One image to look at: its path in the data set, its kind, its score, pictures, and why.

    panels: its pictures, all of one size. places: where it stands out, in words.
    """

    path: str
    defect: str
    score: float
    panels: tuple[Panel, ...]
    reasons: tuple[str, ...] = ()
    places: str = ""

    @property
    def scored(self) -> bool:
        """Tells whether the image has a score."""
        return math.isfinite(self.score)


@dataclass(frozen=True)
class Report:
    """Plain data, of which whatever is empty is left out of the page.

    results: the content of results.json (`held_out` at least).
    rule: the one that decides; a key of results["held_out"].
    labels, scores: of the images that judge, one by one; a score may be NaN.
    inspected: the decisions; None takes them from the score and the rule's threshold.
    defects: the kind of each image that judges.
    about: how the method comes to its score, in a sentence or two.
    misses, false_alarms, hits, passed: the pictures worth seeing, worst first.
    scale: of the anomaly maps in them.
    importances: statistic -> its weight in the classifier.
    curves: name -> (steps, values) of the training.
    samples: (caption, picture) of normal versions that the training drew.
    pictures: path -> picture of an image that results["lowest"] names.
    command: what calibrates again with another bound, `promise.BOUND` in the bound's place.
    """

    title: str
    results: Mapping[str, Any]
    rule: str
    labels: Int[np.ndarray, "n"]
    scores: Float[np.ndarray, "n"]
    inspected: Bool[np.ndarray, "n"] | None = None
    defects: Sequence[str] = ()
    about: str = (
        "What sets an image apart from normal ones is measured and becomes one score, which rises "
        "with abnormality."
    )
    misses: Sequence[Example] = ()
    false_alarms: Sequence[Example] = ()
    hits: Sequence[Example] = ()
    passed: Sequence[Example] = ()
    scale: MapScale | None = None
    importances: Mapping[str, Number] = field(default_factory=dict)
    curves: Mapping[str, tuple[Series, Series]] = field(default_factory=dict)
    samples: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]] = ()
    pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]] = field(default_factory=dict)
    command: str = ""
    config_json: str = ""

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The figures of the deciding rule."""
        return self.results["held_out"][self.rule]

    @property
    def refused(self) -> bool:
        """Tells whether the deciding rule gave no threshold."""
        return "refused" in self.chosen

    @property
    def split(self) -> str:
        """The images that judge, in words."""
        return "pool" if self.results.get("judged_on") == "pool" else "test split"

    def rules(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Every rule with its figures, the deciding one first."""
        rules = list(self.results["held_out"].items())
        return sorted(rules, key=lambda item: item[0] != self.rule)

    def working(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Rules that gave a threshold, with their figures."""
        return [(rule, of) for rule, of in self.rules() if "refused" not in of]

    def decisions(self) -> Bool[np.ndarray, "n"]:
        """True where an image is inspected by the deciding rule."""
        if self.inspected is not None:
            return self.inspected
        return ~(np.asarray(self.scores, np.float64) < cut(self.chosen))


def cut(of: Mapping[str, Any]) -> float:
    """The threshold among a rule's figures; one without a finite value is infinite."""
    value = of["threshold"]
    return math.inf if value is None else float(value)
