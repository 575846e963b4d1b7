"""The scrape endpoint: what it prints, when and where it is there, and what it refuses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment, free_port, until

pytest.importorskip("opentelemetry.exporter.prometheus")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otel_ws import WebSocketMiddleware, faults, recorder, semconv
from otel_ws.exposition import OPENMETRICS, TEXT
from otel_ws.policy import Policy
from otel_ws.processes import mapping
from otel_ws.processes.runtime import place
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.sdk.prometheus import HOST, PORT, PrometheusReader
from otel_ws.settings import Settings

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the machine's, and no failure of another test's."""
    for name in os.environ.keys() - bare_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.setattr("otel_ws.sdk.prometheus._Endpoint.timeout", 0.01)
    faults.reset()
    yield
    faults.reset()


@pytest.fixture
def readers() -> Iterator[Callable[..., PrometheusReader]]:
    """Make readers on free ports of loopback, that serve at once; they end with the test."""
    made: list[PrometheusReader] = []

    def make(**wanted: Any) -> PrometheusReader:
        made.append(PrometheusReader(**{"host": "127.0.0.1", "port": 0, "is_serving": lambda: True, **wanted}))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


@pytest.fixture
def of_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make this process one of a group of that name."""

    def become(name: str) -> None:
        folder = place(str(tmp_path), name, {"OTEL_SERVICE_NAME": "shop"})
        monkeypatch.setattr("otel_ws.processes.folder", lambda: folder)

    return become


@pytest.fixture
def told(readers: Any, server: Any) -> Iterator[Callable[..., Any]]:
    """Have one conversation told to a reader (and others, on the same provider)."""
    providers: list[MeterProvider] = []
    before = recorder.active()

    def tell(*others: Any, views: tuple[View, ...] = (), **settings: Any) -> PrometheusReader:
        reader: PrometheusReader = readers()
        providers.append(MeterProvider([reader, *others], views=views, shutdown_on_exit=False))
        tracing = TracerProvider(shutdown_on_exit=False)
        active = Recorder(
            Settings.load({}, {}, **settings), Policy(), meter_provider=providers[-1], tracer_provider=tracing
        )
        fast.speed_up(active)
        recorder.replace(active)
        return reader

    yield tell
    mine = recorder.replace(before)
    if mine is not None:
        mine.close()
    for provider in providers:
        provider.shutdown()


async def talk(server: Any) -> None:
    """One connection with two messages."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": "pong"})

    ping = {"type": "websocket.receive", "text": "ping"}
    script = [{"type": "websocket.connect"}, ping, ping, {"type": "websocket.disconnect", "code": 1000}]
    await server(WebSocketMiddleware(application), *script).run()


