"""The part of a report on the promise: its price, each type of defect, what set it."""

from collections.abc import Mapping
from typing import Any

from ad_core.decision.left_out import LeftOut
from ad_core.reporting.contents import Report
from ad_core.reporting.page import Table
from ad_core.reporting.svg import percent


def promise(report: Report) -> dict[str, Any]:
    """Section on the price of a bound; empty where nothing is known of the calibration."""
    of = report.results
    content = {
        "bounds": _bounds(of.get("price") or []),
        "defects": _defects(of.get("defects") or {}),
        "lowest": _lowest(of.get("lowest") or []),
        "left_out": [str(LeftOut(**entry)) for entry in of.get("left_out") or []],
    }
    return content if any(content.values()) else {}


def _bounds(price: list[Mapping[str, Any]]) -> Table | None:
    """A row a bound that some threshold keeps, and one for the bounds that none does."""
    kept = [offer for offer in price if offer["threshold"] is not None]
    if not price:
        return None
    head = (
        "at most",
        "inspect from",
        "may fall below",
        "false alarms",
        "on test",
        "missed on test",
    )
    rows: list[tuple[str, ...]] = [_offer(offer) for offer in kept]
    barred = [offer for offer in price if offer["threshold"] is None]
    if barred:
        rows.insert(0, (f"below {percent(barred[-1]['bound'] + 0.01)}", barred[-1]["refused"]))
    caption = (
        f"Bounds on the miss rate at {percent(price[0]['confidence'])} confidence: the threshold "
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


def _defects(defects: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Missed images of each type of defect, of those that calibrated and of the test split."""
    calibration, test = defects.get("calibration") or {}, defects.get("test") or {}
    names = sorted({*calibration, *test})
    if not names:
        return None
    head = ("type of defect", "calibrated", "of groups", "missed", "lowest", "on test", "missed")
    rows = [
        (name, *_missed(calibration.get(name)), *_missed(test.get(name))[::2]) for name in names
    ]
    return Table(head, rows, "By type of defect: images that the deciding threshold misses.")


def _missed(of: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    if of is None:
        return ("0", "0", "\u2013", "\u2013")
    lowest = "\u2013" if of["lowest"] is None else f"{of['lowest']:.4g}"
    return str(of["images"]), str(of["groups"]), str(of["missed"]), lowest


def _lowest(lowest: list[Mapping[str, Any]]) -> Table | None:
    if not lowest:
        return None
    rows = [(one["path"], one["defect"], f"{one['score']:.4g}") for one in lowest]
    caption = (
        "Abnormal calibration images with the lowest scores. They set the price: look whether "
        "each is labelled rightly."
    )
    return Table(("image", "type of defect", "score"), rows, caption)
