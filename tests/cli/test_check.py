"""``otel-ws check``: each thing that may be wrong is named, with the way out, and the exit code says whether any is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

PLAIN = """
async def application(scope, receive, send):
    pass
"""
SET_UP = f"""
import otel_ws
otel_ws.configure()
{PLAIN}
application = otel_ws.WebSocketMiddleware(application)
"""
# The same where the application's module is its Django settings, too.
DJANGO = f"""
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "app")
SECRET_KEY = "x"
import django
django.setup()
{SET_UP}"""
SHIPPING = f"""
import otel_ws
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
otel_ws.configure()

class Shipping(SpanProcessor):
    def on_end(self, span):
        print(span.name)

trace.get_tracer_provider().add_span_processor(Shipping())
{PLAIN}
application = otel_ws.WebSocketMiddleware(application)
"""


def found(answer: dict[str, Any], level: str) -> list[tuple[str, str]]:
    """Subjects and texts of one level."""
    return [(one["subject"], one["text"]) for one in answer["findings"] if one["level"] == level]


def test_a_right_set_up(command: Any) -> None:
    """An application with the two lines has neither failures nor warnings, and the exit code is 0."""
    ended = command("check", "app:application", "--json", source=SET_UP, OTEL_PROPAGATORS="tracecontext")

    assert (0, True) == (ended.code, ended.json["ok"])
    assert ([], []) == (found(ended.json, "failure"), found(ended.json, "warning"))


def test_the_environment_alone(command: Any) -> None:
    """Without an application the environment is looked at, and that is said."""
    ended = command("check")

    assert 0 == ended.code
    assert "warning  application: none was named" in ended.output


def test_everything_that_is_wrong_is_told_at_once(command: Any) -> None:
    """Wrong settings, unknown ones, a missing exporter and a stock Prometheus with workers: all named, exit code 1."""
    ended = command(
        "check", "--json", OTEL_WS_GATE="some", OTEL_WS_NONSENSE="x", OTEL_TRACES_EXPORTER="pigeon",
        OTEL_METRICS_EXPORTER="prometheus", WEB_CONCURRENCY="4",
    )  # fmt: skip

    failures = " ".join(text for _, text in found(ended.json, "failure"))
    assert 1 == ended.code
    assert all(
        word in failures
        for word in ("OTEL_WS_GATE='some'", "all, own, report", "OTEL_TRACES_EXPORTER=pigeon", "4 workers")
    )
    assert "OTEL_WS_NONSENSE" in " ".join(text for _, text in found(ended.json, "warning"))
    assert all(one["way_out"] for one in ended.json["findings"] if one["level"] != "ok")


def test_the_stock_exporter_with_one_worker_is_a_hint(command: Any) -> None:
    """With one worker the stock Prometheus exporter works, so it is a warning."""
    ended = command("check", OTEL_METRICS_EXPORTER="prometheus")

    assert 0 == ended.code
    assert "ws_prometheus" in ended.output


def test_a_missing_middleware_line(command: Any) -> None:
    """An application without the line, and one that does not start otel-ws, are told."""
    ended = command("check", "app:application", "--json", source=PLAIN)

    assert {"application", "middleware", "gate"} == {subject for subject, _ in found(ended.json, "warning")}


def test_a_processor_that_ships_by_itself_fails(command: Any) -> None:
    """In mode `all` a processor that cannot be gated is named, and is a failure."""
    ended = command("check", "app:application", "--json", source=SHIPPING)

    ((subject, text),) = found(ended.json, "failure")
    assert (1, "gate", True) == (ended.code, subject, "Shipping" in text)


def test_a_mode_that_lets_others_through_is_told(command: Any) -> None:
    """`own` is no failure, and what it means is said."""
    ended = command("check", "app:application", source=SET_UP, OTEL_WS_GATE="own")

    assert 0 == ended.code
    assert "OTEL_WS_GATE=all" in ended.output


def test_what_is_undeclared_is_told(command: Any) -> None:
    """Ids in routes that nobody declared, and consumers without message types, are named."""
    pytest.importorskip("channels")
    source = f"""
{DJANGO}
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path
routes = [path("ws/<int:order_id>/<int:match_id>/", AsyncWebsocketConsumer.as_asgi())]
application = otel_ws.WebSocketMiddleware(URLRouter(routes))
"""
    ended = command("check", "app:application", "--json", source=source, OTEL_PROPAGATORS="tracecontext")

    told = found(ended.json, "warning")
    assert [("django", True), ("undeclared", True), ("undeclared", True)] == [(one, bool(text)) for one, text in told]
    assert "order_id" in told[1][1]
    assert "1 consumers" in told[2][1]


@pytest.mark.parametrize(
    ("named", "source", "reason"),
    [
        ("nowhere:application", "", "ModuleNotFoundError, there is no such module"),
        ("app:nothing", "", "AttributeError, there is no such name in it"),
        ("app:application", "raise SystemExit('SECRET')", "SystemExit in"),
        ("app:application", "\n\nraise ValueError('SECRET')", "app.py, line 3"),
        ("app:application", "\nSECRET SECRET", "SyntaxError in"),
        ("app:application", "from django.conf import settings\nsettings.DEBUG", "use --settings"),
        ("app:application", "application = 1", "int cannot be called"),
        (":application", "", "project.asgi:application"),
    ],
)
def test_an_application_that_cannot_be_had(command: Any, named: str, source: str, reason: str) -> None:
    """What cannot be imported is a failure with its class and place: no traceback, and no text of an exception."""
    for more in ((), ("--json",), ("--leaks",), ("--leaks", "--json")):
        ended = command("check", named, *more, source=source)

        assert 1 == ended.code
        assert reason in ended.output + ended.errors
        assert "SECRET" not in ended.output + ended.errors


def test_the_answer_to_a_machine_is_json_alone(command: Any) -> None:
    """What the application prints goes to standard error, at import as at its end."""
    source = f"print('hello')\nimport atexit\natexit.register(print, 'goodbye')\n{SET_UP}"

    ended = command("check", "app:application", "--json", source=source)

    assert ended.json["ok"]
    assert "hello" in ended.errors
    assert "goodbye" in ended.errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="pipes end otherwise here")
def test_a_reader_that_goes_away_is_no_error(command: Any) -> None:
    """`otel-ws check | head -1` ends quietly."""
    source = "import os, sys\nread, write = os.pipe()\nos.close(read)\nsys.argv = []\n"
    run = "from otel_ws.cli import main\nos.dup2(write, 1)\nsys.exit(main(['check']))\n"

    done = subprocess.run([sys.executable, "-c", source + run], capture_output=True, text=True, timeout=60, check=False)

    assert (0, "") == (done.returncode, done.stderr)


def test_a_provider_that_is_not_gated_fails(command: Any) -> None:
    """Where a signal leaves by the application's own provider, mode `all` is not the whole answer."""
    source = f"""
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry import trace
trace.set_tracer_provider(TracerProvider())
{SET_UP}"""

    ended = command("check", "app:application", "--json", source=source)

    assert 1 == ended.code
    assert any("traces" in text and "not cleared" in text for _, text in found(ended.json, "failure"))


