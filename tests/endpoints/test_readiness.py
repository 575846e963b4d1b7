"""What readiness asks: at once, for so long, and again when it may have recovered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from otel_ws.endpoints import readiness

Asks = Callable[..., None]


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> Asks:
    """Say what is asked."""

    def set_to(**checks: Any) -> None:
        found: Mapping[str, Any] = checks
        monkeypatch.setattr(readiness, "checks", lambda: found)

    monkeypatch.setattr(readiness, "LIMIT_SECONDS", 0.1)
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0.0)
    return set_to


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hangs waits for it; it opens when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_all_that_answers_is_ready(asks: Asks) -> None:
    """Nothing failed."""
    asks(database=lambda: None, cache=lambda: None)
    told = readiness.answer()

    assert ("ready", []) == (told["status"], told["failed"])


def test_an_exception_is_a_no_and_nothing_more(asks: Asks) -> None:
    """Its text stays where it is."""

    def away() -> None:
        raise ConnectionError("s3cr3t")

    asks(database=away, cache=lambda: None)
    told = readiness.answer()

    assert ("not_ready", ["database"]) == (told["status"], told["failed"])
    assert "s3cr3t" not in str(told)


def test_what_hangs_is_not_asked_twice_but_is_given_up(
    asks: Asks, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread at a time hangs; after half a minute another asks, and finds what is back."""
    asked: list[int] = []

    def hang() -> None:
        asked.append(1)
        if len(asked) == 1:
            gate.wait()

    asks(database=hang)
    first, second = readiness.answer(), readiness.answer()
    monkeypatch.setattr(readiness, "GIVEN_UP_SECONDS", 0.0)
    third = readiness.answer()

    assert ["timeout", "timeout", "ok"] == [one["checks"][0]["status"] for one in (first, second, third)]
    assert 2 == len(asked)


def test_an_answer_is_kept_for_a_moment(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many probes are one question."""
    asked: list[int] = []
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 60.0)
    asks(database=lambda: asked.append(1))

    assert readiness.answer() is readiness.answer()
    assert [1] == asked