def ask(reader: PrometheusReader, path: str = "/metrics", method: str = "GET", accept: str = "") -> Any:
    """One request: the answer, and its body."""
    assert reader.bound.wait(10)
    assert reader.address is not None
    connection = HTTPConnection(*reader.address, timeout=10)
    connection.request(method, path, headers={"Accept": accept})
    answer: HTTPResponse = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def samples(families: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample's value by name and labels, without those about the Python process."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def parse_openmetrics(text: str) -> list[Any]:
    """The families, by the parser of the reference implementation."""
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


# --- what it prints ---------------------------------------------------------------------------------------------
async def test_classic_text_is_the_stock_exporters(told: Any, server: Any) -> None:
    """For the same conversation names, labels, values and order are those of the exporter ``prometheus``."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader

    stock = PrometheusMetricReader()
    reader = told(stock)
    await talk(server)

    _, body = ask(reader)

    expected = of_websockets(generate_latest(REGISTRY))
    assert expected == of_websockets(body)
    assert "ws_message_latency_seconds_bucket" in "".join(expected)


async def test_gauges_of_a_share_are_named_as_everywhere(told: Any, server: Any) -> None:
    """Where the stock exporter leaves the ending off, one set of rules would not find them."""
    reader = told()
    active = recorder.active()
    assert active is not None
    active.sources[semconv.LAYER_CAPACITY] = lambda: [(("consumer", ""), 0.5)]
    await talk(server)

    for accept in ("", OPEN):
        lines = ask(reader, accept=accept)[1].decode().splitlines()

        names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
        assert {semconv.LAYER_CAPACITY.prometheus_name, semconv.PROCESS_CPU.prometheus_name} <= names
        assert not {"ws_layer_capacity", "process_cpu_utilization"} & names


def of_websockets(text: bytes) -> list[str]:
    """The lines without those about the Python process, which are different at each look."""
    lines = text.decode().splitlines()
    names = [line.split(" ")[2] if line.startswith("#") else line for line in lines]
    return [line for line, name in zip(lines, names, strict=True) if not name.startswith(("python_", "process_"))]


async def test_openmetrics_is_valid_and_has_the_same_samples(told: Any, server: Any) -> None:
    """prometheus_client's own parser reads it, to the same samples as the classic text's."""
    reader = told()
    await talk(server)

    _, plain = ask(reader)
    _, rich = ask(reader, accept=OPEN)

    expected, found = samples(parse_text(plain.decode())), samples(parse_openmetrics(rich.decode()))
    assert expected == found
    assert rich.endswith(b"# EOF\n")


async def test_exemplars_have_ids_and_nothing_else(told: Any, server: Any) -> None:
    """A bucket of the ledger's has the ids of the last sampled message in it."""
    reader = told()
    await talk(server)

    _, body = ask(reader, accept=OPEN)

    found = [
        (sample.name, exemplar)
        for family in parse_openmetrics(body.decode())
        for sample in family.samples
        if (exemplar := sample.exemplar) is not None
    ]
    assert "ws_message_latency_seconds_bucket" in {name for name, _ in found}
    assert {("span_id", "trace_id")} == {tuple(sorted(one.labels)) for _, one in found}
    assert {(16, 32)} == {(len(one.labels["span_id"]), len(one.labels["trace_id"])) for _, one in found}


async def test_exemplars_stay_from_scrape_to_scrape(told: Any, server: Any) -> None:
    """Prometheus drops what it has seen; a second worker's scraper has not."""
    reader = told()
    await talk(server)

    first, second = (ask(reader, accept=OPEN)[1].count(b"trace_id=") for _ in range(2))

    assert first == second > 0


async def test_exemplars_are_off_where_the_user_says_so(
    told: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OTEL_METRICS_EXEMPLAR_FILTER=always_off`` counts here too."""
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "always_off")
    reader = told()
    await talk(server)

    _, body = ask(reader, accept=OPEN)

    assert 0 == body.count(b"trace_id=")
    assert b"ws_message_latency_seconds_bucket" in body


async def test_classic_text_has_no_exemplars(told: Any, server: Any) -> None:
    """The format has no place for them."""
    reader = told()
    await talk(server)

    _, body = ask(reader)

    assert 0 == body.count(b"trace_id")


async def test_histograms_by_the_api_are_printed_too(told: Any, server: Any) -> None:
    """``OTEL_WS_HISTOGRAMS=api`` gives the same text, without exemplars of the ledger's."""
    reader = told(histograms="api")
    await talk(server)

    _, body = ask(reader, accept=OPEN)

    counts = {name: value for (name, _), value in samples(parse_openmetrics(body.decode())).items()}
    assert 2 == counts["ws_message_latency_seconds_count"]


async def test_an_exponential_histogram_does_not_end_the_scrape(told: Any, server: Any) -> None:
    """It is left out; everything else is printed."""
    view = View(instrument_name="other", aggregation=ExponentialBucketHistogramAggregation())
    reader = told(views=(view,))
    recorder.active().metrics.provider.get_meter("app").create_histogram("other").record(1.0)  # type: ignore[union-attr]
    await talk(server)

    answer, body = ask(reader)

    assert (200, 0) == (answer.status, body.count(b"other"))
    assert b"ws_messages_total{" in body


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=much", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        (OPEN, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
    ],
)
def test_the_format_is_what_accept_prefers(told: Any, accept: str, expected: str) -> None:
    """OpenMetrics 1.0.0 where it is asked for at least as much as plain text, else text 0.0.4."""
    reader = told()

    answer, _ = ask(reader, accept=accept)

    assert expected == answer.headers["Content-Type"]


