"""``otel-ws check --leaks``: an application driven with marked secrets, and the search of everything that it exported.

A finding tells where a mark came in and where it left, never the mark. It knows how a run is put together, and
refuses to know what may leave.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import otel_ws
from otel_ws import recorder
from otel_ws.cli import load
from otel_ws.cli.drive import Drive
from otel_ws.cli.marks import Marks
from otel_ws.cli.report import Leak, Report
from otel_ws.cli.routes import hidden_among, routes_of
from otel_ws.lines import Lines

HIDDEN: Final = "(not shown: it is the leak)"
TOLD_EVERY: Final = 2.0
# As much as there is to see: what a run leaves out by sampling is not checked.
EVERYTHING: Final = {
    "OTEL_TRACES_SAMPLER": "always_on",
    "OTEL_WS_MESSAGE_EVENTS": "all",
    "OTEL_WS_DELIVERY_EVENTS": "true",
    "OTEL_WS_SEND_SPANS": "all",
    "OTEL_WS_MESSAGE_SAMPLE_RATIO": "1",
    "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
}
LINES, SCRAPE = "json lines", "prometheus"


def run(
    named: str | None,
    *,
    paths: Sequence[str] = (),
    headers: Sequence[tuple[str, str]] = (),
) -> Report:
    """Drive the application and search what it exported.

    Raises:
        LoadError: the application cannot be loaded.
    """
    report = Report(named or "otel-ws's own small application")
    marks = Marks(secrets.token_hex(16))
    has_sdk = find_spec("opentelemetry.sdk") is not None and find_spec("opentelemetry.exporter") is not None
    os.environ.update(EVERYTHING)
    if has_sdk:
        scrape = "ws_capture,ws_prometheus" if find_spec("prometheus_client") else "ws_capture"
        load.exporters(traces="ws_capture", metrics=scrape, logs="ws_capture")
        os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"] = str(_free_port())
    else:
        report.warnings.append(
            "the OpenTelemetry SDK is not installed, so JSON lines are all that leaves and all that was checked: "
            "pip install 'otel-ws[sdk]' for the three signals"
        )
    application = _application(named, report, has_sdk)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.jsonl"
        active = recorder.active()
        if active is None:
            report.failures.append(
                "telemetry is off (OTEL_WS_ENABLED=false or OTEL_SDK_DISABLED=true): nothing was driven"
            )
            return report
        writer = Lines(str(lines))
        active.writers = (*active.writers, writer)
        careless = _careless(marks, report, has_sdk)
        routes = routes_of(application)
        if hidden := hidden_among(routes):
            report.warnings.append(f"{hidden}; name such paths with --path")
        with load.quiet() as tell:
            drive = Drive(application, marks, paths=paths, headers=headers, careless=careless, progress=_progress(tell))
            asyncio.run(drive.run(routes))
            writer.close()
            texts = _search_signals(report, marks) if has_sdk else []
        _search(report, marks, LINES, "line", lines.read_text().splitlines() if lines.exists() else [])
        _search(report, marks, SCRAPE, "text", texts)
    report.driven, report.marks = dict(drive.counts), len(marks.origins())
    _judge(report, has_sdk)
    return report


def _application(named: str | None, report: Report, has_sdk: bool) -> Any:
    if named is None:
        from otel_ws.cli import sample

        if has_sdk:
            otel_ws.configure()
        return otel_ws.WebSocketMiddleware(sample.application)
    application = load.application(named)
    if recorder.active() is None and has_sdk:
        report.warnings.append(
            f"importing {named} does not start otel-ws; it was checked as it is after otel_ws.configure(). Add "
            "otel_ws.configure() to the module, or start it with opentelemetry-instrument"
        )
        otel_ws.configure()
    # Around what has it already, this joins; so that an application without the line is seen at all.
    return otel_ws.WebSocketMiddleware(application)


def _careless(marks: Marks, report: Report, has_sdk: bool) -> Callable[[Marks], None] | None:
    """Code of a stranger inside the application: driven where the gate promises to hold everybody's."""
    report.mode = "without an SDK"
    if not has_sdk:
        return None
    from otel_ws import gate
    from otel_ws.gate.careless import Careless
    from otel_ws.sdk import capture

    capture.attach()
    report.mode = gate.status()["mode"]
    if report.mode != "all":
        return None
    stranger = Careless(lambda what: marks.person(f"a stranger's code: {what}"), marks.word)
    return lambda _: stranger.act()


