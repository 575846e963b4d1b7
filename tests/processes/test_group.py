"""The group: who is in, what those leave that end, who leads. Several processes' parts, held by one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from array import array
from pathlib import Path

import pytest

from otel_ws import faults, semconv
from otel_ws.ledger import SERIES_LIMIT, Ledger
from otel_ws.processes import home, mapping
from otel_ws.processes.group import TOTALS, Group, _Locked
from otel_ws.processes.home import SharedCells
from otel_ws.semconv import OTHER

pytestmark = pytest.mark.skipif(not mapping.is_possible(), reason="this platform cannot map over memory")
CHAT = ("/ws/", "websocket", "chat", "success")
OPEN = ("/ws/", "websocket", "player", "match")
LATENCY = ("/ws/", "websocket", "chat")


class One:
    """What one process of the group has."""

    def __init__(self, folder: Path, started: float = 1000.0, parent: tuple[int, int] = (0, 0)) -> None:
        self.ledger = Ledger()
        self.group = Group(folder)
        self.home = self.group.join(self.ledger, "server", started, parent)

    def count(self, times: int = 1) -> None:
        """Messages come."""
        self.ledger.add(semconv.MESSAGES, CHAT, float(times))

    def total(self) -> float:
        """The messages of all, as this one sees them."""
        return self.group.look()[0].snapshot().total(semconv.MESSAGES)

    def open(self) -> float:
        """The open connections of all, as this one sees them."""
        return self.group.look()[0].snapshot().total(semconv.ACTIVE)

    def end(self) -> None:
        """The process ends, in whichever way: the system closes what it held."""
        self.group.leave()
        self.home.forget()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    faults.reset()


# --- counting together ------------------------------------------------------------------------------------------
def test_each_sees_what_all_count(tmp_path: Path) -> None:
    """Counts of every process are in everybody's answer, at once."""
    first, second = One(tmp_path), One(tmp_path)
    first.count(3)
    second.count(4)

    assert [7.0, 7.0] == [one.total() for one in (first, second)]


def test_what_was_counted_before_joining_counts(tmp_path: Path) -> None:
    """A process that begins to serve brings what it has."""
    ledger = Ledger()
    ledger.add(semconv.MESSAGES, CHAT, 5.0)
    held = ledger.local.cells

    Group(tmp_path).join(ledger, "server", 1.0)
    held[ledger.series(semconv.MESSAGES, CHAT)] += 1.0

    assert 6.0 == One(tmp_path).total()


def test_a_series_that_comes_later_is_seen(tmp_path: Path) -> None:
    """Labels that are met after the first look are in the next one."""
    first, second = One(tmp_path), One(tmp_path)
    second.total()
    first.ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 0.2)

    found = second.group.look()[0].snapshot().distributions[semconv.MESSAGE_LATENCY]

    assert [LATENCY] == list(found)
    assert 1 == found[LATENCY].count


def test_a_thread_that_comes_later_is_seen(tmp_path: Path) -> None:
    """Each thread has cells of its own; those are shared too."""
    import threading

    first, second = One(tmp_path), One(tmp_path)
    second.total()
    thread = threading.Thread(target=first.count)
    thread.start()
    thread.join()
    first.count()

    assert 2.0 == second.total()


def test_many_series_need_more_room(tmp_path: Path) -> None:
    """Room in the file is made as series come; nothing of them is lost."""
    first, second = One(tmp_path), One(tmp_path)
    for number in range(SERIES_LIMIT + 5):
        first.ledger.observe(semconv.MESSAGE_LATENCY, ("/ws/", "websocket", f"type{number}"), 0.2)

    found = second.group.look()[0].snapshot().distributions[semconv.MESSAGE_LATENCY]

    assert SERIES_LIMIT + 5 == sum(one.count for one in found.values())
    assert 5 == found[(OTHER,) * 3].count


def test_who_is_alive_is_listed(tmp_path: Path) -> None:
    """Process id, role and start of each."""
    one = One(tmp_path)
    One(tmp_path).end()

    alive = one.group.look()[1]

    assert [(os.getpid(), "server", 1000.0)] == [(member.pid, member.role, member.started) for member in alive]


# --- those that end ---------------------------------------------------------------------------------------------
def test_totals_of_the_ended_stay_and_what_they_held_open_goes(tmp_path: Path) -> None:
    """A killed worker's messages count, its connections are gone."""
    first, second = One(tmp_path), One(tmp_path)
    second.count(4)
    second.ledger.add(semconv.ACTIVE, OPEN, 2.0)
    before = first.total(), first.open()

    second.end()

    assert [(4.0, 2.0), (4.0, 0.0)] == [before, (first.total(), first.open())]