def test_the_global_registry_stays_as_it_was(readers: Any) -> None:
    """Whoever serves prometheus_client's registry does not serve ours a second time."""
    before = set(getattr(REGISTRY, "_collector_to_names", ()))

    readers()

    assert before == set(getattr(REGISTRY, "_collector_to_names", ()))


# --- what it answers --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/", "/metrics", "/metrics?name=x"])
def test_metrics_are_at_both_paths(told: Any, path: str) -> None:
    """``/metrics`` is what scrapers ask for, ``/`` what people type."""
    reader = told()

    answer, body = ask(reader, path)

    assert (200, True) == (answer.status, b"target_info" in body)


def test_another_path_is_not_found(told: Any) -> None:
    """Nothing of the path comes back."""
    reader = told()

    answer, body = ask(reader, "/users/ada")

    assert (404, b"") == (answer.status, body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TEAPOT"])
def test_another_method_is_refused(told: Any, method: str) -> None:
    """Only reading is allowed."""
    reader = told()

    answer, body = ask(reader, method=method)

    assert (405, "GET, HEAD", b"") == (answer.status, answer.headers["Allow"], body)


def test_head_has_no_body(told: Any) -> None:
    """The headers are those of GET."""
    reader = told()

    answer, body = ask(reader, method="HEAD")

    assert (200, b"") == (answer.status, body)
    assert int(answer.headers["Content-Length"]) > 0


def test_nothing_of_a_request_is_said_again(told: Any, capfd: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a log, nor on standard error, nor in an answer: also of what is not HTTP."""
    reader = told()
    ask(reader, "/ada@example.com", accept="ada")
    with socket.create_connection(reader.address or ("", 0), timeout=10) as raw:
        raw.sendall(b"ada lovelace was here\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(1000), b""))

    printed = "".join(capfd.readouterr()) + caplog.text + answer.decode()

    assert "ada" not in printed


def test_no_version_is_named(told: Any) -> None:
    """Whoever asks does not learn which Python this is."""
    reader = told()

    answer, _ = ask(reader)

    assert "otel-ws" == answer.headers["Server"].strip()


def test_a_failure_is_answered_and_counted(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape that fails is a 500 without a word of why, and the next one works."""
    reader = told()
    with monkeypatch.context() as broken:
        broken.setattr(type(reader), "text", lambda *_: 1 / 0)
        failed, body = ask(reader)

    again, _ = ask(reader)

    assert (500, b"", 200) == (failed.status, body, again.status)
    assert {"prometheus": 1} == faults.snapshot()


def test_scrapes_run_beside_the_main_thread(told: Any) -> None:
    """What is collected is collected in a daemon thread of the endpoint's."""
    reader = told()
    seen: list[threading.Thread] = []
    meter = recorder.active().metrics.provider.get_meter("app")  # type: ignore[union-attr]
    meter.create_observable_gauge("x", [lambda _: seen.append(threading.current_thread()) or []])  # type: ignore[func-returns-value]

    ask(reader)

    assert (True, True) == (seen[0].daemon, seen[0] is not threading.main_thread())


# --- when and where ---------------------------------------------------------------------------------------------
def test_no_port_is_taken_before_the_process_serves(readers: Any) -> None:
    """The reader of a supervisor is made, waits, and holds no port."""
    asked, serving = threading.Event(), threading.Event()

    def is_serving() -> bool:
        asked.set()
        return serving.is_set()

    reader = readers(is_serving=is_serving)

    assert asked.wait(10)
    assert reader.address is None
    serving.set()
    assert reader.bound.wait(10)


async def test_a_running_loop_is_serving(readers: Any) -> None:
    """An event loop on the main thread is what workers have and supervisors have not."""
    reader = readers(is_serving=None)

    assert reader.bound.wait(10)


async def test_a_counted_connection_is_serving(told: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop runs in another thread, the first connection tells."""
    reader = told()
    monkeypatch.setattr("otel_ws.sdk._private.running_loops", lambda: 0)
    before = reader._serves()

    await talk(server)

    assert (False, True) == (before, reader._serves())


def test_no_loop_and_no_connection_is_not_serving(readers: Any) -> None:
    """A program that only starts others does not serve."""
    reader = readers()

    assert not reader._serves()


def test_workers_share_a_port(readers: Any) -> None:
    """A second reader binds the port of the first."""
    one = readers()
    assert one.bound.wait(10)

    other = readers(port=one.address[1])

    assert other.bound.wait(10)
    assert one.address == other.address


@pytest.mark.skipif(not mapping.is_possible(), reason="this platform shares nothing")
def test_workers_of_another_group_do_not_share_it(
    readers: Any, of_group: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They say so in one line with the way out, and have the port once nobody of the first group listens."""
    monkeypatch.setattr("otel_ws.sdk.prometheus.RETRY_SECONDS", 0.02)
    of_group("blue")
    port = free_port()
    blue = readers(port=port), readers(port=port)
    assert all(one.bound.wait(10) for one in blue)
    of_group("green")
    green = readers(port=port)

    assert until(lambda: faults.snapshot().get("prometheus", 0) >= 2)
    assert green.address is None
    blue[0].shutdown()
    assert not green.bound.wait(0.1)
    blue[1].shutdown()

    assert green.bound.wait(10)
    told = [record.getMessage() for record in caplog.records if "cannot serve" in record.getMessage()]
    assert 1 == len(told)
    assert [] == [word for word in (PORT, f"'{port}'", "another port", "OTEL_WS_GROUP") if word not in told[0]]


@pytest.mark.skipif(not mapping.is_possible(), reason="this platform shares nothing")
def test_a_claim_that_was_lost_is_made_again(readers: Any, of_group: Callable[[str], None], tmp_path: Path) -> None:
    """A cleaner took its file: other groups see whose the port is all the same."""
    of_group("blue")
    reader = readers(port=free_port())
    assert reader.bound.wait(10)
    (file,) = tmp_path.glob("*/port-*")

    file.unlink()

    assert until(file.exists)
    assert 404 == ask(reader, "/other")[0].status


@pytest.mark.skipif(not mapping.is_possible(), reason="this platform shares nothing")
def test_a_port_that_cannot_be_bound_is_not_claimed(readers: Any, of_group: Callable[[str], None]) -> None:
    """What a stranger holds is nobody's: another group is told the same."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for group in ("blue", "green"):
            of_group(group)
            assert readers(port=port, is_serving=lambda: False)._bind() is None
    of_group("blue")
    assert readers(port=port).bound.wait(10)


def test_shutdown_frees_the_port(readers: Any) -> None:
    """When ``shutdown`` returns, anybody can have the port."""
    reader = readers()
    assert reader.bound.wait(10)

    reader.shutdown()

    with socket.socket() as other:
        other.bind(reader.address)


def test_shutdown_twice_is_harmless(readers: Any) -> None:
    """The SDK shuts down at exit what a program has shut down already."""
    reader = readers()

    reader.shutdown()
    reader.shutdown()

    assert {} == faults.snapshot()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of somebody who does not share."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_taken_port_is_told_in_one_line(readers: Any, taken: int, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the variable, its value and the way out; the failure is counted."""
    reader = readers(port=taken, is_serving=lambda: False)

    found = [reader._bind(), reader._bind()]

    assert [None, None] == found
    (line,) = [record.getMessage() for record in caplog.records]
    assert [] == [word for word in (PORT, f"'{taken}'", "free port", "application runs") if word not in line]
    assert {"prometheus": 2} == faults.snapshot()


def test_an_impossible_host_is_told(readers: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An address of another machine cannot be bound; the line names the host's variable."""
    reader = readers(host="192.0.2.1", is_serving=lambda: False)

    reader._bind()

    (line,) = [record.getMessage() for record in caplog.records]
    assert [] == [word for word in (HOST, "'192.0.2.1'", "address of this machine") if word not in line]


@pytest.mark.parametrize("variable", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_WS_ENABLED": "false"}])
def test_switched_off_there_is_no_endpoint(
    readers: Any, monkeypatch: pytest.MonkeyPatch, variable: dict[str, str]
) -> None:
    """No thread is started and no port is taken."""
    (name,) = variable
    monkeypatch.setenv(name, variable[name])
    threads = threading.active_count()

    reader = readers()

    assert (threads, None) == (threading.active_count(), reader.address)


@pytest.mark.parametrize(("raw", "expected"), [(None, 9464), ("", 9464), (" 9100 ", 9100)])
def test_the_port_is_read(readers: Any, monkeypatch: pytest.MonkeyPatch, raw: str | None, expected: int) -> None:
    """The standard's variable, or its default."""
    if raw is not None:
        monkeypatch.setenv(PORT, raw)

    reader = readers(port=None, is_serving=lambda: False)

    assert expected == reader._port


@pytest.mark.parametrize("raw", ["nine", "0", "65536", "-1", "94.64", "009464", "²"])
def test_a_wrong_port_is_told(readers: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, raw: str) -> None:
    """Built by others than ``configure()`` it says so in one line, and serves nothing."""
    monkeypatch.setenv(PORT, raw)

    reader = readers(port=None)

    assert f"otel-ws: {PORT}={raw!r} is not valid; allowed: a port from 1 to 65535." in capsys.readouterr().err
    assert reader.address is None


# --- in processes of their own ----------------------------------------------------------------------------------
def run(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter with these variables and no other OTEL ones."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**bare_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


CONFIGURED = """
    from opentelemetry.sdk.metrics import MeterProvider
    from otel_ws.sdk.prometheus import PrometheusReader
    from http.client import HTTPConnection
    import os, sys, threading

    serving = threading.Event()
    reader = PrometheusReader("127.0.0.1", 0, is_serving=serving.is_set)
    provider = MeterProvider([reader])
    pid = provider.get_meter("test").create_observable_gauge("pid", [lambda _: [Observation(os.getpid())]])
    from opentelemetry.metrics import Observation

    def scrape():
        assert reader.bound.wait(10)
        peer = HTTPConnection(*reader.address, timeout=10)
        peer.request("GET", "/metrics")
        text = peer.getresponse().read().decode()
        return int(float(next(l for l in text.splitlines() if l.startswith("pid")).split()[-1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_worker_has_its_own_endpoint() -> None:
    """The parent that forked before it served holds nothing; its child binds and answers for itself."""
    program = (
        CONFIGURED
        + """
    import warnings; warnings.simplefilter("ignore")
    child = os.fork()
    if child == 0:
        serving.set()
        os._exit(0 if scrape() == os.getpid() else 1)
    print(os.waitpid(child, 0)[1], reader.address)
    """
    )

    done = run(program)

    assert ("0 None", "") == (done.stdout.strip(), done.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_serving_process_lets_go_of_its_port() -> None:
    """A child that does not serve keeps neither port nor claim of the parent's; the parent still answers."""
    program = (
        CONFIGURED
        + """
    import warnings; warnings.simplefilter("ignore")
    serving.set()
    first, endpoint = scrape(), reader._endpoint
    endpoint._claim = open(os.devnull)
    serving.clear()
    child = os.fork()
    if child == 0:
        os._exit(0 if endpoint.socket.fileno() == -1 and endpoint._claim.closed else 1)
    print(os.waitpid(child, 0)[1], first == scrape() == os.getpid())
    """
    )

    done = run(program)

    assert ("0 True", "") == (done.stdout.strip(), done.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_out_of_a_running_loop_does_not_serve() -> None:
    """The loop's calls on the inherited stack are the parent's."""
    program = (
        CONFIGURED
        + """
    import asyncio, warnings; warnings.simplefilter("ignore")
    async def main():
        child = os.fork()
        if child == 0:
            os._exit(int(reader._serves()))
        return os.waitpid(child, 0)[1], reader._serves()
    print(asyncio.run(main()))
    """
    )

    done = run(program)

    assert ("(0, True)", "") == (done.stdout.strip(), done.stderr)


def test_configure_refuses_a_wrong_port() -> None:
    """The start ends with the variable, the value and what is allowed, without a traceback."""
    program = """
        import otel_ws, otel_ws.sdk
        from otel_ws.sdk.prometheus import PrometheusReader
        otel_ws.sdk._exporters = lambda signal: [("ws_prometheus", PrometheusReader)] if signal == "metrics" else []
        otel_ws.configure()
    """

    done = run(program, OTEL_EXPORTER_PROMETHEUS_PORT="nine")

    assert (1, f"otel-ws cannot start:\n  {PORT}='nine' is not valid; allowed: a port from 1 to 65535.\n") == (
        done.returncode,
        done.stderr,
    )
