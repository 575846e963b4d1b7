"""When the gate opens and in which mode, in processes of their own: each way in, and a configuration file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment

pytest.importorskip("opentelemetry.sdk")

# An application with telemetry of its own; it tells the mode of the gate on standard output.
APPLICATION = """
import logging
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from otel_ws import gate

def work():
    tracer = trace.get_tracer("shop.alice", "1-alice", schema_url="https://alice")
    with tracer.start_as_current_span("order of alice", attributes={"user.email": "alice@example.com"}) as outer:
        with tracer.start_as_current_span("pay") as inner:
            inner.add_event("paid by alice", {"card": "4111-alice"})
            inner.record_exception(ValueError("alice@example.com"))
        outer.set_status(trace.Status(trace.StatusCode.ERROR, "alice"))
    tracer.start_span("post", links=[trace.Link(outer.get_span_context(), {"to": "alice"})]).end()
    counter = metrics.get_meter("shop").create_counter("orders.alice", "alices", "those of alice")
    counter.add(1, {"user.email": "alice@example.com"})
    logger = get_logger_provider().get_logger("shop.alice")
    logger.emit(body="alice@example.com came", severity_text="INFO", attributes={"user.email": "alice@example.com"})
    logging.getLogger("shop").warning("%s came", "alice@example.com")

def done():
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider()):
        getattr(provider, "force_flush", bool)()
    print("MODE", gate.status()["mode"], flush=True)
