"""A disk that runs full under the whole stack: what is refused, who says so, and that nothing accepted is lost.

The disk is a file system in memory, so this needs root; everything on it is the stack's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.stack import sending
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.questions import Questions
from tests.collector.stack.waits import shorten_alerts, watch_disk

MEBIBYTE = 2**20
SIZE = 128 * MEBIBYTE
# What is left when the test is over with filling: the queue has it for itself in a few seconds.
LEFT = 2 * MEBIBYTE
BATCH = 500
LOOKBACK_SECONDS = 5


def why_not() -> str:
    """What this machine lacks for a disk of one's own; nothing where it has all."""
    if os.geteuid() != 0:
        return "a small disk is mounted, which needs root"
    return "" if shutil.which("mount") else "a small disk is mounted, which needs mount (Debian: apt-get install mount)"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of its own."""
    folder = tmp_path_factory.mktemp("disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small disk is mounted, which needs the right to: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def stack(disk: Path) -> Iterator[Stack]:
    """Everything on one disk, as the bundle's volumes are, which is the one that is watched."""
    with Stack(disk, profile="") as running:
        shorten_alerts(running)
        watch_disk(running, disk)
        running.more_options["prometheus"] = [f"--query.lookback-delta={LOOKBACK_SECONDS}s"]
        running.start("prometheus", "alertmanager", "loki", "tempo")
        running.start("collector")
        yield running


def kept(ask: Questions, service: sending.Service) -> int:
    """How many of a service's records Loki has."""
    answer = ask.json("loki", "/loki/api/v1/query", query=f"sum(count_over_time({service.selector()}[1h]))")
    rows = answer["data"]["result"] if answer else []
    return int(rows[0]["value"][1]) if rows else 0


def is_low(ask: Questions) -> bool:
    """Whether Prometheus has DiskLow firing at this moment, whatever it could write down."""
    answer = ask.json("prometheus", "/api/v1/alerts")
    return ("DiskLow", "firing") in [(one["labels"]["alertname"], one["state"]) for one in answer["data"]["alerts"]]


def test_a_full_disk_is_told_and_loses_nothing_that_was_accepted(stack: Stack, disk: Path) -> None:
    """DiskLow fires and stays; the collector refuses and says so; with room again what it had accepted arrives, once.

    Loki is away meanwhile: what it takes itself at the moment when its disk fills, it may lose.
    """
    ask, service, accepted = Questions(stack), sending.Service("disk"), 0
    assert eventually(lambda: ask.samples("system_filesystem_utilization_ratio"))
    free = os.statvfs(disk)
    stack.stop("loki")

    with (disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize - LEFT)
    assert eventually(lambda: is_low(ask))
    assert eventually(lambda: "DiskLow" in ask.raw("alertmanager", "/api/v2/alerts")[1])
    status, text, deadline = 200, "", time.monotonic() + 60
    while status == 200 and time.monotonic() < deadline:
        status, text = sending.post(stack, sending.numbered_logs(service, BATCH))
        accepted += BATCH if status == 200 else 0
    assert status == 503
    assert "no space left" in text
    assert accepted > 0
    # Prometheus takes no sample any more: what it knew last must do.
    time.sleep(2 * LOOKBACK_SECONDS)
    assert not ask.samples("system_filesystem_utilization_ratio")
    assert is_low(ask)
    assert not [name for name, process in stack.running.items() if process.poll() is not None]

    (disk / "filler").unlink()
    stack.start("loki")
    answer = eventually(lambda: sending.post(stack, sending.numbered_logs(service, BATCH))[0] == 200, 20, 1)
    assert answer
    accepted += BATCH

    eventually(lambda: kept(ask, service) == accepted, 60, 1)
    assert kept(ask, service) == accepted
    assert eventually(lambda: not is_low(ask), 30)
