"""The gate: the policy over everything that the process exports, whoever made it.

Two walls, each proven by a canary: one where telemetry enters a provider's processors or a reader, which no order of
registration goes around, and one on every exporter. It knows modes, and when the gate opens and closes; it refuses
to know what may leave.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, Final

from opentelemetry._logs import get_logger_provider
from opentelemetry.metrics import get_meter_provider
from opentelemetry.propagate import get_global_textmap
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_tracer_provider

from otel_ws import faults, recorder
from otel_ws.fanout import Fanout
from otel_ws.foreign import Foreign
from otel_ws.gate.clearing import Clearing, Removing, Watching
from otel_ws.gate.places import Places
from otel_ws.policy import Policy
from otel_ws.sdk import built, contrib
from otel_ws.settings import problems, sdk_disabled

logger = logging.getLogger("otel_ws")
MODES: Final = ("all", "own", "report")
_KINDS: Final[dict[str, type]] = {"traces": TracerProvider, "metrics": MeterProvider, "logs": LoggerProvider}


class Gate:
    """One process's gate, in one mode: ``all``, ``own`` or ``report``."""

    def __init__(self, mode: str, policy: Policy, only: tuple[object, ...] = ()) -> None:
        self.mode = mode
        self.policy = policy
        self.foreign = Foreign(policy)
        self.only = only
        self._removing: Removing | None = None
        self._places: Places | None = None
        self._told: set[str] = set()
        # Whether somebody could hear which mode it is.
        self._is_heard = False

    def open(self) -> None:
        """Build the walls, prove them, and tell the mode. ``own`` needs none: ours is cleared where it is made."""
        if self.mode != "own":
            self._removing = Removing(self.foreign, self._is_untouched)
            clearing: Clearing = self._removing
            if self.mode == "report":
                clearing = Watching(self._removing, self.foreign, self._tell_keys)
            self._places = Places(clearing, self.foreign.policy, is_proving=self.mode == "all", only=self.only)
            self._places.build()
        self.tell()

    def tell(self) -> None:
        """Tell the mode, until there was a log that takes it: the gate opens before most applications set theirs up."""
        if not self._is_heard:
            self._is_heard = logger.hasHandlers() and logger.isEnabledFor(logging.INFO)
            logger.info("%s", self._line())

    def is_suppressing(self) -> bool:
        """Whether spans that say again what ours say are left out."""
        return self.mode == "all" and "traces" not in self.own_signals()

    def own_signals(self) -> list[str]:
        """In ``all``: the signals for which the application made its provider itself, and asked for no gate."""
        if not self.only:
            return []
        return [signal for signal, kind in _KINDS.items() if not any(isinstance(one, kind) for one in self.only)]

    def close(self) -> None:
        """Take every wall down."""
        if self._places is not None:
            self._places.undo()

    def after_fork(self) -> None:
        """In a forked child."""
        if self._places is not None:
            self._places.after_fork()

    def meet(self, *providers: object) -> None:
        """Walls for providers that may not have been there when the gate opened."""
        if self._places is not None and not self.only:
            for provider in providers:
                self._places.provider(provider)

    def status(self) -> dict[str, Any]:
        """The mode, every place where telemetry leaves, and what cannot be gated: names and numbers alone."""
        found: dict[str, Any] = {"mode": self.mode, "providers": 0, "own": self.own_signals()}
        found |= {"exporters": [], "readers": [], "ungated": [], "blocked": []}
        if self._places is not None:
            found |= self._places.status()
        is_suppressing = self.mode == "all" and self._removing is not None
        found["suppressed"] = dict(self._removing.spans.suppressed) if is_suppressing and self._removing else {}
        found["would_remove"] = self._would_remove() if self.mode == "report" else {}
        return found

    def _would_remove(self) -> dict[str, int]:
        kinds = {f"{signal}: {kind}": count for (signal, kind), count in sorted(self.foreign.would_remove.items())}
        return {**self.foreign.well_known, **kinds}

    def _is_untouched(self) -> bool:
        return self._places is not None and self._places.is_untouched()

    def _tell_keys(self) -> None:
        for key in sorted(set(self.foreign.well_known) - self._told):
            self._told.add(key)
            # A key of the conventions, never a stranger's; once for each.
            logger.warning("otel-ws: OTEL_WS_GATE=all would remove %s.", key)

    def _line(self) -> str:
        if self.mode == "own":
            return "otel-ws gate: own. Telemetry of otel-ws is cleared; what others make leaves as it is."
        now = self.status()
        places = f"{len(now['exporters'])} exporters and {len(now['readers'])} readers of {now['providers']} providers"
        if self.mode == "report":
            return f"otel-ws gate: report. Nothing of others' telemetry is removed at {places}; what would be is told."
        failed = f", {len(now['blocked'])} blocked" if now["blocked"] else ""
        ungated = f"; not gated: {', '.join(now['ungated'])}" if now["ungated"] else ""
        if self.only:
            own = ", ".join(self.own_signals())
            return (
                f"otel-ws gate: all, but for {own} of the application's own provider, which leave as they are "
                f"(OTEL_WS_GATE=all clears them too). The rest is cleared at {places}, each proven by a canary"
                f"{failed}{ungated}."
            )
        return f"otel-ws gate: all. Everything is cleared at {places}, each proven by a canary{failed}{ungated}."