"""


def run(program: str, *, runner: Any = (), **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter with these variables and no other OTEL ones."""
    return subprocess.run(
        [*runner, sys.executable, "-c", APPLICATION + textwrap.dedent(program)],
        env={**bare_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def mode_of(done: subprocess.CompletedProcess[str]) -> str:
    """The mode that the program told."""
    (mode,) = re.findall(r"^MODE (\w+)$", done.stdout, re.MULTILINE) or [done.stderr]
    return str(mode)


CONSOLE = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")}
ZERO_CODE = (str(Path(sys.executable).with_name("opentelemetry-instrument")),)
needs_zero_code = pytest.mark.skipif(
    find_spec("opentelemetry.distro") is None
    or not entry_points(group="opentelemetry_pre_instrument", name="otel_ws")
    or find_spec("channels") is None,
    reason="zero-code needs opentelemetry-distro, Channels, and otel-ws installed",
)


def otlp(address: str) -> dict[str, str]:
    """The variables that send everything to a receiver."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        **{f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")},
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=1,service.name=shop,host.name=alices-laptop",
    }


# --- configure() ------------------------------------------------------------------------------------------------
def test_where_configure_makes_the_providers_everything_is_cleared() -> None:
    """No setting is needed: what the application makes on our providers leaves cleared."""
    done = run("import otel_ws; otel_ws.configure(); work(); done()", **CONSOLE)

    assert "all" == mode_of(done)
    assert "alice" not in done.stdout.lower()
    assert '"name": "_OTHER"' in done.stdout


def test_a_second_call_of_configure_keeps_the_gate() -> None:
    """Another setting starts recording anew, and the providers are still ours."""
    program = "import otel_ws; otel_ws.configure(); otel_ws.configure(message_events='all'); work(); done()"

    done = run(program, **CONSOLE)

    assert "all" == mode_of(done)
    assert "alice" not in done.stdout.lower()


def test_configure_beside_providers_of_others_clears_ours_alone() -> None:
    """Where one provider is the application's own, that one is left alone, and the two of ours are cleared."""
    program = """
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        trace.set_tracer_provider(provider)
        logging.basicConfig(level=20)
        import otel_ws
        otel_ws.configure()
        work()
        from otel_ws.sdk import contrib
        assert not contrib.is_suppressed
        print("ENDED", len(gate.status()["exporters"]))
        assert gate.status()["own"] == ["traces"]
        done()
    """

    done = run(program, **CONSOLE)

    spans, _, rest = done.stdout.partition("ENDED")
    assert "alice@example.com" in spans
    assert "alice" not in rest.lower()
    assert "2" == rest.split()[0]
    assert "gate: all, but for traces of the application's own provider" in done.stderr
    assert "Everything" not in done.stderr


def test_a_gate_of_ours_outlives_the_instrumentation() -> None:
    """Taking the instrumentation back, with no setting, leaves the providers of ours cleared."""
    pytest.importorskip("channels")
    program = """
        import otel_ws
        otel_ws.configure()
        otel_ws.ChannelsInstrumentor().uninstrument()
        assert gate.status()["ungated"] == []
        work()
        done()
    """

    done = run(program, **CONSOLE)

    assert "all" == mode_of(done)
    assert "alice" not in done.stdout.lower()


def test_configure_after_the_instrumentation_clears_what_it_builds() -> None:
    """Instrumented before there were providers, the gate left others' alone; those of ours are cleared all the same."""
    pytest.importorskip("channels")
    program = """
        import otel_ws
        otel_ws.ChannelsInstrumentor().instrument()
        otel_ws.configure()
        work()
        done()
    """

    done = run(program, **CONSOLE)

    assert "all" == mode_of(done)
    assert "alice" not in done.stdout.lower()


@pytest.mark.parametrize("start", ["prepare()", "ChannelsInstrumentor().instrument()"])
def test_a_mode_that_does_not_exist_closes(start: str) -> None:
    """A typing error in ``OTEL_WS_GATE`` clears everything, and is told."""
    pytest.importorskip("channels")
    program = f"""
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        trace.set_tracer_provider(provider)
        from otel_ws.instrumentor import ChannelsInstrumentor, prepare
        {start}
        work()
        done()
    """

    done = run(program, OTEL_WS_GATE="al")

    assert "all" == mode_of(done)
    assert "alice" not in done.stdout.lower()
    assert '"name": "_OTHER"' in done.stdout
    assert "OTEL_WS_GATE" in done.stderr
    assert "everything is cleared" in done.stderr


@pytest.mark.parametrize("mode", ["own", "report"])
def test_the_setting_wins_over_the_default(mode: str) -> None:
    """``OTEL_WS_GATE`` is what holds, on providers of ours too."""
    done = run("import otel_ws; otel_ws.configure(); work(); done()", **CONSOLE, OTEL_WS_GATE=mode)

    assert mode == mode_of(done)
    assert "alice@example.com" in done.stdout


@pytest.mark.parametrize("variable", ["OTEL_WS_ENABLED=false", "OTEL_SDK_DISABLED=true"])
def test_switched_off_there_is_no_gate(variable: str) -> None:
    """The way back takes the gate down as well, whatever else is set."""
    name, value = variable.split("=")

    done = run(
        "import otel_ws; from otel_ws.instrumentor import prepare; prepare(); otel_ws.configure(); done()",
        **CONSOLE,
        OTEL_WS_GATE="all",
        **{name: value},
    )

    assert "off" == mode_of(done)


def test_a_providers_maker_that_comes_after_configure_is_met() -> None:
    """A second provider, made later and never set, is gated in ``all``."""
    program = """
        import otel_ws
        otel_ws.configure()
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
        second = TracerProvider()
        second.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
        with second.get_tracer("x").start_as_current_span("GET") as span:
            span.set_attribute("user.email", "alice@example.com")
        second.force_flush()
        done()
    """

    done = run(program, **CONSOLE)

    assert '"name": "GET"' in done.stdout
    assert "alice" not in done.stdout


def test_the_gate_says_so_at_start() -> None:
    """One line for whoever has logging on."""
    done = run(
        "logging.basicConfig(level=20); import otel_ws; otel_ws.configure()",
        **CONSOLE,
    )

    (line,) = [one for one in done.stderr.splitlines() if "gate:" in one]
    assert "gate: all. Everything is cleared at 3 exporters and 1 readers of 3 providers" in line
    assert "not gated" not in line


@pytest.mark.parametrize("late", [True, False])
def test_the_gate_says_so_where_logging_comes_later(late: bool) -> None:
    """Once, when the process begins to serve, where no log took the line at the start; else then it is not repeated."""
    logging_on = "logging.basicConfig(level=20)"
    program = f"""
        import sys
        {"pass" if late else logging_on}
        import otel_ws
        from otel_ws import recorder
        otel_ws.configure()
        {logging_on if late else "pass"}
        sys.stderr.write("up\\n")
        for _ in range(2):
            recorder.active().serves()
        done()
    """

    said = [one for one in run(program, **CONSOLE).stderr.splitlines() if one == "up" or "gate: all." in one]

    assert late == (said[0] == "up")
    assert 2 == len(said)


# --- opentelemetry-instrument -----------------------------------------------------------------------------------
VOLATILE = {
    "trace_id", "span_id", "parent_span_id", "time_unix_nano", "start_time_unix_nano", "end_time_unix_nano",
    "observed_time_unix_nano", "exemplars",
}  # fmt: skip


def comparable(receiver: Any, signal: str) -> list[bytes]:
    """The bytes of others' telemetry, with times and random ids made zero and our own scope left out."""
    found = []
    for request in receiver.decoded(signal):
        for resource in request.ListFields()[0][1]:
            for kind in ("scope_spans", "scope_metrics", "scope_logs"):
                for scope in getattr(resource, kind, ()):
                    if scope.scope.name not in {"otel_ws", "opentelemetry.sdk.metrics"}:
                        blank(scope)
                        found.append(resource.resource.SerializeToString() + scope.SerializeToString())
    # A reader collects again when it is shut down: once is enough.
    return sorted(set(found))


def blank(message: Any) -> None:
    """Make what differs from run to run zero, in a message and in all that it holds."""
    for field, value in message.ListFields():
        if field.name in VOLATILE:
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for one in value if hasattr(value, "__len__") else [value]:
                blank(one)
        elif field.name == "string_value" and "Traceback" in value:
            # Line numbers of a program's text.
            message.ClearField(field.name)


@needs_zero_code
@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_zero_code_leaves_an_applications_own_telemetry_byte_for_byte(signal: str, http_receiver: Any) -> None:
    """Three spans, a counter and two log records of its own leave with otel-ws as they do without."""
    receiver, address = http_receiver
    settings = otlp(address)
    assert (
        0
        == run(
            "work(); done()", runner=ZERO_CODE, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="channels", **settings
        ).returncode
    )
    without = comparable(receiver, signal)
    for bodies in receiver.bodies.values():
        bodies.clear()

    done = run("work(); done()", runner=ZERO_CODE, **settings)

    assert "own" == mode_of(done)
    assert without == comparable(receiver, signal)
    assert b"alice" in b"".join(without)


@needs_zero_code
def test_zero_code_clears_everything_when_asked(http_receiver: Any) -> None:
    """``OTEL_WS_GATE=all`` is enough: no line of code, and no mark in any byte."""
    receiver, address = http_receiver

    done = run("work(); done()", runner=ZERO_CODE, OTEL_WS_GATE="all", **otlp(address))

    assert "all" == mode_of(done)
    assert b"alice" not in receiver.everything.lower()
    assert all(receiver.bodies[signal] for signal in ("traces", "logs"))


@needs_zero_code
def test_zero_code_clears_everything_with_the_instrumentation_switched_off(http_receiver: Any) -> None:
    """Who switches our instrumentation off and asks for the gate has the gate."""
    receiver, address = http_receiver
    settings = otlp(address) | {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "channels"}

    done = run("work(); done()", runner=ZERO_CODE, OTEL_WS_GATE="all", **settings)

    assert "all" == mode_of(done)
    assert b"alice" not in receiver.everything.lower()


# --- a configuration file ---------------------------------------------------------------------------------------
def test_a_configuration_files_providers_are_gated(tmp_path: Path, http_receiver: Any) -> None:
    """Providers that ``OTEL_CONFIG_FILE`` describes are cleared like any other, by OTLP."""
    pytest.importorskip("opentelemetry.configuration")
    receiver, address = http_receiver
    exporters = {"traces": "tracer", "logs": "logger"}
    described: dict[str, Any] = {"file_format": "1.0"}
    for signal, name in exporters.items():
        exporter = {"otlp_http": {"endpoint": f"{address}/v1/{signal}"}}
        described[f"{name}_provider"] = {"processors": [{"batch": {"exporter": exporter}}]}
    exporter = {"otlp_http": {"endpoint": f"{address}/v1/metrics"}}
    described["meter_provider"] = {"readers": [{"periodic": {"exporter": exporter}}]}
    described["resource"] = {"attributes": [{"name": "host.name", "value": "alices-laptop"}]}
    file = tmp_path / "otel.json"
    file.write_text(json.dumps(described))
    # What opentelemetry-instrument runs, in its order.
    program = """
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator
        _OTelSDKConfigurator().configure()
        from otel_ws.instrumentor import ChannelsInstrumentor, prepare
        prepare()
        ChannelsInstrumentor().instrument()
        work()
        assert all(one["proven"] for one in gate.status()["exporters"])
        assert 3 == len(gate.status()["exporters"])
        done()
    """

    done = run(program, OTEL_CONFIG_FILE=str(file), OTEL_WS_GATE="all")

    assert "all" == mode_of(done)
    assert b"alice" not in receiver.everything.lower()
    assert all(receiver.bodies.values())
