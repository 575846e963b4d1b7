"""The forms that a value may have: an id, a code, a code name, a template, a key, a number that OTLP can carry.

Looks at a value's type and text alone, calls no method of it, and never raises. It refuses to know which attribute
the value is for.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from typing import Final

_PLAIN: Final = (str, int, float, bool)
_DIGITS = re.compile(r"[0-9]{1,19}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")

CODE: Final = re.compile(r"[A-Z][A-Z_]{1,31}")
CODE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# Some applications write `chat:join`; a type leaves only if it was declared.
MESSAGE_TYPE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
# A route as it is known to our own routers.
ROUTE: Final = re.compile(r"/[A-Za-z0-9_\-./~:{}]{0,199}")
# A text that the application's code holds: a group's template, another framework's route, a span's name. No `@`.
TEMPLATE: Final = re.compile(r"(?! )[A-Za-z0-9_\-./~:{}<>()\[\]^$?*+|\\#,= ]{1,200}(?<! )")
ID_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,30}\.id")
KEY: Final = re.compile(r"(?=.{1,64}$)[A-Za-z][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")

_RESOURCE_KEY = re.compile(
    r"service\.(name|namespace|version|instance\.id)|deployment\.environment\.name|k8s\.[a-z]+\.name|container\.id"
    r"|telemetry\.[a-z.]+"
)
_RESOURCE_VALUE = re.compile(r"[A-Za-z0-9._:/+-]{1,64}")


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


def fits_otlp(value: object) -> bool:
    """Whether OTLP can carry the number: a signed 64-bit integer, or a finite double."""
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return type(value) is float and math.isfinite(value)


def clear_resource(attributes: Mapping[str, object]) -> dict[str, str]:
    """The resource attributes that may leave: those of the service and its place, in code-name form."""
    return {
        key: text
        for key, value in attributes.items()
        if _RESOURCE_KEY.fullmatch(key) and type(text := exact_value(value)) is str and _RESOURCE_VALUE.fullmatch(text)
    }
