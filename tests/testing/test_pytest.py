"""The pytest plugin, in suites of users' that run in a pytest of their own."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import otel_ws

pytest_plugins = ("pytester",)
# An environment that was made before the plugin was there does not know its entry point.
PLUGIN = () if "otel_ws" in entry_points(group="pytest11").names else ("-p", "_otel_ws_pytest")
EMIT = """
import logging

import pytest
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger

tracer = trace.get_tracer("shop")
counter = metrics.get_meter("shop").create_counter("shop.orders")
events = get_logger("shop")

def emit():
    with tracer.start_as_current_span("take order"):
        counter.add(2, {"kind": "new"})
        events.emit(event_name="ORDER")

def seen(telemetry):
    return telemetry.span_names(), telemetry.value("shop.orders", kind="new"), [e.name for e in telemetry.events()]

EVERYTHING = (["take order"], 2, ["ORDER"])
NOTHING = ([], 0, [])
"""
SUITE = """
def test_first(telemetry):
    emit()
    assert EVERYTHING == seen(telemetry)
    assert EVERYTHING == seen(telemetry)

def test_without():
    emit()

def test_starts_empty(telemetry):
    assert NOTHING == seen(telemetry)
    emit()
    assert EVERYTHING == seen(telemetry)

async def test_async(telemetry):
    assert NOTHING == seen(telemetry)
    emit()
    assert EVERYTHING == seen(telemetry)

def test_last(telemetry):
    assert NOTHING == seen(telemetry)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for a suite, without the variables of whoever runs this one."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "DJANGO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(Path(otel_ws.__file__).parents[1]))
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error"
    )
    return pytester


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run the suite in a process of its own."""
    return suite.runpytest_subprocess(*PLUGIN, *(options or ("-p", "no:django")))


def test_a_suite_that_does_not_ask_loads_nothing(suite: pytest.Pytester) -> None:
    """Started in any suite, the plugin has imported neither otel-ws nor OpenTelemetry, Django or Channels."""
    suite.makepyfile("""
        import sys

        def test_it():
            assert "_otel_ws_pytest" in sys.modules
            loaded = {name.partition(".")[0] for name in sys.modules}
            assert set() == loaded & {"otel_ws", "opentelemetry", "django", "channels"}
    """)

    run(suite).assert_outcomes(passed=1)


def test_the_fixture_is_described(suite: pytest.Pytester) -> None:
    """``pytest --fixtures`` says what the fixture is."""
    result = run(suite, "--fixtures", "-p", "no:django")

    result.stdout.fnmatch_lines(["telemetry*", "*What is emitted during the test*"])


def test_without_the_sdk_the_way_out_is_named(suite: pytest.Pytester) -> None:
    """In a base install the fixture is an error of one line that says what to install."""
    suite.makeconftest("import sys\nsys.modules['opentelemetry.sdk'] = None")
    suite.makepyfile("def test_it(telemetry): pass")

    result = run(suite)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs the OpenTelemetry SDK: pip install 'otel-ws[[]sdk]'*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_all_signals_are_captured_without_any_set_up(suite: pytest.Pytester) -> None:
    """Where nobody has set a provider, spans, metrics and events are captured, each test from nothing."""
    suite.makepyfile(EMIT + SUITE)

    run(suite).assert_outcomes(passed=5)


def test_a_set_up_that_is_there_stays(suite: pytest.Pytester) -> None:
    """With global providers of the suite's own, both they and the fixture see everything."""
    suite.makeconftest("""
        import pytest
        from opentelemetry import _logs, metrics, trace
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        SPANS, RECORDS = InMemorySpanExporter(), InMemoryLogRecordExporter()
        PROVIDERS = TracerProvider(), LoggerProvider(), MeterProvider()
        PROVIDERS[0].add_span_processor(SimpleSpanProcessor(SPANS))
        PROVIDERS[1].add_log_record_processor(SimpleLogRecordProcessor(RECORDS))
        trace.set_tracer_provider(PROVIDERS[0])
        _logs.set_logger_provider(PROVIDERS[1])
        metrics.set_meter_provider(PROVIDERS[2])

        @pytest.fixture(scope="session", autouse=True)
        def theirs():
            yield
            assert 4 == len(SPANS.get_finished_spans()) == len(RECORDS.get_finished_logs())
            assert PROVIDERS[0] is trace.get_tracer_provider()
    """)
    has_readers = "hasattr(metrics.get_meter_provider(), 'add_metric_reader')"
    suite.makepyfile(f"{EMIT}\nif not {has_readers}:\n    EVERYTHING = (EVERYTHING[0], 0, EVERYTHING[2])\n{SUITE}")

    run(suite).assert_outcomes(passed=5)


