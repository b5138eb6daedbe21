"""The part of a report on the promise: what each bound on the misses costs, and how to have it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ad_core.reporting.contents import Report
from ad_core.reporting.page import Table
from ad_core.reporting.results import plain
from ad_core.reporting.svg import percent

BOUND = "BOUND"  # stands in a command for the bound that is asked for


def price(report: Report) -> dict[str, Any]:
    """Section on the price of a bound; empty where nothing is known of the calibration.

    `data` is what the page's slider reads: the price as results.json has it, the bound that it
    starts from, the threshold that decides, and the command that takes the bound chosen.
    """
    offers = plain(report.results.get("price") or [])
    if not offers:
        return {}
    kept = [offer for offer in offers if offer["threshold"] is not None]
    data = {
        "price": offers,
        "start": _start(report, kept),
        "threshold": plain(report.chosen.get("threshold")),
        "command": report.command,
    }
    return {
        "data": data if kept else None,
        "sure": percent(offers[0]["confidence"]),
        "split": report.split,
        "judged": any(offer.get("test") for offer in kept),
        "command": report.command,
        "bounds": _bounds(offers, kept) if kept else None,
        "why": "" if kept else _why_none(offers),
    }


def _why_none(offers: Sequence[Mapping[str, Any]]) -> str:
    """Sentence in place of a table where no threshold keeps any of the bounds."""
    largest = max(offers, key=lambda offer: offer["bound"])
    return f"No bound up to {percent(largest['bound'])} can be kept: {largest['refused']}."


def _start(report: Report, kept: Sequence[Mapping[str, Any]]) -> int:
    """Place of the lowest bound that the deciding rule's own promise keeps; else the first."""
    promised = (report.chosen.get("guarantee") or {}).get("miss_rate_bound")
    if promised is None:
        return 0
    places = [k for k, offer in enumerate(kept) if offer["bound"] >= promised - 1e-9]
    return places[0] if places else max(len(kept) - 1, 0)


def _bounds(offers: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]]) -> Table:
    """A row a bound that some threshold keeps, and one for the bounds that none does."""
    head = (
        "at most",
        "inspect from",
        "may fall below",
        "false alarms",
        "on test",
        "missed on test",
    )
    rows: list[tuple[str, ...]] = [_offer(offer) for offer in kept]
    barred = [offer for offer in offers if offer["threshold"] is None]
    if barred:
        rows.insert(0, (f"up to {percent(barred[-1]['bound'])}", barred[-1]["refused"]))
    caption = (
        f"Bounds on the miss rate at {percent(offers[0]['confidence'])} confidence: the threshold "
        "that keeps each, the abnormal groups that may fall below it, and the normal images that "
        "it inspects in vain, of those that calibrated (each by a classifier that had not seen "
        "it) and of the test split."
    )
    return Table(head, rows, caption)


def _offer(offer: Mapping[str, Any]) -> tuple[str, ...]:
    test = offer.get("test")
    return (
        percent(offer["bound"]),
        f"{offer['threshold']:.4g}",
        str(offer["rank"] - 1),
        _share(offer["calibration"], "fp", "normal"),
        _share(test, "fp", "normal") if test else "\u2013",
        _share(test, "fn", "abnormal") if test else "\u2013",
    )


def _share(counts: Mapping[str, Any], some: str, of: str) -> str:
    if not counts[of]:
        return "\u2013"
    return f"{counts[some]} of {counts[of]} ({percent(counts[some] / counts[of])})"
