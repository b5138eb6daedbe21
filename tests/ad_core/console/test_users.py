import base64
import hashlib

import pytest

from ad_core.console import passwords
from ad_core.console.attempts import MOST, Attempts
from ad_core.console.passwords import hash_password, is_password
from ad_core.console.users import NOBODY, Refused, Users
from ad_core.errors import UserError

PASSWORD = "correct horse battery"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def users(store, quick_passwords, clock):
    return Users(store, clock=clock)


def test_scrypt_gives_the_value_of_rfc_7914():
    found = passwords._scrypt("pleaseletmein", b"SodiumChloride", 16384, 8, 1)
    assert found.hex().startswith("7023bdcb3afd7348461c06cd81fd38eb")


def test_a_hash_has_owasps_cost_a_salt_of_its_own_and_no_letter_of_the_password():
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    kind, n, r, p, salt, known = first.split("$")
    assert (kind, int(n), int(r), int(p)) == ("scrypt", 2**15, 8, 3) and first != second
    told = {"salt": base64.b64decode(salt), "n": 2**15, "r": 8, "p": 3, "maxmem": 2**27}
    assert hashlib.scrypt(PASSWORD.encode(), **told, dklen=32) == base64.b64decode(known)
    assert is_password(PASSWORD, first) and is_password(PASSWORD, second)
    assert not is_password(PASSWORD + " ", first)
    assert NOBODY.split("$")[:4] == first.split("$")[:4]  # nobody is told apart by time
    assert not is_password(PASSWORD, NOBODY)


@pytest.mark.parametrize("password", ["", "short", "x" * 9, "x" * 1025])
def test_a_password_too_short_or_too_long_is_refused(password):
    with pytest.raises(UserError, match="needs 10 to 1024"):
        hash_password(password)


def test_the_set_up_code_makes_one_admin_once(users):
    void, code = users.set_up_code(), users.set_up_code()
    for wrong in (void, "", "x"):
        with pytest.raises(UserError, match="code is void"):
            users.set_up(wrong, "ann", PASSWORD)
    assert users.set_up(code, "ann", PASSWORD).role == "admin"
    with pytest.raises(UserError, match="code is void"):
        users.set_up(code, "bob", PASSWORD)
    assert users.set_up_code() is None
    assert [user.name for user in users.all()] == ["ann"]


def test_a_code_is_not_used_up_by_a_password_that_is_refused(users):
    code = users.set_up_code()
    with pytest.raises(UserError, match="password"):
        users.set_up(code, "ann", "short")
    assert users.set_up(code, "ann", PASSWORD).role == "admin"


def test_no_secret_stands_in_the_store(users, store):
    code = users.set_up_code()
    users.set_up(code, "ann", PASSWORD)
    token = users.add_device("camera")
    session = users.log_in("ann", PASSWORD, "here")
    content = b"".join(path.read_bytes() for path in store.path.glob("events.sqlite*"))
    assert b"ann" in content
    for secret in (code, PASSWORD, token, session.token):
        assert secret.encode() not in content


def test_roles_include_those_before_them(users):
    lead = users.add("lea", PASSWORD, "lead", by="")
    assert lead.may("worker") and lead.may("lead") and not lead.may("admin")
    with pytest.raises(UserError, match="`role`"):
        users.add("bob", PASSWORD, "boss", by="")
    with pytest.raises(UserError, match="is taken"):
        users.add("lea", PASSWORD, "worker", by="")


@pytest.mark.parametrize("name", ["", "a", " ann", "ann ", "a\nb", "<b>", "a" * 65, "a;b"])
def test_a_name_that_is_none_is_refused(users, name):
    with pytest.raises(UserError, match="`name`"):
        users.add(name, PASSWORD, "worker", by="")
    with pytest.raises(UserError, match="`name`"):
        users.add_device(name)


def test_a_session_ends_with_log_out_with_its_time_and_with_a_change_of_the_account(users, clock):
    users.add("adm", PASSWORD, "admin", by="")
    users.add("ann", PASSWORD, "worker", by="adm")

    def begin():
        token = users.log_in("ann", PASSWORD, "here").token
        assert users.session(token).user.name == "ann"
        return token

    token = begin()
    users.log_out(token)
    assert users.session(token) is None
    token = begin()
    clock.now += 12 * 3600 + 1
    assert users.session(token) is None
    for change in ({"role": "lead"}, {"password": "another password"}, {"active": False}):
        users.change("ann", by="adm", password=PASSWORD, active=True)
        token = begin()
        users.change("ann", by="adm", **change)
        assert users.session(token) is None
    assert users.session("") is None


def test_a_closed_account_does_not_log_in(users):
    users.add("adm", PASSWORD, "admin", by="")
    users.add("ann", PASSWORD, "worker", by="adm")
    users.change("ann", by="adm", active=False)
    with pytest.raises(Refused, match="Wrong name or password"):
        users.log_in("ann", PASSWORD, "here")


def test_the_last_admin_stays(users):
    users.add("adm", PASSWORD, "admin", by="")
    for change in ({"role": "lead"}, {"active": False}):
        with pytest.raises(UserError, match="last admin"):
            users.change("adm", by="adm", **change)
    assert users.all()[0].may("admin") and users.all()[0].active


def test_after_five_failures_of_a_name_even_the_right_password_waits(users, clock):
    users.add("ann", PASSWORD, "worker", by="")
    for _ in range(5):
        with pytest.raises(Refused, match="Wrong"):
            users.log_in("ann", "wrong password", "here")
    with pytest.raises(Refused, match="Too many") as refused:
        users.log_in("ann", PASSWORD, "elsewhere")
    assert refused.value.retry_s == 300
    clock.now += 301
    assert users.log_in("ann", PASSWORD, "here").user.name == "ann"


def test_an_address_that_tries_many_names_waits_too(users):
    for number in range(20):
        with pytest.raises(Refused, match="Wrong"):
            users.log_in(f"name{number}", PASSWORD, "here")
    with pytest.raises(Refused, match="Too many"):
        users.log_in("another", PASSWORD, "here")


def test_the_names_that_are_remembered_are_bounded():
    attempts = Attempts(5)
    for number in range(MOST + 10):
        attempts.failed(str(number))
    assert len(attempts._failures) == MOST


def test_log_ins_are_events_and_what_was_typed_by_mistake_is_not(users, store):
    users.add("ann", PASSWORD, "worker", by="adm")
    users.log_out(users.log_in("ann", PASSWORD, "here").token)
    for name in ("ann", "my secret password"):
        with pytest.raises(Refused):
            users.log_in(name, "wrong password", "10.0.0.9")
    kinds = [(event.kind, event.user, event.reason) for event in store.events()]
    assert kinds == [
        ("account", "adm", "ann: new worker"),
        ("login", "ann", ""),
        ("logout", "ann", ""),
        ("refused", "ann", "log-in as ann from 10.0.0.9"),
        ("refused", "", "log-in as an unknown name from 10.0.0.9"),
    ]


def test_a_device_may_do_one_thing_until_it_is_removed(users):
    token = users.add_device("camera")
    assert users.device(token, "score") == "camera"
    assert users.device(token, "metrics") is None and users.device("", "score") is None
    with pytest.raises(UserError, match="is taken"):
        users.add_device("camera")
    with pytest.raises(UserError, match="`scope`"):
        users.add_device("other", "judge")
    assert users.devices() == {"camera": "score"}
    users.remove_device("camera")
    assert users.device(token, "score") is None
    with pytest.raises(UserError, match="is unknown"):
        users.remove_device("camera")
