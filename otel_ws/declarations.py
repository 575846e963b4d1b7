"""What an application declares, in the words of ``otel_ws.declare()``: parsed, checked, and refused with the reason.

The same words stand in code, in Django's settings and in the file that ``OTEL_WS_POLICY`` names. A reason names the
place and what is allowed, never the value. It refuses to know what a declaration is good for.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ws import forms
from otel_ws.semconv import ATTRIBUTES, METRICS
from otel_ws.semconv.conventions import (
    ATTRIBUTE_CONVENTIONS,
    LABEL_CONVENTIONS,
    METRIC_CONVENTIONS,
    RESOURCE_CONVENTIONS,
)
from otel_ws.semconv.words import PERSONAL, PLACES, RESERVED, WELL_KNOWN_PREFIXES

MOST_CHOICES: Final = 64
_LARGEST: Final = 1_000_000
_OURS: Final = frozenset({one.key for one in ATTRIBUTES} | {one.name for one in METRICS})
_DECIDED: Final = frozenset(
    {*ATTRIBUTE_CONVENTIONS, *LABEL_CONVENTIONS, *RESOURCE_CONVENTIONS, *METRIC_CONVENTIONS, *_OURS}
)
_RESERVED_FOR_US: Final = ("ws.", "otel.", "telemetry.", "service.")


@dataclass(frozen=True, slots=True)
class Declarations:
    """What was declared, in its right form. Plain values, so that two can be compared."""

    ids: tuple[str, ...] = ()
    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    codes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    message_types: tuple[str, ...] = ()
    close_codes: tuple[int, ...] = ()
    subprotocols: tuple[str, ...] = ()
    heartbeat: tuple[str, float] | None = None


class DeclarationError(ValueError):
    """Declarations that cannot be read or are wrong; ``reasons`` has a line for each, with its place."""

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons))


def parse(words: Mapping[str, Any]) -> tuple[Declarations, list[str]]:
    """What is right among the words, and a reason with its place for each that is wrong."""
    found: dict[str, Any] = {}
    wrong: list[str] = []
    for word, given in words.items():
        reader = _WORDS.get(word) if type(word) is str else None
        if reader is None:
            named = word if type(word) is str and forms.KEY.fullmatch(word) else "a word"
            wrong.append(f"{named}: there is no such word; there are {', '.join(_WORDS)}, and none for free text")
            continue
        field, read = reader
        values = read(word, given, wrong)
        found[field] = values if field == "heartbeat" else (*found.get(field, ()), *values)
    return Declarations(**found), wrong


def load(source: Any) -> Declarations:
    """The declarations in a file (JSON or TOML, by its suffix), or in a mapping of the same words.

    Raises:
        DeclarationError: something in it is wrong.
        ValueError: there is no such file, or its name has another suffix.
    """
    name = ""
    if isinstance(source, Declarations):
        return source
    if not isinstance(source, Mapping):
        path = Path(str(os.fspath(source)).strip())
        name = f"{path}: "
        source = _read(path, name)
    declared, wrong = parse(source)
    if wrong:
        raise DeclarationError(name + reason for reason in wrong)
    return declared


def _read(path: Path, name: str) -> Mapping[str, Any]:
    if path.suffix not in (".json", ".toml"):
        raise ValueError("neither .json nor .toml")
    # Looked at before it is opened: opening a pipe waits for whoever writes to it.
    if not path.is_file():
        raise ValueError("no file")
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError:
        raise ValueError("not readable") from None
    try:
        if len(content) > _LARGEST:
            raise DeclarationError([f"{name}a policy file has at most {_LARGEST} bytes"])
        text = content.decode()
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except json.JSONDecodeError as exc:
        raise DeclarationError([f"{name}it is not JSON at line {exc.lineno}, column {exc.colno}"]) from None
    except tomllib.TOMLDecodeError as exc:
        # Its text may quote what it found; the place stands at the end.
        place = re.search(r"\(at (line [0-9]+, column [0-9]+|end of document)\)$", str(exc))
        raise DeclarationError([f"{name}it is not TOML{f' at {place[1]}' if place else ''}"]) from None
    except (UnicodeDecodeError, RecursionError):
        raise DeclarationError([f"{name}it is not UTF-8 text, or nested too deep"]) from None
    if not isinstance(found, dict):
        raise DeclarationError([f"{name}it holds no words of otel_ws.declare() with their values"])
    return found


def key_fault(key: object, kind: str) -> str | None:
    """Why a key cannot be declared as a ``choice``, ``code`` or ``number``; ``None`` if it can."""
    if type(key) is not str or not forms.KEY.fullmatch(key):
        return "a key is 1 to 64 letters, digits, dots, _ and -, with a letter first"
    # A key of the conventions is named; what somebody else wrote is not repeated.
    subject = key if key in RESERVED | PLACES | _DECIDED else "this key"
    if key in RESERVED or key.startswith(WELL_KNOWN_PREFIXES):
        return f"{subject} is for people, addresses, secrets or free text, and never leaves"
    if key in _DECIDED or key.startswith(_RESERVED_FOR_US):
        return f"{subject} is decided already: otel-ws or OpenTelemetry's conventions say what it may carry"
    if key in PLACES and kind != "choice":
        return f"{subject} may be declared as a choice alone"
    if kind != "choice" and re.split(r"[._-]", key.lower())[-1] in PERSONAL:
        return "a key that ends in this word is about a person or is free text; only a choice could be declared"
    return None


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, Iterable) and not isinstance(values, (str, Mapping)) else [values]


def _fitting(form: re.Pattern[str], allowed: str) -> Callable[[str, Any, list[str]], tuple[str, ...]]:
    def read(word: str, given: Any, wrong: list[str]) -> tuple[str, ...]:
        right: list[str] = []
        for place, value in enumerate(_listed(given), 1):
            exact = forms.exact_value(value)
            if type(exact) is str and form.fullmatch(exact):
                right.append(exact)
            else:
                wrong.append(f"{word}, value {place}: {allowed}")
        return tuple(right)

    return read


def _ids(word: str, given: Any, wrong: list[str]) -> tuple[str, ...]:
    right = []
    for place, value in enumerate(_listed(given), 1):
        key = forms.exact_value(value)
        if type(key) is not str or not forms.ID_KEY.fullmatch(key):
            wrong.append(f"{word}, value {place}: an id's key is a word of small letters, digits and _, then .id")
        elif key in RESERVED or key in PLACES:
            wrong.append(f"{word}, value {place}: {key} is for people, addresses or secrets, and never leaves")
        else:
            right.append(key)
    return tuple(right)


def _keys(word: str, given: Any, wrong: list[str]) -> tuple[str, ...]:
    right = []
    for place, value in enumerate(_listed(given), 1):
        key = forms.exact_value(value)
        reason = key_fault(key, word)
        if reason is None:
            right.append(str(key))
        else:
            wrong.append(f"{word}, value {place}: {reason}")
    return tuple(right)


def _choices(word: str, given: Any, wrong: list[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(given, Mapping):
        wrong.append(f"{word}: a choice is a key and the list of its values")
        return ()
    right = []
    for place, (name, values) in enumerate(given.items(), 1):
        key, listed = forms.exact_value(name), _listed(values)
        reason = key_fault(key, word)
        if reason is None and not 1 <= len(listed) <= MOST_CHOICES:
            reason = f"a choice has 1 to {MOST_CHOICES} values"
        if reason is not None:
            wrong.append(f"{word}, key {place}: {reason}")
            continue
        fit = _fitting(forms.CODE_NAME, _CODE_NAME)(f"{word}, key {place}", listed, wrong)
        if len(fit) == len(listed):
            right.append((str(key), fit))
    return tuple(right)


def _close_codes(word: str, given: Any, wrong: list[str]) -> tuple[int, ...]:
    right = []
    for place, value in enumerate(_listed(given), 1):
        exact = forms.exact_value(value)
        if type(exact) is int and 1000 <= exact <= 4999:
            right.append(exact)
        else:
            wrong.append(f"{word}, value {place}: a close code is an integer from 1000 to 4999")
    return tuple(right)


def _heartbeat(word: str, given: Any, wrong: list[str]) -> tuple[str, float] | None:
    pair = [forms.exact_value(one) for one in given] if isinstance(given, (tuple, list)) and len(given) == 2 else None
    if (
        pair is not None
        and type(pair[0]) is str
        and forms.MESSAGE_TYPE.fullmatch(pair[0])
        and type(pair[1]) in (int, float)
        and forms.fits_otlp(pair[1])
        and pair[1] > 0  # type: ignore[operator]
    ):
        return pair[0], float(pair[1])  # type: ignore[arg-type]
    wrong.append(f"{word}: a message type and its interval in seconds, more than 0")
    return None


_CODE_NAME: Final = "a code name is a letter or _, then up to 63 letters, digits, dots, _ and -"
_TEMPLATE: Final = (
    "an exact text of up to 200 ASCII letters, digits, inner spaces and the signs of routes, without @ and %"
)
_WORDS: Final[dict[str, tuple[str, Callable[[str, Any, list[str]], Any]]]] = {
    "id": ("ids", _ids),
    "choice": ("choices", _choices),
    "code": ("codes", _keys),
    "template": ("templates", _fitting(forms.TEMPLATE, _TEMPLATE)),
    "number": ("numbers", _keys),
    "roles": ("roles", _fitting(forms.CODE_NAME, _CODE_NAME)),
    "reasons": ("reasons", _fitting(forms.CODE, "a reason is 2 to 32 capital letters and _, such as TABLE_FULL")),
    "message_types": (
        "message_types",
        _fitting(forms.MESSAGE_TYPE, "a letter or _, then up to 63 letters, digits, dots, colons, _ and -"),
    ),
    "close_codes": ("close_codes", _close_codes),
    "templates": ("templates", _fitting(forms.TEMPLATE, _TEMPLATE)),
    "subprotocols": ("subprotocols", _fitting(forms.CODE_NAME, _CODE_NAME)),
    "heartbeat": ("heartbeat", _heartbeat),
}
