"""A base install: only the OpenTelemetry API. No SDK, no Django, no Channels; lines and snapshot work.

Each test starts a fresh Python in which those packages cannot be imported, whether they are installed or not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment

import otel_ws

ROOT = str(Path(otel_ws.__file__).parents[1])
ABSENT = """
import sys
for name in (
    "channels", "daphne", "django", "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation",
    "opentelemetry.semconv", "pytest", "starlette",
):
    sys.modules[name] = None
"""
CONVERSATION = """
import asyncio, json
import otel_ws

async def application(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        otel_ws.set_message_type("chat")
        await send({"type": "websocket.send", "text": "hello"})

async def converse(app):
    script = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.receive", "bytes": b"hello"},
        {"type": "websocket.disconnect", "code": 1001},
    ]
    sent = []
    async def receive():
        return script.pop(0)
    async def send(message):
        sent.append(message["type"])
    scope = {
        "type": "websocket", "path": "/ws/7/", "headers": [], "role": "player", "path_params": {"tournament_id": 7},
    }
    await app(scope, receive, send)
    return sent
"""


def run(script: str, before: str = ABSENT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh Python, by default without the packages."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", before + script],
        env={**bare_environment(), "PYTHONPATH": ROOT, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def answer(script: str, **environ: str) -> Any:
    """Run a script that succeeds in silence, and read the JSON that it prints."""
    done = run(script, ABSENT, **environ)
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


# --- importing --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "package",
    [
        "channels",
        "django",
        "opentelemetry.sdk",
        "opentelemetry.exporter",
        "opentelemetry.instrumentation",
        "pytest",
        "starlette",
    ],
)
def test_importing_loads_no_framework(package: str) -> None:
    """``import otel_ws`` loads neither a framework nor the SDK, though they may be installed."""
    script = f"""
import json, sys
import otel_ws
print(json.dumps([name for name in sys.modules if name == {package!r} or name.startswith({package!r} + ".")]))
"""
    done = run(script, before="")

    assert (0, "[]\n", "") == (done.returncode, done.stdout, done.stderr)


def test_importing_works_without_them() -> None:
    """``import otel_ws`` needs the OpenTelemetry API alone."""
    version = answer("import json, otel_ws; print(json.dumps(otel_ws.__version__))")

    assert otel_ws.__version__ == version


def test_importing_starts_nothing() -> None:
    """The import starts no thread and installs no recorder."""
    found = answer("""
import json, threading
import otel_ws
from otel_ws import recorder
print(json.dumps([threading.active_count(), recorder.active() is None]))
""")

    assert [1, True] == found


def test_every_public_name_is_there() -> None:
    """Each name in ``__all__`` is an attribute, the instrumentor included."""
    missing = answer("""
import json
import otel_ws
print(json.dumps([name for name in otel_ws.__all__ if not hasattr(otel_ws, name)]))
""")

    assert [] == missing


def test_another_name_is_an_attribute_error() -> None:
    """A name that the package does not have is not looked for anywhere."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        otel_ws.nothing  # noqa: B018


# --- a conversation ---------------------------------------------------------------------------------------------
def test_a_conversation_passes_as_it_is() -> None:
    """The middleware hands every message on."""
    sent = answer(
        CONVERSATION
        + """
print(json.dumps(asyncio.run(converse(otel_ws.WebSocketMiddleware(application)))))
"""
    )

    assert ["websocket.accept", "websocket.send", "websocket.send"] == sent


def test_a_conversation_is_written_as_json_lines(tmp_path: Path) -> None:
    """With ``OTEL_WS_JSON_LOG`` the events of a plain ASGI application are in the file."""
    path = tmp_path / "events.jsonl"

    done = run(
        CONVERSATION + "asyncio.run(converse(otel_ws.WebSocketMiddleware(application)))",
        OTEL_WS_JSON_LOG=str(path),
        OTEL_WS_MESSAGE_EVENTS="all",
    )

    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert ["WS_CONNECT", "WS_MESSAGE", "WS_MESSAGE", "WS_DISCONNECT"] == [line["event"] for line in written]
    assert {7} == {line["tournament_id"] for line in written}
    assert 1 == len({line["connection_id"] for line in written})
    assert (1001, "client") == (written[-1]["close_code"], written[-1]["initiator"])


