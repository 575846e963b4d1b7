"""The example's own tests, and the examples of the documentation, in a pytest of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from surroundings import bare_environment

import otel_ws

pytest.importorskip("channels")
pytest.importorskip("pytest_django")
pytest.importorskip("opentelemetry.sdk")

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "examples" / "tournament" / "tests"
PAGE = ROOT / "docs" / "testing.md"
PRIVACY = ROOT / "docs" / "privacy.md"
# An environment that was made before the plugin was there does not know its entry point.
PLUGIN = () if "otel_ws" in entry_points(group="pytest11").names else ("-p", "_otel_ws_pytest")
FILE = re.compile(r"<!-- file: ([a-z_]+\.(?:py|ini)) -->\n```[a-z]+\n(.*?)```", re.DOTALL)


def run(folder: Path) -> str:
    """Run a folder's tests; returns what pytest said."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *PLUGIN],
        cwd=folder,
        env={**bare_environment(), "PYTHONPATH": str(Path(otel_ws.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tournament_resolves_names_in_two_steps() -> None:
    """An id from the log leads to a person only for staff who may, for a reason, and never without an audit event."""
    pytest.importorskip("jwt")

    assert "9 passed" in run(TESTS)


def test_the_page_about_testing_says_what_works(tmp_path: Path) -> None:
    """Every file of docs/testing.md, written down as it stands there, makes a suite that passes."""
    files = FILE.findall(PAGE.read_text(encoding="utf-8"))
    for name, text in files:
        (tmp_path / name).write_text(text, encoding="utf-8")

    said = run(tmp_path)

    assert {"test_chat.py", "test_plain.py", "test_orders.py"} <= {name for name, _ in files}
    assert "5 passed" in said


def test_the_page_about_privacy_declares_what_can_be_declared() -> None:
    """The declarations of docs/privacy.md are taken as they stand there."""
    from otel_ws import recorder, testing

    (block,) = re.findall(r"```python\n(otel_ws\.declare\(.*?)```", PRIVACY.read_text(encoding="utf-8"), re.DOTALL)

    with testing.capture():
        exec(block, {"otel_ws": otel_ws})

        assert recorder.vocabulary.kind("payment.method") is not None
