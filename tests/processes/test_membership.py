"""One recorder's process among the others: its answers are over all, and a fork's child is another process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment

import otel_ws
from otel_ws import faults, processes, semconv
from otel_ws.health import HEALTHY, Reading
from otel_ws.policy import Policy
from otel_ws.processes import home, mapping, membership
from otel_ws.processes.membership import Membership
from otel_ws.recorder import Recorder
from otel_ws.settings import Settings

pytestmark = pytest.mark.skipif(not mapping.is_possible(), reason="this platform cannot map over memory")
ROOT = str(Path(otel_ws.__file__).parents[1])
CHAT = ("/ws/", "websocket", "chat", "success")


def full(*_: object) -> None:
    """A disk without room."""
    raise OSError(errno.ENOSPC, "no room")


class Open:
    """An open connection, as a look sees it."""

    transport = "websocket"
    handler_failed = last_send_bad = False

    def __init__(self, accepted_at: float) -> None:
        self.accepted_at = self.last_heartbeat = accepted_at
        self.pending: list[float] = []

    def cancelled(self) -> None:
        """Nothing is left to do."""

    def exported_ids(self) -> list[tuple[str, str]]:
        """Its tournament."""
        return [("tournament.id", "7")]


class One:
    """A process: its recorder, and its place in the group."""

    def __init__(self, folder: Path | None, clock: Any) -> None:
        self.recorder = Recorder(Settings(metric_ids=("tournament.id",)), Policy(), clock=clock)
        self.member = Membership(self.recorder, "server")
        if folder is not None:
            self.member.join(folder)
        self.member.wire()

    def look(self) -> processes.Overview:
        """What all say now."""
        self.member._told_at = 0.0
        return self.member.overview(max_age=0.0)

    def tell(self) -> None:
        """A second has passed."""
        self.member._told_at = 0.0
        self.member.tell()


@pytest.fixture
def make(tmp_path: Path, clock: Any) -> Iterator[Any]:
    """Processes of one group; they end with the test."""
    faults.reset()
    made: list[One] = []

    def one(*, alone: bool = False) -> One:
        made.append(One(None if alone else tmp_path, clock))
        return made[-1]

    yield one
    for each in made:
        each.recorder.close()


# --- what all say -----------------------------------------------------------------------------------------------
def test_live_numbers_are_of_all(make: Any, clock: Any) -> None:
    """Ages, health, memory and ids of every process's open connections are in one answer."""
    first, second = make(), make()
    for one, age in ((first, 1.0), (second, 400.0), (second, 10_000.0)):
        one.recorder.live.opened(Open(clock.now - age))
    second.tell()

    seen = first.look()

    ages = {labels[1]: count for labels, count in seen.snapshot.values[semconv.CONNECTION_AGE].items()}
    assert {"under_5m": 1.0, "5m_30m": 1.0, "over_2h": 1.0} == ages
    assert 3.0 == seen.snapshot.total(semconv.CONNECTION_HEALTH, state="healthy")
    assert (("tournament_id", "7", 3.0),) == seen.by_id
    assert 2 == len(seen.processes)
    assert seen.snapshot.total(semconv.PROCESS_MEMORY) == sum(one.memory for one in seen.processes)


def test_a_user_of_two_processes_is_one_user(make: Any) -> None:
    """Users are told apart by a hash that all processes of the group make alike; on both transports they are dual."""
    first, second = make(), make()
    first.recorder.live.user_opened("1", "websocket")
    second.recorder.live.user_opened("1", "sse")
    second.recorder.live.user_opened("2", "websocket")
    second.tell()

    values = first.look().snapshot.values

    assert ({(): 2.0}, {(): 1.0}) == (values[semconv.ACTIVE_USERS], values[semconv.DUAL_USERS])


