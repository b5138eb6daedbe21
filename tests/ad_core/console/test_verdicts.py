"""What the verdicts on an image come to."""

from ad_core.console.chain import UNDO, VERDICT, Event
from ad_core.console.verdicts import repeated_pairs, settle, standing


def verdict(seq, said, *, origin="flagged", image="a", defect=""):
    return Event(kind=VERDICT, seq=seq, image_sha=image, verdict=said, origin=origin, defect=defect)


def undo(seq, about, *, image="a"):
    return Event(kind=UNDO, seq=seq, about=about, image_sha=image)


def test_verdict_that_was_taken_back_does_not_stand():
    events = [
        verdict(1, "normal"),
        verdict(2, "defect"),
        undo(3, 2),
        verdict(4, "unsure", image="b"),
    ]
    assert {sha: [e.seq for e in of] for sha, of in standing(events).items()} == {
        "a": [1],
        "b": [4],
    }
    assert standing([verdict(1, "normal"), undo(2, 1)]) == {}


def test_last_open_verdict_counts():
    assert settle([verdict(1, "unsure"), verdict(2, "defect", defect="hole")])[:2] == (
        "defect",
        "hole",
    )
    assert settle([]) == ("", "", False)


def test_repetition_that_differs_makes_a_defect_or_leaves_it_open():
    def both(first, second):
        return settle([verdict(1, first), verdict(2, second, origin="repeat")]).verdict

    assert both("normal", "normal") == "normal"
    assert both("normal", "defect") == both("defect", "normal") == "defect"
    assert both("normal", "unsure") == "unsure"


def test_open_verdict_after_a_repetition_settles_it():
    said = [verdict(1, "normal"), verdict(2, "defect", origin="repeat"), verdict(3, "normal")]
    assert settle(said).verdict == "normal"


def test_defect_found_later_stays_so_when_somebody_confirms_it():
    later = verdict(1, "defect", origin="downstream")
    assert settle([later, verdict(2, "defect")]).downstream
    assert not settle([later, verdict(2, "normal")]).downstream


def test_pairs_are_of_first_and_second_verdict():
    first = [verdict(1, "normal"), verdict(2, "defect", origin="repeat")]
    other = [verdict(3, "defect"), verdict(4, "unsure")]
    assert repeated_pairs([first, other]) == [("normal", "defect")]
