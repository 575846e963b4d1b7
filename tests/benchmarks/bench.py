"""What otel-ws costs: interleaved pairs of the same application, bare and instrumented, in one run.

Two workers share a core and take turns, the order swapped each pair; the ratio of their CPU times is taken pair by
pair, so that what else the machine does hits both sides. The A/A rows compare bare with bare: the noise floor. For the
server rows both are uvicorn on that core, and the client is on another. The Redis of the redis rows is a server of its
own, whose time does not count; without redis-server those rows are left out.

    python tests/benchmarks/bench.py [--pairs 61] [--only echo] [--json FILE] [--report]
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
UNITS = {"echo": 400, "connect": 80, "group": 600, "redis": 600, "http": 150, "memory": 500, "server": 1500}
CLIENTS = 10
MARKS = ("<!-- instructions -->", "<!-- end of instructions -->")
MESSAGE = '{"type": "heartbeat", "sequence": 1234567, "at": 1}'
KINDS = {
    "echo": "an echo: one message in, one out",
    "connect": "connect and disconnect",
    "group": "one delivery of a group message",
    "redis": "one delivery of a group message over a real Redis",
    "http": "an HTTP request to a Django view, through the middleware",
    "memory": "bytes added per idle connection",
    "server": "an echo on a real uvicorn, ten clients",
}


@dataclass(frozen=True)
class Row:
    """One comparison: the work, the worker's mode, what the mode means, and the budget (a ratio, or bytes)."""

    kind: str
    mode: str
    means: str
    budget: float


ROWS = (
    Row("echo", "defaults", "the defaults: a span per message, events for slow ones", 1.30),
    Row("echo", "metrics", "metrics and lifecycle events (`message_traces=off`)", 1.08),
    Row("echo", "sampled", "the same, message spans at 1 % (`message_sample_ratio=0.01`)", 1.12),
    Row("echo", "spans", "one sampled span per message (`message_events=errors`)", 1.30),
    Row("echo", "everything", "and one log record per message (`message_events=all`)", 1.50),
    Row("connect", "only", "metrics only (no span or log processor)", 1.10),
    Row("group", "only", "metrics only", 1.06),
    Row("redis", "only", "metrics only", 1.06),
    Row("http", "metrics", "the middleware alone", 1.02),
    Row("memory", "only", "metrics only", 2500),
    Row("server", "defaults", "the defaults", 1.30),
    Row("server", "metrics", "metrics and lifecycle events", 1.08),
)


@dataclass(frozen=True)
class Result:
    """What came out: the median over the pairs and its quartiles; ``bare`` in microseconds, or bytes."""

    kind: str
    mode: str
    budget: float
    median: float
    low: float
    high: float
    bare: float
    pairs: int


