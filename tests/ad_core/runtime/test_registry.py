import pytest

from ad_core.errors import UserError
from ad_core.runtime.registry import resolve


def test_resolve_lists_what_exists_when_the_name_is_unknown():
    with pytest.raises(UserError, match=r"Unknown module 'vqgan_ad.vqgam'; known: "):
        resolve("vqgan_ad.vqgam")


def test_resolve_refuses_a_module_without_the_attribute():
    with pytest.raises(UserError, match="Unknown module 'ad_core.types'"):
        resolve("ad_core.types")
