import asyncio
import hashlib
import random
import threading

import pytest

from ad_core.console.answer import STATUS
from ad_core.console.line_api import gauges
from tests.ad_core.console.conftest import png
from tests.ad_core.console.test_line import wait_until

GOOD = png(20)
SHA = hashlib.sha256(GOOD).hexdigest()


def form(*files):
    return {"files": [("image", (name, content, "image/png")) for name, content in files]}


def test_bytes_and_a_form_of_one_image_get_the_same_answer(camera):
    plain = camera.post("/v1/score?name=part%207.png", content=GOOD)
    as_form = camera.post("/v1/score", **form(("part 7.png", GOOD)))
    assert plain.status_code == as_form.status_code == 200
    one, other = plain.json(), as_form.json()
    assert one.pop("event") == other.pop("event") - 2 and one == other
    assert (one["decision"], one["image"], one["detector"]) == ("normal", SHA, "d" * 64)
    assert one["picture_url"] == f"/v1/pictures/{SHA}" and one["map_url"] == f"/v1/maps/{SHA}"


def test_the_store_knows_the_device_and_the_name(camera, store):
    camera.post("/v1/score", content=GOOD, headers={"x-image-name": "a/b.png"})
    assert store.image(SHA).name == "a/b.png" and store.last("scored").user == "camera"


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer \xe9"])
def test_who_has_no_token_gets_inspect_and_leaves_nothing(client, app, store, token):
    stranger = client("http://10.0.0.7:8000", authorization=token.encode("latin-1"))
    before = len(store.events())
    answer = stranger.post("/v1/score", content=GOOD)
    assert answer.status_code == 401 and answer.json()["decision"] == "inspect"
    assert len(store.events()) == before and not (store.path / "pictures").exists()


def test_a_token_for_metrics_scores_nothing_and_reads_the_metrics(client, app, camera):
    token = app.state.users.add_device("prometheus", "metrics")
    watcher = client("http://10.0.0.7:8000", authorization=f"Bearer {token}")
    camera.post("/v1/score", content=GOOD)
    assert watcher.post("/v1/score", content=GOOD).status_code == 401
    text = watcher.get("/metrics").text
    assert 'zfn_answers_total{decision="normal",outcome="scored"} 1' in text
    assert f"zfn_under_way_limit {app.state.line.queue_limit}.0" in text
    assert camera.get("/metrics").status_code == 401


