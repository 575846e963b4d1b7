"""``configure()``, in processes of its own: global providers can be set only once."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from surroundings import bare_environment

TALK = """
import asyncio
async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": "pong"})
async def talk(app):
    messages = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "ping"},
                     {"type": "websocket.disconnect", "code": 1000}])
    async def receive(): return next(messages)
    async def send(message): pass
    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
"""


def run(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter with these variables and no other OTEL ones."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", TALK + textwrap.dedent(program)],
        env={**bare_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


CONSOLE = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "console",
    "OTEL_LOGS_EXPORTER": "console",
    "OTEL_SERVICE_NAME": "arena",
}


def test_all_three_signals_reach_the_exporters_that_the_environment_names() -> None:
    """Two lines and the standard variables are enough for spans, metrics and events."""
    program = """
        import otel_ws
        otel_ws.configure(message_events="all")
        asyncio.run(talk(otel_ws.WebSocketMiddleware(app)))
    """

    done = run(program, **CONSOLE)

    assert (0, "") == (done.returncode, done.stderr)
    for text in ('"name": "connect _OTHER"', '"name": "ws.messages"', '"event_name": "WS_MESSAGE"', "arena"):
        assert text in done.stdout


def test_exporter_none_exports_nothing() -> None:
    """``none`` is the standard's word for an exporter that is not there."""
    program = """
        import otel_ws
        otel_ws.configure()
        asyncio.run(talk(otel_ws.WebSocketMiddleware(app)))
        assert otel_ws.get_metrics_snapshot()["ws_messages_total"] == {("unknown", "success"): 1}
    """

    done = run(program, OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_TRACES_EXPORTER": "telepathy"}, "OTEL_TRACES_EXPORTER='telepathy' is not an exporter"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"}, "OTEL_EXPORTER_OTLP_PROTOCOL='pigeon' is not valid; allowed: http"),
        ({"OTEL_WS_SEND_SPANS": "some"}, "OTEL_WS_SEND_SPANS='some' is not valid; allowed: off, slow, all"),
        ({"OTEL_CONFIG_FILE": "otel.yaml"}, "OTEL_CONFIG_FILE is read by opentelemetry-instrument"),
    ],
)
def test_a_wrong_value_ends_the_start_with_one_plain_line(environ: dict[str, str], expected: str) -> None:
    """The text names the variable, the value and what is allowed; there is no traceback."""
    done = run("import otel_ws\notel_ws.configure()", **environ)

    assert 1 == done.returncode
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


NUMBER = "a whole number, 0 or more"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"OTEL_METRIC_EXPORT_INTERVAL": "-5"},
            "OTEL_METRIC_EXPORT_INTERVAL has a value that is not valid; allowed: m",
        ),
        ({"OTEL_BSP_SCHEDULE_DELAY": "-5"}, "OTEL_BSP_SCHEDULE_DELAY has a value that is not valid; allowed: a whole"),
        ({"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "9999"}, "is above OTEL_BLRP_MAX_QUEUE_SIZE (2048)"),
        (
            {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1"},
            f"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT has a value that is not valid; allowed: {NUMBER}",
        ),
        (
            {"OTEL_ATTRIBUTE_COUNT_LIMIT": "s3cret"},
            f"OTEL_ATTRIBUTE_COUNT_LIMIT has a value that is not valid; allowed: {NUMBER}",
        ),
        (
            {"OTEL_METRICS_EXEMPLAR_FILTER": "s3cret"},
            "OTEL_METRICS_EXEMPLAR_FILTER has a value that is not valid; allowed: always_on",
        ),
        (
            {"OTEL_PROPAGATORS": "s3cret"},
            "OTEL_PROPAGATORS names one that is not installed; allowed, with commas: baggage, none",
        ),
    ],
)
def test_a_value_that_the_sdk_refuses_is_named(environ: dict[str, str], expected: str) -> None:
    """What the SDK raises over its own variables names the variable and what is allowed, and shows no value."""
    done = run("import otel_ws\notel_ws.configure()", **CONSOLE, **environ)

    assert 1 == done.returncode
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr


def test_a_value_that_the_sdk_takes_ends_nothing() -> None:
    """Where the SDK says that it uses its default, it does."""
    program = "import otel_ws\notel_ws.configure()\nprint('started')"
    done = run(program, **CONSOLE, OTEL_METRIC_EXPORT_INTERVAL="abc")

    assert (0, True) == (done.returncode, done.stdout.startswith("started"))


@pytest.mark.parametrize("environ", [{"OTEL_WS_ENABLED": "false"}, {"OTEL_SDK_DISABLED": "true"}])
def test_switched_off_no_value_of_the_sdk_matters(environ: dict[str, str]) -> None:
    """What parts of the SDK raise while they are imported does not end an application that has otel-ws off."""
    done = run("import otel_ws\notel_ws.configure()", OTEL_PROPAGATORS="zipkin", **environ)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("protocol", "endpoint", "warned"),
    [
        ("http/protobuf", "localhost:4317", True),
        ("http/protobuf", "http://localhost:4318", False),
        ("grpc", "localhost:4317", False),
    ],
)
def test_an_endpoint_without_a_scheme_is_warned_of(protocol: str, endpoint: str, warned: bool) -> None:
    """OTLP over HTTP starts with such an address and never exports: the start says so, once, and goes on."""
    if protocol == "grpc":
        pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
    program = "import os, otel_ws\notel_ws.configure()\nprint('started', flush=True)\nos._exit(0)"
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}

    done = run(program, **environ)

    assert "started\n" == done.stdout
    assert warned == done.stderr.startswith("otel-ws: OTEL_EXPORTER_OTLP_ENDPOINT does not begin with http://")
    assert warned == done.stderr.count("\n")


