"""The report as a browser shows it; skipped where no Chromium is installed."""

import pytest

from ad_core.reporting.report import render
from tests.ad_core.reporting.test_promise import report
from tests.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def given():
    return report()


@pytest.fixture(scope="module")
def browser(tmp_path_factory, given):
    folder = tmp_path_factory.mktemp("browser")
    (folder / "index.html").write_text(render(given), "utf-8")
    opened = Browser(folder / "profile")
    opened.open(folder / "index.html")
    yield opened
    opened.close()


def _text(browser, name):
    return browser.ask(f"document.getElementById('{name}').textContent").replace("\u00a0", " ")


def test_the_page_opens_offline_and_asks_for_nothing(browser):
    assert len(browser.requests) == 1 and browser.requests[0].startswith("file://")
    assert browser.errors == []


def test_the_slider_shows_the_price_of_each_bound(browser, given):
    kept = [offer for offer in given.results["price"] if offer["threshold"] is not None]
    browser.ask("document.getElementById('bound').focus()")
    for _ in kept:
        browser.press("ArrowLeft")
    for place, offer in enumerate(kept):
        if place:
            browser.press("ArrowRight")
        assert _text(browser, "bound-words").startswith(
            f"Up to {round(1000 * offer['bound'])} of 1,000 defective parts may pass; "
        )
        for side in ("calibration", "test"):
            of = offer[side]
            alarms, misses = (_text(browser, f"{side}-{kind}") for kind in ("alarms", "misses"))
            assert alarms == f"{of['fp']} of 200 ({100 * of['fpr']:.3g} %)"
            assert misses == f"{of['fn']} of 120 ({100 * of['miss_rate']:.3g} %)"
        assert _text(browser, "command").endswith(f"--config.decision.miss_rate={offer['bound']}")
    assert browser.errors == []


def test_the_row_of_the_bound_chosen_is_marked(browser):
    marked = "[...document.querySelectorAll('#bounds tr.chosen th')].map(one => one.textContent)"
    browser.ask("document.getElementById('bound').focus()")
    browser.press("ArrowLeft")
    shown = browser.ask("document.getElementById('bound').value")
    # The first bound kept is 3 %.
    assert browser.ask(marked) == [f"{3 + int(shown)}\u00a0%"]


def test_a_link_opens_what_it_leads_to(browser):
    assert not browser.ask("document.getElementById('run') && document.getElementById('run').open")
    browser.ask("location.hash = '#rules'")
    for _ in range(50):
        if browser.ask("document.getElementById('rules').open"):
            break
    else:
        pytest.fail("the part stays closed")


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_their_ground(browser, dark):
    """Contrast of at least 4.5 to 1, as WCAG 2.2 asks for (success criterion 1.4.3)."""
    browser.appear(dark=dark)
    channels = "s => s.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    light = (
        "c => c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)"
        ".reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0)"
    )
    found = browser.ask(
        "(() => { const root = getComputedStyle(document.documentElement);"
        f"const light = {light}, channels = {channels};"
        "const of = n => { const one = document.createElement('i');"
        "one.style.color = `var(--${n})`; document.body.append(one);"
        "const found = light(channels(getComputedStyle(one).color)); one.remove(); return found; };"
        "const ratio = (a, b) => { const [x, y] = [of(a), of(b)].sort((p, q) => q - p);"
        "return (x + 0.05) / (y + 0.05); };"
        "return [['ink', 'paper'], ['soft', 'paper'], ['normal', 'paper'], ['abnormal', 'paper'],"
        "['abnormal', 'hot'], ['soft', 'faint'], ['good', 'good-tint'], ['fair', 'fair-tint'],"
        "['bad', 'bad-tint'], ['soft', 'good-tint'], ['soft', 'fair-tint'], ['soft', 'bad-tint']]"
        ".map(([a, b]) => [a, b, ratio(a, b)]); })()"
    )
    assert len(found) == 12
    assert [one for one in found if one[2] < 4.5] == []
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") != dark


def test_nothing_is_wider_than_a_phone(browser):
    browser.appear(width=360)
    assert browser.ask("document.documentElement.scrollWidth") <= 360
