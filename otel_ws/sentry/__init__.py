"""For sentry-sdk: the same policy over what it sends; ids, codes and places in the code stay.

    from otel_ws.sentry import scrub

    sentry_sdk.init(
        dsn=...,
        before_send=scrub,
        before_send_transaction=scrub,
        before_send_log=scrub,
        before_send_metric=scrub,
        before_breadcrumb=scrub,
    )

It refuses to import sentry-sdk: it works with every version, and without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from otel_ws import recorder
from otel_ws.faults import fault
from otel_ws.foreign import BODY, Foreign
from otel_ws.semconv import OTHER
from otel_ws.sentry import payload
from otel_ws.sentry.rules import attributes, name

__all__ = ["scrub"]


def scrub(item: Any, hint: Any = None) -> Any:
    """An event, transaction, check-in, log, metric, breadcrumb or streamed span of sentry-sdk, cleared.

    Returns a new mapping, or ``None`` where nothing of the item may leave. Attachments that come with an event are
    taken out of ``hint``. Never raises: of what cannot be cleared, at most the sign that it happened is left.

    Source: the payloads of sentry-sdk 2 and https://develop.sentry.dev/sdk/data-model/event-payloads/.
    """
    try:
        return _scrubbed(_foreign(), item, hint)
    except Exception as exc:
        fault("sentry", exc)
        return _sign(item)


def _scrubbed(foreign: Foreign, item: Any, hint: Any) -> Any:
    kind = _kind(item)
    if kind in _CLEARING:
        return _CLEARING[kind](foreign, item)
    if kind == "event":
        if type(hint) is dict:
            hint["attachments"] = []
        said = item.get("type")
        if said in (None, "event", "error", "default"):
            return payload.EVENT(foreign, item)
        if said == "transaction":
            return payload.TRANSACTION(foreign, item)
        if said == "check_in":
            cleared = payload.CHECK_IN(foreign, item)
            return cleared if "monitor_slug" in cleared else None
    return None


def _kind(item: Any) -> str:
    """By its keys; the keys of a stranger's class are not looked at, as they may do anything."""
    keys = {key for key in item if type(key) is str} if type(item) is dict else set()
    if "severity_number" in keys:
        return "log"
    if {"attributes", "name"} <= keys:
        return "metric" if "value" in keys else "span"
    if "event_id" in keys:
        return "event"
    return "breadcrumb" if keys else ""


def _sign(item: Any) -> dict[str, Any] | None:
    try:
        kind = _kind(item)
        if kind == "span":
            return {"name": OTHER, "attributes": {}}
        event_id = item["event_id"] if kind == "event" and item.get("type") is None else None
        if type(event_id) is str and re.fullmatch("[0-9a-f]{32}", event_id):
            return {"event_id": event_id, "level": "error", "platform": "python", "message": BODY}
    except Exception as exc:
        fault("sentry", exc)
    return None


def _log(foreign: Foreign, item: dict[str, Any]) -> dict[str, Any] | None:
    cleared = payload.LOG(foreign, item)
    # sentry-sdk reads these without asking whether they are there.
    if not {"severity_number", "severity_text", "time_unix_nano"} <= cleared.keys():
        return None
    return {"body": BODY, "attributes": {}} | cleared


def _metric(foreign: Foreign, item: dict[str, Any]) -> dict[str, Any] | None:
    known = foreign.metric(item["name"], item.get("unit"))
    cleared = payload.METRIC(foreign, item)
    if known is None or not {"timestamp", "type", "value"} <= cleared.keys():
        return None
    return {"attributes": {}} | cleared | {"name": known[0], "unit": known[1] or None}


def _streamed_span(foreign: Foreign, item: dict[str, Any]) -> dict[str, Any]:
    # sentry-sdk keeps the original unless a name and attributes come back, and takes nothing else over.
    cleared = attributes(foreign, item["attributes"], "traces") or {}
    return {"name": name(foreign, item["name"], cleared), "attributes": cleared}


_CLEARING: Final[dict[str, Callable[[Foreign, Any], Any]]] = {
    "log": _log,
    "metric": _metric,
    "span": _streamed_span,
    "breadcrumb": payload.BREADCRUMB,
}
_kept: Foreign | None = None


def _foreign() -> Foreign:
    global _kept
    if _kept is None or _kept.policy is not recorder.vocabulary:
        _kept = Foreign(recorder.vocabulary)
    return _kept
