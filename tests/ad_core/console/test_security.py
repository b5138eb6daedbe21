import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ad_core.console.app import Settings, create_app
from ad_core.console.security import check_binding, guarded, is_loopback, origins_of
from ad_core.errors import UserError
from tests.ad_core.console.conftest import PASSWORD, png

PAGES = ("/", "/accounts", "/password", "/v1/pictures/" + "a" * 64, "/v1/maps/" + "a" * 64)
CHANGES = ("/logout", "/password", "/accounts/add", "/accounts/device")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com", ""])
def test_other_machines_are_heard_only_over_tls_or_behind_a_proxy(host, tmp_path):
    assert not is_loopback(host)
    with pytest.raises(UserError, match="--certificate and --key, or --behind_proxy"):
        check_binding(host, certificate=None, key=None, behind_proxy=False)
    check_binding(host, certificate=None, key=None, behind_proxy=True)
    file = tmp_path / "file.pem"
    file.touch()
    check_binding(host, certificate=file, key=file, behind_proxy=False)
    with pytest.raises(UserError, match="go together"):
        check_binding(host, certificate=file, key=None, behind_proxy=False)
    with pytest.raises(UserError, match="`--key` .* no such file"):
        check_binding(host, certificate=file, key=tmp_path / "no.pem", behind_proxy=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.0.1"])
def test_this_machine_is_heard_as_it_is(host):
    check_binding(host, certificate=None, key=None, behind_proxy=False)


def test_origins_are_spelt_as_browsers_spell_them():
    local = origins_of("127.0.0.1", 8000, encrypted=False, trusted=())
    assert set(local) == {
        "http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000",
    }  # fmt: skip
    trusted = ("https://console.example",)
    assert origins_of("10.0.0.5", 443, encrypted=True, trusted=trusted) == (
        "https://10.0.0.5", "https://console.example",
    )  # fmt: skip
    for wrong in ("console.example", "https://a.example/", "*", "null", "ftp://a.example"):
        with pytest.raises(UserError, match="`--trusted_origin`"):
            origins_of("127.0.0.1", 80, encrypted=False, trusted=(wrong,))


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_a_log_in(visit, path):
    answer = visit().get(path)
    wanted = (401, None) if path.startswith("/v1/") else (303, "/login")
    assert (answer.status_code, answer.headers.get("location")) == wanted


@pytest.mark.parametrize("path", ["/login", "/", "/v1/health", "/nowhere", "/metrics"])
def test_every_answer_bears_the_headers(visit, path):
    headers = visit().get(path).headers
    policy = headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert not any("unsafe" in each or "*" in each for each in policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["strict-transport-security"].startswith("max-age")


def test_the_cookie_is_strict_and_no_script_reads_it(app, visit):
    app.state.users.add("ann", PASSWORD, "worker", by="")
    answer = visit().post("/login", data={"name": "ann", "password": PASSWORD})
    parts = answer.headers["set-cookie"].lower().split("; ")
    assert parts[0].startswith("__host-zfn=")
    assert {"httponly", "samesite=strict", "secure", "path=/"} <= set(parts)


def test_a_wrong_password_is_told_as_an_unknown_name_is_and_then_waits(app, visit):
    app.state.users.add("ann", PASSWORD, "worker", by="")
    client = visit()

    def attempt(name, password):
        return client.post("/login", data={"name": name, "password": password})

    wrong, unknown = attempt("ann", "x" * 12), attempt("nobody", "x" * 12)
    assert (wrong.status_code, wrong.text) == (unknown.status_code, unknown.text)
    assert wrong.status_code == 403
    for _ in range(4):
        attempt("ann", "x" * 12)
    late = attempt("ann", PASSWORD)
    assert late.status_code == 429 and int(late.headers["retry-after"]) > 200
    assert "set-cookie" not in late.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://console.example"])
@pytest.mark.parametrize("path", ["/login", *CHANGES])
def test_a_page_of_another_site_changes_nothing(log_in, store, path, origin):
    client = log_in("admin")
    before = len(store.events())
    answer = client.post(path, headers={"origin": origin}, data={"name": "x", "scope": "score"})
    assert answer.status_code == 403 and len(store.events()) == before


def test_a_request_that_names_no_origin_changes_nothing(log_in, store):
    client = log_in("admin")
    del client.headers["origin"]
    assert client.post("/accounts/device", data={"name": "cam"}).status_code == 403


@pytest.mark.parametrize("path", CHANGES)
def test_a_form_without_the_token_of_the_session_changes_nothing(log_in, store, path):
    client = log_in("admin")
    before = len(store.events())
    for token in (None, "", "x" * 43):
        headers = {} if token is None else {"x-csrf-token": token}
        del client.headers["x-csrf-token"]
        answer = client.post(path, headers=headers, data={"name": "cam", "scope": "score"})
        client.headers["x-csrf-token"] = "x"
        assert answer.status_code == 403
    assert len(store.events()) == before


def test_another_persons_token_does_not_serve(log_in):
    first, second = log_in("admin", "ann"), log_in("admin", "bob")
    token = first.headers["x-csrf-token"]
    answer = second.post("/logout", headers={"x-csrf-token": token})
    assert answer.status_code == 403


def test_the_field_of_a_form_serves_as_the_header_does(log_in):
    client = log_in("admin")
    token = client.headers.pop("x-csrf-token")
    form = {"csrf": token, "name": "camera", "scope": "score"}
    answer = client.post("/accounts/device", data=form)
    assert answer.status_code == 200 and "told this once" in answer.text


def test_a_cookie_that_was_kept_is_worth_nothing_after_the_log_out(log_in, visit):
    client = log_in("admin")
    kept = client.cookies["__Host-zfn"]
    assert client.get("/accounts").status_code == 200
    assert client.post("/logout").status_code == 303
    thief = visit(cookie=f"__Host-zfn={kept}")
    assert thief.get("/accounts").headers["location"] == "/login"


@pytest.mark.parametrize("host", ["evil.example", "console.example:8000", "localhost", ""])
def test_a_name_that_is_not_the_services_is_refused(log_in, host):
    assert log_in("admin").get("/accounts", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("role", ["worker", "lead"])
def test_accounts_are_for_admins(log_in, role):
    client = log_in(role)
    assert client.get("/accounts").status_code == 403
    form = {"name": "me too", "password": PASSWORD, "role": "admin"}
    assert client.post("/accounts/add", data=form).status_code == 403


def test_an_admin_adds_a_person_who_logs_in_and_changes_the_password(log_in, visit, app):
    admin = log_in("admin")
    form = {"name": "bob", "password": PASSWORD, "role": "worker"}
    assert admin.post("/accounts/add", data=form).status_code == 303
    assert "bob" in admin.get("/accounts").text
    bob = visit()
    assert bob.post("/login", data={"name": "bob", "password": PASSWORD}).status_code == 303
    csrf = app.state.users.session(bob.cookies["__Host-zfn"]).csrf
    changed = bob.post("/password", data={"csrf": csrf, "password": "another password"})
    assert changed.status_code == 303
    assert bob.get("/password").headers["location"] == "/login"
    assert bob.post("/login", data={"name": "bob", "password": PASSWORD}).status_code == 403
    assert admin.post("/accounts/close", data={"name": "bob"}).status_code == 303
    form = {"name": "bob", "password": "another password"}
    assert bob.post("/login", data=form).status_code == 403


def test_what_is_wrong_with_a_form_is_told_and_no_markup_is_taken(log_in):
    admin = log_in("admin")
    answer = admin.post("/accounts/device", data={"name": "<script>x</script>", "scope": "score"})
    assert answer.status_code == 400
    assert "<script>" not in answer.text and "&lt;script&gt;" in answer.text
    assert admin.post("/accounts/nothing", data={}).status_code == 404


def test_the_set_up_link_opens_once(app, visit):
    client, code = visit(), app.state.users.set_up_code()
    assert code in client.get(f"/setup?code={code}").text
    form = {"code": code, "name": "ann", "password": PASSWORD}
    assert client.post("/setup", data=form | {"code": "x"}).status_code == 400
    assert client.post("/setup", data=form).headers["location"] == "/login"
    assert client.post("/setup", data=form | {"name": "bob"}).status_code == 400
    assert client.post("/login", data={"name": "ann", "password": PASSWORD}).status_code == 303


@pytest.mark.parametrize(
    "path", ["/v1/pictures/..%2f..%2fevents.sqlite", "/v1/pictures/%2e%2e", "/v1/maps/" + "A" * 64]
)
def test_a_path_that_is_no_hash_leads_nowhere(log_in, path):
    assert log_in().get(path).status_code == 404


def test_a_device_reads_nothing_and_judges_nothing(camera, app, visit):
    sha = camera.post("/v1/score", content=png()).json()["image"]
    token = camera.headers["authorization"]
    client = visit(authorization=token)
    assert client.get(f"/v1/pictures/{sha}").status_code == 401
    assert client.get(f"/v1/maps/{sha}").status_code == 401
    assert client.get("/metrics").status_code == 401
    assert client.get("/accounts").headers["location"] == "/login"
    assert client.post("/accounts/add", data={"name": "x"}).status_code == 401


def test_a_page_that_nothing_guards_is_one_for_workers(line, quick_passwords, log_in, visit):
    async def page(request):
        return PlainTextResponse(request.state.user.name if request.state.user else "open")

    pages = [Route("/bare", page), Route("/lead", guarded("lead")(page)), Route("/static/x", page)]
    app = create_app(Settings(("https://console.example",), True), line, pages)
    worker = log_in()
    other = visit()
    for client in (worker, other):
        client._transport.app = app
    assert worker.get("/bare").text == "worker ann"
    assert worker.get("/lead").status_code == 403
    assert other.get("/bare").headers["location"] == "/login"
    assert other.get("/static/x").status_code == 401
    assert worker.post("/bare").status_code == 405


def test_a_form_without_a_length_or_beyond_a_mebibyte_is_refused(visit):
    def chunks():
        yield b"name=ann&password=x"

    assert visit().post("/login", content=chunks()).status_code == 413
    assert visit().post("/login", content=b"x" * (2**20 + 1)).status_code == 413


def test_a_web_socket_is_closed(app):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(app({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
