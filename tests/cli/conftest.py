"""The command line in a process of its own: what it prints and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment


@dataclass(frozen=True)
class Ended:
    """One run of the command line."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> dict[str, Any]:
        """Its answer."""
        return dict(json.loads(self.output))


Command = Callable[..., Ended]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run ``otel-ws`` with arguments; ``source`` is the module ``app``, other keywords are environment variables."""

    def run(*arguments: str, source: str = "", **environment: str) -> Ended:
        folder = tmp_path_factory.mktemp("project")
        (folder / "app.py").write_text(source, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "otel_ws", *arguments],
            env={**bare_environment(), **environment},
            cwd=Path(folder),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    return run
