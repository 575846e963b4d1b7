"""The endpoints in a Django project: whom they let in, what readiness asks, and what settings mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

START = """
import json, os
import otel_ws
{first}
import django
django.setup()
from django.core.management import call_command
from django.test import Client
{middle}
client = Client()
def status(path, **headers):
    return client.get("/ops" + path, headers=headers).status_code
"""


def program(body: str, first: str = "", middle: str = "") -> str:
    """A program that starts the project."""
    return START.format(first=first, middle=middle) + body


WITH_USERS = """
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
for name in ("staff", "player"):
    User.objects.create_user(name, is_staff=name == "staff")
otel_ws.ChannelsInstrumentor().instrument()
"""


def test_staff_and_the_token_are_let_in(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """A member of the staff by session, a program by token; a player not, a stranger not."""
    run = project('OTEL_WS = {"TOKEN_FILE": "token"}')
    output = run(
        program(
            """
found = [status("/health"), status("/health", Authorization="Bearer " + open("token").read())]
for name in ("player", "staff"):
    client.force_login(User.objects.get(username=name))
    found += [status("/health"), status("/monitoring/"), status("/ws-metrics"), status("/ws-metrics/")]
print(json.dumps(found))
""",
            middle=WITH_USERS,
        )
    )

    assert [401, 200, 403, 403, 403, 403, 200, 200, 200, 200] == told(output)


def test_the_answers_are_those_of_plain_asgi(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """The same headers, methods and errors; nothing of the request comes back; the form needs no CSRF token."""
    output = project('OTEL_WS = {"TOKEN_FILE": "token"}')(
        program(
            """
bearer = {"Authorization": "Bearer " + open("token").read()}
health = client.get("/ops/health", headers=bearer)
strict = Client(enforce_csrf_checks=True)
form = "application/x-www-form-urlencoded"
entered = strict.post("/ops/monitoring/", "token=" + open("token").read(), content_type=form)
large = client.post("/ops/monitoring/", "x" * 10000, content_type="text/plain")
print(json.dumps([
    health["Cache-Control"], health["Content-Type"], client.head("/ops/health", headers=bearer).content.decode(),
    client.put("/ops/health", headers=bearer).status_code, client.get("/ops/nope").status_code,
    entered.status_code, strict.get("/ops/monitoring/").status_code, large.status_code,
    client.get("/ops/metrics", headers=bearer).content.decode().startswith("# HELP"),
]))
""",
            middle=WITH_USERS,
        )
    )

    assert ["no-store", "application/json", "", 405, 404, 303, 200, 413, True] == told(output)


def test_readiness_asks_for_real(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """Database, cache and channel layer answer; the look is counted by component."""
    output = project()(
        program(
            """
answer = client.get("/ops/readiness")
rows = otel_ws.recorder.active().ledger.snapshot().values[otel_ws.recorder.semconv.READINESS]
asked = sorted(one["component"] for one in answer.json()["checks"])
counted = sorted([*key, value] for key, value in rows.items())
print(json.dumps([answer.status_code, answer.json()["status"], asked, counted]))
""",
            first="otel_ws.ChannelsInstrumentor().instrument()",
        )
    )

    components = ["cache", "channel_layer", "database"]
    assert [200, "ready", components, [[one, "success", 1.0] for one in components]] == told(output)


SECRET = "s3cr3t-of-the-database"
AWAY = {
    "database": f"""
        DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "/no-such/{SECRET}"}}}}""",
    "cache": f"""
        CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://:{SECRET}@127.0.0.1:1"}}}}""",
    "channel_layer": f"""
        CHANNEL_LAYERS = {{"default": {{"BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {{"hosts": ["redis://:{SECRET}@127.0.0.1:1"]}}}}}}""",
}


