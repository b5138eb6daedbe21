"""Words to the person at the terminal."""

import numpy as np
import pytest

from ad_core.decision import fit_threshold
from ad_core.errors import UserError
from ad_core.stages.messages import refused_in_words


def refusal(rule, labels):
    with pytest.raises(UserError) as refused:
        fit_threshold(rule, np.arange(4.0), np.array(labels))
    return str(refused.value)


def test_rules_that_lack_the_same_share_one_line():
    both = {rule: refusal(rule, [0, 0, 0, 0]) for rule in ("zfn", "accuracy")}
    assert len(set(both.values())) == 2
    (line,) = refused_in_words(both)
    assert line.startswith(
        "  zfn, accuracy are not available. Each needs abnormal calibration images and there are "
    )
    other = {"normal_quantile": refusal("normal_quantile", [1, 1, 1, 1])}
    assert len(refused_in_words(both | other)) == 2
    (alone,) = refused_in_words(other)
    assert alone.split() == [
        "normal_quantile",
        "not",
        "available:",
        *other["normal_quantile"].split(),
    ]
