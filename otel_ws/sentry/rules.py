"""One value of a Sentry payload as it may leave: a rule takes the decision and the value, ``None`` drops it.

The forms are the policy's; only what Sentry alone has (its operations, integrations, releases) is known here, and its
words are read from the modules of sentry-sdk that are loaded. It refuses to know where in a payload a value stands.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

from otel_ws import routes
from otel_ws.faults import fault
from otel_ws.foreign import KEY_LIMIT, Foreign
from otel_ws.forms import exact_value
from otel_ws.loaded import Rarely, is_module, is_version
from otel_ws.names import ROUTES_LIMIT
from otel_ws.semconv import ATTRIBUTES, OTHER, REASON, ROUTE, TEMPLATE

Rule = Callable[[Foreign, Any], Any]

_LIST_LIMIT: Final = 1000
_KEYS: Final = {one.field: one.key for one in ATTRIBUTES if one.field}
_CODE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_RELEASE: Final = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9_.-]{0,63}@)?"
    r"(?:[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}(?:[.+-]?[a-z]{1,5}[0-9]{0,4})?|[0-9a-f]{7,40})"
)
_PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)


# --- texts ----------------------------------------------------------------------------------------------------------
def matching(pattern: re.Pattern[str]) -> Rule:
    """A text of this form."""

    def rule(foreign: Foreign, value: Any) -> Any:
        plain = exact_value(value)
        if type(plain) is str and len(plain) <= 200 and pattern.fullmatch(plain):
            return plain
        foreign.policy.undeclared("logs")
        return None

    return rule


def digits(length: int) -> Rule:
    """An id of Sentry's own: that many hexadecimal digits."""
    return matching(re.compile(f"[0-9a-f]{{{length}}}"))


def among(*words: str) -> Rule:
    """One of these words."""
    return _known(lambda: words)


def declared_by_sentry(name: str) -> Rule:
    """One of the texts that a class of constants in sentry-sdk holds."""
    return _known(lambda: _constants(getattr(sys.modules.get("sentry_sdk.consts"), name, None)))


def _known(words: Callable[[], Collection[str]]) -> Rule:
    def rule(foreign: Foreign, value: Any) -> Any:
        plain = exact_value(value)
        if type(plain) is str and plain in words():
            return plain
        foreign.policy.undeclared("logs")
        return None

    return rule


@functools.lru_cache(8)
def _constants(holder: object) -> frozenset[str]:
    content = vars(holder) if isinstance(holder, type) else {}
    return frozenset(value for key, value in content.items() if key.isupper() and type(value) is str)


code_name: Final = matching(_CODE_NAME)
LEVEL: Final = among("fatal", "critical", "error", "warning", "warn", "info", "debug", "trace")


def text(foreign: Foreign, value: Any) -> Any:
    """A fixed sentence instead of any text."""
    return foreign.body(value)


def module(foreign: Foreign, value: Any) -> Any:
    """A module that is loaded, or a known logger."""
    return foreign.scope_name("logs", value)


def version(foreign: Foreign, value: Any) -> Any:
    """The release of a package."""
    return foreign.version("logs", value)


def release(foreign: Foreign, value: Any) -> Any:
    """The application's release: a version, ``name@version``, a commit or a code name."""
    plain = exact_value(value)
    fits = type(plain) is str and (is_version(plain) or (len(plain) <= 64 and _CODE_NAME.fullmatch(plain) is not None))
    return plain if fits else matching(_RELEASE)(foreign, value)


def exception_type(foreign: Foreign, value: Any) -> Any:
    """The name of a loaded exception class."""
    cleared = foreign.attributes("logs", {"exception.type": value})
    return value if cleared is None else cleared.get("exception.type", OTHER)


def integration(foreign: Foreign, value: Any) -> Any:
    """An integration of sentry-sdk that is loaded."""
    plain = exact_value(value)
    return plain if type(plain) is str and is_module(f"sentry_sdk.integrations.{plain}") else None


def mechanism(foreign: Foreign, value: Any) -> str:
    """How an exception was caught: by an integration, or in general."""
    return integration(foreign, value) or "generic"


def sdk_name(foreign: Foreign, value: Any) -> str:
    """``sentry.python``, with an integration behind it or without."""
    plain = exact_value(value)
    last = plain.removeprefix("sentry.python.") if type(plain) is str else ""
    return f"sentry.python.{last}" if last and integration(foreign, last) else "sentry.python"


def slug(foreign: Foreign, value: Any) -> Any:
    """The name of a monitor, if it was declared as a template."""
    if foreign.policy.is_declared(TEMPLATE, value):
        return exact_value(value)
    foreign.policy.undeclared("logs")
    return None


def grouping(foreign: Foreign, value: Any) -> Any:
    """Part of a fingerprint: Sentry's own, or a reason code."""
    return value if value == "{{ default }}" else foreign.policy.foreign("logs", REASON.key, value)


def category(foreign: Foreign, value: Any) -> Any:
    """What a breadcrumb is about: one of Sentry's words, or a logger."""
    plain = exact_value(value)
    return plain if plain in ("query", "redis", "httplib", "subprocess", "console") else module(foreign, value)


def name(foreign: Foreign, value: Any, known: Mapping[str, Any] | None = None) -> str:
    """What a transaction is called: its route, the code that answers it, or what a span may be called."""
    plain = exact_value(value)
    if type(plain) is str and (_django_routes.has(plain) or foreign.attributes("traces", {ROUTE.key: plain}) is None):
        return plain
    return foreign.span_name("sentry", value, known or {})


