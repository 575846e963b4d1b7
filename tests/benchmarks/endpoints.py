"""What an answer of the monitoring endpoints costs the server: CPU time, with many connections open.

    python tests/benchmarks/endpoints.py [--connections 1000 10000] [--rounds 21]

Each round looks anew, as the first of a second has to; whoever asks within the same second gets the bytes again, which
is the last column. The connections are real ones to otel-ws (accepted, on ten routes, each of another user, with
messages), without a socket below them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from otel_ws import processes, recorder, semconv
from otel_ws.connection import Connection
from otel_ws.endpoints.answers import ROUTES
from otel_ws.endpoints.door import respond
from otel_ws.endpoints.routes import LOOK, Request
from otel_ws.settings import Settings

ROUTE_COUNT, TYPES = 10, [f"type_{number}" for number in range(10)]


def opened(active: recorder.Recorder, count: int) -> list[Connection]:
    """So many open connections, each with a handled message."""
    found = []
    for number in range(count):
        one = Connection(active, {"type": "websocket", "headers": []})
        one.set_ids({active.policy.ids["tournament_id"]: number % 50, semconv.USER_ID: number})
        one._settle(active.tally((f"ws/{number % ROUTE_COUNT}/",), None, "websocket"))
        one.sent({"type": "websocket.accept"}, one.sending())
        one.tally.received(one.cells, 100, was_queued=False)
        one.tally.handled(one.cells, TYPES[number % len(TYPES)], "success", 0.0, 0.001)
        one.sent({"type": "websocket.send", "text": "x"}, one.sending())
        found.append(one)
    return found


def anew() -> None:
    """Forget what was told and looked at within this second."""
    member = processes._membership()
    assert member is not None
    member._told_at = 0.0
    processes.overview(max_age=0.0)


async def cost(path: str, rounds: int) -> tuple[float, float, int]:
    """Median CPU milliseconds of an answer that looks anew, and of one within the same second; its size."""
    fresh: list[float] = []
    again: list[float] = []
    request = Request("GET", path, {})
    size = 0
    for _ in range(rounds):
        for times, is_fresh in ((fresh, True), (again, False)):
            began = time.process_time()
            if is_fresh and ROUTES[path].thread == LOOK:
                anew()
            reply = await respond(request, 200)
            times.append((time.process_time() - began) * 1000)
            assert reply.status in {200, 503}, reply
            size = len(reply.body)
    return statistics.median(fresh), statistics.median(again), size


def main() -> None:
    """Print a table for each number of connections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    active = recorder.install(Settings.load())
    if active is None:
        raise SystemExit("telemetry is off: unset OTEL_WS_ENABLED and OTEL_SDK_DISABLED")
    active.policy.declare(semconv.MESSAGE_TYPE, TYPES)
    processes.join()
    print("shared" if processes.overview().is_shared else f"alone: {processes.overview().why}")
    held: list[Connection] = []
    for count in sorted(options.connections):
        held += opened(active, count - len(held))
        print(f"{count} connections, median CPU of {options.rounds}, milliseconds")
        print(f"  {'endpoint':32}{'fresh':>8}{'again':>8}{'bytes':>9}")
        for path, route in ROUTES.items():
            if route.schema or path == "/metrics":
                fresh, again, size = asyncio.run(cost(path, options.rounds))
                print(f"  {path:32}{fresh:8.2f}{again:8.2f}{size:9}")
    for one in held:
        one.returned()


if __name__ == "__main__":
    main()
