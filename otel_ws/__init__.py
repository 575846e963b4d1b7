"""Django Channels and ASGI WebSockets, seen through OpenTelemetry; ids only.

    import otel_ws

    otel_ws.configure()
    application = otel_ws.WebSocketMiddleware(application)

Importing this package loads no framework and no SDK.

PYTEST_DONT_REWRITE: pytest would rewrite a package that has a plugin for it, and warn where it is loaded already.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_ws import recorder, variables
from otel_ws.api import (
    broadcast,
    declare,
    get_metrics_snapshot,
    health,
    record_auth_failure,
    record_error,
    record_message_denied,
    record_ping,
    record_ratelimit_reject,
    set_ids,
    set_message_type,
    set_role,
)
from otel_ws.asgi import WebSocketMiddleware
from otel_ws.fanout import VERSION, Fanout
from otel_ws.settings import Settings, sdk_disabled

if TYPE_CHECKING:
    from otel_ws.instrumentor import ChannelsInstrumentor

__version__ = VERSION
__all__ = [
    "ChannelsInstrumentor",
    "WebSocketMiddleware",
    "__version__",
    "broadcast",
    "configure",
    "declare",
    "get_metrics_snapshot",
    "health",
    "record_auth_failure",
    "record_error",
    "record_message_denied",
    "record_ping",
    "record_ratelimit_reject",
    "set_ids",
    "set_message_type",
    "set_role",
]


def _speed_up(fanout: Fanout) -> None:
    # Late, so that importing this package loads no SDK.
    try:
        from otel_ws import gate
        from otel_ws.sdk import fast
    except ImportError:
        fanout.is_fast = True
        return
    gate.follow(fanout)
    fast.speed_up(fanout)


def _follow(fanout: Fanout) -> None:
    from otel_ws import gate

    gate.follow(fanout)


def _join(fanout: Fanout) -> bool:
    # Late, as a process that only starts others needs none of it; a platform without file locks has none of it.
    from otel_ws import processes

    is_decided = processes.joined(fanout)
    if "otel_ws.gate" in sys.modules:
        # Another thread may load it at this moment: an import waits until all of it is there.
        import_module("otel_ws.gate").serving()
    return is_decided


recorder.speed_up = _speed_up
recorder.join = _join


def configure(**settings: Any) -> None:
    """Set OpenTelemetry up from ``OTEL_*`` variables and instrument Channels; needs ``pip install 'otel-ws[sdk]'``.

    See ``otel_ws.sdk.configure`` for what it takes and raises.
    """
    try:
        from otel_ws.sdk import configure as with_sdk
    except ImportError as exc:
        if sdk_disabled() or not Settings.load_or_exit(None, **settings).enabled:
            return
        raise SystemExit(
            "otel-ws cannot start:\n  otel_ws.configure() needs the OpenTelemetry SDK: pip install 'otel-ws[sdk]'. "
            f"Without it, otel_ws.WebSocketMiddleware alone writes JSON lines (missing: {exc.name})."
        ) from None
    except ValueError as exc:
        # Parts of the SDK read their variables while they are imported.
        if sdk_disabled() or not Settings.load_or_exit(None, **settings).enabled:
            return
        raise variables.refused(exc, os.environ) from None
    with_sdk(**settings)
    active = recorder.active()
    if active is not None:
        # A recorder that was there before the providers has a gate for providers of others.
        _follow(active)


def __getattr__(name: str) -> Any:
    # Late, so that a base install does not need the instrumentation package.
    if name == "ChannelsInstrumentor":
        from otel_ws.instrumentor import ChannelsInstrumentor

        return ChannelsInstrumentor
    raise AttributeError(f"module 'otel_ws' has no attribute {name!r}")
