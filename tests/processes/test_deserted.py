"""Folders that services left behind: removed where nobody belongs to them, whoever comes in at that moment."""

from __future__ import annotations

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

import otel_ws
from otel_ws import faults, processes, semconv
from otel_ws.ledger import Ledger
from otel_ws.processes import deserted, mapping, runtime
from otel_ws.processes.deserted import KEEP_FOLDERS, KEEP_SECONDS, remove_deserted
from otel_ws.processes.group import LOCK, Group, _Locked
from otel_ws.processes.home import SharedCells
from otel_ws.processes.runtime import place
from otel_ws.settings import Settings

pytestmark = pytest.mark.skipif(not mapping.is_possible(), reason="this platform cannot map over memory")
ROOT = str(Path(otel_ws.__file__).parents[1])
NOW = 2_000_000_000.0
HOUR, DAY = 3600.0, 86_400.0
CHAT = ("/ws/", "websocket", "chat", "success")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    faults.reset()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """This user's folder in a runtime directory."""
    return at(tmp_path, "first").parent


def at(tmp_path: Path, service: str) -> Path:
    """The folder of a service."""
    return place(str(tmp_path), "", {"OTEL_SERVICE_NAME": service})


def join(folder: Path, parent: tuple[int, int] = (0, 0)) -> tuple[Group, SharedCells]:
    """A process becomes one of the group."""
    ledger, one = Ledger(), Group(folder)
    ledger.add(semconv.MESSAGES, CHAT)
    return one, one.join(ledger, "server", 1000.0, parent)


def end(one: tuple[Group, SharedCells]) -> None:
    """The process ends: the system closes what it held."""
    one[0].leave()
    one[1].forget()


def left(tmp_path: Path, service: str, age: float, parent: tuple[int, int] = (0, 0)) -> Path:
    """The folder of a service that ended so many seconds ago."""
    folder = at(tmp_path, service)
    member = join(folder, parent)
    member[0].is_leader()
    member[1].publish(b"{}")
    end(member)
    aged(folder, age)
    return folder


def aged(folder: Path, age: float) -> None:
    """Nothing was written there for so many seconds."""
    os.utime(folder, (NOW - age, NOW - age))


# --- what goes, what stays --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("age", "stays"), [(0.0, True), (KEEP_SECONDS - 1, True), (KEEP_SECONDS + 1, False)])
def test_what_nobody_wrote_for_a_week_goes(tmp_path: Path, age: float, stays: bool) -> None:
    """A service that is stopped over the night keeps what it has; one that never comes back leaves nothing."""
    folder = left(tmp_path, "shop", age)

    remove_deserted(folder.parent, NOW)

    assert (stays, {}) == (folder.exists(), faults.snapshot())


def test_a_folder_of_somebody_who_only_asked_goes(tmp_path: Path) -> None:
    """A command makes the folder of its service, and puts nothing there."""
    folder = at(tmp_path, "shop")
    aged(folder, 8 * DAY)

    remove_deserted(folder.parent, NOW)

    assert not folder.exists()


def test_a_member_that_has_nothing_to_do_keeps_its_folder(tmp_path: Path) -> None:
    """It wrote nothing for a week, and lives."""
    folder = at(tmp_path, "shop")
    member = join(folder)
    aged(folder, 8 * DAY)

    remove_deserted(folder.parent, NOW)

    assert member[1].is_there()
    assert 1.0 == member[0].look()[0].snapshot().total(semconv.MESSAGES)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
@pytest.mark.parametrize(("later", "stays"), [(0, True), (1, False)])
def test_a_supervisor_that_lives_keeps_the_folder(tmp_path: Path, later: int, stays: bool) -> None:
    """Its next worker goes on with the counts; another process that got its number since is none."""
    folder = left(tmp_path, "shop", 8 * DAY, (os.getpid(), runtime.began(os.getpid()) + later))

    remove_deserted(folder.parent, NOW)

    assert stays is folder.exists()


def test_of_many_the_latest_stay(tmp_path: Path) -> None:
    """However often there is a new release: so many, and whatever was written in the last hour."""
    folders = [left(tmp_path, f"release {number}", HOUR + 1 + number) for number in range(KEEP_FOLDERS)]
    recent = [left(tmp_path, f"new {number}", float(number)) for number in range(3)]

    remove_deserted(folders[0].parent, NOW)

    assert [True] * 3 == [one.exists() for one in recent]
    assert [True] * (KEEP_FOLDERS - 3) + [False] * 3 == [one.exists() for one in folders]