class Worker:
    """A worker process on one core."""

    def __init__(self, mode: str, core: int) -> None:
        self.process = started(mode, str(core))
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early; its error is above")
        return line.strip()

    def run(self, kind: str) -> float:
        """One slice: CPU seconds, or bytes for memory."""
        assert self.process.stdin
        self.process.stdin.write(f"{kind} {UNITS[kind]}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(20)


class Server:
    """A uvicorn on one core; its clients are in this process, on another."""

    def __init__(self, mode: str, core: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = started(mode, "serve", str(core), str(self.port))
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {core} or {core})
        self.loop = asyncio.new_event_loop()
        self.clients = self.loop.run_until_complete(self._connect())

    async def _connect(self) -> list[Any]:
        for _ in range(300):
            try:
                url = f"ws://127.0.0.1:{self.port}/ws/echo/7/"
                return [await connect(url, ping_interval=None) for _ in range(CLIENTS)]
            except OSError:
                await asyncio.sleep(0.1)
        raise SystemExit("uvicorn did not start; its error is above")

    def run(self, kind: str) -> float:
        """One slice: CPU seconds of the server's threads, as the kernel counts them."""
        before = self._spent()
        self.loop.run_until_complete(self._talk(UNITS[kind] // CLIENTS))
        return self._spent() - before

    async def _talk(self, count: int) -> None:
        async def one(client: Any) -> None:
            for _ in range(count):
                await client.send(MESSAGE)
                await client.recv()

        await asyncio.gather(*(one(client) for client in self.clients))

    def _spent(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def close(self) -> None:
        """End it."""
        for client in self.clients:
            self.loop.run_until_complete(client.close())
        self.process.kill()
        self.process.wait(20)
        self.loop.close()


def started(*arguments: str) -> subprocess.Popen[str]:
    """A worker process, without settings from the environment."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "worker.py"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("OTEL_")},
    )


def start_redis() -> bool:
    """A server for the workers, until this program ends; whether there is one."""
    if shutil.which("redis-server") is None:
        return False
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    atexit.register(process.kill)
    os.environ["BENCH_REDIS"] = f"redis://127.0.0.1:{port}/0"
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    raise SystemExit("redis-server did not start")


def measure(kind: str, mode: str, budget: float, count: int, core: int) -> Result:
    """Compare; the first pair warms up and is dropped."""
    side = Server if kind == "server" else Worker
    bare, other = side("bare", core), side(mode, core)
    if kind == "memory":
        # Bytes do not depend on what else the machine does.
        count = 3
    pairs: list[tuple[float, float]] = []
    for turn in range(count + 1):
        first, second = (bare, other) if turn % 2 else (other, bare)
        taken = {first: first.run(kind), second: second.run(kind)}
        pairs.append((taken[bare], taken[other]))
    bare.close()
    other.close()
    if kind == "memory":
        found = [o - b for b, o in pairs[1:]]
        unit = statistics.median(b for b, _ in pairs[1:])
    else:
        found = [o / b for b, o in pairs[1:]]
        unit = statistics.median(b for b, _ in pairs[1:]) / UNITS[kind] * 1e6
    low, middle, high = statistics.quantiles(found, n=4)
    return Result(kind, mode, budget, middle, low, high, unit, count)


def table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    lines = ["| work | mode | median | quartiles | budget | bare |", "| --- | --- | --- | --- | --- | --- |"]
    means = {(row.kind, row.mode): row.means for row in ROWS}
    for one in results:
        said = means.get((one.kind, one.mode), "A/A: bare against bare")
        form = "{:,.0f}" if one.kind == "memory" else "{:.3f}"
        middle, low, high = (form.format(number) for number in (one.median, one.low, one.high))
        budget = (
            "" if one.mode == "bare" else ("≤ " + ("{:,.0f}" if one.kind == "memory" else "{:.2f}").format(one.budget))
        )
        unit = f"{one.bare:,.0f} B" if one.kind == "memory" else f"{one.bare:.1f} µs"
        lines.append(f"| {KINDS[one.kind]} | {said} | {middle} | {low} to {high} | {budget} | {unit} |")
    return "\n".join(lines)


def missed(results: list[Result]) -> str:
    """Which medians are over their budget, and by how much, as a sentence."""
    held = [one for one in results if one.mode != "bare"]
    over = [one for one in held if one.median > one.budget]
    if not over:
        return "Every median is within its budget."
    means = {(row.kind, row.mode): row.means for row in ROWS}
    said = (
        f"- {KINDS[one.kind]} ({means[one.kind, one.mode]}) by "
        + (f"{one.median - one.budget:,.0f} bytes" if one.kind == "memory" else f"{one.median - one.budget:.3f}")
        for one in over
    )
    return f"{len(over)} of {len(held)} medians are over their budget:\n\n" + "\n".join(said)


def plot(results: list[Result]) -> str:
    """The ratios as a picture (SVG): a dot for the median, a line for the quartiles, a tick for the budget."""
    shown = [one for one in results if one.kind != "memory"]
    left, width, step = 250, 520, 26
    top = max(1.6, *(one.high for one in shown))

    def place(ratio: float) -> float:
        return left + (ratio - 0.9) / (top - 0.9) * width

    height = step * (len(shown) + 2)
    box = f'viewBox="0 0 {left + width + 40} {height}" role="img" font-family="sans-serif" font-size="13"'
    title = "<title>CPU time with otel-ws over CPU time without</title>"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{title}']
    for ratio in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5):
        at = place(ratio)
        parts.append(f'<path d="M{at:.1f} 8V{height - step}" stroke="#bbb"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle" fill="#777">{ratio:.1f}</text>')
    for place_of, one in enumerate(shown):
        y = step * (place_of + 1) - 6
        name = "A/A" if one.mode == "bare" else one.mode
        parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end" fill="#777">{one.kind}, {name}</text>')
        parts.append(f'<path d="M{place(one.low):.1f} {y}H{place(one.high):.1f}" stroke="#1f6feb" stroke-width="2"/>')
        parts.append(f'<circle cx="{place(one.median):.1f}" cy="{y}" r="4" fill="#1f6feb"/>')
        if one.mode != "bare":
            parts.append(f'<path d="M{place(one.budget):.1f} {y - 8}V{y + 8}" stroke="#d1242f" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>\n"])


def report(results: list[Result]) -> None:
    """Write the page and the picture into ``docs``."""
    packages = ("Django", "channels", "opentelemetry-sdk", "uvicorn")
    about = ", ".join(f"{name} {version(name)}" for name in packages)
    page = DOCS / "benchmarks.md"
    # `instructions.py --report` writes what stands between the two marks.
    counted = page.read_text(encoding="utf-8").partition(MARKS[0])[2].partition(MARKS[1])[0] if page.exists() else ""
    (DOCS / "benchmarks.svg").write_text(plot(results), encoding="utf-8")
    page.write_text(
        f"""# What it costs

CPU time of a Channels application with otel-ws over the same without, measured by `nox -s bench -- --report`: pairs of
slices in turn on one core, the order swapped each pair, the median of {results[0].pairs} pairs with its quartiles.
The A/A rows compare the bare application with itself: what is smaller than their spread is noise. A load of
{os.getloadavg()[2]:.1f} on {os.cpu_count()} cores over the last quarter of an hour. Python
{platform.python_version()}, {about}; batch processors, exporters that throw away.

![Ratios with quartiles; red: the budget](benchmarks.svg)

{table(results)}

{missed(results)}

The application does nothing but echo; with real handlers every ratio shrinks, the added microseconds stay. The settings
of each row are in brackets; a row without any has the defaults of `message_traces=off` and `message_events=errors`.

CI does not measure time: `nox -s bench -- --gate` counts the instructions of the same work under valgrind, which repeat
to a promille on any machine, and compares them with the limits in `tests/benchmarks/instructions.py`. It slows the
message path by a tenth on purpose, and fails unless it sees that. What it counted last:

{MARKS[0]}{counted}{MARKS[1]}

## Where the time goes

Of what an echo costs in metrics mode, about a tenth is the three coroutines that a wrapper of asynchronous callables
cannot do without; a quarter is the message received and sent (two clock readings each, seven cells); nearly half is the
handler at work (the context variable that the verbs of applications look for, the clock, six cells); the rest is the
look at the decoded message's type. Counts live in mapped memory, so that none is lost when a process is killed: plain
lists would save an eighth of the cost, and were left out for that. A connection's cost is spread evenly over some
forty functions; its memory is four coroutines of wrappers (1.1 kB), its state, and the two callables that the
application gets.
""",
        encoding="utf-8",
    )


def main() -> int:
    """Run, print, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=61, help="how many pairs each row takes (61)")
    parser.add_argument("--only", choices=KINDS, help="one kind of work")
    parser.add_argument("--core", type=int, default=0, help="the core that the workers share (0)")
    parser.add_argument("--json", type=Path, help="keep the results as data")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks.md and .svg")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if arguments.only in (None, row.kind)]
    if any(row.kind == "redis" for row in rows) and not start_redis():
        print("no redis rows: there is no redis-server here (Debian's package redis-server)", flush=True)
        rows = [row for row in rows if row.kind != "redis"]
    kinds = dict.fromkeys(row.kind for row in rows if row.kind != "memory")
    measured = [(row.kind, row.mode, row.budget) for row in rows]
    # What most people will have comes first, then the noise.
    todo = [measured[0], *((kind, "bare", 1.0) for kind in kinds), *measured[1:]]
    results: list[Result] = []
    for place, (kind, mode, budget) in enumerate(todo, 1):
        results.append(measure(kind, mode, budget, arguments.pairs, arguments.core))
        one = results[-1]
        print(f"[{place}/{len(todo)}] {kind:8} {mode:11} {one.median:9.3f}  [{one.low:.3f} {one.high:.3f}]", flush=True)
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n", encoding="utf-8")
    if arguments.report:
        report(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
