"""``/readiness``: whether what the application needs answers, asked for real and with a time limit.

It knows the names of what is asked, how it went and how long it took; what an exception says it refuses to know. The
schema is ``monitoring/schemas/readiness.json``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_ws import recorder
from otel_ws.faults import fault
from otel_ws.semconv import READINESS

LIMIT_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 1.0
# Who has hung for so long may hang for ever, though what it asked is back: another thread asks anew.
GIVEN_UP_SECONDS: Final = 30.0
READY, NOT_READY = "ready", "not_ready"
OK, FAILED, TIMEOUT = "ok", "failed", "timeout"

Check = Callable[[], None]


def checks() -> Mapping[str, Check]:
    """What is asked, by component: what a configured Django project has; nothing elsewhere."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return {}
    from otel_ws.django import dependencies

    found: Mapping[str, Check] = dependencies.checks()
    return found


class _Asked:
    """One component while it is asked, in a thread of its own."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check
        self.status = TIMEOUT
        self.seconds = 0.0
        self._began = time.monotonic()
        self.thread = threading.Thread(target=self._run, name=f"otel-ws-ready-{name}", daemon=True)
        self.thread.start()

    def is_over(self) -> bool:
        """Whether it may be asked again."""
        return not self.thread.is_alive() or time.monotonic() - self._began >= GIVEN_UP_SECONDS

    def _run(self) -> None:
        try:
            self._check()
            status = OK
        except Exception:
            # What it says may hold an address or a password; that it failed is told.
            status = FAILED
        self.seconds = time.monotonic() - self._began
        self.status = status

    def told(self) -> dict[str, Any]:
        """As the answer has it."""
        seconds = self.seconds if self.status != TIMEOUT else time.monotonic() - self._began
        return {"component": self.name, "status": self.status, "response_time_ms": round(seconds * 1000, 3)}


def answer() -> dict[str, Any]:
    """Ask everything at once, once a second at most, for ``LIMIT_SECONDS``; who hangs is given up, and asked anew."""
    global _told
    with _lock:
        if _told is not None and time.monotonic() - _told[0] < KEPT_SECONDS:
            return _told[1]
        told = _answer()
        _told = time.monotonic(), told
        return told


def _answer() -> dict[str, Any]:
    until = time.monotonic() + LIMIT_SECONDS
    for name, check in checks().items():
        if name not in _asked or _asked[name].is_over():
            _asked[name] = _Asked(name, check)
    for asked in _asked.values():
        asked.thread.join(max(0.0, until - time.monotonic()))
    told = [asked.told() for asked in _asked.values()]
    failed = [one["component"] for one in told if one["status"] != OK]
    active = recorder.active()
    if active is not None:
        for one in told:
            try:
                active.ledger.add(READINESS, (one["component"], "success" if one["status"] == OK else "error"))
            except Exception as exc:
                fault("endpoints.readiness", exc)
    return {"status": NOT_READY if failed else READY, "failed": failed, "checks": told}


_lock = threading.Lock()
_asked: dict[str, _Asked] = {}
_told: tuple[float, dict[str, Any]] | None = None


def forget() -> None:
    """In a forked child, and in tests: the threads are gone."""
    global _lock, _told
    _lock, _told = threading.Lock(), None
    _asked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
