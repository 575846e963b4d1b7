"""What otel-ws costs: interleaved pairs of the same application, bare and instrumented, in one run.

Two workers share a core and take turns, the order swapped each pair; the ratio of their CPU times is taken pair by
pair, so that what else the machine does hits both sides. ``aa`` compares bare with bare: the noise floor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
UNITS = {"echo": 1500, "connect": 250, "group": 2500, "http": 20000}


class Worker:
    """A worker process."""

    def __init__(self, mode: str, core: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), mode, str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OTEL_SDK_DISABLED": "false"},
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early; its error is above")
        return line.strip()

    def run(self, kind: str, count: int) -> float:
        """One slice: CPU seconds, or bytes for memory."""
        assert self.process.stdin
        self.process.stdin.write(f"{kind} {count}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(20)


def pairs(kind: str, mode: str, count: int, core: int) -> list[tuple[float, float]]:
    """CPU seconds of adjacent slices, bare and instrumented; the first pair warms up and is dropped."""
    bare, other = Worker("bare", core), Worker(mode, core)
    found = []
    for turn in range(count + 1):
        if turn % 2:
            b, o = bare.run(kind, UNITS[kind]), other.run(kind, UNITS[kind])
        else:
            o, b = other.run(kind, UNITS[kind]), bare.run(kind, UNITS[kind])
        found.append((b, o))
    bare.close()
    other.close()
    return found[1:]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--pairs", type=int, default=21)
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args()
    for row in arguments.rows:
        kind, mode = row.split(":")
        found = pairs(kind, mode, arguments.pairs, arguments.core)
        ratios = sorted(o / b for b, o in found)
        low, middle, high = statistics.quantiles(ratios, n=4)
        unit = statistics.median(b for b, _ in found) / UNITS[kind] * 1e6
        print(f"{row:24} {middle:.3f} [{low:.3f} {high:.3f}]  bare {unit:.1f} µs", flush=True)


if __name__ == "__main__":
    main()
