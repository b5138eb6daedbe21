"""The service over a real detector: the scores of score.py, and the commands."""

import io
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from ad_core.console.app import Settings, create_app
from ad_core.console.line import Line
from ad_core.console.store import Store
from ad_core.console.views import raw_map
from ad_core.scoring.detector import Detector
from ad_core.scoring.engines.local import score_files
from ad_core.scoring.files import load_detector
from tests.ad_core.console.conftest import PASSWORD
from tests.ad_core.console.test_line import wait_until
from tests.in_process import client_of

ROOT = Path(__file__).parents[2]
SITE = "https://console.example"


def noise(*shape, top=255, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, top + 1, shape).astype(dtype)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images of several sizes, depths and formats, and one that is torn."""
    root = tmp_path_factory.mktemp("parts")
    Image.fromarray(noise(32, 32)).save(root / "grey.png")
    Image.fromarray(noise(50, 71, 3, seed=1)).save(root / "colour.png")
    Image.fromarray(noise(45, 33, 3, seed=2)).save(root / "photo.jpg")
    Image.fromarray(noise(64, 20, top=65535, dtype=np.uint16, seed=3)).save(root / "deep.png")
    tifffile.imwrite(root / "deep.tif", noise(20, 90, top=65535, dtype=np.uint16, seed=4))
    tifffile.imwrite(root / "pages.tif", noise(3, 20, 20, seed=5), photometric="minisblack")
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(root / "flat.bmp")
    (root / "torn.png").write_bytes((root / "colour.png").read_bytes()[:300])
    return root


@pytest.fixture(scope="module")
def rows(workdir, files, tmp_path_factory):
    """Rows of score.py, by path."""
    output = tmp_path_factory.mktemp("scored")
    score_files(workdir / "detector", files, output, explain=True, batch_size=4)
    found = pq.read_table(output / "scores.parquet").to_pylist()
    return {row["path"]: row for row in found}


@pytest.fixture(scope="module")
def line(workdir, tmp_path_factory):
    with Store(tmp_path_factory.mktemp("service") / "store") as store:
        line = Line(workdir / "detector", store, timeout_s=60.0)
        yield line
        line.stop()


@pytest.fixture(scope="module")
def camera(line):
    app = create_app(Settings((SITE,), secure=True), line)
    token = app.state.users.add_device("camera")
    with client_of(app, base_url=SITE, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


@pytest.fixture(scope="module")
def answers(camera, files):
    """Answers of the service, by path."""
    found = {}
    for path in sorted(files.iterdir()):
        given = {"content": path.read_bytes(), "headers": {"x-image-name": path.name}}
        found[path.name] = camera.post("/v1/score", **given).json()
    return found


def test_the_service_gives_the_rows_of_score_py_to_the_last_digit(answers, rows, line):
    assert answers.keys() == rows.keys() and len({row["score"] for row in rows.values()}) > 5
    for name, row in rows.items():
        told = answers[name]
        assert (told["score"], told["decision"]) == (row["score"], row["decision"]), name
        assert (told["threshold"], told["review"]) == (row["threshold"], row["review"])
        assert json.dumps(told["regions"]) == (row["regions"] or "[]")
        assert "; ".join(told["reasons"]) == (row["reasons"] or "")
        event = line.store.event(told["event"])
        assert (event.score, event.decision) == (row["score"], row["decision"])
    assert {name for name in answers if answers[name]["outcome"] == "unreadable"} == {
        name for name in rows if rows[name]["status"] == "error"
    }


def test_why_an_image_was_not_read_is_told_as_score_py_tells_it(answers, rows):
    for name in ("torn.png", "pages.tif"):
        assert rows[name]["error"].split(name)[1] in answers[name]["reason"]
        assert answers[name]["reason"].startswith(name)


def test_the_map_that_is_kept_is_that_of_the_detector_to_half_a_step(answers, files, line, workdir):
    detector = load_detector(workdir / "detector", batch_size=1)
    (verdict,) = detector.judge(files / "colour.png")
    values, scale = raw_map(line.store, answers["colour.png"]["image"])
    assert scale == detector.scale
    half = 7.0 * (scale.high - scale.low) / 65535
    np.testing.assert_allclose(values, verdict.map, atol=half)


@pytest.fixture(scope="module")
def worker(camera):
    app = camera._transport.app
    app.state.users.add("ann", PASSWORD, "worker", by="")
    with client_of(app, base_url=SITE, headers={"origin": SITE}) as client:
        assert client.post("/login", data={"name": "ann", "password": PASSWORD}).status_code == 303
        yield client


def test_a_worker_sees_picture_and_map_as_png_and_never_the_bytes_that_came(worker, answers, files):
    for name, size in (("colour.png", (71, 50)), ("deep.tif", (90, 20)), ("flat.bmp", (40, 40))):
        for link in ("picture_url", "map_url"):
            answer = worker.get(answers[name][link])
            assert answer.headers["content-type"] == "image/png"
            assert Image.open(io.BytesIO(answer.content)).size == size
            assert answer.content != (files / name).read_bytes()
    flat = worker.get(answers["flat.bmp"]["picture_url"])
    assert (np.asarray(Image.open(io.BytesIO(flat.content))) == 90).all()
    assert worker.get("/v1/pictures/" + answers["torn.png"]["image"]).status_code == 404
    assert worker.get("/v1/maps/" + "a" * 64).status_code == 404


def test_a_switch_makes_the_next_image_be_judged_by_the_other_detector(
    line, camera, files, workdir, tmp_path
):
    from ad_core.scoring.files import save_detector

    parts = load_detector(workdir / "detector").parts
    always = {
        rule: each.__class__(**{**vars(each), "value": 1e9})
        for rule, each in parts.thresholds.items()
    }
    save_detector(tmp_path / "lenient", parts._replace(thresholds=always, clipped=1.0), versions={})
    assert isinstance(line.loaded.detector, Detector)
    content, former = (files / "grey.png").read_bytes(), line.loaded
    before = camera.post("/v1/score", content=content).json()
    line.switch(tmp_path / "lenient", user="ann", reason="a try")
    after = camera.post("/v1/score", content=content).json()
    line.switch(former.directory, user="ann", reason="and back")
    back = camera.post("/v1/score", content=content).json()
    assert (before["decision"], after["decision"], back["decision"]) == (
        "inspect", "normal", "inspect",
    )  # fmt: skip
    assert before["score"] == after["score"] and after["detector"] != before["detector"]
    assert back["detector"] == before["detector"] and line.store.verify() is None


def test_the_commands_on_the_trail(launch, tmp_path, capsys):
    store = tmp_path / "store"
    assert launch("serve", f"--store={store}", "--check") == 2
    assert launch("serve", f"--store={store}", "--add_device=camera") == 0
    token = capsys.readouterr().out.split()[-1]
    assert len(token) > 40
    table = tmp_path / "events.csv"
    assert launch("serve", f"--store={store}", "--check", f"--export={table}") == 0
    assert "1 events are whole" in capsys.readouterr().out and table.is_file()
    assert launch("serve", f"--store={store}", "--check", "--head=1:abc") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "`--detector` is missing"),
        (("--store=x",), "`--detector` is missing"),
        (("--detector=none", "--host=0.0.0.0"), "--certificate and --key, or --behind_proxy"),
        (("--detector=none", "--key=k.pem"), "go together"),
        (("--detector=none", "--host=203.0.113.1", "--behind_proxy"), "cannot listen there"),
        (("--detector=none", "--port=0"), "no detector there"),
        (("--detector=none", "--port=0", "--watch=away"), "`--watch` (=away): no such folder"),
        (("--detector=none", "--port=0", "--trusted_origin=x"), "`--trusted_origin`"),
        (("--detector=none", "--timeout_s=0"), "timeout_s"),
    ],
)
def test_a_mistake_is_one_message(launch, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert launch("serve", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and "Traceback" not in error


@pytest.mark.slow
def test_the_process_scores_over_tls_refuses_a_second_one_and_ends_with_143(
    workdir, files, rows, tmp_path
):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files_of = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *names, *files_of], check=True, capture_output=True)
    store, watched = tmp_path / "store", tmp_path / "watched"
    watched.mkdir()
    command = [sys.executable, str(ROOT / "launch" / "serve.py")]
    here = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "text": True, "stderr": subprocess.PIPE}
    device = [*command, f"--store={store}", "--add_device=camera"]
    token = subprocess.run(device, stdout=subprocess.PIPE, check=True, **here).stdout.split()[-1]
    flags = [f"--detector={workdir / 'detector'}", f"--store={store}", "--port=0"]
    tls = [f"--certificate={certificate}", f"--key={key}", f"--watch={watched}"]
    process = subprocess.Popen([*command, *flags, *tls], stdout=subprocess.PIPE, **here)
    try:
        url = next(found[1] for line in process.stdout if (found := re.search(r"at (\S+),", line)))
        assert url.startswith("https://localhost:")
        second = subprocess.run([*command, *flags], stdout=subprocess.PIPE, **here)
        assert second.returncode == 2 and f"in use by process {process.pid}" in second.stderr
        (watched / "grey.png").write_bytes((files / "grey.png").read_bytes())
        content = (files / "colour.png").read_bytes()
        headers, trusted = {"authorization": f"Bearer {token}"}, ssl.create_default_context()
        trusted.load_verify_locations(certificate)
        answer = httpx.post(url, content=content, headers=headers, verify=trusted).json()
        assert answer["score"] == rows["colour.png"]["score"]
        wait_until((watched / "inspect" / "grey.png").exists)
        process.send_signal(signal.SIGTERM)
        told, errors = process.communicate(timeout=60)
        assert process.returncode == 143
    finally:
        process.kill()
        process.communicate()
    assert "2 answers, p50" in told and "This goes on:" in errors
    with Store(store, read_only=True) as trail:
        assert trail.verify() is None and len(trail.events("scored")) == 2