def test_adding_up_changes_no_total_and_leaves_no_file(tmp_path: Path) -> None:
    """The files of the ended go, what they counted stays, however often it is done."""
    first = One(tmp_path)
    seen = []
    for number in range(1, 4):
        other = One(tmp_path)
        other.count(number)
        other.ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 0.2)
        other.end()
        seen.append(first.total())
        first.group.add_up()
        first.group.add_up()
        seen.append(first.total())

    assert [1.0, 1.0, 3.0, 3.0, 6.0, 6.0] == seen
    assert [first.home.id] == [path.stem for path in tmp_path.glob("*.cells")]
    assert 3 == first.group.look()[0].snapshot().distributions[semconv.MESSAGE_LATENCY][LATENCY].count


def test_killed_while_it_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals were written and the files are still there: they are not counted twice."""
    first, second = One(tmp_path), One(tmp_path)
    second.count(4)
    second.end()

    def killed(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            first.group.add_up()
    left = len(list(tmp_path.glob("*.cells")))
    seen = [first.total()]
    first.group.add_up()
    seen.append(first.total())

    assert 2 == left
    assert [4.0, 4.0] == seen
    assert 1 == len(list(tmp_path.glob("*.cells")))


def test_somebody_adds_up_while_another_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that falls between two states is taken again: it shows neither too much nor too little."""
    first, second, third = One(tmp_path), One(tmp_path), One(tmp_path)
    second.count(4)
    second.end()
    kept = Group._kept
    calls: list[int] = []

    def then_add_up(self: Group) -> object:
        found = kept(self)
        if self is first.group and not calls:
            calls.append(1)
            third.group.add_up()
        return found

    monkeypatch.setattr(Group, "_kept", then_add_up)

    assert 4.0 == first.total()
    assert [1] == calls


def test_who_joins_adds_up(tmp_path: Path) -> None:
    """Workers that are recycled leave no more files than there are workers."""
    first = One(tmp_path)
    for _ in range(5):
        One(tmp_path).end()
    One(tmp_path)

    assert 2 == len(list(tmp_path.glob("*.cells")))
    assert 2 == len(first.group.look()[1])


def test_a_new_group_begins_where_nobody_is_alive(tmp_path: Path) -> None:
    """Counts of an earlier start are not this one's, and neither is its salt."""
    first = One(tmp_path)
    first.count(4)
    first.end()
    One(tmp_path).end()
    second = One(tmp_path, started=2000.0)

    assert 0.0 == second.total()
    assert 2000.0 == second.group.started
    assert first.group.salt != second.group.salt
    assert not (tmp_path / TOTALS).exists()


def test_workers_that_were_recycled_at_one_time_are_one_group(tmp_path: Path) -> None:
    """None of them is alive for a moment, but their supervisor is: its next worker goes on from their totals."""
    first, second = (One(tmp_path, parent=(77, 1234)) for _ in range(2))
    first.count(4)
    second.count(3)
    for one in (first, second):
        one.end()
    third = One(tmp_path, parent=(77, 1234))
    seen = [third.total()]
    third.end()

    assert [7.0, 0.0] == [*seen, One(tmp_path, parent=(77, 5678)).total()]


def test_members_share_start_and_salt(tmp_path: Path) -> None:
    """Whoever joins later counts since the group's start, and hashes users as the others do."""
    first, second = One(tmp_path), One(tmp_path, started=2000.0)

    assert (first.group.started, first.group.salt) == (second.group.started, second.group.salt)


def test_a_file_that_is_not_whole_is_left_alone(tmp_path: Path) -> None:
    """Counted as a failure of ours, once; the others' numbers are there."""
    first = One(tmp_path)
    first.count()
    (tmp_path / "0123.cells").write_bytes(b"short")

    assert [1.0, 1.0] == [first.total(), first.total()]
    assert {"processes": 1} == faults.snapshot()


@pytest.mark.parametrize("content", [b"short", array("d", [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]).tobytes()])
def test_a_file_of_another_version_is_told_as_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """A file whose process lives and that is not as this version writes it: one line says what it is."""
    first = One(tmp_path)
    first.count()
    with (tmp_path / "0123.cells").open("wb") as other:
        other.write(content)
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)

        assert [1.0, 1.0] == [first.total(), first.total()]

    (line,) = caplog.messages
    assert "files of another version of otel-ws are in the group's folder" in line


# --- no room ----------------------------------------------------------------------------------------------------
def full(*_: object) -> None:
    """A disk without room."""
    raise OSError(errno.ENOSPC, "no room")


