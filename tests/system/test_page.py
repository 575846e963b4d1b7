"""The live page in a real browser: it shows what clients did, says when it is old, and everybody can use it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("websockets")
pytest.importorskip("playwright")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# How long a reject or a crash may take to be on the page.
PROMPT_MS = 6000
PATIENT_MS = 20_000
TOKEN = "0123456789abcdef0123456789abcdef"
VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
Launch = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this module's own."""
    if CHROMIUM is None:
        text = "a browser is needed that this machine lacks; on Debian: apt-get install chromium"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield made
        made.close()


class Window:
    """One page and what it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.set_default_timeout(PATIENT_MS)
        page.add_init_script(VIOLATIONS)
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def violations(self) -> list[str]:
        """What the content security policy stopped."""
        return list(self.page.evaluate("window.violations"))


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the page of a server; afterwards nothing may have gone wrong in it."""
    with ExitStack() as contexts:
        windows: list[Window] = []

        def open_it(running: Any, *, wait: bool = True, **options: Any) -> Page:
            context = browser.new_context(**options)
            contexts.callback(context.close)
            window = Window(context.new_page())
            windows.append(window)
            window.page.goto(f"http://127.0.0.1:{running.port}/monitoring/")
            if wait:
                expect(window.page.locator("#link")).to_have_text("live", timeout=PATIENT_MS)
            return window.page

        yield open_it
        for window in windows:
            # A browser itself says when a server is gone, or answers 401.
            told = [text for text in window.errors if "ERR_CONNECTION_REFUSED" not in text and "401" not in text]
            assert ([], []) == (told, window.violations())


@pytest.fixture
def watched(launch: Launch, tmp_path: Path) -> Callable[..., Any]:
    """Start a server with the page, whose workers are a group of their own."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)

    def start(**more: Any) -> Any:
        given = {
            "OTEL_WS_TRUST_LOOPBACK": "true",
            "OTEL_WS_RECENT": "true",
            "OTEL_WS_RUNTIME_DIR": str(runtime),
            **more,
        }
        return launch("uvicorn-websockets", "watched:application", **given)

    return start


@pytest.fixture
def join() -> Iterator[Callable[[Any, str], ClientConnection]]:
    """Connect a client that leaves with the test."""
    with ExitStack() as open_connections:

        def one(running: Any, path: str) -> ClientConnection:
            return open_connections.enter_context(connect(running.address(path)))

        yield one


def ask(client: ClientConnection, kind: str) -> None:
    """Say something and wait for the answer."""
    client.send(json.dumps({"type": kind}))
    client.recv(10)


def number(page: Page, name: str) -> str:
    """What one of the tiles says."""
    return page.locator(f"#n-{name}").inner_text()


def shows(page: Page, name: str, text: str, within: float = PROMPT_MS) -> None:
    """Wait until a tile says this."""
    expect(page.locator(f"#n-{name}")).to_have_text(text, timeout=within)


def refused(running: Any) -> None:
    """A client that is not let in."""
    with pytest.raises(InvalidStatus), connect(running.address("/ws/refused/")):
        raise AssertionError


def test_numbers_are_the_clients_own(watched: Any, open_page: Any, join: Any) -> None:
    """The page says as many connections and messages as the clients made, and does not count itself."""
    running = watched()
    clients = [join(running, f"/ws/match/{number}/") for number in range(1, 6)]
    for client in clients:
        for _ in range(3):
            ask(client, "echo")
    page = open_page(running)

    for name, text in {"active": "5", "opened": "5", "rejected": "0", "received": "15", "sent": "15"}.items():
        shows(page, name, text)
    clients[0].close()
    shows(page, "active", "4")
    expect(page.locator("#by-role tr")).to_have_text("websocket_OTHER4")
    expect(page.locator("#status")).to_contain_text("healthy")
    assert "5" == number(page, "opened")


def test_a_reject_and_a_crash_are_seen_at_once(watched: Any, open_page: Any, join: Any) -> None:
    """A refused connection and a handler that raised are on the page within six seconds, and only their kind."""
    running = watched()
    page = open_page(running)
    client = join(running, "/ws/match/3/")
    began = time.monotonic()
    refused(running)
    client.send('{"type": "crash"}')

    shows(page, "rejected", "1")
    shows(page, "errors", "1")
    expect(page.locator("#rejections tr")).to_have_text("JWT_EXPIRED1")
    expect(page.locator("#errors tr")).to_have_text("systemhigh1")
    for event in ("WS_REJECT", "WS_ERROR"):
        expect(page.locator("#event-rows", has_text=event)).to_have_count(1)
    # One connection of two was refused.
    expect(page.locator("#findings")).to_contain_text("of the new connections failed", timeout=PATIENT_MS)

    assert time.monotonic() - began < 2 * PROMPT_MS / 1000
    assert "Ada" not in page.content()


def test_links_lead_from_connect_to_message_to_group_handler(watched: Any, open_page: Any, join: Any) -> None:
    """From a connection's trace one follows links to its message and on to who heard of it in the group."""
    running = watched()
    sender, hearer = join(running, "/ws/room/"), join(running, "/ws/room/")
    sender.send('{"type": "news"}')
    hearer.recv(10)
    page = open_page(running)
    title = page.locator("#waterfall-title")

    page.locator("#trace-rows button", has_text="news /ws/room/").first.click()
    expect(title).to_contain_text("news /ws/room/")
    expect(page.locator("#waterfall-body li .name")).to_have_text(["news /ws/room/", "publish room_{room_id}"])
    expect(title).to_be_focused()
    page.locator("#waterfall .links button", has_text="connect /ws/room/").click()
    expect(title).to_contain_text("connect /ws/room/")
    page.locator("#waterfall .links button", has_text="news /ws/room/").click()
    expect(title).to_contain_text("news /ws/room/")
    page.locator("#waterfall .links button", has_text="process room_{room_id}").first.click()
    expect(title).to_contain_text("process room_{room_id}")
    page.go_back()
    expect(title).to_contain_text("news /ws/room/")