def test_of_many_in_the_last_hour_all_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may want to know how they ended."""
    monkeypatch.setattr(deserted, "KEEP_FOLDERS", 1)
    folders = [left(tmp_path, f"release {number}", HOUR - 1 - number) for number in range(3)]

    remove_deserted(folders[0].parent, NOW)

    assert [True] * 3 == [one.exists() for one in folders]


# --- what is not for us to take ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["notes.txt", "0123456789abcdef.cells.bak", "deadbeef.cells"])
def test_a_folder_with_somebodys_file_stays(tmp_path: Path, name: str) -> None:
    """All of it: what a file that we do not know is for is not for us to say."""
    folder = left(tmp_path, "shop", 0.0)
    (folder / name).write_text("kept")
    aged(folder, 8 * DAY)
    before = sorted(folder.iterdir())

    remove_deserted(folder.parent, NOW)

    assert before == sorted(folder.iterdir())


def test_a_folder_with_a_folder_stays(tmp_path: Path) -> None:
    """Even where its name is one of ours."""
    folder = left(tmp_path, "shop", 0.0)
    (folder / "totals.json").unlink(missing_ok=True)
    (folder / "totals.json").mkdir()
    aged(folder, 8 * DAY)

    remove_deserted(folder.parent, NOW)

    assert (folder / "totals.json").is_dir()


def test_nothing_is_taken_through_a_link(tmp_path: Path, base: Path) -> None:
    """Neither where the folder is one, nor where a file in it is."""
    (tmp_path / "elsewhere").mkdir()
    elsewhere = left(tmp_path / "elsewhere", "shop", 8 * DAY)
    (base / "0123456789abcdef01234567").symlink_to(elsewhere)
    folder = left(tmp_path, "linked", 0.0)
    (folder / "several").symlink_to(elsewhere / LOCK)
    aged(folder, 8 * DAY)
    before = sorted(elsewhere.iterdir())

    remove_deserted(base, NOW)

    assert before == sorted(elsewhere.iterdir())
    assert folder.exists()


@pytest.mark.parametrize("name", ["shop", "0123456789abcdef", "0123456789ABCDEF01234567"])
def test_a_folder_of_another_name_stays(base: Path, name: str) -> None:
    """What was not named by us is not ours."""
    (base / name).mkdir(mode=0o700)
    aged(base / name, 8 * DAY)

    remove_deserted(base, NOW)

    assert (base / name).exists()


def test_a_folder_that_others_may_look_into_stays(tmp_path: Path) -> None:
    """We make none like that."""
    folder = left(tmp_path, "shop", 8 * DAY)
    folder.chmod(0o755)

    remove_deserted(folder.parent, NOW)

    assert folder.exists()


def test_another_users_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name is."""
    folder = left(tmp_path, "shop", 8 * DAY)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)

    remove_deserted(folder.parent, NOW)

    assert folder.exists()


# --- failing ----------------------------------------------------------------------------------------------------
def test_what_cannot_be_removed_is_counted_and_the_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder that stays is a failure of ours, and no more."""
    stuck, gone = left(tmp_path, "stuck", 8 * DAY), left(tmp_path, "gone", 9 * DAY)
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.parent == stuck:
            raise PermissionError
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)

    remove_deserted(stuck.parent, NOW)

    assert ([True, False], {"processes": 1}) == ([one.exists() for one in (stuck, gone)], faults.snapshot())


def test_failing_as_a_whole_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never raises."""

    def fail(base: Path, now: float) -> None:
        raise OSError

    monkeypatch.setattr(deserted, "remove_deserted", fail)

    processes._clean_up(Settings(runtime_dir=str(tmp_path)))

    assert {"processes": 1} == faults.snapshot()


def test_without_a_runtime_directory_there_is_nothing_to_clean_up(tmp_path: Path) -> None:
    """That was told when the process was to join, and is not counted twice."""
    processes._clean_up(Settings(runtime_dir=str(tmp_path / "missing")))

    assert {} == faults.snapshot()


# --- somebody comes in ------------------------------------------------------------------------------------------
def test_who_stands_in_the_door_keeps_the_folder(tmp_path: Path) -> None:
    """A process that joins at this moment, or was stopped when it did."""
    folder = left(tmp_path, "shop", 8 * DAY)

    with _Locked(folder / LOCK):
        remove_deserted(folder.parent, NOW)

    assert folder.exists()
    assert {} == faults.snapshot()


def test_who_came_in_since_it_was_looked_at_keeps_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it has ended again: what it counted is of today."""
    folder = left(tmp_path, "shop", 8 * DAY)
    flock, calls = fcntl.flock, list[int]()

    def then(fd: int, operation: int) -> None:
        if not calls:
            calls.append(operation)
            end(join(folder))
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", then)

    remove_deserted(folder.parent, NOW)

    assert [fcntl.LOCK_EX | fcntl.LOCK_NB] == calls
    assert 1 == len(list(folder.glob("*.cells")))


def test_who_waited_at_the_door_of_a_folder_that_went_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock that it then gets is that of a file that is gone: it takes the one that others would find."""
    folder = left(tmp_path, "shop", 8 * DAY)
    flock, calls = fcntl.flock, list[int]()

    def first_remove(fd: int, operation: int) -> None:
        if not calls:
            calls.append(operation)
            remove_deserted(folder.parent, NOW)
            assert not folder.exists()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", first_remove)
    first = join(folder)
    second = join(folder)

    assert [True, True] == [one[1].is_there() for one in (first, second)]
    assert [2, 2] == [len(one[0].look()[1]) for one in (first, second)]


