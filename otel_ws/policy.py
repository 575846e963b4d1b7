"""THE decision: which attribute may leave, on which signal, in which form.

An allow-list by key and by form of value, read from ``semconv``; there is no free-text kind. It never raises,
whatever it is given: what does not fit is dropped or becomes ``_OTHER``, and is counted. It refuses to know
who asks and where the value goes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from otel_ws import forms, pseudonyms
from otel_ws.declarations import MOST_CHOICES, Declarations
from otel_ws.faults import fault, warn_once
from otel_ws.forms import clear_id, exact_value, fits_otlp
from otel_ws.forms import clear_resource as clear_resource
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
from otel_ws.semconv.words import REASONS, SUBPROTOCOLS
from otel_ws.settings import Settings
from otel_ws.types import Cleared, Value

UNDECLARED_LIMIT: Final = 64
ROUTE_LIMIT: Final = 200
RAW_HANDLER: Final = "websocket_receive"

NOTHING: Final = Cleared({})
_DECLARED: Final = "Declared by the application."
_NAMES: Final = (Kind.CODE, Kind.CODE_NAME, Kind.TEMPLATE)
_thread = threading.local()


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
        # The same sets, for the busy path.
        self.message_types = self._declared[MESSAGE_TYPE]
        self.templates = self._declared[TEMPLATE]
        self._seen: dict[Attribute, set[object]] = {
            REASON: set(),
            ERROR_TYPE: set(),
            CLOSE_CODE: set(),
            ROUTE: set(),
        }
        self.heartbeat: tuple[str, float] | None = None
        # What stands for ids that are no numbers, UUIDs or ULIDs; without it those are dropped.
        self.pseudonyms: pseudonyms.Pseudonyms | None = None
        self._removed: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def copy(self) -> Policy:
        """Another one with the same words, and nothing counted yet."""
        other = Policy()
        other.ids.update(self.ids)
        other._by_key.update(self._by_key)
        for attribute, values in self._declared.items():
            other._declared.setdefault(attribute, set()).update(values)
        other._seen.update({attribute: set() for attribute in self._seen})
        other.heartbeat = self.heartbeat
        other.pseudonyms = self.pseudonyms
        return other

    def exchange(self, other: Policy) -> None:
        """Trade words and counts with another one: whoever holds either of them goes on with what the other had."""
        self.__dict__, other.__dict__ = other.__dict__, self.__dict__

    # --- declaring --------------------------------------------------------------------------------------
    def learn(self, settings: Settings) -> None:
        """Take in what the operator declared, and the key for pseudonyms."""
        self.declare(MESSAGE_TYPE, settings.message_types)
        for reason in self.apply(settings.policy):
            warn_once(f"policy.{reason}", f"otel-ws left out of the policy: {reason}.")
        self.pseudonyms = None
        if settings.pseudonym_key_file:
            try:
                self.pseudonyms = pseudonyms.read(settings.pseudonym_key_file)
            except (OSError, ValueError) as exc:
                # It could be read a moment ago; without it those ids are dropped.
                fault("pseudonyms", exc)

    def declare_id(self, key: object) -> bool:
        """Let ``order.id`` leave as an id, from the URL kwarg or ``set_ids`` name ``order_id``."""
        if not isinstance(key, str) or not forms.ID_KEY.fullmatch(key):
            return False
        name = key.replace(".", "_")
        with self._lock:
            declared = Attribute(key, None, name, Kind.ID, _DECLARED)
            self._by_key[key] = self.ids.setdefault(name, declared)
        return True

    def apply(self, words: Declarations) -> list[str]:
        """Take declarations in; returns a reason for each that contradicts an earlier one, and was left out."""
        wrong = [f"choice {key}: together with what was declared before, it {no}" for key, no in self._choices(words)]
        for kind, keys in ((Kind.CODE_NAME, words.codes), (Kind.NUMBER, words.numbers)):
            wrong += [f"{key}: it was declared as another kind before" for key in keys if self._key(key, kind) is None]
        for key in words.ids:
            self.declare_id(key)
        self.declare(ROLE, words.roles)
        self.declare(REASON, words.reasons)
        self.declare(MESSAGE_TYPE, words.message_types)
        self.declare(CLOSE_CODE, words.close_codes)
        self.declare(TEMPLATE, words.templates)
        self.declare(SUBPROTOCOL, words.subprotocols)
        if words.heartbeat is not None:
            self.declare(MESSAGE_TYPE, words.heartbeat[:1])
            self.heartbeat = words.heartbeat
        return wrong

    def _choices(self, words: Declarations) -> Iterator[tuple[str, str]]:
        for key, values in words.choices:
            attribute = self._key(key, Kind.CHOICE)
            if attribute is None:
                yield key, "has two kinds"
            elif len(self._declared[attribute].union(values)) > MOST_CHOICES:
                yield key, f"has more than {MOST_CHOICES} values"
            else:
                self.declare(attribute, values)

    def _key(self, key: str, kind: Kind) -> Attribute | None:
        """The attribute of a declared key; ``None`` where it is of another kind."""
        with self._lock:
            found = self._by_key.get(key)
            if found is None:
                found = Attribute(key, key, None, kind, _DECLARED)
                self._declared[found] = set()
                if kind is Kind.CODE_NAME:
                    self._seen[found] = set()
                self._by_key[key] = found
        return found if found.kind is kind else None

    def declare(self, attribute: Attribute, values: Iterable[object]) -> list[object]:
        """Add values to an attribute's vocabulary; returns those that have a wrong form, and were not added."""
        form = {REASON: forms.CODE, TEMPLATE: forms.TEMPLATE, MESSAGE_TYPE: forms.MESSAGE_TYPE}.get(
            attribute, forms.CODE_NAME
        )
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
        return type(exact) is str and forms.CODE.fullmatch(exact) is not None

    def is_known(self, attribute: Attribute, value: str) -> bool:
        """Whether a text is declared, or was let through before within the cap on undeclared ones."""
        return value in self._declared.get(attribute, ()) or value in self._seen.get(attribute, ())

    def kind(self, key: str) -> Kind | None:
        """The kind of a key of ours, or of a declared one; ``None`` for any other."""
        attribute = self._by_key.get(key)
        return None if attribute is None else attribute.kind

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

    def own(self, signal: str, key: str, value: object) -> Value | None:
        """Clear what otel-ws itself put under a key of ours; ``None`` for any other key."""
        attribute = self._by_key.get(key)
        return None if attribute is None else self.value(signal, attribute, value)

    def route(self, template: object) -> str:
        """The template of a route as a router has it, which is known from now on; ``_OTHER`` if it may not leave.

        The one way in which a route becomes known: what stands in an attribute, anybody may have put there.
        """
        exact = exact_value(template)
        if type(exact) is str and forms.ROUTE.fullmatch(exact) and self._known_or_room(ROUTE, exact):
            return exact
        if exact != OTHER:
            self.removed("metrics", Kind.TEMPLATE.value)
        return OTHER

    def code_name(self, signal: str, value: object) -> str:
        """A name in code-name form, or ``_OTHER``."""
        exact = exact_value(value)
        if type(exact) is str and forms.CODE_NAME.fullmatch(exact):
            return exact
        self.removed(signal, Kind.CODE_NAME.value)
        return OTHER

    def label(self, attribute: Attribute, value: object) -> str:
        """Clear one metric label. Always a string: what may not leave is ``_OTHER``."""
        if value is None or (type(value) is str and not value):
            return "" if attribute is SUBPROTOCOL else OTHER
        if attribute.label is None:
            self.removed("metrics", "undeclared")
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
            fit = self.id(value)
        elif kind is Kind.CHOICE:
            fit = exact if type(exact) is str and exact in self._declared.get(attribute, attribute.choices) else OTHER
        elif kind is Kind.NUMBER:
            fit = exact if type(exact) in (int, float) and fits_otlp(exact) else None  # type: ignore[assignment]
        elif kind is Kind.FLAG:
            fit = exact if type(exact) is bool else None
        elif kind is Kind.CLOSE_CODE:
            fit = exact if type(exact) is int and 1000 <= exact <= 4999 else None
        elif kind is Kind.TEMPLATE:
            fit = self._template(attribute, exact)
        else:
            fit = self._code(attribute, exact)
        if fit is None or (fit == OTHER and exact != OTHER):
            self.removed(signal, kind.value)
        return fit

    def id(self, value: object) -> str | None:
        """An id as it may leave: by its form, or else under a pseudonym if there is a key for them."""
        fit = clear_id(value)
        if fit is not None or self.pseudonyms is None:
            return fit
        exact = exact_value(value)
        return self.pseudonyms.of(exact) if type(exact) is str else None

    def foreign(self, signal: str, key: str, value: object) -> Value | None:
        """Clear what somebody else put under a key of ours or a declared one; no stranger's name takes up room."""
        attribute = self._by_key[key]
        exact = exact_value(value)
        if attribute.kind in _NAMES and attribute.brief != _DECLARED:
            fit = exact if type(exact) is str and self.is_known(attribute, exact) else OTHER
        elif attribute.kind is Kind.ID and signal == "metrics":
            fit = None
        else:
            return self.value(signal, attribute, value)
        if fit is None or (fit == OTHER and exact != OTHER):
            self.removed(signal, attribute.kind.value)
        return fit

    def met(self, attribute: Attribute, names: Iterable[str]) -> None:
        """Names that were read in the code itself: they are known wherever they come up again."""
        with self._lock:
            self._declared.setdefault(attribute, set()).update(one for one in names if forms.CODE_NAME.fullmatch(one))

    def sent_close_code(self, code: object) -> None:
        """This process closed with ``code``: the application's own choice, so it may be a label."""
        exact = exact_value(code)
        if type(exact) is int and 1000 <= exact <= 4999:
            self._known_or_room(CLOSE_CODE, exact)

    def _close_code(self, value: object) -> str:
        code = exact_value(value)
        known = type(code) is int and (code in self._declared[CLOSE_CODE] or code in self._seen[CLOSE_CODE])
        if not known:
            self.removed("metrics", Kind.CLOSE_CODE.value)
        return str(code) if known else OTHER

    def _template(self, attribute: Attribute, value: object) -> str:
        if type(value) is not str:
            return OTHER
        if attribute is ROUTE:
            return value if self.is_known(ROUTE, value) else OTHER
        return value if value in self._declared[attribute] else OTHER

    def _code(self, attribute: Attribute, value: object) -> str:
        if attribute is MESSAGE_TYPE:
            return value if type(value) is str and value in self._declared[attribute] else UNKNOWN
        form = forms.CODE if attribute.kind is Kind.CODE else forms.CODE_NAME
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
    def undeclared(self, signal: str) -> None:
        """Count a value that came under a key which nobody declared."""
        self.removed(signal, "undeclared")

    def removed(self, signal: str, kind: str, times: int = 1) -> None:
        """Count what somebody else's telemetry lost; ``kind`` is a kind's value, ``undeclared`` or ``text``."""
        counted: Counter[tuple[str, str]] | None = getattr(_thread, "counted", None)
        with self._lock:
            (self._removed if counted is None else counted)[signal, kind] += times

    @contextmanager
    def uncounted(self, instead: Counter[tuple[str, str]] | None = None) -> Iterator[None]:
        """Meanwhile what this thread removes is not counted here, but ``instead`` if that is given."""
        before = getattr(_thread, "counted", None)
        _thread.counted = Counter() if instead is None else instead
        try:
            yield
        finally:
            _thread.counted = before

    def redactions(self) -> dict[tuple[str, str], int]:
        """What was removed or replaced so far, by signal and kind."""
        with self._lock:
            return dict(self._removed)
