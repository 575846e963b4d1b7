"""Troubles of our own: counted, told once, without anybody's data."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from otel_ws import faults
from otel_ws.faults import UsageError, fault, misuse


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Begin and end with nothing counted, nothing told, and wrong use as a warning."""
    before = faults.strict(False)
    faults.reset()
    yield
    faults.reset()
    faults.strict(before)


# --- failures ---------------------------------------------------------------------------------------------------
def test_a_failure_is_counted_at_its_place() -> None:
    """Each failure counts one at the place where it happened."""
    for place in ("open", "send", "open"):
        fault(place, ValueError())

    assert {"open": 2, "send": 1} == faults.snapshot()


def test_a_place_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often a place fails, the log has one line about it."""
    for _ in range(3):
        fault("open", ValueError())

    assert 1 == len(caplog.records)


def test_a_reason_of_our_own_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A sentence that is given, or that our own exception brings, is told; what an exception says does not."""

    class Known(faults.ExplainedError):
        reason = "the disk is somebody else's"

    fault("open", Known("Ada"))
    fault("send", ValueError("Ada"), reason="the name is unknown")

    assert "failed in open (Known): the disk is somebody else's;" in caplog.messages[0]
    assert "failed in send (ValueError): the name is unknown;" in caplog.messages[1]
    assert "Ada" not in caplog.text


def test_each_place_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A failure elsewhere has a line of its own."""
    for place in ("open", "send"):
        fault(place, ValueError())

    assert 2 == len(caplog.records)


def test_a_failure_is_an_error_on_our_logger(caplog: pytest.LogCaptureFixture) -> None:
    """The line is an error, and names the place, the exception's class and the counter."""
    fault("open", ValueError())

    (record,) = caplog.records
    assert ("otel_ws", logging.ERROR) == (record.name, record.levelno)
    assert all(word in record.getMessage() for word in ("open", "ValueError", "ws_telemetry_errors_total"))


def test_the_text_of_an_exception_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the line nor its record holds the exception's text or its traceback: both may hold anybody's data."""
    fault("open", ValueError("alice@example.com"))

    (record,) = caplog.records
    assert "alice" not in record.getMessage()
    assert not record.exc_info
    assert not any(isinstance(argument, BaseException) for argument in record.args or ())


def test_an_exception_that_cannot_be_shown_is_counted() -> None:
    """An exception whose every method fails does not make counting it fail."""

    class UnspeakableError(Exception):
        """Raises when it is looked at."""

        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    fault("open", UnspeakableError())

    assert {"open": 1} == faults.snapshot()


def test_failures_in_threads_are_all_counted() -> None:
    """Eight threads that fail at once lose no count."""
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        for _ in range(1000):
            fault("open", ValueError())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {"open": 8000} == faults.snapshot()


def test_the_counts_are_a_copy() -> None:
    """What one reader does to the counts does not change them."""
    fault("open", ValueError())

    faults.snapshot().clear()

    assert {"open": 1} == faults.snapshot()


# --- wrong use --------------------------------------------------------------------------------------------------
def test_wrong_use_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The same wrong use has one line in the log, a warning with the way out."""
    for _ in range(3):
        misuse("set_role", "Declare the role.")

    (record,) = caplog.records
    assert ("otel_ws", logging.WARNING, "Declare the role.") == (record.name, record.levelno, record.getMessage())


def test_each_kind_of_wrong_use_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Another kind of wrong use has a line of its own."""
    for kind in ("set_role", "set_ids"):
        misuse(kind, "Declare it.")

    assert 2 == len(caplog.records)


def test_wrong_use_is_no_failure_of_ours() -> None:
    """Wrong use does not count as a failure of otel-ws."""
    misuse("set_role", "Declare the role.")

    assert {} == faults.snapshot()


def test_a_text_with_a_percent_sign_is_told_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The text is not taken for a format."""
    misuse("set_role", "100 % wrong: %s")

    assert ["100 % wrong: %s"] == [record.getMessage() for record in caplog.records]


def test_wrong_use_is_an_error_where_tests_ask_for_it() -> None:
    """After ``strict(True)`` wrong use raises, each time."""
    faults.strict(True)

    for _ in range(2):
        with pytest.raises(UsageError, match="Declare the role"):
            misuse("set_role", "Declare the role.")


def test_strict_says_what_it_was_before() -> None:
    """``strict`` returns what was set, so that it can be put back."""
    answers = [faults.strict(True), faults.strict(True), faults.strict(False), faults.strict(False)]

    assert [False, True, True, False] == answers


def test_forgetting_tells_again(caplog: pytest.LogCaptureFixture) -> None:
    """After ``reset`` the counts are gone, and the next failure and the next wrong use are told."""
    for _ in range(2):
        fault("open", ValueError())
        misuse("set_role", "Declare the role.")
        faults.reset()

    assert {} == faults.snapshot()
    assert 4 == len(caplog.records)
