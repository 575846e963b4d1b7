"""What happens to the group's folder while processes serve: files that are damaged, foreign or gone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_ws import faults, processes, semconv
from otel_ws.health import Reading
from otel_ws.policy import Policy
from otel_ws.processes import group, mapping, membership
from otel_ws.processes.membership import HISTORY, Membership
from otel_ws.processes.rows import Rows
from otel_ws.recorder import Recorder
from otel_ws.settings import Settings

pytestmark = pytest.mark.skipif(not mapping.is_possible(), reason="this platform cannot map over memory")
CHAT = ("/ws/", "websocket", "chat", "success")
Damage = Callable[[Path], None]


class One:
    """A process of the group."""

    def __init__(self, folder: Path, clock: Any) -> None:
        self.recorder = Recorder(Settings(), Policy(), clock=clock)
        self.member = Membership(self.recorder, "server")
        self.member.join(folder)
        self.member.wire()

    def count(self, times: int = 1) -> None:
        """Messages come."""
        self.recorder.ledger.add(semconv.MESSAGES, CHAT, float(times))

    def tell(self) -> None:
        """A second has passed."""
        self.member._told_at = 0.0
        self.member.tell()

    def total(self) -> float | None:
        """The messages of all; ``None`` where it answers for itself."""
        self.member._told_at = 0.0
        seen = self.member.overview(max_age=0.0)
        return seen.snapshot.total(semconv.MESSAGES) if seen.is_shared else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The group's folder, as deep as a real one is."""
    made = tmp_path / "otel-ws-0" / "group"
    made.mkdir(parents=True, mode=0o700)
    made.parent.chmod(0o700)
    return made


@pytest.fixture
def make(folder: Path, clock: Any) -> Iterator[Any]:
    """Processes of one group; they end with the test."""
    faults.reset()
    made: list[One] = []

    def one() -> One:
        made.append(One(folder, clock))
        return made[-1]

    yield one
    for each in made:
        each.recorder.close()
    faults.reset()