def test_of_a_process_that_ended_the_live_numbers_go_and_its_counters_stay(make: Any, clock: Any) -> None:
    """Nobody is connected to it any longer; what the policy removed there stays removed."""
    first, second = make(), make()
    second.recorder.live.opened(Open(clock.now))
    second.recorder.policy.clear("logs", {semconv.ROLE: "Ada"})
    removed = sum(second.recorder.policy.redactions().values())
    second.tell()
    before = first.look().snapshot.total(semconv.CONNECTION_AGE)

    second.recorder.close()

    after = first.look()
    assert (1.0, 0.0) == (before, after.snapshot.total(semconv.CONNECTION_AGE))
    assert removed > 0
    assert removed == after.snapshot.total(semconv.REDACTIONS)
    assert 1 == len(after.processes)


def test_an_answer_is_kept_for_a_second(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again at once, the same answer is given; a second later another one."""
    one = make()
    now = [time.monotonic() + 10.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    first = one.member.overview()
    now[0] += 0.9
    second = one.member.overview()
    now[0] += 0.2

    assert first is second
    assert first is not one.member.overview()


def test_an_answer_is_not_kept_when_another_process_gave_one(make: Any) -> None:
    """Asking one process after the other never shows a total that falls."""
    first, second = make(), make()
    first.member.overview()
    second.recorder.ledger.add(semconv.MESSAGES, CHAT)
    seen = [second.member.overview().snapshot.total(semconv.MESSAGES)]
    seen.append(first.member.overview().snapshot.total(semconv.MESSAGES))

    assert [1.0, 1.0] == seen


def test_where_a_look_fails_the_last_answer_is_given(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's own numbers would be less than what was answered before."""
    first, second = make(), make()
    second.recorder.ledger.add(semconv.MESSAGES, CHAT)
    before = first.look()

    def broken(self: object) -> object:
        raise OSError

    monkeypatch.setattr(membership, "seen_by", broken)

    assert before is first.look()
    assert {"processes": 1} == faults.snapshot()


def test_alone_a_process_answers_for_itself(make: Any) -> None:
    """Its own numbers, and it leads."""
    one = make(alone=True)
    one.recorder.ledger.add(semconv.MESSAGES, CHAT)

    seen = one.look()

    assert (False, 1.0, [os.getpid()]) == (
        seen.is_shared, seen.snapshot.total(semconv.MESSAGES), [each.pid for each in seen.processes],
    )  # fmt: skip
    assert one.member.is_leader()


def test_the_last_word_of_a_process_counts(make: Any) -> None:
    """What was removed a moment before the end, with nothing told since, is in the total."""
    first, second = make(), make()
    second.recorder.policy.clear("logs", {semconv.ROLE: "Ada"})
    second.member.tell()

    second.recorder.close()

    assert 1.0 == first.look().snapshot.total(semconv.REDACTIONS)


def test_without_room_for_another_file_a_process_goes_on_telling(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failures are in everybody's answer, its own and its neighbours'."""
    first, second = make(), make()
    second.look()
    monkeypatch.setattr(home, "replace", full)

    first.tell()
    first.tell()

    told = [one.look().snapshot.total(semconv.TELEMETRY_ERRORS) for one in (first, second)]
    assert [True, True] == [found > 0 for found in told]
    assert told == sorted(told)


def test_what_is_being_written_over_is_not_read(make: Any, tmp_path: Path) -> None:
    """Who looks at that moment says what was told before."""
    first, second = make(), make()
    told = json.dumps({"at": time.time(), "cpu": 0.0, "memory": -1.0, "values": [], "by_id": [], "users": {}}).encode()

    def lowest() -> float:
        return min(float(one.memory) for one in first.look().processes)

    second.tell()
    before = lowest()
    with (tmp_path / f"{second.member._home.id}.live").open("r+b") as live:
        fcntl.flock(live, fcntl.LOCK_EX)
        live.write(told + b"\n")
        live.flush()
        meanwhile = lowest()
        live.truncate()

    assert [before, -1.0] == [meanwhile, lowest()]
    assert before >= 0


@pytest.mark.parametrize("content", [b"b", b"longer than before"])
def test_what_is_written_over_may_be_shorter_or_longer(tmp_path: Path, content: bytes) -> None:
    """Nothing of what was there before stays."""
    path = tmp_path / "live"
    path.write_bytes(b"before")

    home._write_over(path, content)

    assert content == path.read_bytes()


def test_who_is_idle_uses_no_cpu(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process used when it told last is not what it uses ever after; its memory stays."""
    first, second = make(), make()
    monkeypatch.setattr(first.recorder.live, "cpu", lambda: 0.0)
    monkeypatch.setattr(second.recorder.live, "cpu", lambda: 0.75)
    second.tell()
    seen = [first.look()]
    told = time.time()
    monkeypatch.setattr(time, "time", lambda: told + membership.OLD_SECONDS + 1.0)
    seen.append(first.look())

    used = [max(each.cpu for each in one.processes) for one in seen]
    assert [0.75, 0.0] == used
    assert [0.75 / (os.cpu_count() or 1), 0.0] == [one.snapshot.total(semconv.PROCESS_CPU) for one in seen]
    assert all(one.memory > 0 for one in seen[1].processes)


def test_who_joins_after_a_pause_compares_with_the_last_row(make: Any) -> None:
    """However old that is: what happened since it joined is not taken for what always was."""
    first = make()
    first.member.rows.add(Reading(time.time() - 600.0, {"connected": 5.0}))
    second = make()

    assert [5.0] == [one["connected"] for one in second.recorder.watch.readings()]


# --- verdicts and totals ----------------------------------------------------------------------------------------
def test_verdicts_and_totals_are_over_all(make: Any) -> None:
    """The recorder judges and sums up what all processes count."""
    first, second = make(), make()
    second.recorder.ledger.add(semconv.MESSAGES, (*CHAT[:3], "error"), 50.0)

    status = first.recorder.watch.health().status

    assert 50.0 == first.recorder.merged().total(semconv.MESSAGES)
    assert HEALTHY != status


def test_one_tells_and_writes_history(make: Any) -> None:
    """The leader writes rows that every process reads; the other writes none."""
    first, second = make(), make()
    leads = [one.recorder.is_leader() for one in (first, second)]
    second.recorder.ledger.add(semconv.MESSAGES, CHAT, 3.0)
    for one in (first, second, first, second):
        one.member.pulse()

    rows = [one.member.since(0.0) for one in (first, second)]

    assert [True, False] == leads
    assert rows[0] == rows[1]
    assert [3.0] == [row["messages"] for row in rows[0]]


def test_an_idle_leader_lets_another_lead(make: Any) -> None:
    """Who has no connections runs no timer, and could not lead."""
    first, second = make(), make()
    first.recorder.is_leader()

    for one in first.recorder.on_idle:
        one()

    assert second.recorder.is_leader()


def test_files_that_a_cleaner_took_are_made_anew(make: Any, tmp_path: Path) -> None:
    """With all counts, at the next second."""
    first, second = make(), make()
    first.recorder.ledger.add(semconv.MESSAGES, CHAT, 3.0)
    for path in tmp_path.glob(f"{first.member._home.id}.*"):
        path.unlink()

    first.tell()
    first.recorder.ledger.add(semconv.MESSAGES, CHAT)

    assert 4.0 == second.look().snapshot.total(semconv.MESSAGES)
    assert {} == faults.snapshot()


# --- wiring -----------------------------------------------------------------------------------------------------
def test_a_test_is_nobodys_worker(telemetry: Any) -> None:
    """In pytest nothing is shared, whatever is configured and served."""
    processes.join()

    assert not processes.overview().is_shared
    assert processes.folder() is None


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["/srv/manage.py", "runworker", "payments"], "worker"),
        (["manage.py", "runserver"], "server"),
        (["manage.py", "migrate"], "command"),
        (["manage.py"], "command"),
        (["/usr/bin/uvicorn", "runworker"], "server"),
        ([], "server"),
    ],
)
def test_roles_follow_from_the_command_line(argv: list[str], role: str) -> None:
    """Workers, commands and servers are told apart by how they were started."""
    assert role == processes.role(argv)


