"""Which images set the bound, and how far workers agree."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from ad_core.console.promise import Judged, agreement, is_drawn, weigh
from ad_core.errors import UserError

KEYS = [f"{number:064x}" for number in range(20_000)]


def coins(share, **more):
    return np.array([is_drawn(key, share, **{"secret": "of the line"} | more) for key in KEYS])


def test_coin_falls_on_heads_with_its_share():
    heads = coins(0.05).mean()
    # Four standard deviations of a binomial share.
    assert abs(heads - 0.05) < 4 * np.sqrt(0.05 * 0.95 / len(KEYS))
    assert not coins(0.0).any() and coins(1.0).all()


def test_larger_share_draws_all_that_a_smaller_one_draws():
    assert (coins(0.1) | ~coins(0.05)).all()


def test_coins_of_two_purposes_and_two_lines_are_independent():
    first, second = coins(0.2), coins(0.2, purpose="repeat")
    third = coins(0.2, secret="of another")
    for other in (second, third):
        assert abs((first & other).mean() - 0.04) < 4 * np.sqrt(0.04 * 0.96 / len(KEYS))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_share_beyond_a_share_is_refused(share):
    with pytest.raises(UserError, match="share of a sample"):
        is_drawn("a", share, secret="s")


def part(name, score=1.0, drawn=True, verdict="defect", **more):
    return Judged(name, score, drawn, verdict, **more)


def names(parts):
    return [one.image for one in parts]


def test_verdicts_on_flagged_images_alone_never_set_the_bound():
    found = weigh([part(f"flagged {i}", score=9.0, drawn=False) for i in range(50)])
    assert found == ((), (), 0)


def test_false_alarms_never_set_the_bound():
    found = weigh([part(f"{i}", drawn=bool(i % 2), verdict="normal") for i in range(50)])
    assert found == ((), (), 0)


def test_drawn_defects_count_whether_they_were_flagged_or_not():
    found = weigh([part("passed", score=0.1), part("flagged", score=9.0)])
    assert names(found.counted) == ["passed", "flagged"]


def test_defect_found_later_lowers_and_does_not_count():
    found = weigh([part("returned", drawn=False, verdict="", downstream=True)])
    assert names(found.lowering) == ["returned"] and not found.counted


def test_defect_found_later_corrects_the_verdict_of_a_drawn_part():
    found = weigh([part("overlooked", verdict="normal", downstream=True)])
    assert names(found.counted) == ["overlooked"]


@pytest.mark.parametrize("verdict", ["", "unsure"])
def test_drawn_parts_count_up_to_the_first_without_a_certain_verdict(verdict):
    parts = [part("before"), part("open", verdict=verdict), part("after")]
    found = weigh(parts)
    assert names(found.counted) == ["before"]
    assert "after" in names(found.lowering) and found.waiting == 1
    assert ("open" in names(found.lowering)) == (verdict == "unsure")


def test_open_part_that_was_not_drawn_holds_nothing_up():
    found = weigh([part("open", drawn=False, verdict=""), part("after")])
    assert names(found.counted) == ["after"] and not found.waiting


def test_part_without_a_score_neither_counts_nor_waits():
    found = weigh([part("unreadable", score=None, verdict=""), part("broken", score=None)])
    assert found == ((), (), 0)


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first = rng.choice(["normal", "defect", "unsure"], 60, p=[0.6, 0.3, 0.1])
    second = np.where(rng.random(60) < 0.3, rng.permutation(first), first)
    found = agreement(zip(first.tolist(), second.tolist(), strict=True))
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.share == np.mean(first == second) and found.images == 60


def test_agreement_that_chance_alone_gives_has_no_kappa():
    assert agreement([("normal", "normal")] * 3) == (3, 1.0, None)
    assert agreement([]) == (0, None, None)
    assert agreement([("normal", "defect"), ("defect", "normal")]).kappa == -1.0