class _DjangoRoutes:
    """The routes of this process as sentry-sdk spells them: ``/orders/{pk}/`` for ``orders/<int:pk>/``."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._rarely = Rarely()

    def has(self, text: str) -> bool:
        if text in self._known:
            return True
        self._rarely.do(self._read)
        return text in self._known

    def _read(self) -> None:
        try:
            found = (_PARAMETER.sub(r"{\1}", route) for route in islice(routes.django(), ROUTES_LIMIT))
            self._known = frozenset(f"/{route}" for route in found)
        except Exception as exc:
            fault("sentry.routes", exc)


_django_routes: Final = _DjangoRoutes()


def description(foreign: Foreign, value: Any) -> Any:
    """Of what a span says, the part that a span may be called."""
    said = foreign.span_name("sentry", value, {})
    return None if said == OTHER else said


# --- numbers and ids ------------------------------------------------------------------------------------------------
def number(foreign: Foreign, value: Any) -> Any:
    """A number that JSON can carry."""
    plain = exact_value(value)
    if type(plain) is int:
        return plain if abs(plain) < 2**63 else None
    return plain if type(plain) is float and math.isfinite(plain) else None


def flag(foreign: Foreign, value: Any) -> Any:
    """True or false."""
    return value if type(value) is bool else None


def said_flag(foreign: Foreign, value: Any) -> Any:
    """True or false, also as a word."""
    return value if type(value) is bool else among("true", "false")(foreign, value)


def ratio(foreign: Foreign, value: Any) -> Any:
    """A number from 0 to 1 as a text, as Sentry's sampling has it."""
    plain = exact_value(value)
    return matching(re.compile(r"[01](?:\.[0-9]{1,17})?"))(foreign, plain if type(plain) is str else str(plain))


def time(foreign: Foreign, value: Any) -> Any:
    """A moment: seconds, ISO 8601 or a ``datetime``."""
    if type(value) is datetime:
        return value
    return matching(_TIME)(foreign, value) if type(exact_value(value)) is str else number(foreign, value)


def user(foreign: Foreign, value: Any) -> Any:
    """The user's id, and nothing else of him."""
    found = foreign.policy.id(value.get("id")) if type(value) is dict else None
    return None if found is None else {"id": found}


# --- mappings with any keys -----------------------------------------------------------------------------------------
def attributes(foreign: Foreign, value: Any, signal: str = "logs") -> dict[str, Any] | None:
    """Tags, extra, data: by the keys of the policy, the fields of its JSON lines, and Sentry's own attributes."""
    if type(value) is list:
        pairs = (pair for pair in value[:KEY_LIMIT] if type(pair) in (list, tuple) and len(pair) == 2)
        value = {key: one for key, one in pairs if type(key) is str}
    if type(value) is not dict:
        return None
    cleared: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, one in islice(value.items(), KEY_LIMIT):
        if type(key) is not str:
            foreign.policy.undeclared(signal)
        elif key in _SENTRY:
            cleared[key] = _SENTRY[key](foreign, one)
        elif (known := _key_of(foreign, key)) is not None:
            cleared[key] = foreign.policy.foreign(signal, known, one)
        else:
            rest[key] = one
    others = foreign.attributes(signal, rest)
    cleared |= rest if others is None else others
    return {key: one for key, one in cleared.items() if one is not None}


def _key_of(foreign: Foreign, field: str) -> str | None:
    declared = foreign.policy.ids.get(field)
    return declared.key if declared is not None else _KEYS.get(field)


def tags(foreign: Foreign, value: Any) -> Any:
    """The same as texts."""
    found = attributes(foreign, value) or {}
    return {key: one if type(one) is str else str(one).lower() for key, one in found.items()}


def span_data(foreign: Foreign, value: Any) -> Any:
    """The same, of a span."""
    return attributes(foreign, value, "traces")


def metric_attributes(foreign: Foreign, value: Any) -> Any:
    """The same, of a metric, where no id is a label."""
    return attributes(foreign, value, "metrics")


_SENTRY: Final[dict[str, Rule]] = {
    "websocket": said_flag,
    "sentry.environment": code_name,
    "sentry.release": release,
    "sentry.sdk.name": sdk_name,
    "sentry.sdk.version": version,
    "sentry.severity_number": number,
    "sentry.severity_text": LEVEL,
    "sentry.trace.parent_span_id": digits(16),
    "sentry.op": declared_by_sentry("OP"),
    "logger.name": module,
}


# --- structure ------------------------------------------------------------------------------------------------------
def fields(known: Mapping[str, Rule]) -> Callable[[Foreign, Any], dict[str, Any]]:
    """A mapping of which these fields are known, each by its rule; others are dropped."""

    def rule(foreign: Foreign, value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            return {}
        strange = len(value) - sum(key in value for key in known)
        if strange:
            foreign.policy.removed("logs", "undeclared", strange)
        found = {key: one(foreign, value[key]) for key, one in known.items() if value.get(key) is not None}
        return {key: one for key, one in found.items() if one not in (None, {})}

    return rule


def each(rule: Rule, limit: int = _LIST_LIMIT) -> Rule:
    """The last of a list, without those of which nothing is left."""

    def every(foreign: Foreign, value: Any) -> Any:
        if type(value) not in (list, tuple):
            return None
        return [one for one in (rule(foreign, item) for item in value[-limit:]) if one not in (None, {})]

    return every


def values(rule: Rule, limit: int = 100) -> Rule:
    """A list, bare or in Sentry's ``{"values": [...]}``."""
    every = each(rule, limit)

    def around(foreign: Foreign, value: Any) -> Any:
        return {"values": every(foreign, value.get("values") if type(value) is dict else value) or []}

    return around
