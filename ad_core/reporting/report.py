"""The report of a detector: one HTML file that leads with the decision and shows why."""

from pathlib import Path

from ad_core.reporting import decision, evidence
from ad_core.reporting.contents import Report
from ad_core.reporting.page import Example, document, section
from ad_core.reporting.svg import show
from ad_core.runtime.sealed import write_text

__all__ = ["Example", "Report", "render", "write_report"]


def write_report(path: str | Path, report: Report) -> None:
    """Writes the page, whole or not at all; its folder is made."""
    write_text(Path(path), render(report))


def render(report: Report) -> str:
    """The page as text."""
    sections = {
        "decision": ("Decision", decision.decision(report)),
        "rules": ("Operating points", decision.operating_points(report)),
        "scores": ("Scores", evidence.scores(report)),
        "misses": ("Misses", evidence.misses(report)),
        "alarms": ("False alarms", evidence.false_alarms(report)),
        "hits": ("Right decisions", evidence.right(report)),
        "statistics": ("What weighs most", evidence.statistics(report)),
        "choice": ("Choice of classifier", evidence.selection(report)),
        "training": ("Training", evidence.training(report)),
        "oracle": ("Oracle figures", evidence.oracle(report)),
        "run": ("Data and run", evidence.run(report)),
    }
    kept = {name: pair for name, pair in sections.items() if pair[1]}
    links = "".join(f'<a href="#{name}">{show(head)}</a>' for name, (head, _) in kept.items())
    body = [
        _masthead(report),
        f'<nav aria-label="Contents">{links}</nav>\n<main id="main">',
        *(section(name, head, content) for name, (head, content) in kept.items()),
        "</main>",
    ]
    return document(report.title, "\n".join(body))


def _masthead(report: Report) -> str:
    method = report.results.get("method")
    kind = "Detector report" + (f" \u00b7 {show(method)}" if method else "")
    return f'<header><p class="kind">{kind}</p><h1>{show(report.title)}</h1></header>'