def run(script: str, folder: Path, **environ: str) -> Any:
    """What a script prints as JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**bare_environment(), "PYTHONPATH": ROOT, "OTEL_WS_RUNTIME_DIR": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


FORK = """
import json, os, threading
import otel_ws
from otel_ws import processes, recorder, semconv
from otel_ws.settings import Settings

parent = recorder.install(Settings.load())
parent.serves()
# Python warns of a fork beside other threads.
for one in threading.enumerate():
    if one is not threading.current_thread():
        one.join()
labels = ("/ws/", "websocket", "chat", "success")
thread = threading.Thread(target=parent.ledger.add, args=(semconv.MESSAGES, labels))
thread.start()
thread.join()
held = parent.ledger.local.cells
offset = parent.ledger.series(semconv.MESSAGES, labels)
held[offset] += 2.0
leads = processes.is_leader()
total = lambda: processes.overview(0.0).snapshot.total(semconv.MESSAGES)
reading, writing = os.pipe()
go_on, told = os.pipe()
child = os.fork()
if child == 0:
    # What the parent's connections hold is no way to its counts.
    held[offset] += 100.0
    held[offset] -= 100.0
    alone = processes.overview(0.0)
    before = [alone.is_shared, alone.snapshot.total(semconv.MESSAGES), processes.is_leader()]
    held[offset] += 10.0
    parent.serves()
    seen = processes.overview(0.0)
    os.write(writing, json.dumps([before, total(), len(seen.processes), processes.is_leader()]).encode())
    os.read(go_on, 1)
    os._exit(0)
