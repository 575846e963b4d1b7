"""Programs of their own, each in a process of its own, and what they tell as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment

APPS = Path(__file__).parent / "apps"
SECONDS = 900

Program = Callable[..., dict[str, Any]]


def run_program(name: str, *arguments: str, before: Path | None = None, **environment: str) -> dict[str, Any]:
    """Run one of ``apps``; ``before`` is a folder whose packages come before the installed ones.

    A program that fails without an answer is an error, told without anything that it printed about values.
    """
    path = os.pathsep.join(filter(None, [str(before or ""), str(APPS), os.environ.get("PYTHONPATH", "")]))
    # A folder each, or what was started from the same place would answer for each other.
    with tempfile.TemporaryDirectory() as runtime:
        done = subprocess.run(
            [sys.executable, str(APPS / name), *arguments],
            env={**bare_environment(), "PYTHONPATH": path, "OTEL_WS_RUNTIME_DIR": runtime, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    if not done.stdout.startswith("{"):
        last = [line for line in done.stderr.splitlines() if line and not line.startswith(" ")][-1:]
        raise AssertionError(f"{name} ended with {done.returncode} and no answer: {last}")
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="session")
def program() -> Program:
    """Run one of the programs in ``apps``."""
    return run_program
