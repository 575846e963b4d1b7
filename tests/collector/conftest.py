"""The stack, started once for all tests that only look, and the example's run through it.

The root of the repository goes behind everything else on the path: the tests' own modules are found there, and
``otel_ws`` where it is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

pytest.importorskip("yaml", reason="nox -s stack has it")

import shutil
from collections.abc import Iterator

from tests.collector.stack.driving import Driven, drive
from tests.collector.stack.example import Played, Playing
from tests.collector.stack.programs import BINARIES, Stack
from tests.collector.stack.questions import Questions
from tests.collector.stack.watched import Figures, Watched, watch

# How long the example is played; what its clients do once takes about fifteen seconds of it.
PLAY_SECONDS = 40.0


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole bundle, with Jaeger, running."""
    data = tmp_path_factory.mktemp("stack")
    with Stack(data) as running:
        # Last, so that its log has nothing to complain of.
        running.start(*(name for name in BINARIES if name != "collector"))
        running.start("collector")
        yield running
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def playing(started: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playing]:
    """The example, driven once through the shared stack."""
    playing = Playing(started, tmp_path_factory.mktemp("demo"), PLAY_SECONDS)
    yield playing
    playing.stop()


@pytest.fixture(scope="session")
def stack(started: Stack, request: pytest.FixtureRequest) -> Stack:
    """The running bundle, shared by all tests that stop nothing; the example plays already, if anybody will ask."""
    if any("played" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("playing")
    return started


@pytest.fixture(scope="session")
def ask(stack: Stack) -> Questions:
    """Questions to the shared stack."""
    return Questions(stack)


@pytest.fixture(scope="session")
def played(playing: Playing) -> Played:
    """What the example's clients did, once they are done."""
    return playing.ended()


@pytest.fixture(scope="session")
def driven(stack: Stack, played: Played) -> Driven:
    """What the example never does."""
    return drive(stack)


@pytest.fixture(scope="session")
def watched(ask: Questions, played: Played, driven: Driven) -> Watched:
    """What the dashboards are asked about."""
    return watch(ask, played, driven)


@pytest.fixture(scope="session")
def figures() -> Figures:
    """What was looked at on the dashboards."""
    return Figures()
