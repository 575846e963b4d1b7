"""What tests give to the programs that they start: an environment without anybody's settings, ports of their own, time.

On the path of every test; it knows nothing of what is started.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

RUNTIME_DIR: Final = "OTEL_WS_RUNTIME_DIR"
# What would speak to a program of whoever runs the tests.
_SETTINGS: Final = ("OTEL_", "DJANGO_", "SENTRY_", "WEB_CONCURRENCY")


def bare_environment() -> dict[str, str]:
    """This process's environment without settings, but for the folder in which this run's programs may meet."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS) or name == RUNTIME_DIR}


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Poll until the condition holds, and return what it gave; at the deadline, what it gives then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    return condition()


def help_of(program: str) -> str:
    """What a program says about its options."""
    command = [sys.executable, "-m", program, "--help"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