def test_an_events_trace_can_be_opened(watched: Any, open_page: Any, join: Any) -> None:
    """From an error in the list one comes to the span that failed, and what that says."""
    running = watched()
    client = join(running, "/ws/match/3/")
    client.send('{"type": "crash"}')
    page = open_page(running)

    page.select_option("#event-name", "WS_ERROR")
    page.get_by_role("button", name="Trace of WS_ERROR").click()

    failed = page.locator("#waterfall-body li.failed")
    expect(failed).to_contain_text("error: crash /ws/match/{match_id}/")
    failed.locator("button").click()
    expect(failed.locator("dl")).to_contain_text("KeyError")


def test_events_are_filtered_by_name_and_id(watched: Any, open_page: Any, join: Any) -> None:
    """One sees the events of one kind, or of one id, wherever that stands."""
    running = watched()
    for match in (41, 42):
        ask(join(running, f"/ws/match/{match}/"), "echo")
    page = open_page(running)
    rows = page.locator("#event-rows tr")
    expect(rows).to_have_count(4)

    page.select_option("#event-name", "WS_CONNECT")
    expect(rows).to_have_count(2)
    page.fill("#event-id", "42")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("match 42")
    page.get_by_role("search", name="Filter events").get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(4)
    page.get_by_role("button", name="match 41").first.click()
    expect(rows).to_have_count(2)


def test_a_server_that_is_gone_comes_back(watched: Any, open_page: Any, join: Any) -> None:
    """The page says that the server is gone and how old its figures are, and goes on by itself when it is back."""
    running = watched()
    with connect(running.address("/ws/match/3/")):
        page = open_page(running)
        shows(page, "active", "1")
        running.kill()

    link, notice = page.locator("#link"), page.locator("#notice")
    expect(link).to_have_attribute("data-state", "gone", timeout=PROMPT_MS)
    expect(link).to_contain_text("the server is gone")
    expect(notice).to_contain_text("What is shown is old")
    assert "1" == number(page, "active")

    again = watched(port=running.port)
    expect(link).to_have_text("live", timeout=PATIENT_MS)
    expect(notice).to_be_hidden()
    shows(page, "active", "0")
    ask(join(again, "/ws/match/3/"), "echo")
    shows(page, "active", "1")
    shows(page, "received", "1")


def test_a_server_that_says_nothing_is_stale(watched: Any, open_page: Any) -> None:
    """A server that hangs is not taken for a live one."""
    running = watched()
    page = open_page(running)

    running.process.send_signal(19)  # SIGSTOP
    try:
        expect(page.locator("#link")).to_have_attribute("data-state", "stale", timeout=PATIENT_MS)
        expect(page.locator("#link")).to_contain_text("s old")
    finally:
        running.process.send_signal(18)  # SIGCONT
    expect(page.locator("#link")).to_have_text("live", timeout=PATIENT_MS)


def test_frames_that_tell_nothing_new_are_stale(watched: Any, open_page: Any) -> None:
    """A server that goes on telling of the same moment is not live, though its frames come."""
    running = watched()
    page = open_page(running)
    first: list[float] = []

    def told_again(page_end: Any) -> None:
        server = page_end.connect_to_server()

        def old(text: str) -> None:
            frame = json.loads(text)
            first.append(frame["at"])
            page_end.send(json.dumps({**frame, "at": first[0]}))

        server.on_message(old)

    page.route_web_socket("**/events/monitor*", told_again)
    page.reload()

    expect(page.locator("#link")).to_have_attribute("data-state", "stale", timeout=PATIENT_MS)
    expect(page.locator("#link")).to_contain_text("s old")
    assert len(first) > 1


def test_two_workers_are_one(watched: Any, open_page: Any, join: Any) -> None:
    """With two workers the page says what both count, whichever answers, and shows both."""
    running = watched(more=("--workers", "2"))
    clients = [join(running, f"/ws/match/{number}/") for number in range(1, 13)]
    for client in clients:
        ask(client, "echo")

    for _ in range(3):
        page = open_page(running)
        shows(page, "active", "12")
        shows(page, "received", "12")
        expect(page.locator("#processes tr")).to_have_count(2)
        expect(page.locator("#event-rows tr")).to_have_count(24)