@pytest.mark.parametrize("name", ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_SAMPLER=always_off"])
def test_a_switched_off_sdk_is_captured(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Suites often switch the SDK off by its variables; the fixture works all the same."""
    monkeypatch.setenv(*name.split("="))
    suite.makepyfile(
        EMIT
        + SUITE
        + """
async def test_ours(telemetry):
    from asgiref.testing import ApplicationCommunicator
    import otel_ws

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})

    client = ApplicationCommunicator(otel_ws.WebSocketMiddleware(application), {"type": "websocket", "headers": []})
    await client.send_input({"type": "websocket.connect"})
    await client.wait()
    assert ["connect _OTHER", "disconnect _OTHER"] == telemetry.span_names()
    telemetry.assert_connections(1)
"""
    )

    run(suite).assert_outcomes(passed=6)


def test_nothing_is_recorded_between_captures(suite: pytest.Pytester) -> None:
    """After the first use the rest of the suite runs as before: its spans do not record."""
    suite.makepyfile(
        EMIT
        + """
def test_one(telemetry):
    with tracer.start_as_current_span("one") as span:
        assert span.is_recording()

def test_two():
    with tracer.start_as_current_span("two") as span:
        assert not span.is_recording()
"""
    )

    run(suite).assert_outcomes(passed=2)


def test_it_works_beside_pytest_django(suite: pytest.Pytester) -> None:
    """With pytest-django: a consumer that queries the database, in an asynchronous test."""
    pytest.importorskip("pytest_django")
    pytest.importorskip("channels")
    suite.makepyfile(
        shop_settings="""
            SECRET_KEY = "only-for-tests"
            INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
            DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
            CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
            USE_TZ = True
        """
    )
    suite.makepyfile("""
        import pytest
        from asgiref.testing import ApplicationCommunicator
        from channels.db import database_sync_to_async
        from channels.generic.websocket import AsyncJsonWebsocketConsumer
        from channels.routing import URLRouter
        from django.contrib.auth.models import User
        from django.urls import path

        import otel_ws

        class Chat(AsyncJsonWebsocketConsumer):
            message_types = ["count"]

            async def receive_json(self, content):
                await self.send_json({"users": await database_sync_to_async(User.objects.count)()})

        application = otel_ws.WebSocketMiddleware(URLRouter([path("ws/<int:match_id>/", Chat.as_asgi())]))

        @pytest.mark.django_db(transaction=True)
        async def test_chat(telemetry):
            scope = {"type": "websocket", "path": "/ws/7/", "headers": [], "query_string": b"", "subprotocols": []}
            client = ApplicationCommunicator(application, scope)
            await client.send_input({"type": "websocket.connect"})
            assert "websocket.accept" == (await client.receive_output())["type"]
            await client.send_input({"type": "websocket.receive", "text": '{"type": "count"}'})
            assert '{"users": 0}' == (await client.receive_output())["text"]
            await client.send_input({"type": "websocket.disconnect", "code": 1000})
            await client.wait()
            telemetry.assert_connections(1, open=0, rejected=0, route="/ws/{match_id}/")
            telemetry.assert_messages(1, sent=1, route="/ws/{match_id}/")
            telemetry.assert_linked("count /ws/{match_id}/", to="connect /ws/{match_id}/")
            telemetry.assert_ids_only()

        @pytest.mark.django_db
        def test_again(telemetry):
            assert 0 == User.objects.count()
            telemetry.assert_connections(0)
    """)

    run(suite, "--ds=shop_settings").assert_outcomes(passed=2)


def test_a_leak_shows_its_place_alone(suite: pytest.Pytester) -> None:
    """Even with ``--showlocals`` a failure of ``assert_ids_only`` names the place and not the value."""
    suite.makepyfile(
        EMIT
        + """
import os

