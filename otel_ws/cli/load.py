"""The application that the command line names, imported the way a server would, with no exporter of its own started."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

SIGNALS: Final = ("TRACES", "METRICS", "LOGS")


class LoadError(Exception):
    """The named application cannot be had; the text says why, in one line."""


def application(named: str) -> Any:
    """Import ``module:application``; the current folder is searched too, as servers do.

    Raises:
        LoadError: there is no such thing, or importing it fails.
    """
    module, colon, name = named.partition(":")
    if not module or (colon and not name):
        raise LoadError(f"{named!r} does not name an application; it looks like project.asgi:application")
    _search_here()
    try:
        found: Any = importlib.import_module(module)
        for part in (name or "application").split("."):
            found = getattr(found, part)
    except SystemExit as exc:
        raise LoadError(
            f"{named} ends the process while it is imported: {said_at_exit(exc) or place_of(exc)}"
        ) from None
    except Exception as exc:
        is_unset = type(exc).__name__ == "ImproperlyConfigured" and not os.environ.get("DJANGO_SETTINGS_MODULE")
        way_out = "; DJANGO_SETTINGS_MODULE is not set: use --settings" if is_unset else ""
        raise LoadError(f"{named} cannot be loaded: {place_of(exc)}{way_out}") from None
    if not callable(found):
        raise LoadError(f"{named} is no ASGI application: {type(found).__name__} cannot be called")
    return found


def place_of(exc: BaseException) -> str:
    """The exception's class and the place that raised it; never its text, in which anything may stand."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{type(exc).__name__} in {exc.filename}, line {exc.lineno}"
    for frame, line in reversed(list(traceback.walk_tb(exc.__traceback__))):
        file = frame.f_code.co_filename
        if not file.startswith("<frozen ") and file not in (__file__, importlib.__file__):
            return f"{type(exc).__name__} in {file}, line {line}"
    what = "there is no such module" if isinstance(exc, ModuleNotFoundError) else "there is no such name in it"
    return f"{type(exc).__name__}, {what}" if isinstance(exc, (ImportError, AttributeError)) else type(exc).__name__


def said_at_exit(exc: SystemExit) -> str:
    """What otel-ws itself says at a wrong start; empty for anybody else's end of the process."""
    return exc.code if isinstance(exc.code, str) and exc.code.startswith("otel-ws cannot start:") else ""


def _search_here() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def exporters(**names: str) -> None:
    """Let every set-up that reads ``OTEL_*_EXPORTER`` from now on use these, so that nothing leaves the process."""
    for signal in SIGNALS:
        os.environ[f"OTEL_{signal}_EXPORTER"] = names.get(signal.lower(), "none")


def django_settings() -> Mapping[str, Any]:
    """``OTEL_WS`` of the settings module that ``DJANGO_SETTINGS_MODULE`` names; Django itself is left alone.

    Raises:
        LoadError: the module cannot be imported.
    """
    named = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    if not named:
        return {}
    _search_here()
    try:
        found = getattr(importlib.import_module(named), "OTEL_WS", {})
    except (Exception, SystemExit) as exc:
        raise LoadError(f"DJANGO_SETTINGS_MODULE={named} cannot be loaded: {place_of(exc)}") from None
    return found if isinstance(found, Mapping) else {}


def apart() -> Callable[[str], None]:
    """From now on whatever the process prints goes to standard error; gives what still writes to standard output.

    A machine reads the answer, so it stands there alone; a reader that has gone away, as ``head`` does, is no error.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def put(text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            _put(kept, f"{text}\n")

    return put


@contextlib.contextmanager
def quiet() -> Iterator[Callable[[str], None]]:
    """What the driven application prints is no part of a report: it goes nowhere, whoever kept a stream.

    Gives what still speaks to the person: a line on standard error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield lambda text: _put(kept[1], f"{text}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for place, one in enumerate(kept, start=1):
            os.dup2(one, place)
            os.close(one)
        os.close(nowhere)


def _put(target: int, text: str) -> None:
    left = text.encode(errors="replace")
    while left:
        left = left[os.write(target, left) :]
