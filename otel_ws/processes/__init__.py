"""All workers of this host as one: what they count together, who they are, and which of them speaks for all.

It knows that processes share a folder and how their numbers add up. It refuses to know what a number means, who asks
for it and in which form it is told. Where nothing can be shared, every answer is about this process alone and says so.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from otel_ws import faults
from otel_ws import recorder as recorders
from otel_ws.fanout import Fanout
from otel_ws.health import Reading
from otel_ws.ledger import Snapshot
from otel_ws.processes.membership import HISTORY, MAX_AGE, PLACE, Membership, seen_by
from otel_ws.processes.membership import Overview as Overview
from otel_ws.processes.membership import Process as Process
from otel_ws.processes.rows import DAY, Rows
from otel_ws.processes.runtime import RefusedError, place
from otel_ws.processes.runtime import TakenError as TakenError
from otel_ws.settings import Settings

_AGAIN_SECONDS = 1.0
_NOT_YET = "this process serves nothing yet"
_A_TEST = "a test suite is nobody's worker"
_lock = threading.RLock()
_member: Membership | None = None
_retry_at = 0.0


def overview(max_age: float = MAX_AGE) -> Overview:
    """What all workers of this host say, at most ``max_age`` seconds old; where nothing is shared, this process alone.

    An answer is kept only until another worker gives one, so that asking one after the other shows no total that falls.
    """
    found = _membership()
    if found is None:
        now = time.time()
        return Overview(now, now, Snapshot({}, {}), (), is_shared=False, why="telemetry is off in this process")
    return found.overview(max_age)


def of_group(settings: Settings) -> Overview | None:
    """What the workers of the service with these settings say, for a process that is none of them.

    ``None`` where none of them is alive, or nothing is shared.
    """
    try:
        from otel_ws.processes.group import Group

        group = Group(place(settings.runtime_dir, settings.group, os.environ, make=False))
        try:
            group.learn()
            seen = seen_by(group)
        finally:
            group.leave()
    except Exception:  # nobody has told anything, or nothing that can be understood
        return None
    return seen if seen.processes else None


def history_of_group(settings: Settings) -> tuple[Reading, ...]:
    """The readings of the last day that the workers of the service with these settings kept, for one that is none."""
    try:
        return Rows(place(settings.runtime_dir, settings.group, os.environ, make=False) / HISTORY).since(
            time.time() - DAY
        )
    except (RefusedError, OSError):
        return ()


def history(seconds: float) -> tuple[Reading, ...]:
    """Readings of the last ``seconds``, oldest first: each 10 s for the last hour, hourly for 24 h before that."""
    found = _membership()
    return () if found is None else found.since(time.time() - seconds)


def is_leader() -> bool:
    """Whether this process, of all of its group the only one, writes the history and tells verdicts and totals."""
    found = _membership()
    return found is None or found.is_leader()


def folder() -> Path | None:
    """The group's private folder; ``None`` where nothing is shared."""
    found = _membership()
    return None if found is None or found.group is None else found.group.folder


def claim(port: int, address: str) -> FileIO | None:
    """Take a port of this host for the group of this process; whoever listens there holds the file open meanwhile.

    ``None`` where nothing is shared: then nobody knows whose the port is.

    Raises:
        TakenError: processes of another group listen there.
    """
    group = folder()
    if group is None:
        return None
    try:
        from otel_ws.processes import ports

        return ports.claim(group, port, address)
    except TakenError:
        raise
    except (RefusedError, OSError) as exc:
        faults.fault(PLACE, exc)
        return None


def join() -> bool:
    """This process serves: it joins the others of its group, if it has not yet. Never raises.

    Returns whether it is decided by now where it belongs; if not, what it says is not to be taken for what all say.
    """
    active = recorders.active()
    if active is None:
        return False
    active.serves()
    return active.has_joined


def joined(fanout: Fanout) -> bool:
    """Put a recorder's process into its group, or leave it alone and say once why; whether that is decided."""
    global _member, _retry_at
    # A test is nobody's worker, though it may run what one runs.
    if not isinstance(fanout, recorders.Recorder) or "pytest" in sys.modules:
        return True
    with _lock:
        if time.monotonic() < _retry_at:
            return False
        settings = fanout.settings
        made = Membership(fanout, role(sys.argv), place=lambda: place(settings.runtime_dir, settings.group, os.environ))
        try:
            made.enter()
        except TimeoutError:
            # Tried again with the next second, and not at each connection: trying takes a moment.
            _retry_at = time.monotonic() + _AGAIN_SECONDS
            return False
        made.wire()
        _member = made
        # A thread of its own, because this one may be an event loop's.
        threading.Thread(target=_clean_up, args=(settings,), name="otel-ws-clean-up", daemon=True).start()
        return True


def _clean_up(settings: Settings) -> None:
    """Remove what services left behind in the runtime directory that nobody belongs to any longer. Never raises."""
    try:
        base = place(settings.runtime_dir, settings.group, os.environ).parent
        # Late: where there are no such locks there is no such folder either.
        from otel_ws.processes.deserted import remove_deserted

        remove_deserted(base, time.time())
    except RefusedError:
        return  # told when it was to join
    except Exception as exc:
        faults.fault(PLACE, exc)


def role(argv: Sequence[str]) -> str:
    """What a process with these arguments is for: ``worker`` for ``manage.py runworker``, ``command`` for others."""
    if not argv or Path(argv[0]).name not in {"manage.py", "django-admin"}:
        return "server"
    verb = argv[1] if len(argv) > 1 else ""
    return {"runworker": "worker", "runserver": "server", "daphne": "server"}.get(verb, "command")


def _membership() -> Membership | None:
    global _member
    active = recorders.active()
    if active is None:
        return None
    with _lock:
        if _member is None or not _member.is_of(active):
            _member = Membership(active, role(sys.argv), _A_TEST if "pytest" in sys.modules else _NOT_YET)
        return _member


def _after_fork() -> None:
    global _lock, _member, _retry_at
    _lock, _retry_at = threading.RLock(), 0.0
    before, _member = _member, None
    if before is not None:
        before.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