# --- the one gate of the process ----------------------------------------------------------------------------
_active: Gate | None = None
_lock = threading.RLock()


def install(mode: str, policy: Policy, only: tuple[object, ...] = ()) -> Gate:
    """Open the process's gate, once; another mode or policy replaces the one that is open, without a moment between."""
    global _active
    with _lock:
        before = _active
        if before is not None and (before.mode, before.policy, before.only) == (mode, policy, only):
            return before
        opened = Gate(mode, policy, only)
        opened.open()
        _active = opened
        if before is not None:
            before.close()
        contrib.is_suppressed = opened.is_suppressing()
        return opened


def uninstall() -> None:
    """Close the gate: every method is what it was. Nothing but a test has a reason to."""
    global _active
    with _lock:
        gate, _active = _active, None
        contrib.is_suppressed = False
        if gate is not None:
            gate.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    if _active is not None:
        _active.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def active() -> Gate | None:
    """The process's gate, if one is open."""
    return _active


def status() -> dict[str, Any]:
    """What the gate does now; ``{"mode": "off"}`` where there is none.

    ``providers``: how many. ``own``: signals whose provider is the application's own and not gated.
    ``exporters``, ``readers``: a list of ``name`` (the class), ``signal`` and ``proven``.
    ``ungated``, ``blocked``: classes. ``suppressed``, ``would_remove``: counts by kind; the latter
    by key of the conventions too.
    """
    gate = _active
    return {"mode": "off"} if gate is None else gate.status()


def sends_baggage() -> bool:
    """Whether OpenTelemetry sends baggage in headers to whomever the application calls: past every exporter."""
    return "baggage" in get_global_textmap().fields


# --- when it opens ------------------------------------------------------------------------------------------
def follow(fanout: Fanout) -> None:
    """Open the gate that a recorder's settings ask for. It outlives the recorder: others go on exporting.

    A gate that clears stays what it is where the settings ask for none. Never raises.
    """
    try:
        providers = _global_providers()
        given = (fanout.spans.provider, fanout.metrics.provider)
        gate = _active
        if gate is None or gate.mode == "own" or fanout.settings.gate:
            mode, only = _chosen(fanout.settings.gate, providers)
            gate = install(mode, fanout.policy, only)
        gate.meet(*providers, *given)
    except Exception as exc:
        faults.fault("gate", exc)


def early(asked: object = None) -> None:
    """Open the gate before anything is instrumented, where ``asked`` or the environment asks for it. Never raises.

    A word that is no mode asks for ``all``: whoever set it wanted something cleared.
    """
    try:
        wanted = str(os.environ.get("OTEL_WS_GATE", "") if asked is None else asked).strip().lower()
        own = {name: value for name, value in os.environ.items() if name == "OTEL_WS_ENABLED"}
        is_on = not sdk_disabled() and not problems(own) and own.get("OTEL_WS_ENABLED", "true").strip().lower()
        if not wanted or wanted == "own" or is_on in (False, "false", "0", "no", "off"):
            return
        if wanted not in MODES:
            logger.warning("otel-ws: the gate's mode is not one of %s; everything is cleared.", ", ".join(MODES))
        install(wanted if wanted in MODES else "all", recorder.vocabulary).meet(*_global_providers())
    except Exception as exc:
        faults.fault("gate", exc)


def serving() -> None:
    """The process begins to serve, so its log is set up. Never raises."""
    try:
        if (gate := _active) is not None:
            gate.tell()
    except Exception as exc:
        faults.fault("gate", exc)


def _global_providers() -> tuple[object, ...]:
    return get_tracer_provider(), get_meter_provider(), get_logger_provider()


def _chosen(asked: str, providers: tuple[object, ...]) -> tuple[str, tuple[object, ...]]:
    """The mode, and the providers that it is about (none: every one there is and will be)."""
    if asked:
        return asked, ()
    ours = tuple(one for one in providers if any(one is made for made in built))
    if not ours:
        return "own", ()
    return "all", () if len(ours) == len(providers) else ours