def _search_signals(report: Report, marks: Marks) -> list[str]:
    from otel_ws.sdk import capture

    capture.flush()
    counted: Counter[tuple[str, str, str, str | None, str]] = Counter()
    first: dict[tuple[str, str, str, str | None, str], int] = {}
    for signal in capture.SURFACES:
        for surface in (*capture.SURFACES[signal], *capture.SHARED_SURFACES, "OTLP bytes"):
            report.surfaces[signal, surface] = [0, 0]
    for signal, request in capture.KEPT.take():
        inside: set[str] = set()
        for one in capture.exported(signal, request):
            row = report.surfaces.setdefault((signal, one.surface), [0, 0])
            row[0] += 1
            found = marks.found_in(one.value)
            row[1] += len(found)
            inside |= found
            for origin in found:
                place = (signal, one.surface, _shown(marks, one.scope), _shown(marks, one.key), origin)
                counted[place] += 1  # type: ignore[index]
                first.setdefault(place, one.item)  # type: ignore[arg-type]
        row = report.surfaces[signal, "OTLP bytes"]
        row[0] += 1
        # What no field accounts for: an encoding that the fields do not show.
        for origin in marks.found_in(request) - inside:
            row[1] += 1
            counted[signal, "OTLP bytes", "", None, origin] += 1
    report.leaks += [
        Leak(signal, surface, scope, key, first.get(place, 0), origin, times)
        for place, times in counted.items()
        for signal, surface, scope, key, origin in [place]
    ]
    missing = sorted({"traces", "metrics", "logs"} - capture.KEPT.expected)
    if missing:
        report.warnings.append(f"{', '.join(missing)}: your own provider takes no exporter of this check; not checked")
    return [text.decode() for text in capture.prometheus_texts()] if find_spec("prometheus_client") else []


def _shown(marks: Marks, text: str | None) -> str | None:
    return HIDDEN if text and marks.found_in(text) else text


def _search(report: Report, marks: Marks, signal: str, surface: str, texts: Iterable[str]) -> None:
    row = report.surfaces.setdefault((signal, surface), [0, 0])
    for place, text in enumerate(texts, start=1):
        row[0] += 1
        for origin in marks.found_in(text):
            row[1] += 1
            report.leaks.append(Leak(signal, surface, "", None, place, origin, 1))


def _judge(report: Report, has_sdk: bool) -> None:
    if not report.driven.get("accepted"):
        report.warnings.append(
            "no connection was accepted, so no message was checked: name a path with --path and what a connection "
            "needs with --header"
        )
    expected = ("traces", "metrics", "logs") if has_sdk else ()
    silent = [
        one for one in expected if not sum(row[0] for (signal, _), row in report.surfaces.items() if signal == one)
    ]
    if silent:
        report.failures.append(f"nothing was exported on {', '.join(silent)}, so nothing could be checked there")
    if report.mode in {"own", "report"} and report.leaks:
        report.warnings.append(
            f"the gate's mode is {report.mode}: what others in the process export leaves as it is; OTEL_WS_GATE=all "
            "clears it"
        )


def _progress(tell: Callable[[str], None]) -> Callable[[int, int], None]:
    """Say how far it is, at most every two seconds."""
    said = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal said
        if time.monotonic() - said >= TOLD_EVERY:
            said = time.monotonic()
            tell(f"otel-ws check: {done} of {of} conversations")

    return progress


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
