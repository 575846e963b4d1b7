"""Whose a port is: of one group at a time, whoever ends and whoever comes at the same moment."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

import otel_ws
from otel_ws import faults, processes
from otel_ws.processes import deserted, mapping, ports
from otel_ws.processes.deserted import KEEP_SECONDS, remove_deserted
from otel_ws.processes.runtime import TakenError, place

pytestmark = pytest.mark.skipif(not mapping.is_possible(), reason="this platform shares nothing")
PORT, ADDRESS = 9464, "127.0.0.1"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """The folders of two groups of one user."""
    return [place(str(tmp_path), group, {"OTEL_SERVICE_NAME": "shop"}) for group in ("blue", "green")]


@pytest.fixture
def claim() -> Iterator[Any]:
    """Take ports as processes do; the claims end with the test."""
    made: list[FileIO] = []

    def one(group: Path, port: int = PORT, address: str = ADDRESS) -> FileIO:
        made.append(ports.claim(group, port, address))
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_processes_of_one_group_share_a_port(folders: list[Path], claim: Any) -> None:
    """Each worker has its claim."""
    assert not [claim(folders[0]) for _ in range(3)][-1].closed


def test_another_group_may_not(folders: list[Path], claim: Any) -> None:
    """It is told while one of the first still listens, and once none does, the port is its own."""
    first, second = claim(folders[0]), claim(folders[0])
    first.close()
    with pytest.raises(TakenError):
        claim(folders[1])
    second.close()

    claim(folders[1])

    with pytest.raises(TakenError):
        claim(folders[0])


@pytest.mark.parametrize(("port", "address"), [(PORT + 1, ADDRESS), (PORT, "127.0.0.2")])
def test_another_port_or_address_is_another_place(folders: list[Path], claim: Any, port: int, address: str) -> None:
    """Two groups that listen apart know nothing of each other."""
    claim(folders[0])

    assert not claim(folders[1], port, address).closed


def test_another_network_is_another_place(
    folders: list[Path], claim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers that share the folder but no network share no port."""
    claim(folders[0])
    monkeypatch.setattr(ports, "_NETWORK", tmp_path)

    assert not claim(folders[1]).closed


def test_a_killed_process_holds_nothing(folders: list[Path], claim: Any) -> None:
    """The claim ends with its process, whatever ends it."""
    script = f"""
from pathlib import Path
from otel_ws.processes import ports
held = ports.claim(Path({str(folders[0])!r}), {PORT}, {ADDRESS!r})
print("held", flush=True)
input()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(otel_ws.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(TakenError):
            claim(folders[1])
        other.kill()
        other.wait()

    assert not claim(folders[1]).closed


def test_of_many_that_start_at_once_one_group_has_it(folders: list[Path], claim: Any) -> None:
    """Never both: whoever wins, all of its processes are in and none of the other's."""
    claim(folders[0]).close()  # what an old group left
    for _ in range(20):
        barrier = threading.Barrier(6)
        had: list[Path] = []
        held: list[FileIO] = []

        def start(group: Path, barrier: threading.Barrier = barrier, had: Any = had, held: Any = held) -> None:
            barrier.wait(10)
            try:
                held.append(ports.claim(group, PORT, ADDRESS))
            except TakenError:
                return
            had.append(group)

        threads = [threading.Thread(target=start, args=(group,)) for group in folders * 3]
        for one in threads:
            one.start()
        for one in threads:
            one.join(10)
        for file in held:
            file.close()

        assert 3 == len(had)
        assert 1 == len(set(had))


def test_who_is_overtaken_has_nothing(folders: list[Path], claim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its two locks another group may take the file, and is then the one that listens."""
    flock, overtaken = fcntl.flock, list[FileIO]()

    def late(fd: Any, how: int) -> None:
        if how & fcntl.LOCK_SH and not overtaken:
            flock(fd, fcntl.LOCK_UN)
            monkeypatch.setattr(fcntl, "flock", flock)
            overtaken.append(claim(folders[1]))
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)

    with pytest.raises(TakenError):
        claim(folders[0])

    assert not claim(folders[1]).closed


def test_a_file_of_something_else_is_written_anew(folders: list[Path], claim: Any) -> None:
    """What stands in it may be anything, if nobody holds it."""
    claim(folders[0]).close()
    (path,) = folders[0].parent.glob("port-*")
    path.write_bytes(b"x" * 500)

    claim(folders[0])

    with pytest.raises(TakenError):
        claim(folders[1])
    assert not claim(folders[0]).closed


def test_a_lost_folder_is_made_again(folders: list[Path], claim: Any) -> None:
    """A cleaner took everything: the port is claimed all the same."""
    for one in folders:
        one.rmdir()
    folders[0].parent.rmdir()

    claim(folders[0])

    with pytest.raises(TakenError):
        claim(folders[1])


# --- files that stay behind -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("age", "stays"), [(KEEP_SECONDS - 1, True), (KEEP_SECONDS + 1, False)])
def test_a_file_that_nobody_holds_goes_after_a_week(folders: list[Path], claim: Any, age: float, stays: bool) -> None:
    """As the folders of groups do."""
    claim(folders[0]).close()
    (path,) = folders[0].parent.glob("port-*")
    now = path.stat().st_mtime + age

    remove_deserted(folders[0].parent, now)

    assert stays == path.exists()


def test_a_file_that_somebody_holds_stays(folders: list[Path], claim: Any) -> None:
    """However long ago it was written."""
    claim(folders[0])
    (path,) = folders[0].parent.glob("port-*")

    remove_deserted(folders[0].parent, path.stat().st_mtime + 2 * KEEP_SECONDS)

    assert path.exists()


def test_who_comes_while_the_file_is_removed_makes_another(
    folders: list[Path], claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim on a file that is no longer there would be seen by nobody."""
    claim(folders[0]).close()
    (path,) = folders[0].parent.glob("port-*")
    original, opened = ports._opened, list[FileIO]()

    def late(wanted: Path) -> FileIO:
        found = original(wanted)
        if not opened:
            wanted.unlink()
        opened.append(found)
        return found

    monkeypatch.setattr(ports, "_opened", late)

    claim(folders[0])

    assert path.exists()
    assert 2 == len(opened)


def test_a_file_that_cannot_be_removed_is_counted(
    folders: list[Path], claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the sweep goes on."""
    faults.reset()
    claim(folders[0]).close()

    def refuse(path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(ports, "remove_unclaimed", refuse)

    deserted.remove_deserted(folders[0].parent, 4e9)

    assert 1 == faults.snapshot()["processes"]


# --- the door -------------------------------------------------------------------------------------------------------
def test_alone_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a group nobody can tell whose the port is."""
    monkeypatch.setattr(processes, "folder", lambda: None)

    assert processes.claim(PORT, ADDRESS) is None


def test_what_cannot_be_written_is_counted_and_nothing_is_claimed(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes no endpoint away."""
    faults.reset()

    def full(*_: Any) -> FileIO:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(processes, "folder", lambda: folders[0])
    monkeypatch.setattr(ports, "_opened", full)

    assert processes.claim(PORT, ADDRESS) is None
    assert 1 == faults.snapshot()["processes"]
