import pytest

from ad_core.errors import UserError, require_choice


def test_a_value_that_is_no_choice_is_refused_with_all_that_are():
    with pytest.raises(UserError, match=r"^`data.side` \(='top'\) must be one of left, right\.$"):
        require_choice("data.side", "top", {"left": 0, "right": 1})


def test_a_choice_passes():
    require_choice("data.side", "right", ("left", "right"))