def head(folder: Path, shards: float, room: int = 0, cell: float = 0.0) -> None:
    """A stranger's cells: a process that says it has so many shards, and a file that is so long."""
    cells = struct.pack("6d", 1.0, 0.0, 1000.0, shards, 0.0, 0.0)
    (folder / "aaaa.cells").write_bytes(cells.ljust(1 << 16, b"\0") + struct.pack("d", cell) * (room // 8))


def like(folder: Path, **other: Any) -> None:
    """The names of a process's series, one of them changed."""
    name, labels, offset, cells = json.loads(next(folder.glob("*.labels")).read_bytes().splitlines()[-1])
    told = {"name": name, "labels": labels, "offset": offset, "cells": cells, **other}
    (folder / "aaaa.labels").write_text(json.dumps(list(told.values())) + "\n")


def noise(folder: Path) -> None:
    """Anything."""
    (folder / "aaaa.cells").write_bytes(b"\x7f" * 200_000)


def no_numbers(folder: Path) -> None:
    """Cells that hold no numbers."""
    head(folder, 1.0, 1 << 23, float("nan"))
    like(folder)


def directory(folder: Path) -> None:
    """A folder that is named as a file."""
    (folder / "aaaa.cells").mkdir()


def link(folder: Path) -> None:
    """A link to nothing."""
    (folder / "aaaa.cells").symlink_to(folder / "nothing")


@pytest.mark.parametrize(
    "damage",
    [
        noise,
        no_numbers,
        directory,
        link,
        lambda folder: head(folder, 2.0),
        lambda folder: head(folder, 1e300),
        lambda folder: head(folder, float("nan")),
        lambda folder: head(folder, 0.0),
        lambda folder: (folder / "totals.json").write_text('{"val'),
        lambda folder: (folder / "totals.json").write_text('{"values": [["ws.messages", [1], "x"]]}'),
    ],
)
def test_what_is_damaged_is_left_out_and_told_once(make: Any, folder: Path, damage: Damage) -> None:
    """The others' numbers are there, go on, and are everybody's; who comes later joins."""
    first, second = make(), make()
    first.count(3)
    damage(folder)
    seen = [first.total(), first.total()]
    first.count()
    first.member.pulse()
    told = faults.snapshot()
    third = make()
    third.count()

    assert [3.0, 3.0, 5.0, 5.0, 5.0] == [*seen, first.total(), second.total(), third.total()]
    assert {"processes": 1} == told


@pytest.mark.parametrize("other", [{"offset": 10**7}, {"offset": -1}, {"labels": [1, 2, 3, 4]}, {"offset": "x"}])
def test_names_that_nobody_wrote_count_nothing(make: Any, folder: Path, other: dict[str, Any]) -> None:
    """A series whose place or labels cannot be is none."""
    first = make()
    first.count(3)
    like(folder, **other)
    head(folder, 1.0, 1 << 23, 7.0)

    assert 3.0 == first.total()


@pytest.mark.parametrize("pattern", ["*", "*.labels", "*.cells", "*.live", "group.json", "leader.lock"])
def test_files_that_somebody_took_are_made_anew(make: Any, folder: Path, pattern: str) -> None:
    """With all counts, also those of processes that ended, at the next second; one of them leads."""
    first, second, ended = make(), make(), make()
    for one in (first, second, ended):
        one.count(2)
    ended.recorder.close()
    third = make()
    first.total(), second.total(), first.recorder.is_leader()
    for path in folder.glob(pattern):
        path.unlink()

    for one in (first, second, third):
        one.tell()
    fourth = make()
    first.count()

    assert [7.0] * 4 == [one.total() for one in (first, second, third, fourth)]
    assert {} == faults.snapshot()
    assert 1 == sum(one.recorder.is_leader() for one in (first, second, third, fourth))
    assert 1 == len({one.member.group.salt for one in (first, second, third, fourth)})


@pytest.mark.parametrize("up", [0, 1])
def test_a_folder_that_somebody_removed_is_made_anew(make: Any, folder: Path, up: int) -> None:
    """By whoever comes first, for its user alone; the others follow."""
    first, second = make(), make()
    first.count(2)
    second.count(3)
    shutil.rmtree([folder, folder.parent][up])

    first.tell()
    second.tell()

    assert [5.0, 5.0] == [first.total(), second.total()]
    assert {0o700} == {path.stat().st_mode & 0o777 for path in (folder, folder.parent)}


def test_where_nothing_can_be_read_a_process_answers_for_itself(
    make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few seconds with the last answer it has its own numbers, and says why; later those of all again."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    first, second = make(), make()
    first.count(2)
    second.count(3)
    before = first.total()
    first.member.rows.add(Reading(1.0))
    with monkeypatch.context() as patch:
        patch.setattr(group.Group, "look", lambda self: (_ for _ in ()).throw(OSError()))
        kept = first.total()
        now[0] += membership.OLD_SECONDS + 1.0
        alone = first.member.overview()
        rows = first.member.since(0.0)
    now[0] += 2.0

    assert [5.0, 5.0, 5.0] == [before, kept, first.total()]
    assert (False, 2.0) == (alone.is_shared, alone.snapshot.total(semconv.MESSAGES))
    assert "otel-ws-<uid>" in alone.why
    assert () == rows
    assert [5.0] == [one["messages"] for one in first.recorder.watch.readings()]


def test_rows_that_nobody_wrote_are_left_out(tmp_path: Path) -> None:
    """A line that is no row of numbers is none."""
    lines = ["null", '{"at":"x"}', "[]", '{"at":1e400}', '{"at":5,"connected":"many"}', "5", '{"connected":1}', "{"]
    (tmp_path / HISTORY).write_text("\n".join([*lines, '{"connected": 1.0, "at": 7.0}', ""]))

    assert [(7.0, {"connected": 1.0})] == [(row.at, row.numbers) for row in Rows(tmp_path / HISTORY).since(0.0)]


# --- the door ---------------------------------------------------------------------------------------------------
@pytest.fixture
def serving(folder: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A process that is about to join, as if it were no test."""
    faults.reset()
    monkeypatch.delitem(sys.modules, "pytest")
    monkeypatch.setattr(processes, "_member", None)
    monkeypatch.setattr(processes, "_retry_at", 0.0)
    monkeypatch.setattr(processes, "place", lambda *_: folder)
    recorder = Recorder(Settings(), Policy(), clock=clock)
    yield recorder
    recorder.close()
    faults.reset()


@pytest.mark.parametrize("exc", [OSError(28, "full"), ValueError("x"), IndexError("x"), KeyError("x")])
def test_who_cannot_join_says_so_and_tries_again(
    serving: Recorder, monkeypatch: pytest.MonkeyPatch, exc: Exception
) -> None:
    """Alone at first, whatever is wrong; once there is room it is one of the group."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(group.Group, "join", lambda *_: (_ for _ in ()).throw(exc))
        decided = processes.joined(serving)
        member = processes._member
        assert member is not None
        alone = member.overview()
        now[0] += 7.0
        member.pulse()
    now[0] += 7.0
    member.pulse()
    too_soon = member.group
    now[0] += 7.0
    member.pulse()

    assert decided
    assert not alone.is_shared
    assert "OTEL_WS_RUNTIME_DIR" in alone.why
    assert "x" not in alone.why.split()
    assert too_soon is None
    assert member.overview().is_shared
    assert os.getpid() == member.overview().processes[0].pid


def test_a_held_lock_holds_no_event_loop_up(serving: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for a moment only, and once a second, not at each connection."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    now = [1000.0]

    def monotonic() -> float:
        now[0] += 0.002
        return now[0]

    monkeypatch.setattr(time, "monotonic", monotonic)

    async def connections() -> list[bool]:
        return [processes.joined(serving) for _ in range(3)]

    with group._Locked(folder / "group.lock"):
        first = asyncio.run(connections())
    waited = sum(slept)
    now[0] += 1.0

    assert [False] * 3 == first
    assert waited < 0.1
    assert processes.joined(serving)
