"""The live page's own files, as they are served: nothing from elsewhere, no build, no line of script in the page.

It knows which file answers which path and of what type it is, never who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

_SCRIPT: Final = "text/javascript; charset=utf-8"

# By path: the file and its type. Their links are relative, so that a project may mount them anywhere.
ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "/monitoring/": ("index.html", "text/html; charset=utf-8"),
    "/monitoring/page.css": ("page.css", "text/css; charset=utf-8"),
    "/monitoring/page.js": ("page.js", _SCRIPT),
    "/monitoring/curves.js": ("curves.js", _SCRIPT),
    "/monitoring/feed.js": ("feed.js", _SCRIPT),
    "/monitoring/rows.js": ("rows.js", _SCRIPT),
    "/monitoring/traces.js": ("traces.js", _SCRIPT),
    "/monitoring/icon.svg": ("icon.svg", "image/svg+xml"),
}


@cache
def read(name: str) -> bytes:
    """The content of one of the files that ``ASSETS`` names."""
    return files(__package__).joinpath(name).read_bytes()