@pytest.mark.parametrize("environ", [{"OTEL_WS_ENABLED": "false"}, {"OTEL_SDK_DISABLED": "true"}])
def test_switched_off_nothing_is_touched(environ: dict[str, str]) -> None:
    """No provider is made, nothing is patched, and the application object itself comes back."""
    program = """
        import otel_ws
        from channels.consumer import AsyncConsumer
        from opentelemetry import trace
        before = AsyncConsumer.__call__
        otel_ws.configure()
        assert otel_ws.WebSocketMiddleware(app) is app
        assert AsyncConsumer.__call__ is before
        assert "Proxy" in type(trace.get_tracer_provider()).__name__
        otel_ws.record_auth_failure("JWT_EXPIRED")
        assert otel_ws.get_metrics_snapshot() == {} and otel_ws.health() is None
    """

    done = run(program, **CONSOLE, **environ)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_a_users_own_providers_stay() -> None:
    """Providers that were set before are used as they are."""
    program = """
        import otel_ws
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        mine, seen = TracerProvider(), InMemorySpanExporter()
        mine.add_span_processor(SimpleSpanProcessor(seen))
        trace.set_tracer_provider(mine)
        otel_ws.configure()
        assert trace.get_tracer_provider() is mine
        asyncio.run(talk(otel_ws.WebSocketMiddleware(app)))
        print([span.name for span in seen.get_finished_spans()])
    """

    done = run(program, OTEL_TRACES_EXPORTER="console", OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")

    assert "['connect _OTHER', 'unknown _OTHER', 'disconnect _OTHER']" == done.stdout.strip()
    assert "" == done.stderr


def test_a_second_call_changes_nothing() -> None:
    """Two calls, or a call after the instrumentor, make one set of telemetry."""
    program = """
        import otel_ws
        otel_ws.ChannelsInstrumentor().instrument()
        otel_ws.configure()
        otel_ws.configure()
        asyncio.run(talk(otel_ws.WebSocketMiddleware(otel_ws.WebSocketMiddleware(app))))
        print(otel_ws.get_metrics_snapshot()["ws_messages_total"])
    """

    done = run(program, OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")

    assert "{('unknown', 'success'): 1}" == done.stdout.strip()
    assert "" == done.stderr


def test_resource_attributes_that_are_not_of_the_service_stay() -> None:
    """A person's address among the resource attributes does not leave; the service's name does."""
    program = """
        import otel_ws
        otel_ws.configure()
        asyncio.run(talk(otel_ws.WebSocketMiddleware(app)))
    """
    attributes = "user.email=ann@example.com,deployment.environment.name=staging,host.name=annes-laptop"

    done = run(program, **CONSOLE, OTEL_RESOURCE_ATTRIBUTES=attributes)

    assert "staging" in done.stdout
    assert "example.com" not in done.stdout + done.stderr
    assert "annes-laptop" not in done.stdout + done.stderr


def test_prometheus_serves_the_metrics() -> None:
    """``OTEL_METRICS_EXPORTER=prometheus`` answers on the standard variable's port."""
    program = """
        import otel_ws, socket, os, urllib.request
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"] = port = str(free.getsockname()[1])
        otel_ws.configure()
        asyncio.run(talk(otel_ws.WebSocketMiddleware(app)))
        text = urllib.request.urlopen(f"http://localhost:{port}/metrics").read().decode()
        print(next(line for line in text.splitlines() if line.startswith("ws_messages_total{")))
    """

    done = run(program, OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="prometheus", OTEL_LOGS_EXPORTER="none")

    assert 'type="unknown"' in done.stdout
    assert done.stdout.strip().endswith(" 1.0")


def test_djangos_settings_are_read_where_django_is_configured() -> None:
    """``OTEL_WS = {...}`` works as the environment does, and names itself when it is wrong."""
    program = """
        from django.conf import settings
        settings.configure(OTEL_WS={"message_events": "sometimes"})
        import otel_ws
        otel_ws.configure()
    """

    done = run(program, **CONSOLE)

    assert "OTEL_WS['message_events'] in Django's settings='sometimes' is not valid" in done.stderr
