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


class Gate:
    """One process's gate, in one mode: ``all``, ``own`` or ``report``."""

    def __init__(self, mode: str, policy: Policy, only: tuple[object, ...] = ()) -> None:
        self.mode = mode
        self.policy = policy
        self.foreign = Foreign(policy)
        self._only = only
        self._removing: Removing | None = None
        self._places: Places | None = None
        self._told: set[str] = set()

    def open(self) -> None:
        """Build the walls, prove them, and tell the mode. ``own`` needs none: ours is cleared where it is made."""
        if self.mode != "own":
            self._removing = Removing(self.foreign, self._is_untouched)
            clearing: Clearing = self._removing
            if self.mode == "report":
                clearing = Watching(self._removing, self.foreign, self._tell_keys)
            self._places = Places(clearing, self.foreign.policy, is_proving=self.mode == "all", only=self._only)
            self._places.build()
            has_spans = not self._only or any(isinstance(one, TracerProvider) for one in self._only)
            contrib.is_suppressed = self.mode == "all" and has_spans
        logger.info("%s", self._line())

    def close(self) -> None:
        """Take every wall down."""
        contrib.is_suppressed = False
        if self._places is not None:
            self._places.undo()

    def after_fork(self) -> None:
        """In a forked child."""
        if self._places is not None:
            self._places.after_fork()

    def meet(self, *providers: object) -> None:
        """Walls for providers that may not have been there when the gate opened."""
        if self._places is not None and not self._only:
            for provider in providers:
                self._places.provider(provider)

    def status(self) -> dict[str, Any]:
        """The mode, every place where telemetry leaves, and what cannot be gated: names and numbers alone."""
        found: dict[str, Any] = {"mode": self.mode, "providers": 0}
        found |= {"exporters": [], "readers": [], "ungated": [], "blocked": []}
        if self._places is not None:
            found |= self._places.status()
        is_suppressing = self.mode == "all" and self._removing is not None
        found["suppressed"] = dict(self._removing.spans.suppressed) if is_suppressing and self._removing else {}
        found["would_remove"] = dict(self.foreign.well_known) if self.mode == "report" else {}
        return found

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
        return f"otel-ws gate: all. Everything is cleared at {places}, each proven by a canary{failed}{ungated}."


# --- the one gate of the process ----------------------------------------------------------------------------
_active: Gate | None = None
_lock = threading.RLock()


def install(mode: str, policy: Policy, only: tuple[object, ...] = ()) -> Gate:
    """Open the process's gate, once; another mode or policy closes the one that is open."""
    global _active
    with _lock:
        if _active is not None and (_active.mode, _active.policy) == (mode, policy):
            return _active
        uninstall()
        _active = Gate(mode, policy, only)
        _active.open()
        return _active


def uninstall() -> None:
    """Close the gate: every method is what it was."""
    global _active
    with _lock:
        gate, _active = _active, None
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

    ``providers``: how many. ``exporters``, ``readers``: a list of ``name`` (the class), ``signal`` and ``proven``.
    ``ungated``, ``blocked``: classes. ``suppressed``, ``would_remove``: counts by kind, and by key of the conventions.
    """
    gate = _active
    return {"mode": "off"} if gate is None else gate.status()


# --- when it opens ------------------------------------------------------------------------------------------
def follow(fanout: Fanout) -> None:
    """Open the gate that a recorder's settings ask for, and close it with the recorder. Never raises."""
    try:
        providers = (get_tracer_provider(), get_meter_provider(), get_logger_provider())
        given = (fanout.spans.provider, fanout.metrics.provider)
        if _active is not None and not fanout.settings.gate:
            _active.meet(*providers, *given)
        else:
            mode, only = _chosen(fanout.settings.gate, providers)
            install(mode, fanout.policy, only).meet(*providers, *given)
        if uninstall not in fanout.on_close:
            fanout.on_close.append(uninstall)
    except Exception as exc:
        faults.fault("gate", exc)


def early() -> None:
    """Open the gate before anything is instrumented, where the environment asks for it. Never raises."""
    try:
        wanted = os.environ.get("OTEL_WS_GATE", "").strip().lower()
        own = {name: value for name, value in os.environ.items() if name == "OTEL_WS_ENABLED"}
        is_on = not sdk_disabled() and not problems(own) and own.get("OTEL_WS_ENABLED", "true").strip().lower()
        if wanted in ("all", "report") and is_on not in (False, "false", "0", "no", "off"):
            install(wanted, recorder.vocabulary)
    except Exception as exc:
        faults.fault("gate", exc)


def _chosen(asked: str, providers: tuple[object, ...]) -> tuple[str, tuple[object, ...]]:
    """The mode, and the providers that it is about (none: every one there is and will be)."""
    if asked:
        return asked, ()
    ours = tuple(one for one in providers if any(one is made for made in built))
    if not ours:
        return "own", ()
    return "all", () if len(ours) == len(providers) else ours
