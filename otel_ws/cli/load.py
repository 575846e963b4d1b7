"""The application that the command line names, imported the way a server would, with no exporter of its own started."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
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
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in (name or "application").split("."):
            found = getattr(found, part)
    except SystemExit as exc:
        raise LoadError(f"{named} ends the process while it is imported: {exc.code}") from None
    except Exception as exc:
        raise LoadError(f"{named} cannot be loaded: {type(exc).__name__}: {exc}") from None
    if not callable(found):
        raise LoadError(f"{named} is no ASGI application: {type(found).__name__} cannot be called")
    return found


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
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(named), "OTEL_WS", {})
    except Exception as exc:
        raise LoadError(f"DJANGO_SETTINGS_MODULE={named} cannot be loaded: {type(exc).__name__}: {exc}") from None
    return found if isinstance(found, Mapping) else {}


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
    os.write(target, text.encode())
