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
    ends_of,
    entrance,
    exporters_in,
    interpose,
    is_called,
    is_composite,
    is_interposed,
    is_known_exporter,
    is_patched,
    is_plain_processor,
    may_ship_by_itself,
    processors_of,
    providers_alive,
    readers_of,
    weakly,
)

logger = logging.getLogger("otel_ws")

# What a provider's processors are entered by, and what adds one.
_ENTER: Final = {"traces": "on_end", "logs": "on_emit"}
_ADD: Final = {"traces": "add_span_processor", "logs": "add_log_record_processor"}
# Where a provider is met that the garbage collector does not show (``gc.freeze``): when it is used the next time.
_USES: Final[dict[type, tuple[str, ...]]] = {
    TracerProvider: ("get_tracer", "add_span_processor"),
    LoggerProvider: ("get_logger", "add_log_record_processor"),
    MeterProvider: ("get_meter",),
}
# Processors of our own that keep what they are shown in this process.
ONLOOKERS: Final[set[type]] = set()
# How many providers come until what is left of those that went is swept away.
_SWEEP: Final = 32
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
        # Nothing here keeps a provider, a processor or an exporter alive.
        self._undo: list[Undo] = []
        self._entrances: list[Callable[[], Any]] = []
        self._has_gap = False
        self._came = 0
        self._met: dict[int, Callable[[], Any]] = {}
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
            self._undo.extend(interpose(kind, name, self._using, self) for name in _USES[kind])
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

    def _using(self, use: Callable[..., Any], standing: Standing) -> Callable[..., Any]:
        def used(provider: object, *args: Any, **kwargs: Any) -> Any:
            if standing.is_wanted and not self.knows(provider):
                self.provider(provider)
            return use(provider, *args, **kwargs)

        return used

    def knows(self, provider: object) -> bool:
        """Whether a provider was met."""
        known = self._met.get(id(provider))
        return known is not None and known() is provider

    def provider(self, provider: object) -> None:
        """Meet a provider; a second time nothing happens. Never raises."""
        with self._lock:
            if not isinstance(provider, PROVIDERS) or self.knows(provider):
                return
            self._came += 1
            if self._came % _SWEEP == 0:
                self._sweep()
            self._met[id(provider)] = weakly(provider)
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
            self._entrances.append(weakly(start))
        else:
            self._has_gap = True
        self._after(start, _ADD[signal], lambda added: self._processor(added, signal))
        for processor in processors_of(start):
            self._processor(processor, signal)

    def _processor(self, processor: Any, signal: str) -> None:
        if is_composite(processor):
            self._after(processor, _ADD[signal], lambda added: self._processor(added, signal))
            for one in processors_of(processor):
                self._processor(one, signal)
            return
        for exporter in exporters_in(processor):
            self._exporter(exporter, signal)
        if type(processor) not in ONLOOKERS and may_ship_by_itself(processor):
            self._is_ungated(type(processor))

    def _sweep(self) -> None:
        """Forget what is no more."""
        self._met = {key: one for key, one in self._met.items() if one() is not None}
        self._undo = [one for one in self._undo if not one.is_gone]
        self._entrances = [one for one in self._entrances if one() is not None]
        self.walls = [one for one in self.walls if one.thing is not None]

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
        if is_patched(exporter, "export"):
            # What somebody else does there is done behind the wall.
            self._is_ungated(type(exporter))
        wall = Wall(exporter, "export", self._clearing.leaving(signal), _ANSWERS[signal], signal)
        self._stand(wall, self._canary(signal, is_leaving=True))

    # --- building ---------------------------------------------------------------------------------------
    def _stand(self, wall: Wall, sent: object) -> bool:
        """Build a wall and prove it; whether it stands there now."""
        try:
            undo = wall.build(self)
        except ShapeError as exc:
            self._cannot(wall.kind, exc)
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
        faults.fault("gate.build", exc)
        self._is_ungated(kind)

    def _is_ungated(self, kind: type) -> None:
        name = _named(kind)
        if name not in self.ungated:
            self.ungated.append(name)
            if self._is_proving:
                logger.warning(
                    "otel-ws cannot gate %s: it takes telemetry and may send it by itself, and what it sends is not "
                    "cleared then. Use an exporter in the SDK's BatchSpanProcessor or BatchLogRecordProcessor instead.",
                    name,
                )

    # --- reading ----------------------------------------------------------------------------------------
    def is_untouched(self) -> bool:
        """Whether all that stands behind an entrance is known code, so that what entered cleared is what leaves.

        Every exporter counts: one that writes into what it is given writes into what the others get.
        """
        try:
            if self._has_gap:
                return False
            for one in self._entrances:
                start = one()
                if start is None:
                    continue
                if not is_composite(start):
                    return False
                for processor in processors_of(start):
                    if type(processor) in ONLOOKERS:
                        continue
                    if not (is_plain_processor(processor) and all(self._is_trusted(end) for end in ends_of(processor))):
                        return False
            return all(self._is_trusted(wall.thing) for wall in self.walls if wall.method == "export")
        except ShapeError:
            return False

    def _is_trusted(self, exporter: Any) -> bool:
        return exporter is None or (is_known_exporter(exporter) and is_called(exporter, "export", self))

    def status(self) -> dict[str, Any]:
        """What stands where, by the class behind it."""
        found: dict[str, Any] = {"exporters": [], "readers": [], "ungated": list(self.ungated), "blocked": []}
        with self._lock:
            self._sweep()
            for wall in self.walls:
                # Somebody put a method of theirs there since, and may have kept ours or not. In readers that is the
                # bridge of our own histograms.
                is_ours = wall.method == "_receive_metrics" or is_called(wall.thing, wall.method, self)
                if not is_ours and _named(wall.kind) not in found["ungated"]:
                    found["ungated"].append(_named(wall.kind))
                one = {"name": wall.label, "signal": wall.signal, "proven": wall.is_proven}
                kind = {"export": "exporters", "_receive_metrics": "readers"}.get(wall.method)
                if kind is not None:
                    found[kind].append(one)
                if wall.is_blocked:
                    found["blocked"].append(wall.label)
            found["providers"] = len(self._met)
        return found


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