def test_with_a_token_one_signs_in(watched: Any, open_page: Any, tmp_path: Path) -> None:
    """Who has the token and no session types it once; a wrong one is told so, and nothing is shown."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    running = watched(OTEL_WS_TRUST_LOOPBACK="false", OTEL_WS_TOKEN_FILE=str(file))
    page = open_page(running, wait=False)

    page.fill("#token", "something else, for that matter")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.fill("#token", TOKEN)
    page.get_by_role("button", name="Sign in").click()

    expect(page.locator("#link")).to_have_text("live")
    assert TOKEN not in page.url + page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(watched: Any, open_page: Any, join: Any, scheme: str, width: int) -> None:
    """Neither in light nor in dark, wide or on a phone, does axe find a serious hindrance."""
    running = watched()
    client = join(running, "/ws/match/3/")
    ask(client, "echo")
    client.send('{"type": "crash"}')
    refused(running)
    page = open_page(running, color_scheme=scheme, viewport={"width": width, "height": 844})
    page.locator("#trace-rows button", has_text="crash").first.click()
    page.locator("#waterfall-body li > button").first.click()
    expect(page.locator("#waterfall-body dl")).to_be_visible()

    found = Axe().run(page).response["violations"]

    assert [] == [(one["id"], one["impact"]) for one in found if one["impact"] in ("serious", "critical", "moderate")]


def test_a_phone_need_not_scroll_sideways(watched: Any, open_page: Any, join: Any) -> None:
    """On a narrow screen everything is as wide as the screen."""
    running = watched()
    ask(join(running, "/ws/match/3/"), "echo")
    page = open_page(running, viewport={"width": 320, "height": 640})
    page.locator("#trace-rows button").first.click()
    expect(page.locator("#waterfall-body ol li")).to_have_count(1)

    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_keyboard_is_enough(watched: Any, open_page: Any, join: Any) -> None:
    """Everything can be reached and used by keyboard, and an update takes the focus from nobody."""
    running = watched()
    ask(join(running, "/ws/match/3/"), "echo")
    page = open_page(running)
    focus = "document.activeElement.id || document.activeElement.textContent"

    page.keyboard.press("Tab")
    assert "Skip to the figures" == page.evaluate(focus)
    page.keyboard.press("Enter")
    page.locator("#event-name").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("3")
    expect(page.locator("#event-rows tr")).to_have_count(2)
    page.locator("#trace-rows button").first.focus()
    said = page.evaluate(focus)
    for _ in range(2):
        ask(join(running, "/ws/match/4/"), "echo")
        page.wait_for_timeout(2200)
    assert said == page.evaluate(focus)
    page.keyboard.press("Enter")
    expect(page.locator("#waterfall-title")).to_be_focused()


def test_the_page_can_be_paused(watched: Any, open_page: Any, join: Any) -> None:
    """Who reads can have it stand still; afterwards nothing is missing."""
    running = watched()
    page = open_page(running)
    shows(page, "opened", "0")

    pause = page.get_by_role("button", name="Pause")
    pause.press("Enter")
    expect(page.locator("#link")).to_have_text("paused")
    ask(join(running, "/ws/match/3/"), "echo")
    page.wait_for_timeout(4500)
    assert "0" == number(page, "opened")
    pause.press("Enter")

    shows(page, "opened", "1")
    expect(page.locator("#trace-rows tr")).to_have_count(2)


def test_motion_and_zoom_are_the_readers_choice(watched: Any, open_page: Any) -> None:
    """Who asked for less motion gets none, and nobody is kept from zooming."""
    page = open_page(watched(), reduced_motion="reduce")

    style = page.evaluate("getComputedStyle(document.querySelector('#verdict')).transitionDuration")
    scroll = page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")

    assert ("0s", "auto") == (style, scroll)
    assert "maximum-scale" not in (page.locator("meta[name=viewport]").get_attribute("content") or "")


def test_nothing_comes_from_elsewhere(watched: Any, open_page: Any) -> None:
    """Every file and every connection of the page is of the server that it came from."""
    running = watched()
    page = open_page(running)

    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => new URL(one.name).host)")

    assert {f"127.0.0.1:{running.port}"} == set(loaded)
    assert 0 == page.locator("script:not([src]), style, [style], [onclick]").count()


def test_without_recent_the_page_says_so(watched: Any, open_page: Any, join: Any) -> None:
    """Where no events and spans are kept, the page names the setting, and shows the rest."""
    running = watched(OTEL_WS_RECENT="false")
    ask(join(running, "/ws/match/3/"), "echo")
    page = open_page(running)

    shows(page, "received", "1")
    for part in ("#no-events", "#no-traces"):
        expect(page.locator(part)).to_contain_text("OTEL_WS_RECENT=true")