child_says = json.loads(os.read(reading, 200))
both = [total(), len(processes.overview(0.0).processes)]
os.write(told, b".")
os.waitpid(child, 0)
after = [total(), len(processes.overview(0.0).processes), processes.is_leader()]
print(json.dumps({"child": child_says, "both": both, "after": after}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_is_a_process_of_its_own(tmp_path: Path) -> None:
    """It begins at zero and alone, joins when it serves, and never counts what its parent counted again."""
    found, errors = run(FORK, tmp_path)

    assert [[False, 0.0, True], 13.0, 2, False] == found["child"]
    assert {"both": [13.0, 2], "after": [13.0, 1, True]} == {key: found[key] for key in ("both", "after")}
    assert "" == errors


SERVE = """
import json, time
import otel_ws
from otel_ws import faults, processes, recorder, semconv
from otel_ws.settings import Settings

active = recorder.install(Settings.load())
active.serves()
active.ledger.add(semconv.MESSAGES, ("/ws/", "websocket", "chat", "success"))
seen = processes.overview(0.0)
print(json.dumps([seen.is_shared, seen.snapshot.total(semconv.MESSAGES), faults.snapshot()]))
"""


def test_a_runtime_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """The process has its own numbers, one warning says what to do, a metric counts it; nothing fails."""
    found, errors = run(SERVE, tmp_path / "missing")

    assert [False, 1.0, {"processes": 1}] == found
    assert "OTEL_WS_RUNTIME_DIR" in errors
    assert "missing" not in errors


def test_a_command_asks_what_the_workers_say(tmp_path: Path) -> None:
    """It reads the group without being one of it; where nobody serves there is no answer, and nothing is made."""
    ask = "settings = Settings.load()\nfound = processes.of_group(settings)\nprint(json.dumps("
    script = SERVE.partition("active =")[0] + ask
    nobody, _ = run(script + "found is None and not processes.history_of_group(settings)))", tmp_path)
    made = [*tmp_path.iterdir()]
    with subprocess.Popen(
        [sys.executable, "-c", SERVE + "import sys; sys.stdout.flush(); time.sleep(30)"],
        env={**os.environ, "PYTHONPATH": ROOT, "OTEL_WS_RUNTIME_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
    ) as waiting:
        assert waiting.stdout is not None
        waiting.stdout.readline()
        found, _ = run(script + "[found.snapshot.total(semconv.MESSAGES), len(found.processes)]))", tmp_path)
        waiting.kill()

    assert (True, []) == (nobody, made)
    assert [1.0, 1] == found
