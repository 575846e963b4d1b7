"""Each program's own judgement of its file, before anything is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.collector.stack import build
from tests.collector.stack.programs import Stack


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The bundle's files, written for this machine; nothing runs."""
    return Stack(tmp_path_factory.mktemp("gates"))


def judged(program: str, *options: str | Path) -> str:
    """What a program says of a file that it accepts."""
    command = [str(build.program(program)), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_collector_takes_its_files(places: Stack) -> None:
    """All four together, with Jaeger and without."""
    options = places.options("collector")
    assert "deprecat" not in judged("otelcol", "validate", *options).lower()
    assert options[-1].endswith("traces-jaeger.yaml")
    judged("otelcol", "validate", *options[:-1])


def test_prometheus_takes_its_files(places: Stack) -> None:
    """Configuration and rules, without a complaint."""
    judged(
        "promtool", "check", "config", "--lint=all", "--lint-fatal", places.places.files / "prometheus/prometheus.yml"
    )


def test_loki_takes_its_file(places: Stack) -> None:
    """Loki verifies and ends."""
    judged("loki", *places.options("loki"), "-verify-config")


def test_tempo_takes_its_file(places: Stack) -> None:
    """The file for 2.8, which has all of the bundle's but the parts that only 3 knows."""
    judged("tempo", *places.options("tempo"), "-config.verify=true")


def test_jaeger_takes_its_file(places: Stack) -> None:
    """Jaeger validates as the collector does."""
    judged("jaeger", "validate", *places.options("jaeger"))


def test_a_health_check_is_an_option_that_the_program_has() -> None:
    """Loki's image has no shell: its program must be able to ask itself."""
    done = subprocess.run(
        [str(build.program("loki")), "-help"], capture_output=True, text=True, check=False, timeout=60
    )
    assert "-health" in done.stdout + done.stderr
