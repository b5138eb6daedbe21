"""The console in a real browser: ten parts by keyboard, a recalibration by two, and back."""

import hashlib
import itertools
import shutil
import threading
import time
from pathlib import Path

import pytest
import uvicorn

playwright = pytest.importorskip("playwright.sync_api")

from ad_core.console.promise import is_drawn  # noqa: E402
from ad_core.console.sampling import SECRET  # noqa: E402
from tests.console_parts import PASSWORD, Console, png, save_detector  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
PORT = 8931
ORIGIN = f"http://127.0.0.1:{PORT}"
SOUND = range(200, 212)
SCRATCHED = dict(enumerate((0.15, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), start=300))
FAINT = (300, 301)  # of them, what passes
SHARE = 0.3
PATIENCE_S = 30  # for pictures
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]


def secret():
    """A secret by which the coins of what passes fall on heads, and of some others."""
    parts = {seed: png(seed) for seed in SOUND}
    parts |= {seed: png(seed, contrast=contrast) for seed, contrast in SCRATCHED.items()}
    shas = {seed: hashlib.sha256(content).hexdigest() for seed, content in parts.items()}
    for number in itertools.count():
        drawn = {seed for seed in shas if is_drawn(shas[seed], SHARE, secret=str(number))}
        if drawn.issuperset(FAINT) and 5 <= len(drawn) <= 7:
            return str(number)
    raise AssertionError("some coins fall so")


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """A console that a browser can reach, with parts in its queue."""
    root = tmp_path_factory.mktemp("console")
    (root / "store").mkdir()
    (root / "store" / SECRET).write_text(secret())
    made = Console(
        root / "store",
        save_detector(root),
        origin=ORIGIN,
        audit_share=SHARE,
        repeat_share=0.0,
    )
    for seed in SOUND:
        made.send(seed)
    for seed, contrast in SCRATCHED.items():
        made.send(seed, contrast=contrast)
    server = uvicorn.Server(
        uvicorn.Config(made.app, host="127.0.0.1", port=PORT, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.started
    yield made
    server.should_exit = True
    thread.join(10)
    made.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Folder of the screenshots."""
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def log_in(browser, shots):
    """Gives a page of a person who is logged in; nothing may go wrong on it."""
    contexts, wrong = [], []

    def make(name, **how):
        context = browser.new_context(**how)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on(
            "request", lambda sent: sent.url.startswith((ORIGIN, "data:")) or wrong.append(sent.url)
        )
        page.goto(f"{ORIGIN}/login")
        if name == "Wim":
            shoot(page, shots, "login")
        page.fill("[name=name]", name)
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("main[data-screen=queue]")
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


def pictures(page):
    """Waits until every picture that is seen has come.

    By asking again and again: a function that Playwright leaves waiting in the page evaluates a
    string each time it is called anew, which the console's Content-Security-Policy forbids.
    """
    seen = "[...document.images].filter(i => i.loading !== 'lazy')"
    for _ in range(PATIENCE_S * 20):
        if page.evaluate(f"{seen}.every(i => i.complete)"):
            return
        page.wait_for_timeout(50)
    late = page.evaluate(f"{seen}.filter(i => !i.complete).map(i => i.src)")
    pytest.fail(f"these pictures did not come within {PATIENCE_S} s: {late}")


def shoot(page, shots, name):
    pictures(page)
    page.screenshot(path=shots / f"{name}.png", full_page=True)


def judge(page, key, *, defect=""):
    """A verdict by the keyboard; returns when the next page is there."""
    before = page.url
    page.keyboard.press(key)
    if key == "2":
        page.keyboard.type(defect)
        page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != before, wait_until="commit")
    page.wait_for_selector("main:not(.loading)")


def true_defect(console, sha):
    """Whether the part of an image has a scratch, by the name under which it came."""
    return console.store.image(sha).name >= "part_300"


def shown(page):
    return page.url.rsplit("/", 1)[1]


def test_a_worker_judges_ten_parts_two_recalibrate_and_one_goes_back(console, log_in, shots):
    store, first = console.store, console.line.loaded.sha
    wim = log_in("Wim", viewport={"width": 1280, "height": 800})
    shoot(wim, shots, "queue")
    wim.keyboard.press("Enter")
    wim.wait_for_selector("main[data-screen=inspect]:not(.loading)")
    wim.keyboard.press(" ")
    assert wim.is_visible("#map")
    shoot(wim, shots, "inspect_map")
    wim.keyboard.press(" ")
    assert not wim.is_visible("#map")
    wim.keyboard.press("+")
    assert "scale(1.4)" in wim.get_attribute("#sheet", "style")
    wim.keyboard.press("0")

    taken = shown(wim)
    judge(wim, "3")
    wim.keyboard.press("z")
    wim.wait_for_url(f"**/inspect/{taken}")
    wim.wait_for_selector("main:not(.loading)")
    assert store.image(taken).verdict == ""

    judged, blind = [], 0
    while "/inspect/" in wim.url:
        sha = shown(wim)
        if wim.locator("text=Judge what you see").count():
            blind += 1
            assert wim.locator("#map, .strip, .why").count() == 0
            if blind == 1:
                shoot(wim, shots, "inspect_blind")
        defect = true_defect(console, sha)
        judge(wim, *(("2",) if defect else ("1",)), **({"defect": "scratch"} if defect else {}))
        judged.append(sha)
    assert len(judged) >= 10 and len(set(judged)) == len(judged)
    assert all(
        (store.image(sha).verdict == "defect") == true_defect(console, sha) for sha in judged
    )
    assert {event.user for event in store.events("verdict")} == {"Wim"}
    drawn_misses = [
        sha for sha in judged if store.image(sha).decision == "normal" and true_defect(console, sha)
    ]
    assert blind and drawn_misses

    lea = log_in("Lea", viewport={"width": 1280, "height": 800})
    lea.click("nav >> text=Recalibrate")
    lea.wait_for_selector("#change")
    before, after = console.line.loaded.threshold, min(store.image(s).score for s in drawn_misses)
    assert after < before
    shoot(lea, shots, "recalibrate")
    lea.fill("[name=reason]", "the audit found scratches that passed")
    lea.keyboard.press("Enter")
    lea.wait_for_selector("text=A second lead confirms it")
    assert lea.locator("text=Confirm:").count() == 0
    assert console.line.loaded.sha == first

    lou = log_in("Lou", viewport={"width": 1280, "height": 800}, color_scheme="dark")
    lou.click("nav >> text=Recalibrate")
    lou.wait_for_selector("text=Lea proposes")
    shoot(lou, shots, "confirm_dark")
    lou.click("text=Confirm:")
    lou.wait_for_selector("text=Back to the detector before")
    assert console.line.loaded.sha != first
    assert console.line.loaded.threshold == after
    faint = console.send(300, contrast=0.15)
    answer = console.send(401, contrast=0.6)
    assert answer.detector_sha == console.line.loaded.sha and answer.threshold == after
    assert faint.sha not in drawn_misses or faint.decision == "inspect"

    lou.click("text=Back to the detector before")
    lou.wait_for_selector(f"text=At work: threshold {before:.4g}")
    assert console.line.loaded.sha == first
    assert console.send(402, contrast=0.6).detector_sha == first
    assert store.verify() is None


def test_every_screen_suits_phone_wall_light_and_dark(console, log_in, shots):
    scratched = next(i.sha for i in console.store.images(order="worst") if i.score)
    sizes = {"phone": (390, 844), "wall": (2560, 1440)}
    for size, (width, height) in sizes.items():
        for scheme in ("light", "dark"):
            page = log_in("Ada", viewport={"width": width, "height": height}, color_scheme=scheme)
            for path in ("/", f"/inspect/{scratched}", "/recalibrate", "/history", "/health"):
                page.goto(f"{ORIGIN}{path}")
                name = path.strip("/").split("/")[0] or "queue"
                shoot(page, shots, f"{name}_{size}_{scheme}")
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, (path, size)


def test_pages_name_what_they_hold_for_people_who_do_not_see(console, log_in):
    page = log_in("Ada", viewport={"width": 1280, "height": 800})
    sha = console.store.images(order="worst")[0].sha
    for path in ("/", f"/inspect/{sha}", "/recalibrate", "/history", "/health"):
        page.goto(f"{ORIGIN}{path}")
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('input:not([type=hidden]), select, button, a')]
            .filter(e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel))
            .map(e => e.outerHTML)"""
        )
        assert unnamed == []
        assert page.evaluate("document.querySelectorAll('h1').length") == 1
        assert page.evaluate("[...document.images].every(i => i.hasAttribute('alt'))")


def test_accounts_are_made_by_an_admin(log_in, shots):
    page = log_in("Ada", viewport={"width": 1280, "height": 800})
    page.goto(f"{ORIGIN}/accounts")
    shoot(page, shots, "accounts")
    assert page.locator("text=Wim (may log in)").count() == 1


def test_without_javascript_a_verdict_is_a_form(console, log_in):
    sha = console.send(403, contrast=0.7).sha
    page = log_in("Wes", java_script_enabled=False)
    page.goto(f"{ORIGIN}/inspect/{sha}")
    page.fill("[name=defect]", "scratch")
    page.click("button[value=defect]")
    assert console.store.image(sha).defect == "scratch"
    page.goto(f"{ORIGIN}/inspect/{sha}")
    page.click("text=Undo my last")
    assert console.store.image(sha).verdict == ""


def test_history_checks_the_chain_and_exports_it(console, log_in, shots):
    page = log_in("Lea", viewport={"width": 1280, "height": 800})
    page.click("nav >> text=History")
    page.click("text=Check the chain")
    page.wait_for_selector("text=events are whole")
    shoot(page, shots, "history")
    with page.expect_download() as download:
        page.click("text=Export as CSV")
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) - 1 >= console.store.last().seq - 1