@pytest.mark.parametrize(("propagators", "expected"), [("tracecontext,baggage", 1), ("tracecontext", 0)])
def test_baggage_to_others_is_told(command: Any, propagators: str, expected: int) -> None:
    """The propagator of baggage sends what is in it to whomever the application calls."""
    ended = command("check", "app:application", "--json", source=SET_UP, OTEL_PROPAGATORS=propagators)

    assert expected == [subject for subject, _ in found(ended.json, "warning")].count("baggage")


def test_help_has_examples(command: Any) -> None:
    """`--help` shows what to type, and that the application's own store may change."""
    assert "otel-ws check --leaks" in command("--help").output
    assert "your application does with the driven connections" in command("check", "--help").output


@pytest.mark.parametrize(
    ("named", "failure"),
    [
        ("nomod:secret", "ModuleNotFoundError"),
        ("os:secret", "AttributeError"),
        ("os:sep", "TypeError"),
        ("app:who", ""),
    ],
)
def test_a_function_that_a_setting_names_is_imported(command: Any, named: str, failure: str) -> None:
    """A resolver is imported once the application is, and fails by the setting's name; its value is not shown."""
    source = f"{SET_UP}\ndef who(scope): ..."
    ended = command("check", "app:application", "--json", source=source, OTEL_WS_USER_ID_RESOLVER=named)

    told = [text for _, text in found(ended.json, "failure")]
    assert ended.code == bool(failure)
    assert [True] * bool(failure) == [
        f"OTEL_WS_USER_ID_RESOLVER: the function that it names cannot be imported ({failure})" == one for one in told
    ]
    assert "secret" not in ended.output


