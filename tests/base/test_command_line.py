"""The command line on a base install: it says what is missing, and checks what there is.

Each test starts a fresh Python in which the SDK cannot be imported, whether it is installed or not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from surroundings import bare_environment

import otel_ws

ROOT = str(Path(otel_ws.__file__).parents[1])
WITHOUT_SDK = """
import sys
for name in ("channels", "django", "opentelemetry.sdk", "opentelemetry.exporter", "prometheus_client", "starlette"):
    sys.modules[name] = None
from otel_ws.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``otel-ws`` without the packages."""
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK, *arguments],
        env={**bare_environment(), "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_names_the_extra() -> None:
    """Without the SDK the set-up is no failure, and what would bring more is named."""
    done = run("check")

    assert (0, "") == (done.returncode, done.stderr)
    assert "pip install 'otel-ws[sdk]'" in done.stdout


def test_leaks_are_looked_for_in_json_lines() -> None:
    """Without the SDK only JSON lines leave; they are searched, and it is said that nothing else was."""
    done = run("check", "--leaks", "--json")

    answer = json.loads(done.stdout)
    assert (0, []) == (done.returncode, answer["leaks"])
    assert {"json lines"} == {one["signal"] for one in answer["surfaces"] if one["values"]}
    assert "pip install 'otel-ws[sdk]'" in answer["warnings"][0]
