"""Django's system checks: each has an id, says what is wrong and the way out, and goes away when it is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAYER = "channels.layers.InMemoryChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
BOUNDED = {"capacity": 9, "expiry": 9}
PATIENT = {"hosts": [{"address": "redis://127.0.0.1:1", "socket_timeout": None}]}
# Settings, environment, and the id and part of the text of what comes of them.
CASES: list[tuple[dict[str, Any], dict[str, str], str, str]] = [
    ({"OTEL_WS": {"GATE": "loud"}}, {}, "E001", "OTEL_WS['gate']"),
    ({"OTEL_WS": {"NO_SUCH": 1}}, {}, "E001", "there is no such setting"),
    ({}, {"OTEL_WS_HISTOGRAMS": "sdk"}, "E001", "OTEL_WS_HISTOGRAMS='sdk'"),
    ({"OTEL_WS": {"THRESHOLDS": {"cpu": 1}}}, {}, "E001", "cpu_degraded"),
    ({"OTEL_WS": ["GATE"]}, {}, "E002", "no dictionary"),
    ({}, {"OTEL_WS_SERVICE_HOST": "10.0.0.7"}, "W001", "OTEL_WS_SERVICE_HOST is not a setting"),
    ({}, {"OTEL_SDK_DISABLED": "true"}, "W002", "nothing is told"),
    ({"OTEL_WS": {"ENABLED": False}}, {}, "W003", "switched off"),
    ({"MIDDLEWARE": []}, {}, "W004", "Nobody can look"),
    ({"OTEL_WS": {"TRUST_LOOPBACK": True}}, {}, "W005", "every program of this machine"),
    ({"CHANNEL_LAYERS": {"default": {"BACKEND": LAYER, "CONFIG": {"expiry": 9}}}}, {}, "W007", "capacity"),
    ({}, {"OTEL_WS_RUNTIME_DIR": "/not-there/10.0.0.7"}, "W009", "OTEL_WS_RUNTIME_DIR is no folder"),
    (
        {"CHANNEL_LAYERS": {"default": {"BACKEND": LAYER, "CONFIG": BOUNDED}}},
        {"WEB_CONCURRENCY": "4"},
        "W007",
        "workers",
    ),
    ({"CHANNEL_LAYERS": {"default": {"BACKEND": PUBSUB, "CONFIG": PATIENT}}}, {}, "W007", "without bound"),
]
PROGRAM = """
import json, os, django
django.setup()
from django.core.checks import run_checks
from django.test import override_settings
found = []
for settings, environment, *_ in json.loads(os.environ["CASES"]):
    os.environ.update(environment)
    with override_settings(**settings):
        found.append([[one.id, one.msg, one.hint] for one in run_checks(tags=["otel_ws"])])
    for name in environment:
        del os.environ[name]
print(json.dumps(found))
"""


def test_what_is_wrong_is_said(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """Each wrong set-up has one message, with its id, its place and a hint; no value that may be a secret is in it."""
    found = told(project()(PROGRAM, CASES=json.dumps(CASES)))

    for (_, _, name, said), messages in zip(CASES, found, strict=True):
        assert [f"otel_ws.{name}"] == [message[0] for message in messages]
        assert said in messages[0][1]
        assert messages[0][2]
    assert "10.0.0.7" not in str(found)


def test_an_error_stops_the_command(project: Callable[..., Any]) -> None:
    """``manage.py check`` fails on a wrong setting."""
    assert "otel_ws.E001" in project('OTEL_WS = {"GATE": "loud"}')("manage check", code=1)


def test_a_right_project_has_nothing_to_hear(project: Callable[..., Any]) -> None:
    """No issue, and no table to migrate."""
    run = project('OTEL_WS = {"GATE": "own", "TOKEN_FILE": "token"}')

    assert "no issues" in run("manage check")
    assert "No changes detected" in run("manage makemigrations --check --dry-run")


def test_a_server_that_would_count_nothing_is_told(
    project: Callable[..., Any], told: Callable[[str], Any], tmp_path: Path
) -> None:
    """A module of the ASGI application that does not name otel-ws is named; it is not imported."""
    (tmp_path / "without.py").write_text("raise SystemExit('imported')")
    (tmp_path / "with_it.py").write_text("import otel_ws\notel_ws.configure()\nraise SystemExit('imported')")
    output = project()(
        """
        import json, django, otel_ws
        django.setup()
        from django.core.checks import run_checks
        from django.test import override_settings
        found = []
        for one in (None, "without.application", "with_it.application", "not_there.application", "application"):
            with override_settings(ASGI_APPLICATION=one):
                found.append([message.id for message in run_checks(tags=["otel_ws"])])
        otel_ws.ChannelsInstrumentor().instrument()
        with override_settings(ASGI_APPLICATION="without.application"):
            found.append(run_checks(tags=["otel_ws"]))
        print(json.dumps(found))
        """
    )

    assert [[], ["otel_ws.W008"], [], [], [], []] == told(output)


def test_without_channels_it_is_said(project: Callable[..., Any]) -> None:
    """Only plain ASGI applications are seen then."""
    output = project()(
        """
        import django
        from otel_ws.django import checks
        django.setup()
        checks.find_spec = lambda name: None
        print([one.id for one in checks.missed(None)])
        """
    )

    assert "['otel_ws.W006']" in output
