"""``OTEL_METRICS_EXPORTER=ws_prometheus``: a scrape endpoint in every worker, on one port that they share.

The stock exporter takes its port when it is made: in a supervisor, or in one worker of many. This one waits in a
thread of its own until the process serves: its main thread runs an event loop, or it counted a connection. It
refuses to know ASGI, what a metric means, and who asks: no request is logged. It never ends the application.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import weakref
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import SimpleNamespace
from typing import Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricsData
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.samples import Exemplar

from otel_ws import faults, processes, recorder, semconv
from otel_ws.exposition import OPENMETRICS, TEXT, prefers_openmetrics
from otel_ws.fanout import HISTOGRAMS
from otel_ws.instrumentor import tell
from otel_ws.sdk import _private, merged
from otel_ws.settings import Problem, Settings, problems, sdk_disabled

HOST: Final = "OTEL_EXPORTER_PROMETHEUS_HOST"
PORT: Final = "OTEL_EXPORTER_PROMETHEUS_PORT"
PLACE: Final = "prometheus"
FIRST_LOOK_SECONDS, LOOK_SECONDS, RETRY_SECONDS = 0.05, 1.0, 30.0
_MOMENTS: Final = 40
# OpenTelemetry's translation to Prometheus gives a gauge of a share this ending, as the collector and our endpoints do;
# the stock exporter leaves it off, and no rule or dashboard would find the series.
_RATIO: Final = "_ratio"
_SHARES: Final = {
    metric.prometheus_name.removesuffix(_RATIO) for metric in semconv.METRICS if metric.prometheus_name.endswith(_RATIO)
}


class PrometheusReader(PrometheusMetricReader):
    """The Prometheus exporter's reader with an endpoint that is there once this process serves.

    Without arguments it reads ``OTEL_EXPORTER_PROMETHEUS_HOST`` and ``_PORT``.

    Raises:
        SystemExit: the port is not one, and ``otel_ws.configure()`` asks. Elsewhere that is told and nothing is
            served: under ``opentelemetry-instrument`` an exception would end the application.
    """

    def __init__(
        self, host: str | None = None, port: int | None = None, *, is_serving: Callable[[], bool] | None = None
    ) -> None:
        self._registry = _private.isolated(self, super().__init__)
        self._host = host or os.environ.get(HOST) or "localhost"
        self._port = _port(sys._getframe(1).f_globals.get("__name__") == "otel_ws.sdk") if port is None else port
        self._is_serving = is_serving or self._serves
        if self._port is not None and not sdk_disabled() and _is_enabled():
            _readers.add(self)
            self._begin(0)

    _thread: threading.Thread | None = None
    address: tuple[str, int] | None = None
    _scrape, _stopped, bound = threading.Lock(), threading.Event(), threading.Event()

    def text(self, with_exemplars: bool) -> bytes:
        """All metrics now: as the stock exporter prints them, or as OpenMetrics with exemplars."""
        with self._scrape:
            try:
                families = [_spelled(one) for one in self._registry.collect()]
            except BaseException:
                _private.forget_collected(self)
                raise
        if not with_exemplars:
            return generate_latest(SimpleNamespace(collect=lambda: families))
        families = _private.openmetrics_families(families, self._exemplars())
        return bytes(openmetrics.generate_latest(SimpleNamespace(collect=lambda: families)))  # type: ignore[no-untyped-call]

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Close the endpoint; the port is free when this returns."""
        _readers.discard(self)
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout_millis / 1000)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        if metrics_data is not None and _private.leave_out_unprintable(metrics_data):
            faults.warn_once("exponential", "otel-ws leaves exponential histograms out of /metrics.")
        if metrics_data is not None:
            metrics_data = self._of_all(metrics_data)
        super()._receive_metrics(metrics_data, timeout_millis, **kwargs)

    def _of_all(self, data: MetricsData) -> MetricsData:
        """The data with the numbers of all workers of this host, where they share them."""
        active = recorder.active()
        if active is None or not self._reads(active.metrics.provider):
            return data
        if not processes.join():
            # Less than what was answered before would be a restart to Prometheus; no answer is none.
            raise TimeoutError
        seen = processes.overview(max_age=0.0)
        if not seen.is_shared:
            return data
        data, left_out = merged.of_all(data, seen, active.metrics, _provider(active.metrics.provider))
        if left_out:
            faults.warn_once(
                "prometheus.others",
                f"otel-ws: /metrics answers for all workers, with the numbers of otel-ws. {left_out} other metrics, "
                "which each worker has its own of, are not served there; send them by OTLP.",
            )
        return data

    # --- when, and where --------------------------------------------------------------------------------
    def _begin(self, loops_before: int) -> None:
        self._loops_before = loops_before
        self._scrape, self._held = threading.Lock(), False
        self._stopped, self.bound = threading.Event(), threading.Event()
        self._endpoint: _Endpoint | None = None
        self._thread = threading.Thread(target=self._live, name="otel-ws-scrape", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        pause = FIRST_LOOK_SECONDS
        try:
            while not self._is_serving():
                if self._stopped.wait(pause):
                    return
                pause = min(pause * 1.5, LOOK_SECONDS)
            # Where the application makes its recorder while its loop runs, that is a moment away.
            for _ in range(_MOMENTS if self._is_serving == self._serves else 1):
                if processes.join() or self._stopped.wait(FIRST_LOOK_SECONDS):
                    break
            while not self._stopped.is_set():
                if (endpoint := self._bind()) is None:
                    self._stopped.wait(RETRY_SECONDS)
                    continue
                with endpoint:
                    self._endpoint = endpoint
                    self.address = endpoint.socket.getsockname()[:2]
                    self.bound.set()
                    while endpoint.is_claimed() and not self._stopped.is_set():
                        endpoint.handle_request()
        except Exception as exc:
            faults.fault(PLACE, exc)

    def _serves(self) -> bool:
        """Whether this process does the work, and does not only start those that do."""
        if _private.running_loops() > self._loops_before:
            return True
        active = recorder.active()
        told = (semconv.CONNECTIONS, semconv.REJECTIONS)
        return active is not None and any(count for metric in told for _, count in active.read(metric))

    def _bind(self) -> _Endpoint | None:
        failed = OSError()
        try:
            flags = socket.AI_PASSIVE
            for found in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags):
                try:
                    return _Endpoint(found[0], found[4], self)
                except OSError as exc:
                    failed = exc
                    if exc.errno == errno.EADDRINUSE:
                        break  # another family would be another address than the one that is asked for
        except OSError as exc:
            failed = exc
        why = errno.errorcode.get(failed.errno or 0, type(failed).__name__)
        if isinstance(failed, processes.TakenError):
            wrong = (
                f"another service or group of this host answers on {PORT}={str(self._port)!r}, and a scrape would get "
                "now its numbers and now these; set it to another port for each service and each OTEL_WS_GROUP"
            )
        elif why in {"EADDRINUSE", "EACCES"}:
            wrong = f"{PORT}={str(self._port)!r} is taken or not allowed ({why}); set it to a free port above 1023"
        else:
            wrong = f"{HOST}={self._host!r} cannot be used ({why}); set it to an address of this machine"
        faults.warn_once(PLACE, f"otel-ws cannot serve /metrics, the application runs: {wrong}.")
        faults.fault(PLACE, failed)
        return None

    # --- exemplars --------------------------------------------------------------------------------------
    def _exemplars(self) -> dict[_private.BucketSeries, Exemplar]:
        """The ledger's exemplars by the series of the bucket that they are in."""
        found: dict[_private.BucketSeries, Exemplar] = {}
        active = recorder.active()
        if active is None or not self._reads(active.metrics.provider):
            return found
        try:
            if not _private.wants_exemplars(_provider(active.metrics.provider)):
                return found
        except _private.ShapeError:
            return found
        for metric in HISTOGRAMS - active.by_api:
            bounds = [*map(str, metric.bounds), "+Inf"]
            for labels, distribution in active.ledger.distributions(metric):
                series = frozenset(active.metrics.named(metric, labels).items())
                for value, time_ns, trace_id, span_id in distribution.exemplars:
                    ids = {"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}
                    bound = bounds[bisect_left(metric.bounds, value)]
                    found[f"{metric.prometheus_name}_bucket", series, bound] = Exemplar(ids, value, time_ns / 1e9)
        return found

    def _reads(self, provider: object) -> bool:
        """Whether the recorder's numbers come by this reader."""
        provider = _provider(provider)
        try:
            return isinstance(provider, MeterProvider) and self in _private.readers(provider)
        except _private.ShapeError:
            return False

    # --- fork -------------------------------------------------------------------------------------------
    def before_fork(self) -> None:
        """Wait for a scrape, so that no lock of the SDK is held by a thread that the child will not have."""
        self._held = self._scrape.acquire(timeout=1.0)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._held:
            self._scrape.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the thread is gone, the port is the parent's, and so are the calls on the stack."""
        if self._endpoint is not None:
            self._endpoint.server_close()
        self._begin(_private.running_loops())


class _Endpoint(ThreadingTCPServer):
    """A port that other processes of the same group may share, and a thread for each request.

    Raises:
        OSError: the port cannot be had.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    allow_reuse_port = True
    timeout = 0.2

    def __init__(self, family: int, address: Any, reader: PrometheusReader) -> None:
        self.address_family = family
        self.reader = reader
        self._claim = processes.claim(address[1], address[0]) if address[1] else None
        try:
            super().__init__(address, _Answer)
        except BaseException:
            self._let_go()
            raise

    def is_claimed(self) -> bool:
        """Whether other groups can still see whose the port is: a cleaner of old files may have taken the claim."""
        return self._claim is None or os.fstat(self._claim.fileno()).st_nlink > 0

    def server_close(self) -> None:
        """Close the port; in a forked child, only this process's hold of it."""
        super().server_close()
        self._let_go()

    def _let_go(self) -> None:
        if self._claim is not None:
            self._claim.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked is gone, or we failed: nothing of the request is told."""
        exc = sys.exc_info()[1]
        if exc is not None and not isinstance(exc, OSError):
            faults.fault(PLACE, exc)


class _Answer(BaseHTTPRequestHandler):
    """Answers one request, and repeats nothing of it."""

    timeout = 10.0
    server_version, sys_version = "otel-ws", ""
    server: _Endpoint

    def __getattr__(self, name: str) -> Any:
        # What http.server looks for: one method for each word that a request may begin with.
        if name.startswith("do_"):
            return self._answer if name in {"do_GET", "do_HEAD"} else partial(self._reply, 405)
        raise AttributeError(name)

    def _answer(self) -> None:
        if self.path.partition("?")[0] not in {"/", "/metrics"}:
            return self._reply(404)
        with_exemplars = prefers_openmetrics(self.headers.get("Accept", ""))
        try:
            body = self.server.reader.text(with_exemplars)
        except Exception as exc:
            faults.fault(PLACE, exc)
            return self._reply(500)
        return self._reply(200, body, OPENMETRICS if with_exemplars else TEXT)

    def _reply(self, status: int, body: bytes = b"", content_type: str = TEXT) -> None:
        self.send_response(status)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not HTTP, without saying it again."""
        self._reply(code)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that is overridden
        """Log nothing of a request."""


def _provider(provider: object) -> Any:
    """The SDK's provider, where the recorder was made before it was set."""
    return provider if isinstance(provider, MeterProvider) else get_meter_provider()


def _spelled(family: Family) -> Family:
    if family.name in _SHARES:
        family.name += _RATIO
        family.samples = [one._replace(name=one.name + _RATIO) for one in family.samples]
    return family


def _port(by_configure: bool) -> int | None:
    raw = os.environ.get(PORT, "").strip() or "9464"
    if raw.isascii() and raw.isdigit() and len(raw) < 6 and 0 < int(raw) < 65536:
        return int(raw)
    problem = Problem(PORT, raw[:60], "a port from 1 to 65535")
    if by_configure:
        raise SystemExit(f"otel-ws cannot start:\n  {problem}")
    tell(f"otel-ws: {problem} There is no /metrics; the application runs without it.")
    return None


def _is_enabled() -> bool:
    own = {name: value for name, value in os.environ.items() if name == "OTEL_WS_ENABLED"}
    return not problems(own) and Settings.load(own).enabled


def _each(act: Callable[[PrometheusReader], None]) -> None:
    for reader in list(_readers):
        act(reader)


_readers: Final[weakref.WeakSet[PrometheusReader]] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=partial(_each, PrometheusReader.before_fork),
        after_in_parent=partial(_each, PrometheusReader.after_fork_in_parent),
        after_in_child=partial(_each, PrometheusReader.after_fork_in_child),
    )
