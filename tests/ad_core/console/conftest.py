"""A line around a detector that does what a test says."""

import io
import threading
import time
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ad_core.console import active, passwords, users
from ad_core.console import line as line_module
from ad_core.console.app import Settings, create_app
from ad_core.console.store import Store
from ad_core.console.worker import Loaded
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.verdict import Verdict
from tests.in_process import client_of


def png(value=128, side=16):
    """A PNG file of one grey value."""
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


class Judge:
    """Stands for a detector: the score of a picture is its mean grey value over 255.

    `delay_s` and `error` make it slow, or fail; while `may_judge` is clear it judges nothing.
    """

    def __init__(self, threshold=0.5):
        self.threshold = SimpleNamespace(value=threshold)
        self.scale = MapScale(0.0, 1.0, 0.5)
        self.parts = SimpleNamespace(facts={"scored": {"path": [], "label": []}})
        self.delay_s, self.error, self.judged = 0.0, None, []
        self.may_judge = threading.Event()
        self.may_judge.set()

    def judge(self, path, **_):
        time.sleep(self.delay_s)
        self.may_judge.wait(30)
        self.judged.append(path)
        if self.error is not None:
            raise self.error
        name = str(path)
        try:
            with Image.open(io.BytesIO(path.read_bytes())) as image:
                grey = np.asarray(image.convert("L"), np.float32) / 255
        except (OSError, SyntaxError, ValueError):
            told = f"{name}: is none of PNG; convert it."
            return [Verdict(name, "error", told, None, "inspect", None, None, None, (), None)]
        score = float(grey.mean())
        decision = "normal" if score < self.threshold.value else "inspect"
        return [Verdict(name, "ok", None, score, decision, None, 0.0, [], (), grey)]


@pytest.fixture
def judge():
    return Judge()


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store") as store:
        yield store


@pytest.fixture
def make_line(monkeypatch, store, judge, tmp_path):
    """Makes a line over `judge`; every detector's folder loads as it."""
    made = []
    monkeypatch.setattr(line_module, "load", lambda folder: Loaded(judge, folder, "d" * 64))
    monkeypatch.setattr(active, "detector_sha", lambda folder: "d" * 64)

    def make(**settings):
        made.append(line_module.Line(tmp_path / "detector", store, **settings))
        return made[-1]

    yield make
    for line in made:
        line.stop()


@pytest.fixture
def line(make_line):
    return make_line(queue_limit=2, timeout_s=5.0)


@pytest.fixture
def quick_passwords(monkeypatch):
    """Hashes in a millisecond."""
    monkeypatch.setattr(passwords, "N", 2**4)
    monkeypatch.setattr(users, "NOBODY", passwords.hash_password("nobody at all"))


@pytest.fixture
def app(line, quick_passwords):
    """The application over `line`, for https://console.example, and for 1 MiB an image."""
    settings = Settings(("https://console.example",), secure=True, max_upload_bytes=2**20)
    return create_app(settings, line)


@pytest.fixture
def client(app):
    """Makes a client of the application at an address."""
    with ExitStack() as opened:
        yield lambda base_url, **headers: opened.enter_context(
            client_of(app, base_url=base_url, headers=headers)
        )


@pytest.fixture
def visit(client):
    """Makes a browser's client of the application."""
    site = "https://console.example"
    return lambda **headers: client(site, **{"origin": site, **headers})


@pytest.fixture
def camera(app, client):
    """Client of a device that may score."""
    token = app.state.users.add_device("camera")
    return client("http://10.0.0.7:8000", authorization=f"Bearer {token}")


PASSWORD = "correct horse battery"


@pytest.fixture
def log_in(app, visit):
    """Logs a new person of a role in; the client bears the token of the forms."""

    def log_in(role="worker", name=None):
        name = name or f"{role} ann"
        app.state.users.add(name, PASSWORD, role, by="test")
        client = visit()
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        session = app.state.users.session(client.cookies["__Host-zfn"])
        client.headers["x-csrf-token"] = session.csrf
        return client

    return log_in
