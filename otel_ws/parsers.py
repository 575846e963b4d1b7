"""Readers of settings: from what an operator wrote to the value, or ``ValueError``.

Each takes text, or in Python the value itself, and says only that it is wrong. It refuses to know which setting it
reads, and who gave it.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_ws import pseudonyms
from otel_ws.types import Resolver, Scope


def choice(*allowed: str) -> Callable[[Any], str]:
    """One of these words, in any case."""

    def parse(raw: Any) -> str:
        text = str(raw).strip().lower()
        if text not in allowed:
            raise ValueError
        return text

    return parse


def flag(raw: Any) -> bool:
    """Yes or no, in the words that people use."""
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower()
    if text in {"true", "1", "yes", "on"}:
        return True
    if text in {"false", "0", "no", "off"}:
        return False
    raise ValueError


def ratio(raw: Any) -> float:
    """A share from 0 to 1."""
    number = float(raw)
    if not 0.0 <= number <= 1.0:
        raise ValueError
    return number


def seconds(raw: Any) -> float:
    """A length of time up to an hour; 0 where there is none, and never shorter than a tenth of a second."""
    number = float(raw)
    if not (number == 0.0 or 0.1 <= number <= 3600.0) or isinstance(raw, bool):
        raise ValueError
    return number


def whole(raw: Any) -> int:
    """A whole number of up to nine digits."""
    text = str(raw).strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError
    return int(text)


def names(raw: Any) -> tuple[str, ...]:
    """Names: a list, or text with commas."""
    parts = raw.split(",") if isinstance(raw, str) else tuple(raw)
    found = tuple(str(part).strip() for part in parts if str(part).strip())
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", name) for name in found):
        raise ValueError
    return found


def ids(raw: Any) -> tuple[str, ...]:
    """Names of ids that may break a metric down."""
    found = names(raw)
    if not {"user.id", "ws.connection.id"}.isdisjoint(found) or not all(name.endswith(".id") for name in found):
        raise ValueError
    return found


def key(raw: Any) -> str:
    """One name."""
    (name,) = names([raw])
    return str(name)


def one_name(raw: Any) -> str:
    """One name, or nothing."""
    return key(raw) if str(raw).strip() else ""


def absolute(raw: Any) -> str:
    """An absolute path, or nothing; what is there is seen when it is used."""
    path = str(os.fspath(raw)).strip()
    if path and not Path(path).is_absolute():
        raise ValueError
    return path


def log_target(raw: Any) -> str:
    """``stdout``, or the path of a file that can be written."""
    text = str(os.fspath(raw)).strip()
    if text == "stdout" or not text:
        return text
    if text in {"stderr", "-"} or text.endswith("/"):
        raise ValueError
    folder = Path(text).absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(text).is_dir():
        raise ValueError
    return text


def key_file(raw: Any) -> str:
    """The path of a file with a secret key."""
    path = str(os.fspath(raw)).strip()
    try:
        pseudonyms.read(path)
    except OSError:
        raise ValueError from None
    return path


class UnimportableError(Exception):
    """A setting names a function that is not there, or that cannot be imported; the cause is its cause."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """A resolver named by ``module:function``, imported when it is first asked.

    The zero-code start runs before Django is ready, so an import at start-up would break the application.
    """

    path: str

    def __call__(self, scope: Scope) -> object:
        """What the function says of this scope."""
        return self.found()(scope)

    def found(self) -> Resolver:
        """The function itself.

        Raises:
            UnimportableError: there is none.
        """
        try:
            return _imported(self.path)
        except (Exception, SystemExit) as exc:
            raise UnimportableError from exc


@functools.cache
def _imported(path: str) -> Resolver:
    module, _, name = path.partition(":")
    found: Resolver = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise TypeError
    return found


def resolver(raw: Any) -> Resolver | None:
    """A function, or where it is found."""
    if raw is None or raw == "":
        return None
    if callable(raw):
        return raw  # type: ignore[no-any-return]
    if isinstance(raw, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", raw):
        return Lazy(raw)
    raise ValueError
