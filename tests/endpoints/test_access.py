"""Who may look, and who may not."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws import faults, testing
from otel_ws.endpoints import access as module
from otel_ws.endpoints.access import COOKIE, FORWARDED, SIGNED_IN_SECONDS, access, decide, sign_in
from otel_ws.settings import Settings

TOKEN = "a-token-of-more-than-thirty-two-letters"
LOCAL = {"host": "localhost:8000"}
TRUSTING = Settings(trust_loopback=True)
HERE = ("127.0.0.1", 50000)


def user(**about: object) -> Any:
    """A user of Django's."""
    return SimpleNamespace(**{"is_authenticated": True, "is_active": True, "is_staff": False, **about})


class Lazy:
    """A user whom nobody has looked up."""

    def __getattr__(self, name: str) -> Any:
        """Looking would ask the database."""
        raise RuntimeError("SynchronousOnlyOperation")


@pytest.fixture
def given_token(token_file: Path) -> Settings:
    """Settings with the token's file."""
    return Settings(token_file=str(token_file))


# --- staff --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("who", "status"),
    [
        (None, 401),
        (user(is_authenticated=False), 401),
        (user(), 403),
        (user(is_staff=True), 200),
        (user(is_staff=True, is_active=False), 403),
        (user(is_staff="yes"), 403),
        pytest.param(Lazy(), 401, id="not looked up"),
    ],
)
def test_staff_may_look(who: Any, status: int) -> None:
    """An active member of the staff is let in; another user is told that they may not, a stranger to sign in."""
    assert status == decide({}, None, who, Settings())


# --- the token ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer \xff\u0100", 401),
        ("", 401),
    ],
)
def test_the_token_opens(given_token: Settings, header: str, status: int) -> None:
    """Exactly the token of the file, as a bearer token."""
    assert status == decide({"authorization": header}, None, None, given_token)


def test_without_a_token_none_is_right() -> None:
    """Where no token is set, an empty one opens nothing."""
    assert 401 == decide({"authorization": "Bearer "}, None, None, Settings())


def test_a_token_that_is_too_short_opens_nothing(token_file: Path, given_token: Settings) -> None:
    """A file that was cut short after the start, or holds blanks, is no token."""
    token_file.write_text("short" + " " * 40)

    assert 401 == decide({"authorization": "Bearer short"}, None, None, given_token)


def test_a_changed_token_holds_at_once(token_file: Path, given_token: Settings) -> None:
    """The file is read again when it changes: the old token is out, the new one in."""
    assert 200 == decide({"authorization": f"Bearer {TOKEN}"}, None, None, given_token)
    token_file.write_text("b" * 40)
    os.utime(token_file, ns=(1, 1))

    assert 401 == decide({"authorization": f"Bearer {TOKEN}"}, None, None, given_token)
    assert 200 == decide({"authorization": f"Bearer {'b' * 40}"}, None, None, given_token)


