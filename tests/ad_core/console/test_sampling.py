"""Which images of a store are drawn, shown blind, and shown twice."""

import stat

import pytest

from ad_core.console.chain import AUDIT, RECEIVED, SCORED, VERDICT, Event
from ad_core.console.sampling import SECRET, Sampling
from ad_core.console.store import StoreError
from ad_core.errors import UserError


def sha(number):
    return f"{number:064x}"


def score(store, numbers, *, value=0.9):
    """Images that were scored, flagged from 0.5 on."""
    decision = "inspect" if value >= 0.5 else "normal"
    for number in numbers:
        first = store.append(Event(kind=RECEIVED, image_sha=sha(number)))
        told = {"score": value, "threshold": 0.5, "decision": decision, "about": first.seq}
        store.append(Event(kind=SCORED, image_sha=sha(number), **told))


def judge(store, number, user, said="normal"):
    store.append(Event(kind=VERDICT, image_sha=sha(number), user=user, verdict=said))


def audited(store):
    return {event.image_sha for event in store.events(AUDIT)}


def test_coins_are_noted_once_for_flagged_parts_and_for_those_that_pass(store):
    sampling = Sampling(store, share=0.5)
    score(store, range(20), value=0.9)
    score(store, range(20, 40), value=0.1)
    sampling.draw()
    drawn = audited(store)
    flagged = {sha(number) for number in range(20)}
    assert drawn & flagged and drawn - flagged and len(drawn) < 40
    sampling.draw()
    Sampling(store, share=0.5).draw()
    assert len(store.events(AUDIT)) == len(drawn)


def test_coins_fall_alike_after_a_restart_and_need_the_secret(store):
    score(store, range(30))
    Sampling(store, share=0.4).draw()
    path = store.path / SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Sampling(store, share=0.4)
    assert audited(store) == {sha(n) for n in range(30) if again._is_drawn(sha(n))}
    path.write_text("another")
    other = Sampling(store, share=0.4)
    assert audited(store) != {sha(n) for n in range(30) if other._is_drawn(sha(n))}


def test_changed_share_leaves_earlier_parts_as_they_are(store):
    score(store, range(20))
    Sampling(store, share=0.3).draw()
    before = audited(store)
    score(store, range(20, 40))
    Sampling(store, share=1.0).draw()
    assert audited(store) >= before | {sha(number) for number in range(20, 40)}


def test_drawn_images_are_blind_until_they_are_judged(store):
    sampling = Sampling(store, share=1.0, repeats=0.0)
    score(store, [1, 2], value=0.1)
    sampling.draw()
    assert sampling.blind("Wim") == [sha(1), sha(2)]
    assert store.awaiting() == {sha(1), sha(2)}
    judge(store, 1, "Wim")
    assert sampling.blind("Wim") == [sha(2)]
    assert not sampling.is_blind(store.image(sha(1)), "Wim")
    assert sampling.is_blind(store.image(sha(2)), "Wim")


def test_image_is_shown_twice_to_two_people(store):
    sampling = Sampling(store, share=0.0, repeats=1.0)
    score(store, [1])
    judge(store, 1, "Wim", "defect")
    assert (sampling.blind("Wim"), sampling.blind("Wes")) == ([], [sha(1)])
    assert sampling.came(store.image(sha(1)), "Wes", verdict="normal") == "repeat"
    store.append(
        Event(kind=VERDICT, image_sha=sha(1), user="Wes", verdict="normal", origin="repeat")
    )
    assert sampling.blind("Lea") == []


def test_how_an_image_came_is_told_by_the_store(store):
    score(store, [1], value=0.9)
    score(store, [2], value=0.1)
    sampling = Sampling(store, share=0.0, repeats=0.0)
    flagged, passed = store.image(sha(1)), store.image(sha(2))
    assert sampling.came(flagged, "Wim", verdict="defect") == "flagged"
    assert sampling.came(passed, "Wim", verdict="defect") == "downstream"
    assert sampling.came(passed, "Wim", verdict="normal") == "chosen"
    score(store, [3], value=0.1)
    drawing = Sampling(store, share=1.0)
    drawing.draw()
    assert drawing.came(store.image(sha(3)), "Wim", verdict="normal") == "audit"


def test_coin_that_the_disk_refuses_is_noted_by_the_next_call(store, monkeypatch):
    sampling = Sampling(store, share=1.0)
    score(store, [1])

    def refuse(events):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "append_all", refuse)
        sampling.draw()
    assert audited(store) == set()
    sampling.draw()
    assert audited(store) == {sha(1)}


@pytest.mark.parametrize("name", ["share", "repeats"])
def test_share_beyond_a_share_is_refused(store, name):
    with pytest.raises(UserError, match="must lie in"):
        Sampling(store, **{name: 1.2})
