"""Names of code: whether a text names something that is loaded in this process, or the release of a package.

A form alone proves little, as half of all nicknames look like a name in code. So a name passes only where the thing
that it names exists: a loaded module, what stands in it, an exception class. Nothing is imported, and no method of
a stranger's is run. It refuses to know why somebody asks.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

LONGEST: Final = 200
_PARTS: Final = 12
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.(?:[A-Za-z_]\w*|<locals>))*", re.ASCII)
# No leading zeros and few digits in a part: what is written so is neither a telephone number nor an address.
VERSION = re.compile(
    r"(?:0|[1-9][0-9]{0,3})(?:\.(?:0|[1-9][0-9]{0,2})){0,2}(?:\.?(?:a|b|rc|dev|post)(?:0|[1-9][0-9]{0,2})){0,2}"
)
# What a class says of itself, past a metaclass that may say otherwise.
_NAME = type.__dict__["__name__"].__get__
_QUALIFIED = type.__dict__["__qualname__"].__get__
_MODULE = type.__dict__["__module__"].__get__
_CONTENT = type.__dict__["__dict__"].__get__


def is_version(text: str) -> bool:
    """Whether the text has the form of a release, such as ``1.45.2`` or ``0.66b1``."""
    return len(text) <= 32 and VERSION.fullmatch(text) is not None


def is_module(name: str) -> bool:
    """Whether a module of this name is loaded."""
    return len(name) <= LONGEST and name in sys.modules and _DOTTED.fullmatch(name) is not None


def known_part(name: str) -> str:
    """The longest part of a dotted name, from its beginning, that is a loaded module; empty if there is none."""
    if len(name) > LONGEST:
        return ""
    parts = name.split(".", _PARTS)[:_PARTS]
    while parts:
        shorter = ".".join(parts)
        if is_module(shorter):
            return shorter
        parts.pop()
    return ""


def is_code(name: str) -> bool:
    """Whether the text is the dotted name of something in a loaded module: ``package.module.Class.method``."""
    if len(name) > LONGEST or _DOTTED.fullmatch(name) is None:
        return False
    module = known_part(name)
    if not module or module == name:
        return bool(module) and "." in name
    try:
        found: object = sys.modules[module]
        for part in name[len(module) + 1 :].split("."):
            found = _content(found)[part]
    except Exception:
        return False
    return True


def _content(thing: object) -> dict[str, object]:
    """What stands in a module or class, without asking it: a lazy module would load itself."""
    if issubclass(type(thing), type):
        return _CONTENT(thing)  # type: ignore[no-any-return]
    if issubclass(type(thing), ModuleType):
        return object.__getattribute__(thing, "__dict__")  # type: ignore[no-any-return]
    raise KeyError


class Rarely:
    """Does a thing as often as it is asked, but spends no more than a hundredth of the time on it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._again_at = clock()

    def do(self, thing: Callable[[], object]) -> None:
        """Do it, unless it is too soon."""
        before = self._clock()
        if before < self._again_at:
            return
        thing()
        after = self._clock()
        self._again_at = after + 100 * (after - before)


class Exceptions:
    """The names of all exception classes that are loaded, read anew when a name is not among them."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._names: frozenset[str] = frozenset()
        self._rarely = Rarely(clock)

    def __contains__(self, name: str) -> bool:
        """Whether the name, or the qualified name, is that of a loaded exception class."""
        if name in self._names:
            return True
        if len(name) > LONGEST or _DOTTED.fullmatch(name) is None:
            return False
        self._rarely.do(self._read)
        return name in self._names

    def _read(self) -> None:
        self._names = frozenset(_names())


def _names() -> set[str]:
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[type] = [BaseException]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        name, qualified = _NAME(one), _QUALIFIED(one)
        module = _MODULE(one)
        found.update((name, qualified))
        if type(module) is str:
            found.add(f"{module}.{qualified}")
        waiting.extend(type.__subclasses__(one))
    return {name for name in found if _DOTTED.fullmatch(name)}


def django_settings() -> Mapping[str, Any]:
    """Django's ``OTEL_WS``, if Django is configured by now; it is never made to load its settings."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return {}
    found = getattr(conf.settings, "OTEL_WS", {})
    return found if isinstance(found, Mapping) else {}