@pytest.mark.parametrize("component", AWAY)
def test_what_is_away_is_named_and_not_quoted(
    project: Callable[..., Any], told: Callable[[str], Any], component: str
) -> None:
    """503 with which one failed; nothing of what the exception says is told or logged."""
    pytest.importorskip("channels_redis")
    output = project(AWAY[component])(
        program(
            """
answer = client.get("/ops/readiness")
print(json.dumps([answer.status_code, answer.json()["failed"], [one["status"] for one in answer.json()["checks"]]]))
"""
        )
    )

    status, failed, statuses = told(output)
    assert (503, [component]) == (status, failed)
    # A busy machine may not find out in time why it is away.
    assert sorted(statuses) in (["failed", "ok", "ok"], ["ok", "ok", "timeout"])
    assert SECRET not in output


def test_what_hangs_ends_at_the_limit(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """A component that does not answer is told after two seconds, and is not asked again while it hangs."""
    output = project()(
        program(
            """
import threading, time
from otel_ws.django import dependencies
from otel_ws.endpoints import readiness
hung = []
def hang():
    hung.append(1)
    threading.Event().wait()
dependencies.stores = hang
began = time.monotonic()
answers = [client.get("/ops/readiness")]
readiness._told = None
answers.append(client.get("/ops/readiness"))
took = time.monotonic() - began
print(json.dumps([[one.status_code for one in answers], answers[0].json()["failed"], len(hung), 2 <= took < 8]))
"""
        )
    )

    assert [[503, 503], ["cache"], 1, True] == told(output)


def test_a_project_without_a_database_is_ready(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """What a project does not have is not asked."""
    run = project(
        """
        DATABASES = {}
        CHANNEL_LAYERS = {}
        INSTALLED_APPS = ["otel_ws.django"]
        MIDDLEWARE = []
        CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
        """
    )
    output = run(
        """
        import django, json
        django.setup()
        from otel_ws.endpoints import readiness
        print(json.dumps(readiness.answer()["checks"]))
        """
    )

    assert [["cache", "ok"]] == [[one["component"], one["status"]] for one in told(output)]


# --- settings -----------------------------------------------------------------------------------------------------
WAYS = {
    "instrumentor": "otel_ws.ChannelsInstrumentor().instrument(connect_context='link')",
    "configure": "otel_ws.configure(connect_context='link')",
    "middleware": "otel_ws.WebSocketMiddleware(print)",
}


@pytest.mark.parametrize("way", WAYS)
def test_djangos_settings_are_heard_whenever_they_come(
    project: Callable[..., Any], told: Callable[[str], Any], way: str
) -> None:
    """Whoever starts before Django is ready goes on with ``OTEL_WS`` when it is; arguments and environment win."""
    run = project(
        'OTEL_WS = {"MESSAGE_EVENTS": "errors", "CONNECT_CONTEXT": "ignore", "HISTOGRAMS": "api"}',
        OTEL_WS_HISTOGRAMS="ledger",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    output = run(
        program(
            """
active = otel_ws.recorder.active().settings
print(json.dumps([active.message_events, active.connect_context, active.histograms]))
""",
            first=WAYS[way],
        )
    )

    assert ["errors", "ignore" if way == "middleware" else "link", "ledger"] == told(output)


def test_django_can_switch_it_off(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """``OTEL_WS["ENABLED"] = False`` is the way back, whoever started first; the middleware stays away, too."""
    output = project('OTEL_WS = {"ENABLED": False}')(
        program(
            "print(json.dumps([otel_ws.recorder.active() is None, otel_ws.WebSocketMiddleware(print) is print]))",
            first="otel_ws.ChannelsInstrumentor().instrument()",
        )
    )

    assert [True, True] == told(output)


def test_wrong_settings_do_not_stop_a_project(project: Callable[..., Any]) -> None:
    """What started goes on without them, and says so."""
    output = project('OTEL_WS = {"GATE": "loud"}')(
        program("print(otel_ws.recorder.active() is not None)", first="otel_ws.ChannelsInstrumentor().instrument()")
    )

    assert "goes on without Django's OTEL_WS" in output
    assert "True" in output.splitlines()


# --- the command and the link -------------------------------------------------------------------------------------
WORKER = """
import sys
first = subprocess.Popen([sys.executable, "-c",
    "import otel_ws, time; from otel_ws import processes, recorder, semconv\\n"
    "otel_ws.WebSocketMiddleware(print); recorder.active().ledger.add(semconv.BROADCASTS, ('room', 'sent'), 5)\\n"
    "print(processes.join(), flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
first.stdout.readline()
"""


def test_the_command_tells_what_an_endpoint_would(
    project: Callable[..., Any], told: Callable[[str], Any], tmp_path: Path
) -> None:
    """``manage.py otel_ws snapshot`` tells of the workers that run, and needs no server and no token."""
    output = project(OTEL_WS_RUNTIME_DIR=str(tmp_path))(
        program(
            """
import io
from otel_ws.django.management.commands.otel_ws import ANSWERS
found = {}
for name in [*ANSWERS, "metrics"]:
    text = io.StringIO()
    call_command("otel_ws", "snapshot", name, stdout=text)
    found[name] = text.getvalue()
first.kill()
first.wait()
print(json.dumps([len(found), found["metrics"].startswith("# HELP"), json.loads(found["ws-metrics"])["broadcasts_sent"],
    [one["pid"] == first.pid for one in json.loads(found["detailed"])["processes"]]]))
""",
            first="import subprocess" + WORKER,
        )
    )

    assert [8, True, 5, [True]] == told(output)


def test_the_command_says_that_nobody_runs(project: Callable[..., Any], tmp_path: Path) -> None:
    """An error that names what must be the same here and there."""
    output = project(OTEL_WS_RUNTIME_DIR=str(tmp_path))("manage otel_ws snapshot", code=1)

    assert "No worker of this service runs" in output
    assert "Traceback" not in output


def test_the_command_checks(project: Callable[..., Any]) -> None:
    """``manage.py otel_ws check`` is ``otel-ws check`` with this project's application."""
    output = project()(
        "manage otel_ws check --json",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )

    assert '"ok": true' in output


def test_the_command_says_that_telemetry_is_off(project: Callable[..., Any]) -> None:
    """An error with the reason, and no traceback."""
    output = project(OTEL_SDK_DISABLED="true")("manage otel_ws snapshot", code=1)

    assert "Telemetry is off" in output
    assert "Traceback" not in output


def test_the_admin_links_to_the_page(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """Staff find the page in the admin, below what is registered there; one application's own page is as it was."""
    output = project()(
        program(
            """
client.force_login(User.objects.get(username="staff"))
index = client.get("/admin/").content.decode()
User.objects.filter(username="staff").update(is_superuser=True)
pages = [client.get("/admin/" + path).content.decode() for path in ("auth/", "auth/user/")]
print(json.dumps([*(page.count('href="/ops/monitoring/"') for page in [index, *pages]),
    client.get("/admin/otel_ws/").status_code]))
""",
            middle=WITH_USERS,
        )
    )

    assert [1, 0, 1, 404] == told(output)


def test_the_admin_has_no_link_to_what_is_not_there(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """A project that includes no URLs of ours has an admin as before; a user of another kind does not break it."""
    output = project()(
        program(
            """
from types import SimpleNamespace
from django.contrib import admin
from django.test import RequestFactory, override_settings
class Urls:
    urlpatterns = [one for one in __import__("urls").urlpatterns if "ops" not in str(one.pattern)]
request = RequestFactory().get("/")
request.user = User.objects.get(username="staff")
with override_settings(ROOT_URLCONF=Urls):
    without = admin.site.get_app_list(request)
strange = otel_ws.django.admin.linked(lambda request: ["x"])(SimpleNamespace())
print(json.dumps([without, strange]))
""",
            middle=WITH_USERS + "import otel_ws.django.admin",
        )
    )

    assert [[], ["x"]] == told(output)


def test_nothing_is_in_the_database(project: Callable[..., Any], told: Callable[[str], Any]) -> None:
    """Dumping a project's data works, and there is no model, table, permission or content type of ours."""
    run = project()
    output = run(
        program(
            """
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
call_command("dumpdata", output="dump.json")
found = list(apps.get_app_config("otel_ws").get_models()), ContentType.objects.filter(app_label="otel_ws").count()
print(json.dumps(found))
""",
            middle=WITH_USERS,
        )
    )

    assert [[], 0] == told(output)
