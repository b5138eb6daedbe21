import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.estimator import AnomalyDetector
from ad_core.stages.parameters import by_parameters


@pytest.mark.parametrize(
    ("flag", "parameter"),
    [
        ("use `--config.decision.rule=normal_quantile`.", 'use `rule="normal_quantile"`.'),
        ("with --config.decision.miss_rate=0.05.", "with miss_rate=0.05."),
        ("give `--config.data.value_range=0,1`", "give `value_range=(0, 1)`"),
        ("`--config.data.value_range=LOW,HIGH`", "`value_range=(LOW, HIGH)`"),
        ("`--config.statistics.names=sse`", '`overrides={"statistics.names": "sse"}`'),
        ("give `--config.data.page=` a number", 'give `overrides={"data.page": ...}` a number'),
        ("choose another `--config.method`.", "choose another `method`."),
        ("set `--config.train.steps` higher", 'set `overrides["train.steps"]` higher'),
        ("it decides nothing", "it decides nothing"),
    ],
)
def test_a_flag_is_told_as_the_parameter_that_sets_it(flag, parameter):
    assert by_parameters(flag) == parameter


def test_an_estimator_names_its_own_parameters():
    images = np.random.default_rng(0).uniform(0, 1, (12, 16, 16, 1))
    with pytest.raises(UserError, match="name one, as in overrides=") as told:
        AnomalyDetector(method="tests.toys.flat", classifier="single").fit(images)
    assert "--config" not in str(told.value)
