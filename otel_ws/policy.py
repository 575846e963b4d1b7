"""THE decision: which attribute may leave, on which signal, in which form.

An allow-list by key and by form of value, read from ``semconv``; there is no free-text kind. It never raises,
whatever it is given: what does not fit is dropped or becomes ``_OTHER``, and is counted. It refuses to know
who asks and where the value goes.
"""

from __future__ import annotations

import math
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from otel_ws.faults import warn_once
from otel_ws.semconv import (
    ATTRIBUTES,
    CLOSE_CODE,
    ERROR_TYPE,
    IDS,
    MESSAGE_TYPE,
    OTHER,
    REASON,
    ROLE,
    ROUTE,
    SUBPROTOCOL,
    TEMPLATE,
    UNKNOWN,
    Attribute,
    Kind,
)
from otel_ws.types import Cleared, Value

_PLAIN: Final = (str, int, float, bool)
UNDECLARED_LIMIT: Final = 64
ROUTE_LIMIT: Final = 200
RAW_HANDLER: Final = "websocket_receive"

_DIGITS = re.compile(r"[0-9]{1,19}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_CODE = re.compile(r"[A-Z][A-Z_]{1,31}")
_CODE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# Some applications write `chat:join`; a type leaves only if it was declared.
_MESSAGE_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_TEMPLATE = re.compile(r"[A-Za-z0-9_\-./~:{}]{1,200}")
_RESOURCE_KEY = re.compile(
    r"service\.(name|namespace|version|instance\.id)|deployment\.environment\.name|k8s\.[a-z]+\.name|container\.id"
    r"|telemetry\.[a-z.]+"
)
_RESOURCE_VALUE = re.compile(r"[A-Za-z0-9._:/+-]{1,64}")
_ID_KEY = re.compile(r"[a-z][a-z0-9_]{0,30}\.id")

# Of the IANA registry of WebSocket subprotocols, and of what Channels applications speak; others are declared.
SUBPROTOCOLS: Final = (
    "json", "xml", "mqtt", "mqttv3.1", "v10.stomp", "v11.stomp", "v12.stomp", "soap", "wamp", "wamp.2.json",
    "wamp.2.msgpack", "amqp", "sip", "xmpp", "graphql-ws", "graphql-transport-ws", "ocpp1.6", "ocpp2.0", "ocpp2.0.1",
    "ocpp2.1", "actioncable-v1-json", "protobuf", "msgpack", "cbor",
)  # fmt: skip
NOTHING: Final = Cleared({})

REASONS: Final = (
    "MSG_RATE", "CONN_LIMIT", "ROOM_FULL", "PAYLOAD_TOO_BIG", "JWT_EXPIRED", "JWT_INVALID", "ROLE_NOT_ALLOWED",
    "REJECTED", "NO_ROUTE", "HANDLER_ERROR", "CLIENT_GONE", "NEVER_ACCEPTED", "CANCELLED",
)  # fmt: skip


class Policy:
    """The vocabulary of one process (what is declared) and the clearing of every value against it."""

    def __init__(self) -> None:
        self.ids: dict[str, Attribute] = {one.field or "": one for one in IDS}
        self._by_key = {one.key: one for one in ATTRIBUTES}
        self._declared: dict[Attribute, set[object]] = {
            ROLE: set(ROLE.choices),
            REASON: set(REASONS),
            MESSAGE_TYPE: {UNKNOWN, RAW_HANDLER},
            ERROR_TYPE: set(),
            SUBPROTOCOL: set(SUBPROTOCOLS),
            TEMPLATE: set(),
            CLOSE_CODE: set(range(1000, 1016)),
        }
        self._seen: dict[Attribute, set[object]] = {
            REASON: set(),
            ERROR_TYPE: set(),
            CLOSE_CODE: set(),
            ROUTE: set(),
        }
        self.heartbeat: tuple[str, float] | None = None
        self._removed: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def copy(self) -> Policy:
        """Another one with the same words, and nothing counted yet."""
        other = Policy()
        other.ids.update(self.ids)
        other._by_key.update(self._by_key)
        other._declared = {attribute: set(values) for attribute, values in self._declared.items()}
        other.heartbeat = self.heartbeat
        return other

    # --- declaring --------------------------------------------------------------------------------------
    def declare_id(self, key: object) -> bool:
        """Let ``order.id`` leave as an id, from the URL kwarg or ``set_ids`` name ``order_id``."""
        if not isinstance(key, str) or not _ID_KEY.fullmatch(key):
            return False
        name = key.replace(".", "_")
        with self._lock:
            declared = Attribute(key, None, name, Kind.ID, "Declared by the application.")
            self._by_key[key] = self.ids.setdefault(name, declared)
        return True

    def declare(self, attribute: Attribute, values: Iterable[object]) -> list[object]:
        """Add values to an attribute's vocabulary; returns those that have a wrong form, and were not added."""
        form = {REASON: _CODE, TEMPLATE: _TEMPLATE, MESSAGE_TYPE: _MESSAGE_TYPE}.get(attribute, _CODE_NAME)
        wrong: list[object] = []
        for value in values:
            exact = exact_value(value)
            if attribute is CLOSE_CODE:
                fits = type(exact) is int and 1000 <= exact <= 4999
            else:
                fits = type(exact) is str and form.fullmatch(exact) is not None
            if fits:
                with self._lock:
                    self._declared[attribute].add(exact)
            else:
                wrong.append(value)
        return wrong

    def is_declared(self, attribute: Attribute, value: object) -> bool:
        """Whether the value is in the attribute's vocabulary."""
        exact = exact_value(value)
        return type(exact) in (str, int) and exact in self._declared[attribute]

    def is_code(self, value: object) -> bool:
        """Whether the value has the form of a reason code."""
        exact = exact_value(value)
        return type(exact) is str and _CODE.fullmatch(exact) is not None

    def is_seen(self, attribute: Attribute, value: str) -> bool:
        """Whether the value was let through before, within the cap on undeclared ones."""
        return value in self._seen.get(attribute, ())

    def has_key(self, key: str) -> bool:
        """Whether a key is ours, or was declared."""
        return key in self._by_key

    def is_number(self, name: str) -> bool:
        """Whether a metric of this name, or a numeric attribute, was declared."""
        return False

    def id(self, value: object) -> str | None:
        """An id as it may leave."""
        return clear_id(value)

    def foreign(self, signal: str, key: str, value: object) -> Value | None:
        """Clear one value that somebody else put under a key of ours, or a declared one."""
        return self.value(signal, self._by_key[key], value)

    # --- clearing ---------------------------------------------------------------------------------------
    def clear(self, signal: str, raw: Mapping[Attribute, object]) -> Cleared:
        """Clear a mapping for spans (``traces``) or log records (``logs``): what may not leave is not in it."""
        cleared: dict[Attribute, Value] = {}
        for attribute, value in raw.items():
            if value is None:
                continue
            fit = self.value(signal, attribute, value)
            if fit is not None:
                cleared[attribute] = fit
        return Cleared(cleared)

    def known(self, base: Cleared, values: Mapping[Attribute, Value]) -> Cleared:
        """Cleared values and, with them, such as are in their form by construction.

        Those are our own constants, numbers that we measured, and labels that were cleared before; the busy path
        need not look at them again.
        """
        return Cleared({**base, **values}) if values else base

    def clear_keys(self, signal: str, raw: Mapping[str, object], *, numbers: bool = False) -> dict[str, Value]:
        """Clear what somebody else put on telemetry of ours, by its keys.

        Undeclared keys go, and are counted; with ``numbers`` (a sampler's attributes) numbers and flags stay.
        """
        cleared: dict[str, Value] = {}
        for key, value in raw.items():
            attribute = self._by_key.get(key)
            fit: Value | None = None
            if attribute is not None:
                fit = self.value(signal, attribute, value)
            elif numbers and (type(value) is bool or _fits_otlp(value)) and _CODE_NAME.fullmatch(key):
                fit = value  # type: ignore[assignment]
            else:
                self.undeclared(signal)
            if fit is not None:
                cleared[key] = fit
        return cleared

    def code_name(self, signal: str, value: object) -> str:
        """A name in code-name form, or ``_OTHER``."""
        exact = exact_value(value)
        if type(exact) is str and _CODE_NAME.fullmatch(exact):
            return exact
        self._remove(signal, Kind.CODE_NAME.value)
        return OTHER

    def label(self, attribute: Attribute, value: object) -> str:
        """Clear one metric label. Always a string: what may not leave is ``_OTHER``."""
        if value is None or (type(value) is str and not value):
            return "" if attribute is SUBPROTOCOL else OTHER
        if attribute.label is None:
            self._remove("metrics", "undeclared")
            return OTHER
        if attribute is CLOSE_CODE:
            return self._close_code(value)
        fit = self.value("metrics", attribute, value)
        return OTHER if fit is None else str(fit)

    def value(self, signal: str, attribute: Attribute, value: object) -> Value | None:
        """Clear one value by the attribute's kind; ``None`` means that nothing may leave."""
        kind = attribute.kind
        exact = exact_value(value)
        fit: Value | None
        if kind is Kind.ID:
            fit = clear_id(value)
        elif kind is Kind.CHOICE:
            fit = exact if type(exact) is str and exact in self._declared.get(attribute, attribute.choices) else OTHER
        elif kind is Kind.NUMBER:
            fit = exact if type(exact) in (int, float) and _fits_otlp(exact) else None  # type: ignore[assignment]
        elif kind is Kind.FLAG:
            fit = exact if type(exact) is bool else None
        elif kind is Kind.CLOSE_CODE:
            fit = exact if type(exact) is int and 1000 <= exact <= 4999 else None
        elif kind is Kind.TEMPLATE:
            fit = self._template(attribute, exact)
        else:
            fit = self._code(attribute, exact)
        if fit is None or (fit == OTHER and exact != OTHER):
            self._remove(signal, kind.value)
        return fit

    def sent_close_code(self, code: object) -> None:
        """This process closed with ``code``: the application's own choice, so it may be a label."""
        exact = exact_value(code)
        if type(exact) is int and 1000 <= exact <= 4999:
            self._known_or_room(CLOSE_CODE, exact)

    def _close_code(self, value: object) -> str:
        code = exact_value(value)
        known = type(code) is int and (code in self._declared[CLOSE_CODE] or code in self._seen[CLOSE_CODE])
        if not known:
            self._remove("metrics", Kind.CLOSE_CODE.value)
        return str(code) if known else OTHER

    def _template(self, attribute: Attribute, value: object) -> str:
        if type(value) is not str or not _TEMPLATE.fullmatch(value):
            return OTHER
        if attribute is ROUTE:
            return value if value.startswith("/") and self._known_or_room(ROUTE, value) else OTHER
        return value if value in self._declared[attribute] else OTHER

    def _code(self, attribute: Attribute, value: object) -> str:
        if attribute is MESSAGE_TYPE:
            return value if type(value) is str and value in self._declared[attribute] else UNKNOWN
        form = _CODE if attribute.kind is Kind.CODE else _CODE_NAME
        if type(value) is not str or not form.fullmatch(value):
            return OTHER
        if attribute is SUBPROTOCOL and value not in self._declared[SUBPROTOCOL]:
            # Browsers can send a token only as a subprotocol, and then the application must select it.
            return OTHER
        return value if self._known_or_room(attribute, value) else OTHER

    def _known_or_room(self, attribute: Attribute, value: object) -> bool:
        """Whether the value is declared, seen before, or still within the cap on undeclared ones."""
        seen = self._seen.get(attribute)
        if seen is None or value in seen or value in self._declared.get(attribute, ()):
            return True
        limit = ROUTE_LIMIT if attribute is ROUTE else UNDECLARED_LIMIT
        with self._lock:
            if len(seen) < limit:
                seen.add(value)
                return True
        warn_once(
            f"cap.{attribute.key}",
            f"otel-ws: more than {limit} different values of {attribute.key} in this process; further ones are "
            f"{OTHER}. Declare those that you need with otel_ws.declare().",
        )
        return False

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent's may have held the lock."""
        self._lock = threading.Lock()

    # --- counting ---------------------------------------------------------------------------------------
    def _remove(self, signal: str, kind: str) -> None:
        with self._lock:
            self._removed[signal, kind] += 1

    def undeclared(self, signal: str) -> None:
        """Count a value that came under a key which nobody declared."""
        self._remove(signal, "undeclared")

    def removed(self, signal: str, kind: str, times: int = 1) -> None:
        """Count what somebody else's telemetry lost; ``kind`` is a kind's value, ``undeclared`` or ``text``."""
        with self._lock:
            self._removed[signal, kind] += times

    def redactions(self) -> dict[tuple[str, str], int]:
        """What was removed or replaced so far, by signal and kind."""
        with self._lock:
            return dict(self._removed)


def clear_resource(attributes: Mapping[str, object]) -> dict[str, str]:
    """The resource attributes that may leave: those of the service and its place, in code-name form."""
    return {
        key: text
        for key, value in attributes.items()
        if _RESOURCE_KEY.fullmatch(key) and type(text := exact_value(value)) is str and _RESOURCE_VALUE.fullmatch(text)
    }


def clear_id(value: object) -> str | None:
    """An id in its exported form: up to 19 digits, a UUID or a ULID; ``None`` for anything else."""
    if type(value) is uuid.UUID:
        return str(value)
    exact = exact_value(value)
    if type(exact) is int:
        return str(exact) if 0 <= exact < 10**19 else None
    if type(exact) is str and (_DIGITS.fullmatch(exact) or _UUID.fullmatch(exact) or _ULID.fullmatch(exact)):
        return exact
    return None


def exact_value(value: object) -> object:
    """The plain value inside a subclass (an enum member, a marked string); ``None`` for anything not plain.

    By ``type``, never by ``isinstance``: a lazy object answers for its class by evaluating itself, and no method
    of a stranger's may run here.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return int.__index__(value)  # type: ignore[arg-type]
    if issubclass(kind, float):
        return float.__float__(value)  # type: ignore[arg-type]
    return None


def _fits_otlp(value: object) -> bool:
    """Whether OTLP can carry the number: a signed 64-bit integer, or a finite double."""
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return type(value) is float and math.isfinite(value)
