"""Contrast of the style sheet's colours, by the formula of WCAG 2.2."""

import re

import pytest

from ad_core.console.pages_render import STATIC

SHEET = (STATIC / "console.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6})", block))
    for block in re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)
)
ON = ["paper", "faint"]
PAIRS = [(text, ground) for text in ("ink", "soft") for ground in ON]
PAIRS += [(tone, f"{tone}-tint") for tone in ("good", "fair", "bad")]
PAIRS += [("ink", f"{tone}-tint") for tone in ("good", "fair", "bad")]
PAIRS += [("abnormal", "paper"), ("paper", "soft")]


def luminance(colour):
    shares = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white_is_21():
    assert contrast("000000", "ffffff") == pytest.approx(21)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_text_stands_out_from_its_ground(colours, pair):
    # Success criterion 1.4.3: 4.5 for text of ordinary size.
    assert contrast(*(colours[name] for name in pair)) >= 4.5


def test_both_schemes_name_the_same_colours():
    assert LIGHT.keys() == DARK.keys()