def test_routes_that_cannot_be_seen_are_told(command: Any) -> None:
    """A function before the routers hides them: that nothing was looked at is no silence."""
    pytest.importorskip("channels")
    source = f"""
{DJANGO}
from channels.routing import ProtocolTypeRouter
async def everything(scope, receive, send): ...
application = otel_ws.WebSocketMiddleware(ProtocolTypeRouter({{"websocket": everything}}))
"""
    ended = command("check", "app:application", "--json", source=source, OTEL_PROPAGATORS="tracecontext")

    told = dict(found(ended.json, "warning"))
    assert "no route" in told["undeclared"]


@pytest.mark.parametrize("shows", [True, False])
def test_routes_behind_a_middleware_inside_a_route(command: Any, shows: bool) -> None:
    """A middleware in a route is looked through where it shows what it wraps; that it hides it is told otherwise."""
    pytest.importorskip("channels")
    source = f"""
{DJANGO}
from channels.generic.websocket import WebsocketConsumer
from channels.routing import URLRouter
from django.urls import path, re_path

class Shown:
    def __init__(self, inner):
        self.inner = inner
    async def __call__(self, scope, receive, send):
        await self.inner(scope, receive, send)

def hidden(inner):
    async def application(scope, receive, send):
        await inner(scope, receive, send)
    return application

guard = {"Shown" if shows else "hidden"}
rooms = URLRouter([path("zebra/<int:zebra_id>/", WebsocketConsumer.as_asgi())])
application = otel_ws.WebSocketMiddleware(URLRouter([re_path("^v1/", guard(rooms))]))
"""
    ended = command("check", "app:application", "--json", source=source, OTEL_PROPAGATORS="tracecontext")

    told = [text for subject, text in found(ended.json, "warning") if subject == "undeclared"]
    assert not any(subject == "undeclared" for subject, _ in found(ended.json, "ok"))
    assert shows == any("route parameter zebra_id" in text for text in told)
    assert shows != any("1 routes end in what is neither" in text for text in told)


def test_undeclared_groups_are_counted_without_their_names(command: Any) -> None:
    """Of the groups that consumers join by themselves, those of no declared template; how many, not which."""
    pytest.importorskip("channels")
    source = f"""
{DJANGO}
otel_ws.declare(template="room_{{room_id}}")
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

class Member(AsyncWebsocketConsumer):
    groups = ("room_7", "smith-family", "jones-family")
    message_types = ("move",)

application = otel_ws.WebSocketMiddleware(URLRouter([path("ws/", Member.as_asgi())]))
"""
    ended = command("check", "app:application", source=source, OTEL_PROPAGATORS="tracecontext")

    assert "2 groups or channels of the channel layer are told as _OTHER" in ended.output
    assert "family" not in ended.output


def test_undeclared_groups_in_the_code_are_counted_with_their_places(command: Any) -> None:
    """Where a handler makes a name is told, so that one finds it; the name is not."""
    pytest.importorskip("channels")
    source = f"""
{DJANGO}
otel_ws.declare(template=["room_{{room_id}}", "payments"])
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

class Member(AsyncWebsocketConsumer):
    message_types = ("move",)

    async def connect(self):
        self.family = f"family_{{self.scope['user']}}"
        await self.channel_layer.group_add(f"room_{{self.pk}}", self.channel_name)
        await self.channel_layer.group_add(self.family, self.channel_name)
        await self.channel_layer.send("payments", {{}})
        await self.channel_layer.group_send("smith-%s" % self.pk, {{}})

application = otel_ws.WebSocketMiddleware(URLRouter([path("ws/", Member.as_asgi())]))
"""
    ended = command("check", "app:application", source=source, OTEL_PROPAGATORS="tracecontext")

    lines = source.splitlines()
    first, second = (number for number, line in enumerate(lines, 1) if "(self.family" in line or "smith-" in line)
    told = f"2 groups or channels of the channel layer are told as _OTHER (app.py, line {first}; app.py, line {second})"
    assert told in ended.output
    assert "family" not in ended.output
    assert "smith" not in ended.output
