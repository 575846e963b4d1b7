"""``python -m demo``: one command that starts the example, drives it, checks every count and ends by itself."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from demo.acts import look_on, part, play_match, visit
from demo.client import Stage, SurpriseError
from demo.compare import Check, checks
from demo.expected import Expected, expect
from demo.leaks import Searcher
from demo.people import TOURNAMENTS, People
from demo.play import perform
from demo.process import ServerError
from demo.records import Records
from demo.report import Story, Summary, last_events, show
from demo.server import MODULES, SERVERS, Server, missing
from demo.sink import Sink

# What is left of the time for the last exports and for the server's end.
CLOSING_SECONDS = 4.0
SETTLE_SECONDS = 10.0
SERVE_PAUSE = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 if everything agrees, 1 if anything differs or leaks, 2 if the server did not run."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long it takes in all, about (default 20)")
    parser.add_argument("--server", choices=SERVERS, default="uvicorn", help="the ASGI server (default uvicorn)")
    parser.add_argument("--way", choices=tuple(MODULES), default="configure", help="the way in (default configure)")
    parser.add_argument("--workers", type=int, choices=(1, 2, 3, 4), default=1, help="uvicorn's workers (default 1)")
    parser.add_argument("--serve", action="store_true", help="keep playing until Ctrl-C, to look at the live page")
    parser.add_argument("--otlp", metavar="URL", help="also pass everything on to this OTLP/HTTP endpoint")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the summary as data")
    chosen = parser.parse_args(arguments)
    if chosen.workers > 1 and chosen.server != "uvicorn":
        parser.error("--workers is for uvicorn")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return run(chosen)
    except ServerError as exc:
        print(f"\n{exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(chosen: argparse.Namespace) -> int:
    """Start, drive, compare, print, stop."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True)

    people, records = People(), Records()
    with tempfile.TemporaryDirectory(prefix="otel-ws-demo-") as folder, Sink(chosen.otlp) as sink:
        server = Server(
            chosen.server,
            chosen.way,
            Path(folder),
            sink.url,
            people.key,
            chosen.workers,
            lambda text: redact(people, text),
        )
        say("makes a database")
        server.prepare(people.fixture())
        with_worker = ", redis-server, and a worker as a process of its own" if server.has_worker else ""
        say(f"starts {chosen.server} (way in: {chosen.way}){with_worker}")
        if lacking := missing():
            say(f"no worker, and no payments: they need {lacking}")
        with server:
            say(f"live page: {server.page}")
            stage = Stage(server.port, people, records)
            house = asyncio.run(perform(stage, server, began + chosen.seconds - CLOSING_SECONDS, say))
            say("waits for the last exports")
            texts = settle(server, sink, expect(records))
            if not chosen.serve:
                say("stops the server")
                server.stop()
            summary = summarise(chosen, stage, server, sink, house, texts, time.monotonic() - began)
            show(summary)
            if summary.surprises:
                print(server.tail())
            if sink.not_forwarded:
                print(f"{sink.not_forwarded} requests could not be passed on to the endpoint of --otlp.")
            if chosen.json:
                chosen.json.write_text(json.dumps(summary.as_data(), indent=2) + "\n")
            if chosen.serve:
                serve(stage, server, sink)
    return 0 if summary.is_good else 1


def settle(server: Server, sink: Sink, expected: Expected) -> list[str]:
    """Wait until the exports have caught up with the clients; returns the last Prometheus texts."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        server.check()
        texts = server.scrape()
        compared = checks(expected, sink.received, texts, server.lines(), server.workers)
        if all(check.is_equal for check in compared) or time.monotonic() > deadline:
            return texts
        time.sleep(0.3)


def summarise(
    chosen: argparse.Namespace,
    stage: Stage,
    server: Server,
    sink: Sink,
    house: list[Check],
    texts: list[str],
    seconds: float,
) -> Summary:
    """Compare everything, and search everything for secrets."""
    conversations = stage.records.conversations
    searcher = Searcher(stage.people.secrets())
    lines = server.lines()
    compared = checks(expect(stage.records), sink.received, texts, lines, server.workers)
    return Summary(
        server=chosen.server,
        way=chosen.way,
        seconds=seconds,
        conversations=len(conversations),
        messages=sum(len(one.sent) for one in conversations),
        checks=[searcher.redact_check(one) for one in house + compared],
        surprises=[searcher.redact(one) for one in stage.records.surprises],
        # The gate is closed by default where `configure()` made the providers.
        searches=[
            *searcher.otlp(sink.received, chosen.way == "configure"),
            searcher.prometheus(texts),
            searcher.json_lines(lines),
        ],
        log_hits=sum(map(searcher.is_leak, server.said())),
        events=last_events([line for line in lines if not searcher.is_leak(line)]),
        missing=missing(),
        trace=[line for line in Story(sink.received).told() if not searcher.is_leak(line)],
    )


def redact(people: People, text: str) -> str:
    """A text that may be printed; tokens are minted all the time, so the secrets are asked for anew."""
    return Searcher(people.secrets()).redact(text)


def serve(stage: Stage, server: Server, sink: Sink) -> None:
    """Keep a little life on the server until Ctrl-C."""
    sink.keeps = False
    print(f"\nLive page   {server.page}")
    print(f"WebSockets  ws://127.0.0.1:{server.port}/ws/global/  (needs ?token=)")
    print(f"Prometheus  http://127.0.0.1:{server.prometheus_port}/metrics")
    print("Ctrl-C ends it.", flush=True)

    async def play() -> None:
        audience = Stage(server.port, stage.people, stage.records)
        with contextlib.suppress(SurpriseError, TimeoutError, OSError):
            await look_on(audience)
        while True:
            try:
                if server.workers == 1:
                    await part(stage, await play_match(stage, TOURNAMENTS[0]))
                else:
                    await visit(stage, TOURNAMENTS[0])
            except (SurpriseError, TimeoutError, OSError) as exc:
                server.check()
                print(f"a match ended early: {str(exc) or type(exc).__name__}", flush=True)
            await stage.clear()
            await asyncio.sleep(SERVE_PAUSE)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(play())


if __name__ == "__main__":
    sys.exit(main())