BROKEN_FORM = {"content-type": "multipart/form-data; boundary=x"}
NO_FILE = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--x--\r\n'
REFUSED = {
    "nothing": ({"content": b""}, 400, "malformed"),
    "an empty file": (form(("a.png", b"")), 400, "malformed"),
    "a form without a file": ({"content": NO_FILE, "headers": BROKEN_FORM}, 400, "malformed"),
    "two files": (form(("a.png", GOOD), ("b.png", GOOD)), 400, "malformed"),
    "a torn form": ({"content": b'--x\r\nContent-Disp', "headers": BROKEN_FORM}, 400, "malformed"),
    "no boundary": (
        {"content": GOOD, "headers": {"content-type": "multipart/form-data"}}, 400, "malformed",
    ),
    "no image": ({"content": b"hello"}, 422, "unreadable"),
    "half an image": ({"content": GOOD[: len(GOOD) // 2]}, 422, "unreadable"),
    "too much": ({"content": b"x" * (2**20 + 1)}, 413, "too_large"),
    "far too much": ({"content": b"x" * 5 * 2**20}, 413, "too_large"),
    "too much in a form": (form(("a.png", b"x" * (2**20 + 1))), 413, "too_large"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_whatever_is_no_image_is_answered_inspect_and_noted(camera, store, case):
    request, status, outcome = REFUSED[case]
    answer = camera.post("/v1/score", **request)
    told = answer.json()
    assert (answer.status_code, told["outcome"]) == (status, outcome)
    assert told["decision"] == "inspect" and told["score"] is None and told["reason"]
    event = store.event(told["event"])
    assert (event.kind, event.decision, event.user) == ("error", "inspect", "camera")


def test_a_full_queue_hears_the_upload_and_answers_inspect(camera, line, store):
    assert line.enter() and line.enter()
    try:
        answer = camera.post("/v1/score", content=GOOD)
    finally:
        line.leave(), line.leave()
    assert (answer.status_code, answer.json()["outcome"]) == (503, "queue_full")
    assert store.last("error").image_sha == SHA


def test_an_error_of_the_service_itself_is_answered_inspect(camera, line, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(line, "score", fail)
    answer = camera.post("/v1/score", content=GOOD)
    assert answer.status_code == 500 and answer.json()["decision"] == "inspect"
    assert "unforeseen" not in answer.text and "unforeseen" in capsys.readouterr().err
    assert line.waiting == 0


def torn(app, headers, parts, *, end):
    """What an application sends to an upload of which these parts come, then `end`."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    sent = []

    async def run():
        async def receive():
            if messages:
                return messages.pop(0)
            if end is None:
                await asyncio.sleep(60)
            return end

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/v1/score", "query_string": b"",
            "headers": headers, "http_version": "1.1", "scheme": "http", "root_path": "",
        }  # fmt: skip
        await app(scope, receive, send)

    asyncio.run(run())
    return sent


@pytest.mark.parametrize("parts", [[], [GOOD[:20]], [GOOD[:20], GOOD[20:]]])
def test_an_upload_that_breaks_off_is_noted_as_inspect_and_frees_its_place(
    app, camera, line, store, parts
):
    headers = [(b"authorization", camera.headers["authorization"].encode())]
    torn(app, headers, parts, end={"type": "http.disconnect"})
    event = store.last("error")
    assert (event.detail["outcome"], event.decision) == ("broken_off", "inspect")
    assert line.waiting == 0 and store.events("scored") == []


def test_an_upload_that_stands_still_is_answered_inspect(app, camera, line, store):
    line.timeout_s = 0.2
    headers = [(b"authorization", camera.headers["authorization"].encode())]
    sent = torn(app, headers, [GOOD[:20]], end=None)
    assert sent[0]["status"] == 504 and b'"decision":"inspect"' in sent[1]["body"]
    assert store.last("error").detail["outcome"] == "timeout" and line.waiting == 0


def test_health_tells_a_worker_that_stands_still_and_a_service_that_ends(client, app, line, judge):
    anyone = client("http://127.0.0.1:8000")
    assert anyone.get("/v1/health").json()["status"] == "ok"
    line.timeout_s = 0.1
    judge.may_judge.clear()
    scoring = threading.Thread(target=line.score, args=(GOOD, "a", "http"))
    scoring.start()
    wait_until(lambda: line.stuck)
    answer = anyone.get("/v1/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "stuck")
    judge.may_judge.set()
    scoring.join()
    wait_until(lambda: not line.stuck)
    line.stop()
    assert anyone.get("/v1/health").json()["status"] == "stopping"


def test_the_description_names_every_status_and_every_key(client, app, camera):
    described = client("http://127.0.0.1:8000").get("/v1/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    responses = described["paths"]["/v1/score"]["post"]["responses"]
    assert responses.keys() == {*map(str, STATUS.values()), "401"}
    schema = described["components"]["schemas"]["Answer"]
    answer = camera.post("/v1/score", content=GOOD).json()
    assert answer.keys() == schema["properties"].keys()
    assert set(schema["required"]) <= answer.keys()
    routes = {route.path for route in app.routes if not hasattr(route.endpoint, "role")}
    assert described["paths"].keys() == routes - {"/login", "/setup"}


def test_gauges_tell_the_last_event_and_the_disk(line, store):
    line.score(GOOD, "a", "http")
    told = {name: value for name, (_, value) in gauges(line).items()}
    assert told["zfn_events"] == 3 and told["zfn_disk_free_bytes"] > 0
    assert told["zfn_pictures_bytes"] >= len(GOOD)


METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST", "POST", "POST")
PATHS = (
    "/v1/score", "/v1/score/", "/v1//score", "/v1/score?name=%00", "/v1/pictures/..%2f..%2fx",
    "/v1/health", "/metrics", "/", "/login", "/setup?code=%ff", "/accounts/add", "/static/../x",
    "/%00", "/v1/score", "/v1/score", "/v1/score",
)  # fmt: skip
TYPES = (
    "", "image/png", "multipart/form-data", "multipart/form-data; boundary=x",
    'multipart/form-data; boundary="', "application/x-www-form-urlencoded", "\xff", "text/html",
)  # fmt: skip


def malformed(rng):
    """A request that nobody sends in good faith, or an image with a few spoilt bytes."""
    content = bytearray(rng.choice((GOOD, b"--x\r\n\r\n--x--", b"", rng.randbytes(300))))
    for _ in range(rng.randrange(4)):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    headers = {
        "content-type": rng.choice(TYPES).encode("latin-1"),
        "x-image-name": rng.randbytes(12).replace(b"\r", b"").replace(b"\n", b""),
        "cookie": rng.choice((b"", b"__Host-zfn=x", b"=;=", rng.randbytes(9).hex().encode())),
    }
    return rng.choice(METHODS), rng.choice(PATHS), headers, bytes(content[: rng.randrange(400)])


def send_malformed(count, camera, line, store):
    """Sends as many; none may be answered normal but the sound image, nor by a crash."""
    rng = random.Random(0)
    for _ in range(count):
        method, path, headers, content = malformed(rng)
        answer = camera.request(method, path, headers=headers, content=content)
        assert answer.status_code != 500
        if answer.status_code == 200 and path.startswith("/v1/score"):
            told = answer.json()
            assert told["outcome"] == "scored" and store.event(told["event"]).image_sha
        elif path.split("?")[0] == "/v1/score" and method == "POST":
            assert answer.json()["decision"] == "inspect"
    assert line.waiting == 0 and store.verify() is None and store.unanswered() == []
    assert {user.name for user in camera.users()} == set() and store.stale_image() is None
    assert camera.post("/v1/score", content=GOOD).json()["decision"] == "normal"


def test_two_hundred_malformed_requests_harm_nothing(camera, app, line, store):
    camera.users = app.state.users.all
    send_malformed(200, camera, line, store)


@pytest.mark.slow
def test_five_thousand_malformed_requests_harm_nothing(camera, app, line, store):
    camera.users = app.state.users.all
    send_malformed(5000, camera, line, store)