def test_leak(telemetry):
    with tracer.start_as_current_span("take order") as span:
        span.set_attribute("customer.email", os.environ["CUSTOMER"])
    telemetry.assert_ids_only()
"""
    )
    os.environ["CUSTOMER"] = "zephyrine@mail.example"
    try:
        result = run(suite, "--showlocals", "-p", "no:django")
    finally:
        del os.environ["CUSTOMER"]

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*traces: span '_OTHER': attribute 'customer.email'"])
    assert "zephyrine" not in result.stdout.str() + result.stderr.str()


def test_it_starts_where_otel_ws_is_loaded_already(suite: pytest.Pytester) -> None:
    """``opentelemetry-instrument pytest`` loads otel-ws before pytest: that is no warning, which may be an error."""
    suite.makepyfile(EMIT + SUITE)
    script = "import otel_ws, pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"

    result = suite.run(sys.executable, "-c", script, *PLUGIN, "-p", "no:django")

    result.assert_outcomes(passed=5)


def test_behind_the_gate_is_what_leaves(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ``otel_ws.configure()`` has set the process up, the fixture sees what its gate lets through."""
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    suite.makepyfile("""
        import otel_ws
        from opentelemetry import metrics, trace
        from opentelemetry._logs import get_logger

        otel_ws.configure()
        tracer = trace.get_tracer("json")
        counter = metrics.get_meter("json").create_counter("process.uptime", "s")

        def emit():
            with tracer.start_as_current_span("SELECT 1") as span:
                span.set_attributes({"db.system": "sqlite", "db.statement": "SELECT name FROM people"})
                get_logger("json").emit(body="order of Ada")

        def test_one(telemetry):
            emit()
            span = telemetry.span("SELECT")
            assert {"db.system": "sqlite"} == dict(span.attributes)
            assert ["Text removed by otel-ws."] == [event.body for event in telemetry.events()]
            telemetry.assert_ids_only()

        def test_two(telemetry):
            telemetry.assert_ids_only()
            assert [] == telemetry.spans()

        def test_the_process_own_recorder_rests(telemetry):
            counter.add(1)
            heard = telemetry.others.metrics()
            scopes = {s.scope.name for data in heard for r in data.resource_metrics for s in r.scope_metrics}
            if hasattr(metrics.get_meter_provider(), "add_metric_reader"):
                assert {"json"} == scopes
    """)

    run(suite).assert_outcomes(passed=3)


def test_what_a_test_meets_is_known_behind_the_gate(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A route, a message's type and a reason leave as they are in the first test that meets them, and in the next."""
    pytest.importorskip("channels")
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    suite.makepyfile("""
        from django.conf import settings

        import otel_ws

        settings.configure()
        otel_ws.configure()

        import pytest
        from asgiref.testing import ApplicationCommunicator
        from channels.generic.websocket import AsyncJsonWebsocketConsumer
        from channels.routing import URLRouter
        from django.urls import path

        class Room(AsyncJsonWebsocketConsumer):
            message_types = ["say"]

            async def receive_json(self, content):
                await self.send_json({})

        rooms = URLRouter([path("ws/room/<int:room_id>/", Room.as_asgi())])

        @pytest.mark.parametrize("number", [1, 2])
        async def test_a_message(telemetry, number):
            scope = {"type": "websocket", "path": "/ws/room/7/", "query_string": b"", "headers": [], "subprotocols": []}
            client = ApplicationCommunicator(otel_ws.WebSocketMiddleware(rooms), scope)
            await client.send_input({"type": "websocket.connect"})
            await client.receive_output()
            await client.send_input({"type": "websocket.receive", "text": '{"type": "say"}'})
            await client.receive_output()
            await client.send_input({"type": "websocket.disconnect", "code": 4242})
            await client.wait(3)
            telemetry.assert_connections(1, route="/ws/room/{room_id}/")
            telemetry.assert_messages(1, type="say")
            telemetry.assert_ids_only()
            assert {4242} == {event.attributes.get("ws.close.code") for event in telemetry.events("WS_DISCONNECT")}

        def test_afterwards():
            from otel_ws import recorder, semconv

            assert not recorder.vocabulary.is_declared(semconv.MESSAGE_TYPE, "say")
    """)

    run(suite).assert_outcomes(passed=3)