def test_without_room_a_process_does_not_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counts stay its own, all of them, and it leaves no file behind."""
    ledger = Ledger()
    ledger.add(semconv.MESSAGES, CHAT, 3.0)
    monkeypatch.setattr(home, "_reserve", full)

    with pytest.raises(OSError, match="no room"):
        Group(tmp_path).join(ledger, "server", 1.0)
    ledger.add(semconv.MESSAGES, CHAT)

    assert {CHAT: 4.0} == dict(ledger.read(semconv.MESSAGES))
    assert [] == [path.name for path in tmp_path.iterdir() if path.suffix in {".cells", ".labels", ".making"}]


def test_without_room_for_a_second_thread_both_are_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose cells fit only in part keeps all of them."""
    import threading

    ledger = Ledger()
    ledger.add(semconv.MESSAGES, CHAT)
    thread = threading.Thread(target=ledger.add, args=(semconv.MESSAGES, CHAT))
    thread.start()
    thread.join()
    reserve, calls = home._reserve, []

    def once(*args: int) -> None:
        calls.append(args)
        if len(calls) > 1:
            full()
        reserve(*args)

    monkeypatch.setattr(home, "_reserve", once)
    with pytest.raises(OSError, match="no room"):
        Group(tmp_path).join(ledger, "server", 1.0)
    ledger.add(semconv.MESSAGES, CHAT)

    assert {CHAT: 3.0} == dict(ledger.read(semconv.MESSAGES))


def test_without_room_for_more_a_new_series_counts_as_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is not there would end the process: nothing is ever written to one."""
    first = One(tmp_path)
    monkeypatch.setattr(home, "_reserve", full)
    for number in range(SERIES_LIMIT):
        first.ledger.observe(semconv.MESSAGE_LATENCY, ("/ws/", "websocket", f"type{number}"), 0.2)

    found = dict(first.ledger.distributions(semconv.MESSAGE_LATENCY))

    assert SERIES_LIMIT == sum(one.count for one in found.values())
    assert (OTHER,) * 3 in found
    assert faults.snapshot()["processes"] >= 1


def test_room_that_comes_back_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was cut by a full disk does not spoil the next."""
    first, second = One(tmp_path), One(tmp_path)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, text: write(fd, text[:5]))
        first.ledger.add(semconv.MESSAGES, CHAT)
    first.home._retry_at = 0.0

    first.ledger.add(semconv.MESSAGES, CHAT)

    values = second.group.look()[0].snapshot().values[semconv.MESSAGES]
    assert {CHAT: 1.0, (OTHER,) * 4: 1.0} == values


# --- the leader -------------------------------------------------------------------------------------------------
def test_one_leads(tmp_path: Path) -> None:
    """Exactly one, and the same one when asked again."""
    first, second = One(tmp_path), One(tmp_path)

    assert [True, False, True] == [first.group.is_leader(), second.group.is_leader(), first.group.is_leader()]


@pytest.mark.parametrize("how", ["resign", "end"])
def test_another_leads_when_the_leader_is_gone(tmp_path: Path, how: str) -> None:
    """Whether it ended or has nothing to do any longer."""
    first, second = One(tmp_path), One(tmp_path)
    first.group.is_leader()

    first.end() if how == "end" else first.group.resign()

    assert second.group.is_leader()


# --- several ----------------------------------------------------------------------------------------------------
def test_several_is_said_once_two_served_together(tmp_path: Path) -> None:
    """And stays said when one of them is left."""
    first = One(tmp_path)
    seen = [first.group.is_several]
    second = One(tmp_path)
    seen.append(first.group.is_several)
    second.end()
    seen.append(first.group.is_several)

    assert [False, True, True] == seen


def test_one_after_the_other_is_not_several(tmp_path: Path) -> None:
    """A single worker that is replaced is still a single one."""
    One(tmp_path).end()

    assert not One(tmp_path).group.is_several


# --- the door ---------------------------------------------------------------------------------------------------
def test_a_neighbour_that_stands_in_the_door_holds_nobody_up(tmp_path: Path) -> None:
    """A process that was stopped while it joined: the others try again later."""
    with _Locked(tmp_path / "group.lock"), pytest.raises(TimeoutError):
        One(tmp_path)


def test_nobody_else_may_read_what_is_kept(tmp_path: Path) -> None:
    """Every file is its user's alone, wherever the folder is."""
    one = One(tmp_path)
    one.home.publish(b"{}")
    one.group.is_leader()

    assert {0o600} == {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}


def test_the_salt_is_random(tmp_path: Path) -> None:
    """Hashes of users cannot be guessed from ids."""
    one = One(tmp_path)

    assert 32 == len(one.group.salt)
    assert json.loads((tmp_path / "group.json").read_text())["salt"] == one.group.salt.hex()


def test_a_member_that_left_its_place_can_take_another(tmp_path: Path) -> None:
    """A cleaner of old files took them: the process makes them anew, with its counts."""
    first, second = One(tmp_path), One(tmp_path)
    first.count(3)
    for path in tmp_path.glob(f"{first.home.id}.*"):
        path.unlink()
    gone = first.home.is_there(), second.total()

    first.home = first.group.join(first.ledger, "server", 1000.0)
    first.count()

    assert (False, 0.0) == gone
    assert 4.0 == second.total()
    assert isinstance(first.home, SharedCells)
