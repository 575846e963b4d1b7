"""The gate: what a message and a connection cost in instructions, against a limit for each.

CPU time on a shared machine cannot tell 5 % from noise; the number of instructions repeats to half a percent, so this
is what CI holds on to. Valgrind counts them for two amounts of work, and the difference is free of start-up costs.
What it cannot see (caches, system calls) is what ``bench.py`` measures.

    python tests/benchmarks/instructions.py [--json FILE] [--report]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "benchmarks.md"
# As in `bench.py`, which makes the page.
MARKS = ("<!-- instructions -->", "<!-- end of instructions -->")
COUNTS = {"echo": (100, 300), "connect": (50, 200), "group": (500, 1500), "http": (200, 600)}
# What bare against bare may differ by, or the machine is not fit to judge; the limits lie twice as far above what
# was measured when they were set.
NOISE = 0.01


@dataclass(frozen=True)
class Limit:
    """A kind of work in one mode of the worker, and the ratio to the bare application that it may cost."""

    kind: str
    mode: str
    most: float


LIMITS = (
    Limit("echo", "metrics", 1.13),
    Limit("echo", "sampled", 1.15),
    Limit("echo", "spans", 1.26),
    Limit("echo", "everything", 1.51),
    # A consumer's channel, its groups and what waits for it are watched from its first moment to its last.
    Limit("connect", "only", 1.185),
    # What the channel layer is given and hands over is counted in it, and how long each delivery took.
    Limit("group", "only", 1.095),
    Limit("http", "only", 1.04),
)
# The metrics mode with a tenth of a bare echo on top of each message: the gate must see it.
SLOWED = Limit("echo", "slowed", 1.13)
BARE_AGAIN = "bare again"


def instructions(kind: str, mode: str, count: int) -> int:
    """How many instructions a worker executes for so much work, start-up included."""
    counter = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    done = subprocess.run(
        [*counter, sys.executable, str(HERE / "worker.py"), mode, "count", kind, str(count)],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("OTEL_")} | {"PYTHONHASHSEED": "0"},
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"the worker failed ({kind}, {mode}):\n{done.stderr[-2000:]}")
    return int(found[1].replace(",", ""))


def measure(wanted: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Instructions per unit of each kind of work in each mode, as many at a time as there are cores."""
    jobs = [(kind, mode.removesuffix(" again"), count) for kind, mode in wanted for count in COUNTS[kind]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found: list[int] = []
        for number, one in enumerate(pool.map(lambda job: instructions(*job), jobs), 1):
            found.append(one)
            print(f"\r{number}/{len(jobs)} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {
        (kind, mode): (found[2 * place + 1] - found[2 * place]) / (COUNTS[kind][1] - COUNTS[kind][0])
        for place, (kind, mode) in enumerate(wanted)
    }


def report(found: dict[tuple[str, str], float]) -> None:
    """Write the table into the page that ``bench.py --report`` made."""
    before, start, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    lines = ["| work | mode | instructions | ratio | limit |", "| --- | --- | --- | --- | --- |"]
    for one in LIMITS:
        bare, ours = found[one.kind, "bare"], found[one.kind, one.mode]
        lines.append(f"| {one.kind} | {one.mode} | {bare:,.0f} + {ours - bare:,.0f} | {ours / bare:.3f} | {one.most} |")
    end = MARKS[1] + rest.partition(MARKS[1])[2]
    PAGE.write_text(before + start + "\n" + "\n".join(lines) + "\n" + end, encoding="utf-8")


def main() -> int:
    """Measure, print, and say whether a limit was passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="keep what was found as data")
    parser.add_argument("--report", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("the gate needs valgrind: apt-get install valgrind, or your system's package of that name")
    kinds = dict.fromkeys(limit.kind for limit in LIMITS)
    controls = [(kind, mode) for kind in kinds for mode in ("bare", BARE_AGAIN)]
    found = measure([*controls, *((limit.kind, limit.mode) for limit in (*LIMITS, SLOWED))])
    problems: list[str] = []
    print(f"{'work':9} {'mode':12} {'instructions':>13} {'ratio':>7} {'limit':>7}")
    for kind in kinds:
        bare = found[kind, "bare"]
        rows = [(BARE_AGAIN, 1 + NOISE)] + [(one.mode, one.most) for one in (*LIMITS, SLOWED) if one.kind == kind]
        print(f"{kind:9} {'bare':12} {bare:13,.0f}")
        for mode, most in rows:
            ratio = found[kind, mode] / bare
            print(f"{kind:9} {mode:12} {found[kind, mode]:13,.0f} {ratio:7.3f} {most:7.3f}")
            if mode == SLOWED.mode:
                if ratio <= most:
                    problems.append("the deliberate slow-down was not seen: the gate cannot fail")
            elif mode == BARE_AGAIN and abs(ratio - 1) > NOISE:
                problems.append(f"{kind}: bare against bare differs by {abs(ratio - 1):.1%}, too much to judge by")
            elif ratio > most:
                problems.append(f"{kind}, {mode}: {ratio:.3f} of the bare application, the limit is {most:.3f}")
    if arguments.json:
        rows_found = [{"kind": kind, "mode": mode, "instructions": one} for (kind, mode), one in found.items()]
        arguments.json.write_text(
            json.dumps({"limits": [asdict(one) for one in LIMITS], "found": rows_found}, indent=1) + "\n",
            encoding="utf-8",
        )
    if arguments.report:
        report(found)
    for problem in problems:
        print(f"FAILED: {problem}")
    print("the gate is " + ("closed" if problems else "open: every limit holds, and the deliberate slow-down was seen"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
