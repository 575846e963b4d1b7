"""Every place of this process where telemetry enters a pipeline or leaves by one, with a wall in front of it.

It finds providers that are there, and meets those that come; it knows what cannot be gated. It refuses to know what
a wall lets through.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_ws import faults
from otel_ws.gate import canary
from otel_ws.gate.clearing import Clearing
from otel_ws.gate.walls import Wall
from otel_ws.policy import Policy
from otel_ws.sdk._private import ShapeError
from otel_ws.sdk._private.pipelines import (
    PROVIDERS,
    Standing,
    Undo,
    entrance,
    exporters_in,
    interpose,
    is_interposed,
    is_plain_processor,
    processors_of,
    providers_alive,
    readers_of,
    ships_by_itself,
)

logger = logging.getLogger("otel_ws")

# What a provider's processors are entered by, and what adds one.
_ENTER: Final = {"traces": "on_end", "logs": "on_emit"}
_ADD: Final = {"traces": "add_span_processor", "logs": "add_log_record_processor"}
_ANSWERS: Final[dict[str, Any]] = {
    "traces": SpanExportResult.SUCCESS,
    "logs": LogRecordExportResult.SUCCESS,
    "metrics": MetricExportResult.SUCCESS,
}


class Places:
    """The walls of one gate."""

    def __init__(self, clearing: Clearing, policy: Policy, *, is_proving: bool, only: tuple[object, ...] = ()) -> None:
        self._clearing = clearing
        self._policy = policy
        self._is_proving = is_proving
        self._only = only
        self._lock = threading.RLock()
        self._undo: list[Undo] = []
        self._entrances: list[Any] = []
        self._has_gap = False
        self.providers: list[object] = []
        self.walls: list[Wall] = []
        self.ungated: list[str] = []

    # --- finding ----------------------------------------------------------------------------------------
    def build(self) -> None:
        """Walls in front of everything there is, and of everything that comes."""
        if self._only:
            for provider in self._only:
                self.provider(provider)
            return
        for kind in PROVIDERS:
            self._undo.append(interpose(kind, "__init__", self._meeting, self))
        for provider in providers_alive():
            self.provider(provider)

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent's may have held the lock."""
        self._lock = threading.RLock()

    def undo(self) -> None:
        """Take every wall down, the last one first."""
        with self._lock:
            undo, self._undo = self._undo, []
            for one in reversed(undo):
                one()

    def _meeting(self, make: Callable[..., None], standing: Standing) -> Callable[..., None]:
        def made(provider: object, *args: Any, **kwargs: Any) -> None:
            make(provider, *args, **kwargs)
            if standing.is_wanted:
                self.provider(provider)

        return made

    def provider(self, provider: object) -> None:
        """Meet a provider; a second time nothing happens. Never raises."""
        with self._lock:
            if not isinstance(provider, PROVIDERS) or any(one is provider for one in self.providers):
                return
            self.providers.append(provider)
            try:
                if isinstance(provider, MeterProvider):
                    self._meter_provider(provider)
                else:
                    self._pipeline(provider, "traces" if isinstance(provider, TracerProvider) else "logs")
            except Exception as exc:
                self._cannot(type(provider), exc)

    def _pipeline(self, provider: TracerProvider | LoggerProvider, signal: str) -> None:
        start = entrance(provider)
        wall = Wall(start, _ENTER[signal], self._clearing.entering(signal), None, signal)
        if self._stand(wall, self._canary(signal, is_leaving=False)):
            self._entrances.append(start)
        else:
            self._has_gap = True
        self._after(start, _ADD[signal], lambda added: self._processor(added, signal))
        for processor in processors_of(start):
            self._processor(processor, signal)

    def _processor(self, processor: Any, signal: str) -> None:
        for exporter in exporters_in(processor):
            self._exporter(exporter, signal)
        if signal == "traces" and ships_by_itself(processor):
            kind = type(processor)
            name = f"{kind.__module__}.{kind.__qualname__}"
            if name not in self.ungated:
                self.ungated.append(name)
                self._tell_ungated(name)

    def _meter_provider(self, provider: MeterProvider) -> None:
        if hasattr(provider, "add_metric_reader"):
            self._after(provider, "add_metric_reader", self._reader)
        for reader in readers_of(provider):
            self._reader(reader)

    def _reader(self, reader: Any) -> None:
        clear = self._clearing.entering("metrics")
        self._stand(Wall(reader, "_receive_metrics", clear, None, "metrics"), canary.metrics())
        for exporter in exporters_in(reader):
            self._exporter(exporter, "metrics")

    def _exporter(self, exporter: Any, signal: str) -> None:
        kinds = type(exporter).__mro__
        signal = "logs" if LogRecordExporter in kinds else "metrics" if MetricExporter in kinds else signal
        wall = Wall(exporter, "export", self._clearing.leaving(signal), _ANSWERS[signal], signal)
        self._stand(wall, self._canary(signal, is_leaving=True))

    # --- building ---------------------------------------------------------------------------------------
    def _stand(self, wall: Wall, sent: object) -> bool:
        """Build a wall and prove it; whether it stands there now."""
        try:
            undo = wall.build(self)
        except ShapeError as exc:
            self._cannot(type(wall.thing), exc)
            return False
        if undo is None:
            return False
        self._undo.append(undo)
        self.walls.append(wall)
        if self._is_proving:
            with self._policy.uncounted():
                is_proven = wall.prove(sent, canary.is_clear, self)
            if not is_proven:
                logger.error(
                    "otel-ws: the gate in front of %s failed its start-up proof; nothing passes there any more. The "
                    "application is not affected. Please report it with the versions of opentelemetry-sdk and otel-ws.",
                    wall.label,
                )
        return True

    def _after(self, thing: object, name: str, met: Callable[[Any], None]) -> None:
        def around(add: Callable[..., Any], standing: Standing) -> Callable[..., Any]:
            def added(new: Any, *args: Any, **kwargs: Any) -> Any:
                result = add(new, *args, **kwargs)
                if standing.is_wanted:
                    with self._lock:
                        try:
                            met(new)
                        except Exception as exc:
                            self._cannot(type(new), exc)
                return result

            return added

        if not is_interposed(thing, name, self):
            self._undo.append(interpose(thing, name, around, self))

    @staticmethod
    def _canary(signal: str, *, is_leaving: bool) -> object:
        if signal == "metrics":
            return canary.metrics()
        one = canary.span() if signal == "traces" else canary.log_record(is_readable=is_leaving)
        return (one,) if is_leaving else one

    def _cannot(self, kind: type, exc: Exception) -> None:
        """Something takes no wall: it is told, and listed."""
        name = f"{kind.__module__}.{kind.__qualname__}"
        faults.fault("gate.build", exc)
        if name not in self.ungated:
            self.ungated.append(name)
            self._tell_ungated(name)

    def _tell_ungated(self, name: str) -> None:
        if self._is_proving:
            logger.warning(
                "otel-ws cannot gate %s: it takes telemetry and sends it by itself, so what it sends is not cleared. "
                "Use an exporter in the SDK's BatchSpanProcessor instead.",
                name,
            )

    # --- reading ----------------------------------------------------------------------------------------
    def is_untouched(self) -> bool:
        """Whether every processor is the SDK's own, so that what entered cleared is what leaves."""
        try:
            return not self._has_gap and all(
                is_plain_processor(one) for start in self._entrances for one in processors_of(start)
            )
        except ShapeError:
            return False

    def status(self) -> dict[str, Any]:
        """What stands where, by the class behind it."""
        found: dict[str, Any] = {"exporters": [], "readers": [], "ungated": list(self.ungated), "blocked": []}
        with self._lock:
            for wall in self.walls:
                one = {"name": wall.label, "signal": wall.signal, "proven": wall.is_proven}
                kind = {"export": "exporters", "_receive_metrics": "readers"}.get(wall.method)
                if kind is not None:
                    found[kind].append(one)
                if wall.is_blocked:
                    found["blocked"].append(wall.label)
            found["providers"] = len(self.providers)
        return found
