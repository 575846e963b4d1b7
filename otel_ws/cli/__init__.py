"""The command line: ``otel-ws`` and ``python -m otel_ws``. It reads arguments, prints answers, and decides nothing.

Exit code 0: nothing is wrong; 1: something is; 2: the command line itself is. No traceback is an answer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from otel_ws.cli import check, leaks, load
from otel_ws.cli.load import LoadError
from otel_ws.cli.report import as_json, as_text
from otel_ws.fanout import VERSION

EXAMPLES: Final = """examples:
  otel-ws check                              the environment alone
  otel-ws check project.asgi:application     and what the application sets up
  otel-ws check --leaks project.asgi:application --settings project.settings
  otel-ws check --leaks                      otel-ws's own small application
  otel-ws check --leaks project.asgi:application --path '/ws/room/7/?token=…' --header 'Cookie: sessionid=…' --json
"""
CHECK: Final = """Looks at a set-up and lists each thing as ok, warning or failure, with the way out;
exit code 1 on a failure.

With --leaks it drives the application in this process, as clients and careless code would, with secrets made for this
run in headers, cookies, query, subprotocol, path, text, bytes, close reason, group names, exception texts, the user
object and log calls; it takes everything that the process would export (spans, metrics and log records as OTLP bytes,
JSON lines, the Prometheus text), searches it for the secrets in the forms that software gives them, and lists every
surface with what was checked and what leaked; exit code 1 on any leak. The place of a leak is told, never the value.

The exporters that OTEL_* variables name are replaced for the run, so nothing is sent. otel-ws itself writes to no data
store; your application does with the driven connections what it does with any other: point it at a store for tests.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = options.settings
    options.put = load.apart()
    try:
        return _leaks(options) if options.leaks else _check(options)
    except LoadError as exc:
        return _sorry(options, str(exc))
    except KeyboardInterrupt:
        return 130
    except SystemExit as exc:
        return _sorry(options, load.said_at_exit(exc) or "the application ended the process")
    except Exception as exc:
        return _sorry(options, f"otel-ws failed ({type(exc).__name__}); please report it")


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "otel-ws", description="OpenTelemetry for WebSockets.", epilog=EXAMPLES, formatter_class=style
    )
    parser.add_argument("--version", action="version", version=f"otel-ws {VERSION}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    one = commands.add_parser(
        "check",
        help="is the set-up right, and does anything leak",
        description=CHECK,
        epilog=EXAMPLES,
        formatter_class=style,
    )
    one.add_argument(
        "application", nargs="?", metavar="MODULE:APPLICATION", help="the ASGI application, as servers name it"
    )
    one.add_argument("--leaks", action="store_true", help="drive it with marked secrets and search what it exports")
    one.add_argument("--settings", metavar="MODULE", help="sets DJANGO_SETTINGS_MODULE")
    one.add_argument("--path", action="append", default=[], help="with --leaks: a path to drive as well; repeatable")
    one.add_argument(
        "--header",
        action="append",
        default=[],
        type=_header,
        metavar="NAME:VALUE",
        help="with --leaks: a header that every connection sends; repeatable",
    )
    one.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return parser


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("a header looks like 'Name: value'")
    return name.strip(), value.strip()


def _check(options: Any) -> int:
    found = check.findings(options.application)
    failures = [one for one in found if one.level == check.FAILURE]
    if options.json:
        _put_json(
            options,
            {
                "ok": not failures,
                "findings": [
                    {"level": one.level, "subject": one.subject, "text": one.text, "way_out": one.way_out}
                    for one in found
                ],
            },
        )
        return 1 if failures else 0
    for one in found:
        options.put(f"{one.level:8} {one.subject}: {one.text}")
        if one.way_out and one.level != check.OK:
            options.put(f"{'':8} {'':>{len(one.subject)}}  → {one.way_out}")
    warnings = sum(one.level == check.WARNING for one in found)
    options.put(f"{len(found)} looked at: {len(failures)} failures, {warnings} warnings")
    return 1 if failures else 0


def _leaks(options: Any) -> int:
    report = leaks.run(options.application, paths=options.path, headers=options.header)
    for one in check.gate_findings():
        if one.level == check.FAILURE:
            report.failures.append(f"{one.text}; {one.way_out}")
    if options.json:
        _put_json(options, as_json(report))
    else:
        options.put("\n".join(as_text(report)))
    return 0 if report.ok else 1


def _sorry(options: Any, text: str) -> int:
    if options.json:
        _put_json(options, {"ok": False, "error": text})
    else:
        print(text, file=sys.stderr)
    return 1


def _put_json(options: Any, answer: dict[str, Any]) -> None:
    options.put(json.dumps(answer, indent=2, ensure_ascii=False))