def test_a_token_that_went_away_opens_nothing(
    token_file: Path, given_token: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its file the token is unknown; that is counted, and no path is logged."""
    faults.reset()
    token_file.unlink()

    assert 401 == decide({"authorization": f"Bearer {TOKEN}"}, None, None, given_token)
    assert {"endpoints.token": 1} == faults.snapshot()
    assert str(token_file) not in caplog.text


@given(st.text(max_size=60))
def test_no_guess_opens(offered: str) -> None:
    """Whatever is offered, other than the token, stays outside; nothing is raised."""
    module._tokens["guessed"] = (0, TOKEN.encode())
    patched = pytest.MonkeyPatch()
    patched.setattr(module, "_token", lambda path: TOKEN.encode())
    try:
        status = decide({"authorization": f"Bearer {offered}", "cookie": f"{COOKIE}={offered}"}, None, None, Settings())
    finally:
        patched.undo()

    assert 401 == status


# --- this machine -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("peer", "host", "status"),
    [
        (HERE, "localhost:8000", 200),
        (("127.9.9.9", 1), "127.0.0.1", 200),
        (("::1", 1, 0, 0), "[::1]:8000", 200),
        (("192.0.2.7", 1), "localhost", 401),
        (("", 0), "localhost", 401),
        (None, "localhost", 401),
        (HERE, "evil.example", 401),
        (HERE, "127.0.0.1.evil.example", 401),
        (HERE, "", 401),
        (HERE, "[::1", 401),
        (HERE, "LOCALHOST", 200),
        (HERE, "evil.example@localhost", 401),
        (HERE, "localhost/.evil.example", 401),
        (HERE, "localhost:8000,evil.example", 401),
        (HERE, "localhost:", 401),
        (HERE, "localhost\n", 401),
    ],
)
def test_this_machine_may_look_where_it_is_trusted(peer: Any, host: str, status: int) -> None:
    """A peer on loopback that asks for a name of loopback: a foreign name that points here is a foreign page."""
    assert status == decide({"host": host}, peer, None, TRUSTING)


def test_this_machine_is_trusted_by_setting_alone() -> None:
    """Loopback is nothing special by default."""
    assert 401 == decide(LOCAL, HERE, None, Settings())


@pytest.mark.parametrize("header", [*sorted(FORWARDED), "x-forwarded-for", "x-forwarded-proto", "x-forwarded-any"])
def test_whoever_comes_by_a_proxy_is_not_from_here(header: str) -> None:
    """A forwarding header, whatever it says, means that the peer is not the one who asks."""
    assert 401 == decide({**LOCAL, header: "127.0.0.1"}, HERE, None, TRUSTING)


# --- signed in ----------------------------------------------------------------------------------------------------
@pytest.fixture
def cookie(token_file: Path) -> str:
    """The cookie of somebody who signed in now."""
    with testing.capture(token_file=str(token_file)):
        value = sign_in(TOKEN)
    assert value is not None
    return value


def test_a_cookie_stands_for_the_token(given_token: Settings, cookie: str) -> None:
    """Whoever signed in is let in, among other cookies."""
    assert 200 == decide({"cookie": f"a=b; {COOKIE}={cookie}; c=d"}, None, None, given_token)


@pytest.mark.parametrize(
    "change", [lambda one: one[:-1], lambda one: f"9{one}", lambda one: one.split(".")[0], lambda _: "."]
)
def test_a_changed_cookie_stands_for_nothing(given_token: Settings, cookie: str, change: Any) -> None:
    """Neither its hour nor its proof can be changed."""
    assert 401 == decide({"cookie": f"{COOKIE}={change(cookie)}"}, None, None, given_token)


def test_a_cookie_ends(token_file: Path, given_token: Settings) -> None:
    """After twelve hours one signs in again; a cookie from the future is none of ours."""
    with testing.capture(token_file=str(token_file)):
        old, late = sign_in(TOKEN, now=1_000_000.0), sign_in(TOKEN, now=4_000_000_000.0)

    assert [401, 401] == [decide({"cookie": f"{COOKIE}={one}"}, None, None, given_token) for one in (old, late)]
    assert SIGNED_IN_SECONDS == 12 * 3600


def test_another_token_ends_all_cookies(token_file: Path, given_token: Settings, cookie: str) -> None:
    """The cookie is made from the token."""
    token_file.write_text("b" * 40)
    os.utime(token_file, ns=(1, 1))

    assert 401 == decide({"cookie": f"{COOKIE}={cookie}"}, None, None, given_token)


# --- scopes -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("https://game.example", 200),
        ("https://GAME.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_websocket_of_another_page_is_refused(origin: str | None, status: int) -> None:
    """A browser sends cookies whoever asks: so a page of another origin is refused, even for staff."""
    headers = [(b"Host", b"game.example")]
    if origin is not None:
        headers.append((b"Origin", origin.encode()))
    with testing.capture():
        assert status == access({"type": "websocket", "headers": headers, "user": user(is_staff=True)})


@pytest.mark.parametrize(
    ("scheme", "more", "origin", "status"),
    [
        ("wss", [], "https://game.example", 200),
        ("wss", [], "http://game.example", 403),
        ("ws", [], "http://game.example", 200),
        ("ws", [], "https://game.example", 200),
        ("ws", [(b"x-forwarded-proto", b"https")], "http://game.example", 403),
        ("ws", [], "ftp://game.example", 403),
    ],
)
def test_a_page_in_the_clear_is_another_origin(scheme: str, more: Any, origin: str, status: int) -> None:
    """Of a WebSocket under TLS; that a proxy ended TLS before us is known where it says so."""
    headers = [(b"host", b"game.example"), (b"origin", origin.encode()), *more]
    with testing.capture():
        scope = {"type": "websocket", "scheme": scheme, "headers": headers, "user": user(is_staff=True)}
        assert status == access(scope)


def test_a_websocket_of_the_page_is_let_in_by_its_cookie(token_file: Path, cookie: str) -> None:
    """A browser cannot add a header to a WebSocket; the cookie of whoever signed in goes along."""
    with testing.capture(token_file=str(token_file)):
        headers = [
            (b"host", b"a.example"),
            (b"origin", b"http://a.example"),
            (b"cookie", f"{COOKIE}={cookie}".encode()),
        ]
        assert 200 == access({"type": "websocket", "headers": headers})
        assert 401 == access({"type": "websocket", "headers": headers[:2]})


def test_a_websocket_without_a_host_has_no_origin() -> None:
    """Nothing equals nothing."""
    with testing.capture():
        assert 403 == access({"type": "websocket", "headers": [(b"origin", b"")], "user": user(is_staff=True)})


def test_a_scope_that_is_none_is_refused() -> None:
    """A failure of ours lets nobody in, and is counted."""
    faults.reset()

    assert 403 == access({"type": "http", "headers": [("no", "bytes")]})
    assert {"endpoints.access": 1} == faults.snapshot()


def test_with_telemetry_off_the_token_is_still_known(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its being off can be told to those who may know."""
    monkeypatch.setenv("OTEL_WS_ENABLED", "false")
    monkeypatch.setenv("OTEL_WS_TOKEN_FILE", str(token_file))

    assert 200 == access({"type": "http", "headers": [(b"authorization", f"Bearer {TOKEN}".encode())]})