def test_a_folder_that_goes_while_it_is_looked_at_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when it was to be made, and gone when it was to be found private."""
    folder = left(tmp_path, "shop", 8 * DAY)
    lstat, calls = Path.lstat, list[int]()

    def first_remove(self: Path) -> os.stat_result:
        if self == folder and not calls:
            calls.append(1)
            remove_deserted(folder.parent, NOW)
        return lstat(self)

    monkeypatch.setattr(Path, "lstat", first_remove)

    assert folder == at(tmp_path, "shop")
    assert folder.exists()


def test_a_child_that_was_forked_meanwhile_holds_no_door(tmp_path: Path) -> None:
    """A copy of the open lock, such as a child gets, does not keep it locked."""
    door = _Locked(tmp_path / LOCK)
    with door:
        copy = os.dup(door._fd)

    with _Locked(tmp_path / LOCK):
        os.close(copy)


# --- processes --------------------------------------------------------------------------------------------------
JOIN = """
import os, select, sys, time
from otel_ws import semconv
from otel_ws.ledger import Ledger
from otel_ws.processes.group import Group
from otel_ws.processes.runtime import place

base, rounds = sys.argv[1], 0
while sys.stdin not in select.select([sys.stdin], [], [], 0)[0]:
    ledger = Ledger()
    ledger.add(semconv.MESSAGES, ("/ws/", "websocket", "chat", "success"))
    group = Group(place(base, "", {"OTEL_SERVICE_NAME": "shop"}))
    try:
        home = group.join(ledger, "server", time.time())
    except TimeoutError:
        continue
    for _ in range(3):
        # The file that it holds is the one that others find by its name: so all who live are in one folder.
        assert os.path.samestat(os.fstat(home._cells_fd), os.stat(group.folder / f"{home.id}.cells"))
        sums, alive = group.look()
        assert home.id in {member.id for member in alive}
        assert sums.snapshot().total(semconv.MESSAGES) >= 1.0
        os.sched_yield()
    group.leave()
    home.forget()
    rounds += 1
    # Now and then nobody is in.
    time.sleep(0.002 * (rounds % 4))
print(rounds)
"""
CLEAN_UP = """
import json, os, sys, time
from pathlib import Path
from otel_ws import faults
from otel_ws.processes import deserted

removed, over, rmdir = 0, time.monotonic() + 60, Path.rmdir
def counting(self):
    global removed
    rmdir(self)
    removed += 1
Path.rmdir = counting
while removed < 20 and time.monotonic() < over:
    # A month from now nothing was written for a week.
    deserted.remove_deserted(Path(sys.argv[1]), time.time() + 30 * 86400)
print(json.dumps([removed, faults.snapshot()]))
"""


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments], env={**os.environ, "PYTHONPATH": ROOT},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(one: subprocess.Popen[str]) -> Any:
    """What it printed, once its input is at an end."""
    output, errors = one.communicate(timeout=90)
    assert one.returncode == 0, errors
    return json.loads(output)


@pytest.fixture
def racing() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test."""
    found: list[subprocess.Popen[str]] = []
    yield found
    for one in found:
        if one.poll() is None:
            one.kill()
            one.communicate()


def test_no_member_is_lost_to_a_clean_up(base: Path, racing: list[subprocess.Popen[str]]) -> None:
    """Processes that join and end all the time are never split into two groups, nor removed while they live."""
    joining = [started(JOIN, str(base.parent)) for _ in range(3)]
    cleaning = [started(CLEAN_UP, str(base)) for _ in range(2)]
    racing += joining + cleaning

    found = [ended(one) for one in cleaning]
    rounds = [ended(one) for one in joining]

    assert [[20, {}]] * 2 == found
    assert all(rounds)


SERVE = """
import os, sys, time
from pathlib import Path
from otel_ws import recorder
from otel_ws.settings import Settings

recorder.install(Settings.load()).serves()
over = time.monotonic() + 20
while Path(sys.argv[1]).exists() and time.monotonic() < over:
    time.sleep(0.01)
print("true")
"""


def test_whoever_joins_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that starts takes away what another one left a week ago, and nothing else."""
    old, new = left(tmp_path, "old", 0.0), left(tmp_path, "new", 0.0)
    for folder, age in ((old, 8 * DAY), (new, DAY)):
        os.utime(folder, (time.time() - age,) * 2)
    monkeypatch.setenv("OTEL_WS_RUNTIME_DIR", str(tmp_path))

    ended(started(SERVE, str(old)))

    assert [False, True] == [old.exists(), new.exists()]
