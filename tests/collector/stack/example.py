"""The example, driven by its own demo, with everything that it exports passed on to the stack; and what clients did.

It knows the demo's options and its report, and refuses to know what the backends made of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.collector.stack.places import ROOT
from tests.collector.stack.programs import Stack

EXAMPLE: Final = ROOT / "examples" / "tournament"
SERVICE: Final = "tournament"
# The server, and over Redis its worker.
PROCESSES: Final = f"{SERVICE}(-worker)?"
# A conversation's own time, the start, the end, and a machine that does other things as well.
SPARE_SECONDS: Final = 180


@dataclass(frozen=True)
class Count:
    """One number that the clients wrote down: the metric as OpenTelemetry names it, and what they counted."""

    metric: str
    part: str
    labels: dict[str, str]
    number: float


class Played:
    """A run of the demo that has ended, and when that was."""

    def __init__(self, report: dict[str, Any], output: str, ended: float) -> None:
        self.report = report
        self.output = output
        self.ended = ended

    @property
    def counts(self) -> list[Count]:
        """What the clients counted, for each series that they have an opinion on."""
        found = []
        for check in self.report["checks"]:
            if check["source"] == "OTLP":
                name, _, part = check["name"].partition(" ")
                found.append(Count(name, part or "value", check["labels"], check["expected"]))
        return found

    def events(self) -> dict[str, int]:
        """How many log records of each event the clients expect."""
        totals: dict[str, int] = {}
        for check in self.report["checks"]:
            if check["source"] == "OTLP events" and check["name"].isupper() and check["expected"]:
                totals[check["name"]] = totals.get(check["name"], 0) + int(check["expected"])
        return totals


class Playing:
    """The example while it is driven, beside whatever else is done."""

    def __init__(self, stack: Stack, folder: Path, seconds: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._report, self._said = folder / "report.json", folder / "said.txt"
        self._patience = seconds + SPARE_SECONDS
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DJANGO_"))}
        options = ["--seconds", str(seconds), "--otlp", stack.url("collector"), "--json", str(self._report)]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "demo", *options],
                cwd=EXAMPLE,
                env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, [str(EXAMPLE), kept.get("PYTHONPATH", "")]))},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def ended(self) -> Played:
        """Wait until it has ended; what its clients did.

        Whether the library exported the right numbers is the demo's own verdict, in a session of its own.
        """
        self._process.wait(self._patience)
        said = self._said.read_text(encoding="utf-8")
        assert self._report.exists(), said[-5000:]
        # It may have ended long before anybody asked.
        ended = self._report.stat().st_mtime
        played = Played(json.loads(self._report.read_text(encoding="utf-8")), said, ended)
        assert not played.report["surprises"]
        assert "could not be passed on" not in said
        return played

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self._process.poll() is None:
            # It ends its own processes when it is interrupted.
            self._process.send_signal(signal.SIGINT)
            self._process.wait(SPARE_SECONDS)


def play(stack: Stack, folder: Path, seconds: float) -> Played:
    """Drive the example for so long, and wait until it has ended."""
    return Playing(stack, folder, seconds).ended()
