"""The compose files as docker compose itself reads them: by its own loader, with schema, variables and overlays.

It knows how the loader is called, and no service.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from tests.collector.stack import build
from tests.collector.stack.places import BUNDLE

VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?::?[-?]([^}]*))?\}")


class ComposeError(Exception):
    """The loader refuses a file."""


def load(*names: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The services, volumes and secrets of some compose files together (default: compose.yaml).

    Raises:
        ComposeError: a file breaks the specification.
    """
    given = [f"{name}={value}" for name, value in (environment or {}).items()]
    command = [str(build.program("compose")), *given, *(names or ("compose.yaml",))]
    done = subprocess.run(command, cwd=BUNDLE, env={}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ComposeError(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def command(service: Mapping[str, Any]) -> list[str]:
    """What a service's container runs, after its entry point."""
    return [str(part) for part in service.get("command") or []]
