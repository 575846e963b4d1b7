"""Events as lines for people: everything that they say, and colours only for eyes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import otel_ws
from otel_ws import semconv
from otel_ws.console import for_people, is_colourful
from otel_ws.semconv import Attribute, Event
from otel_ws.types import Cleared, EventRecord, Value

ROOT = str(Path(otel_ws.__file__).parents[1])
ASKED = """
import os, sys
from otel_ws import recorder, semconv
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.settings import Settings
one = Recorder(Settings(console_log=True), Policy())
one.event(semconv.WS_AUTH_FAIL, None, {semconv.REASON: "JWT_EXPIRED"})
one.close()
"""


def line(values: dict[Attribute, Value], event: Event = semconv.WS_MESSAGE, **more: Any) -> str:
    """One event as a line without colours."""
    return for_people(False)(EventRecord(event, 1_767_323_045_678_901_234, Cleared(values), **more))


def test_a_line_says_what_the_event_says() -> None:
    """Time to the millisecond, event, ids and values by their names, durations in milliseconds."""
    said = line(
        {
            semconv.USER_ID: "1234",
            semconv.CONNECTION_ID: "7f4bf7de-ba3f-4fb4-942d-5969e2aea6c6",
            semconv.MESSAGE_TYPE: "move",
            semconv.DURATION: 0.0052,
            semconv.SIZE: 15,
        },
        trace_id=0xABC,
    )

    time, event, *rest = said.split()
    assert (":05.678", "WS_MESSAGE") == (time[5:], event)
    assert ["user=1234", "connection=7f4bf7de", "message_type=move", "duration=5.2ms", "size=15"] == rest[:-1]
    assert f"trace={0xABC:032x}" == rest[-1]


@pytest.mark.parametrize("event", semconv.EVENTS, ids=lambda event: event.name)
def test_lines_stand_under_each_other(event: Event) -> None:
    """What an event says begins in the same column, whichever it is."""
    said = line({semconv.SIZE: 1}, event)

    assert len(line({semconv.SIZE: 1})) == len(said)


def test_a_line_is_one_line() -> None:
    """No event, whatever it holds, has a line break."""
    said = [line(dict.fromkeys(event.fields, "x"), event) for event in semconv.EVENTS]

    assert [1] * len(said) == [len(one.splitlines()) for one in said]


def test_colours_say_the_level() -> None:
    """In colour, errors look unlike warnings, and only the event's name is coloured."""
    render = for_people(True)

    said = [
        render(EventRecord(event, 0, Cleared({})))
        for event in (semconv.WS_MESSAGE, semconv.WS_AUTH_FAIL, semconv.WS_ERROR)
    ]

    assert 3 == len({one.partition("\x1b")[2].partition("m")[0] for one in said})
    assert all(one.endswith("\x1b[0m") for one in said)


@pytest.mark.parametrize(
    ("environ", "is_wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": "", "TERM": "xterm"}, True)],
)
def test_colours_are_for_terminals(environ: dict[str, str], is_wanted: bool, tmp_path: Path) -> None:
    """A terminal is coloured unless its owner does not want that; a file never is."""
    keeper, terminal = pty.openpty()
    with (tmp_path / "log").open("w") as file:
        try:
            assert (is_wanted, False) == (is_colourful(terminal, environ), is_colourful(file.fileno(), environ))
        finally:
            os.close(keeper)
            os.close(terminal)


def test_lines_go_to_standard_error() -> None:
    """With the setting, events come on standard error, without colours where that is no terminal."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ("", "WS_AUTH_FAIL", "reason_code=JWT_EXPIRED") == (done.stdout, *done.stderr.split()[1:])
