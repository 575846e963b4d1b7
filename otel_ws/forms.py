"""The forms that a value may have: an id, a code, a code name, a template, a key, a number that OTLP can carry, a path.

Looks at a value's type and text alone, calls no method of it, and never raises. It refuses to know which attribute
the value is for.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from typing import Final

# What names a file, or a function. A key, or an address with a password, that somebody pastes where its path belongs
# has none of these forms: no part of a name is as long or as full of digits, or mixes capitals and digits, as those do.
_PART: Final = r"(?!(?:[^/.:]*[0-9]){5}|(?=[^/.:]*[A-Z])[^/.:]*[0-9])[A-Za-z0-9_{} -]{1,24}"
_SEGMENT: Final = rf"(?:\.{{1,2}}|\.?{_PART}(?:\.{_PART}){{0,3}})"
PATH: Final = re.compile(rf"/?(?:{_SEGMENT}/){{0,12}}{_SEGMENT}?")
NAME: Final = re.compile(rf":?{_PART}(?:[.:/]{_PART}){{0,8}}:?")

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

# As orchestrators form names: a digit may come first. Nine digits in a row are a telephone number, no name.
_PLACE = re.compile(r"(?=.*[A-Za-z])(?!.*[0-9]{9})[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_INSTANCE = re.compile(rf"{_UUID.pattern}(?:-[0-9]{{1,7}})?|{_PLACE.pattern}")
_CONTAINER = re.compile(r"(?=.*[a-f])(?:[0-9a-f]{12}|[0-9a-f]{64})")
# `1.2.3`, `2024.05.01`, `1.2.3rc1+build.7`, a day, a commit, or an image's tag. Four numbers are an address.
_RELEASE = re.compile(
    r"[0-9]{1,5}(?:\.[0-9]{1,4}){0,2}|20[0-9]{6}|(?=.*[a-f])[0-9a-f]{7,64}"
    r"|(?!.*[0-9]{9})[0-9]{1,5}(?:\.[0-9]{1,4}){0,2}[-.+]?[A-Za-z][A-Za-z0-9.+-]{0,39}"
    r"|(?!.*[0-9]{9})[A-Za-z][A-Za-z0-9_.-]{0,63}"
)
# What the SDK itself says of a service that has no name: with the program that runs it.
_SERVICE = re.compile(
    rf"{_PLACE.pattern}|unknown_service:(?:python[0-9.]{{0,5}}|pypy[0-9.]{{0,5}}|uvicorn|gunicorn|daphne|hypercorn|pytest)"
)
RESOURCE: Final = {
    "service.name": _SERVICE,
    "service.instance.id": _INSTANCE,
    "container.id": _CONTAINER,
    **dict.fromkeys(("service.version", "telemetry.sdk.version", "telemetry.distro.version"), _RELEASE),
    **dict.fromkeys(
        (
            "service.namespace", "deployment.environment.name", "telemetry.sdk.name",
            "telemetry.sdk.language", "telemetry.distro.name", "k8s.cluster.name", "k8s.namespace.name",
            "k8s.pod.name", "k8s.container.name", "k8s.deployment.name", "k8s.replicaset.name",
            "k8s.statefulset.name", "k8s.daemonset.name", "k8s.job.name", "k8s.cronjob.name",
        ),
        _PLACE,
    ),
}  # fmt: skip


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
    """The resource attributes that may leave: the service, its release and its place; never a machine's address."""
    return {
        key: text
        for key, value in attributes.items()
        if (form := RESOURCE.get(key)) and type(text := exact_value(value)) is str and form.fullmatch(text)
    }