def test_a_conversation_is_written_to_standard_output() -> None:
    """With ``OTEL_WS_JSON_LOG=stdout`` the lines are on standard output."""
    done = run(
        CONVERSATION + "asyncio.run(converse(otel_ws.WebSocketMiddleware(application)))", OTEL_WS_JSON_LOG="stdout"
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert ["WS_CONNECT", "WS_DISCONNECT"] == [json.loads(line)["event"] for line in done.stdout.splitlines()]


def test_the_snapshot_has_the_documented_shape() -> None:
    """``get_metrics_snapshot`` gives plain dicts: name, label tuple, number; buckets cumulative and in seconds."""
    found = answer(
        CONVERSATION
        + """
otel_ws.declare(message_types=["chat"])
app = otel_ws.WebSocketMiddleware(application)
asyncio.run(converse(app))
otel_ws.record_ratelimit_reject("MSG_RATE")
otel_ws.record_auth_failure("JWT_EXPIRED")
snapshot = otel_ws.get_metrics_snapshot()
assert all(type(key) is tuple for rows in snapshot.values() for key in rows)
latency = snapshot["ws_message_latency_seconds"].pop(("chat",))
assert not snapshot["ws_message_latency_seconds"]
names = (
    "ws_connections_total", "ws_active_connections_gauge", "ws_messages_total", "ws_ratelimit_events_total",
    "ws_auth_failures_total",
)
print(json.dumps([
    [[name, list(key), value] for name in names for key, value in snapshot[name].items()],
    [list(latency), [str(bound) for bound in latency["buckets"]], list(latency["buckets"].values()), latency["count"]],
]))
"""
    )

    rows, (parts, bounds, counts, count) = found
    assert [
        ["ws_connections_total", ["player", "tournament", "connected"], 1],
        ["ws_connections_total", ["player", "tournament", "disconnected"], 1],
        ["ws_active_connections_gauge", ["player", "tournament"], 0],
        ["ws_messages_total", ["chat", "success"], 2],
        ["ws_ratelimit_events_total", ["MSG_RATE"], 1],
        ["ws_auth_failures_total", ["JWT_EXPIRED"], 1],
    ] == rows
    assert ["buckets", "sum", "count"] == parts
    assert ["0.001", "0.005", "0.01", "0.05", "0.1", "0.25", "0.5", "1.0", "5.0", "10.0", "+Inf"] == bounds
    assert (sorted(counts), 2, 2) == (counts, counts[-1], count)


# --- what needs more --------------------------------------------------------------------------------------------
def test_configuring_without_the_sdk_ends_with_what_to_install() -> None:
    """``configure()`` without the SDK ends the start with a text that names the extra, and no traceback."""
    done = run("import otel_ws; otel_ws.configure()")

    assert 1 == done.returncode
    assert "Traceback" not in done.stderr
    assert "pip install 'otel-ws[sdk]'" in done.stderr


def test_configuring_without_the_sdk_where_telemetry_is_off_is_silent() -> None:
    """The rollback works in every install: with ``OTEL_WS_ENABLED=false`` nothing is needed, and nothing is done."""
    done = run("import otel_ws; otel_ws.configure()", OTEL_WS_ENABLED="false")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_a_wrong_setting_ends_the_start_with_a_text() -> None:
    """A wrong variable is told in a base install, too."""
    done = run("import otel_ws; otel_ws.WebSocketMiddleware(None)", OTEL_WS_SEND_SPANS="fast")

    assert 1 == done.returncode
    assert "OTEL_WS_SEND_SPANS='fast' is not valid; allowed: off, slow, all." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variable", ["OTEL_WS_ENABLED=false", "OTEL_SDK_DISABLED=true"])
def test_where_telemetry_is_off_the_application_itself_comes_back(variable: str) -> None:
    """With telemetry off there is no wrapper."""
    name, _, value = variable.partition("=")

    same = answer(
        CONVERSATION + "print(json.dumps(otel_ws.WebSocketMiddleware(application) is application))", **{name: value}
    )

    assert same is True


def test_a_plain_asgi_application_needs_no_more_than_the_middleware() -> None:
    """Scopes of other types pass untouched."""
    same = answer(
        CONVERSATION
        + """
async def http(scope, receive, send):
    return (scope, receive, send)

scope, receive, send = {"type": "lifespan"}, object(), object()
passed = asyncio.run(otel_ws.WebSocketMiddleware(http)(scope, receive, send))
print(json.dumps([one is other for one, other in zip(passed, (scope, receive, send))]))
"""
    )

    assert [True, True, True] == same


# --- monitoring -------------------------------------------------------------------------------------------------
def test_the_endpoints_answer() -> None:
    """Numbers, verdict and Prometheus's text need neither the SDK nor Prometheus's package."""
    script = f"""{CONVERSATION}
from otel_ws import endpoints
asyncio.run(converse(otel_ws.WebSocketMiddleware(application)))
async def ask(path):
    sent = []
    async def send(message):
        sent.append(message)
    headers = [(b"host", b"localhost")]
    scope = {{"type": "http", "method": "GET", "path": path, "client": ("127.0.0.1", 1), "headers": headers}}
    await endpoints.application()(scope, None, send)
    return [sent[0]["status"], sent[1]["body"].decode()]
found = {{path: asyncio.run(ask(path)) for path in ("/ws-metrics/", "/metrics", "/readiness", "/health/detailed")}}
print(json.dumps(found))
"""
    found = answer(script, OTEL_WS_TRUST_LOOPBACK="true")

    assert {200} == {status for status, _ in found.values()}
    assert 1 == json.loads(found["/ws-metrics/"][1])["connections_total"]
    assert (
        'ws_messages_total{http_route="_OTHER",transport="websocket",type="unknown",status="success"} 2'
        in found["/metrics"][1]
    )
