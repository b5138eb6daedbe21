"""The report of a detector: one HTML file that leads with the verdict on it and shows why."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ad_core.reporting import decision, defects, evidence, promise
from ad_core.reporting.contents import Report
from ad_core.reporting.page import make_page, read_script
from ad_core.runtime.sealed import write_text


class Section(NamedTuple):
    """A part of the page. content: what `macro` of sections.html is given; left out if empty."""

    name: str
    heading: str
    macro: str
    content: Mapping[str, Any]


def write_report(path: str | Path, report: Report) -> None:
    """Writes the page, whole or not at all; its folder is made."""
    write_text(Path(path), render(report))


def render(report: Report) -> str:
    """The page as text."""
    refused = "no_decision" if report.refused else "decision"
    return make_page(
        "report.html",
        title=report.title,
        method=report.results.get("method"),
        script=read_script("report.js"),
        parts=_filled(
            Section("decision", "Verdict", refused, decision.decision(report)),
            Section("price", "Price of the promise", "price_of_promise", promise.price(report)),
            Section("misses", "Misses", "pictures", evidence.misses(report)),
            Section("alarms", "False alarms", "pictures", evidence.false_alarms(report)),
            Section("types", "Types of defect", "types", defects.types(report)),
            Section("lowest", "Labels to check", "lowest", defects.lowest(report)),
            Section("hits", "Right decisions", "pictures", evidence.right(report)),
        ),
        appendix=_filled(
            Section("rules", "All rules", "operating_points", decision.operating_points(report)),
            Section("scores", "Scores", "scores", evidence.scores(report)),
            Section("statistics", "What weighs most", "statistics", evidence.statistics(report)),
            Section("choice", "Choice of classifier", "choice", evidence.choice(report)),
            Section("made_up", "Choice by made-up defects", "made_up", evidence.made_up(report)),
            Section("training", "Training", "training", evidence.training(report)),
            Section("oracle", "Oracle figures", "oracle", evidence.oracle(report)),
            Section("run", "Data and run", "run", evidence.run(report)),
        ),
    )


def _filled(*parts: Section) -> Iterable[Section]:
    return [part for part in parts if part.content]
