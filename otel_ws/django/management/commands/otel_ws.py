"""``manage.py otel_ws check`` and ``snapshot``: the command line inside a Django project. It reads and prints."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any, Final

from django.conf import settings as project
from django.core.management.base import BaseCommand, CommandError

from otel_ws import cli, processes
from otel_ws.exposition import render
from otel_ws.health import Limits
from otel_ws.live import memory_limit
from otel_ws.loaded import django_settings
from otel_ws.monitoring import (
    Seen,
    connections,
    detailed,
    earlier,
    errors,
    events,
    health,
    performance,
    ws_metrics,
)
from otel_ws.settings import Settings, SettingsError, sdk_disabled

ANSWERS: Final = {
    "health": health.answer,
    "detailed": detailed.answer,
    "events": events.answer,
    "connection-health": connections.answer,
    "performance": performance.answer,
    "errors": errors.answer,
    "ws-metrics": ws_metrics.answer,
}


class Command(BaseCommand):  # type: ignore[misc]
    """Look at this project's set-up, or at the numbers of its workers on this host."""

    help = "check: is the set-up of otel-ws right. snapshot: the numbers of this host's workers, as the endpoints tell."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Two commands."""
        commands = parser.add_subparsers(dest="command", required=True, metavar="check|snapshot")
        check = commands.add_parser("check", help="is the set-up right, and does anything leak")
        check.add_argument("application", nargs="?", help="module:application; ASGI_APPLICATION where not given")
        check.add_argument(
            "--leaks", action="store_true", help="drive it with marked secrets and search what it exports"
        )
        check.add_argument("--json", action="store_true", help="one JSON object instead of text")
        snapshot = commands.add_parser("snapshot", help="what an endpoint answers, without asking a server")
        snapshot.add_argument("answer", nargs="?", default="detailed", choices=[*ANSWERS, "metrics"])

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one of them; the exit code is 1 where something is wrong."""
        if options["command"] == "snapshot":
            self.stdout.write(_snapshot(options["answer"]), ending="")
            return
        named = options["application"] or _asgi_application()
        arguments = ["check", *([named] if named else [])]
        arguments += [f"--{name}" for name in ("leaks", "json") if options[name]]
        if code := cli.main(arguments):
            raise SystemExit(code)


def _asgi_application() -> str | None:
    named = getattr(project, "ASGI_APPLICATION", None)
    return ":".join(str(named).rsplit(".", 1)) if named else None


def _snapshot(answer: str) -> str:
    try:
        settings = Settings.load(None, django_settings())
    except SettingsError as exc:
        raise CommandError(str(exc)) from None
    if sdk_disabled() or not settings.enabled:
        raise CommandError("Telemetry is off: otel-ws is switched off by OTEL_WS_ENABLED or OTEL_SDK_DISABLED.")
    overview = processes.of_group(settings)
    if overview is None:
        raise CommandError(
            "No worker of this service runs on this host, or none shares its numbers: OTEL_SERVICE_NAME, OTEL_WS_GROUP "
            "and OTEL_WS_RUNTIME_DIR must be the same here as in the server, and so must the user."
        )
    if answer == "metrics":
        return render(overview.snapshot, is_openmetrics=False)
    rows = processes.history_of_group(settings)
    limits = Limits(memory_limit(), settings.max_connections)
    seen = Seen(overview, earlier(overview, rows), settings.thresholds, limits, history=lambda seconds: rows)
    return json.dumps(ANSWERS[answer](seen), indent=2) + "\n"
