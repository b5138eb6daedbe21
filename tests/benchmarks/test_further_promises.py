"""The simulation of promises that are seldom asked for, in small."""

import numpy as np
import pytest

from tests.benchmark_script import script

further = script("further_promises")
DRAWS = 200


def most(share):
    return share + 3 * np.sqrt(share * (1 - share) / DRAWS)


@pytest.mark.parametrize("world", ["continuous", "ties", "groups of 1 to 8"])
def test_no_rule_breaks_its_promise_more_often_than_it_says(world):
    made = further.WORLDS[world]()
    for rule, options in further.ALARMS.values():
        found, allowed = further.alarmed(made, 60, rule, options, DRAWS)
        # A share of n scores: Beta(k, n + 1 - k), of standard deviation below 0.03 here.
        assert 0 < found <= allowed + 3 * 0.03 / np.sqrt(DRAWS)
    for rule, options in further.MISSES.values():
        share = further.broken(made, 60, rule, options, DRAWS)
        assert share <= most(options.get("delta", 0.05))
    for rule, options in further.EACH.values():
        assert max(further.broken_of_types(made, 30, rule, options, DRAWS)) <= most(0.05)


def test_one_bound_for_all_would_break_that_of_the_harder_type(monkeypatch):
    rule, options = further.EACH["miss_bound 10 %, each_defect"]
    world, fit = further.WORLDS["continuous"](), further.fit_threshold

    def together(*given, **named):
        line = fit(*given, **named | {"each_defect": False})
        bounds = {"easier": 0.1, "harder": 0.1}
        line.guarantee["defects"] = bounds
        return line

    monkeypatch.setattr(further, "fit_threshold", together)
    assert further.broken_of_types(world, 100, rule, options, DRAWS)[1] > 0.3


def test_few_groups_are_a_refusal():
    world = further.WORLDS["continuous"]()
    assert further.broken(world, 5, *further.MISSES["np_umbrella 10 %, delta 0.1"], 2) is None
    assert further.alarmed(world, 5, *further.ALARMS["conformal_p 5 % (mean)"], 2) is None
