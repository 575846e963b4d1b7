"""A program: a Django and Channels application with sentry-sdk, driven with marked secrets in every field.

Prints, as JSON, the bytes of every envelope that the transport was given. ``raw`` leaves ``scrub`` out, to show that
the search finds what is there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import django
import sentry_sdk
from django.conf import settings
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport

import otel_ws
from otel_ws.sentry import scrub

ENVELOPES: list[bytes] = []


def mark(place: str) -> str:
    """A secret that says where it was put in."""
    return f"Qzx.{place}@secret.example"


class Captured(Transport):
    """Keeps what would be sent."""

    def capture_envelope(self, envelope: Any) -> None:
        """Keep the bytes."""
        ENVELOPES.append(envelope.serialize())


settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    LOGGING_CONFIG=None,
)
hooks: dict[str, Any] = {}
if sys.argv[1:] != ["raw"]:
    hooks = dict.fromkeys(
        ("before_send", "before_send_transaction", "before_send_log", "before_send_metric", "before_breadcrumb"), scrub
    )
sentry_sdk.init(
    dsn="https://0123456789abcdef0123456789abcdef@o1.ingest.example/2",
    transport=Captured,
    integrations=[DjangoIntegration(cache_spans=True)],
    release="tournament@1.4.2",
    environment="production",
    server_name=mark("server_name"),
    dist=mark("dist"),
    send_default_pii=True,
    max_request_body_size="always",
    attach_stacktrace=True,
    traces_sample_rate=1.0,
    enable_logs=True,
    **hooks,
)
django.setup()

from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

log = logging.getLogger("shop.orders")


class PrizeError(Exception):
    """What the application raises."""


def fail(place: str) -> None:
    """Raise, with a secret in every place that a traceback has."""
    password = mark(f"{place}.local")
    try:
        raise KeyError(mark(f"{place}.cause"))
    except KeyError as cause:
        error = PrizeError(f"no account for {password}")
        error.add_note(mark(f"{place}.note"))
        raise error from cause


def view(request: HttpRequest, name: str) -> HttpResponse:
    """Query the database, log, fail."""
    sentry_sdk.set_tag("tournament_id", 7)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s, 'Qzx.sql@secret.example'", [mark("sql_parameter")])
    log.warning("order of %s", mark("view_log"))
    fail("view")
    return HttpResponse()


class Consumer(WebsocketConsumer):
    """Fails at the first message."""

    def connect(self) -> None:
        """Accept, with tags as an application sets them."""
        sentry_sdk.set_tag("websocket", "true")
        sentry_sdk.set_tag("tournament_id", self.scope["url_route"]["kwargs"]["tournament_id"])
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Fail."""
        fail("consumer")


urlpatterns = [path("orders/<str:name>/", view)]
application = SentryAsgiMiddleware(
    ProtocolTypeRouter(
        {
            "http": get_asgi_application(),
            "websocket": URLRouter([path("ws/<int:tournament_id>/<str:name>/", Consumer.as_asgi())]),
        }
    )
)


def scope_of(kind: str, route: str) -> dict[str, Any]:
    """An ASGI scope with a secret in everything that a client decides."""
    headers = {
        "host": "shop.example",
        "user-agent": mark("user_agent"),
        "cookie": f"session={mark('cookie')}",
        "authorization": f"Bearer {mark('authorization')}",
        "x-forwarded-for": mark("forwarded_for"),
        "referer": f"https://{mark('referer')}/",
        "content-type": "application/x-www-form-urlencoded",
        "sentry-trace": "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "baggage": (
            "sentry-trace_id=4bf92f3577b34da6a3ce929d0e0e4736,sentry-sample_rate=1.0,sentry-sampled=true,"
            f"sentry-transaction={mark('baggage_transaction')},sentry-user_segment={mark('baggage_segment')},"
            f"sentry-release={mark('baggage_release')},sentry-environment={mark('baggage_environment')}"
        ),
    }
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http" if kind == "http" else "ws",
        "path": route,
        "raw_path": route.encode(),
        "root_path": "",
        "query_string": f"token={mark('query')}".encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("203.0.113.9", 50000),
        "server": ("127.0.0.1", 80),
        "subprotocols": [mark("subprotocol")],
    }


async def converse(scope: dict[str, Any], *script: dict[str, Any]) -> None:
    """Run the application for one scope."""
    waiting = list(script)

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Any) -> None:
        pass

    try:
        async with asyncio.timeout(20):
            await application(scope, receive, send)
    except PrizeError:
        pass


def by_hand() -> None:
    """What applications do with the SDK themselves."""
    scope = sentry_sdk.get_isolation_scope()
    scope.set_user(
        {
            "id": "42",
            "username": mark("username"),
            "email": mark("email"),
            "ip_address": "203.0.113.9",
            "geo": {"city": mark("city")},
            mark("user_key"): 1,
        }
    )
    scope.set_tag("tournament_id", "7")
    scope.set_tag("websocket", True)
    scope.set_tag("customer", mark("tag"))
    scope.set_tag(mark("tag_key"), "1")
    scope.set_extra("match_id", 9)
    scope.set_extra("text", mark("extra"))
    scope.set_extra("nested", {"deep": [mark("extra_nested")]})
    scope.set_context("order", {"buyer": mark("context")})
    scope.add_attachment(bytes=mark("attachment").encode(), filename=mark("attachment_name"))
    scope.fingerprint = ["{{ default }}", "ROOM_FULL", mark("fingerprint")]
    sentry_sdk.add_breadcrumb(
        category=mark("breadcrumb_category"),
        message=mark("breadcrumb_message"),
        level="info",
        type=mark("breadcrumb_type"),
        data={"tournament_id": 7, "note": mark("breadcrumb_data")},
    )
    log.info("paid by %s", mark("log_breadcrumb"))
    sentry_sdk.capture_message(f"hello {mark('message')}")
    log.error("cannot ship to %s", mark("log_argument"), extra={"buyer": mark("log_extra")})
    logging.getLogger(mark("logger")).error("text")
    try:
        fail("hand")
    except PrizeError:
        sentry_sdk.capture_exception()
        log.exception("it failed for %s", mark("log_exception"))
    # A class that carries a secret in its name, and code that was made from text.
    strange = type(mark("exception_type"), (Exception,), {})
    try:
        exec(
            compile(f"raise strange({mark('strange')!r})", mark("file_name"), "exec"),
            {"strange": strange, "__name__": mark("module_name")},
        )
    except Exception:
        sentry_sdk.capture_exception()
    sentry_sdk.logger.warning("{buyer} left", buyer=mark("sentry_log"), attributes={"tournament_id": 7})
    sentry_sdk.metrics.count(mark("metric_name"), 1, attributes={"buyer": mark("metric_attribute")})
    sentry_sdk.metrics.count("ws.orders", 1, attributes={"buyer": mark("declared_metric_attribute")})
    with sentry_sdk.start_transaction(name=mark("transaction"), op=mark("op"), source="custom") as transaction:
        transaction.set_tag("tournament_id", "7")
        transaction.set_data("buyer", mark("transaction_data"))
        with sentry_sdk.start_span(op="db", name=f"UPDATE orders SET buyer = '{mark('span_sql')}'") as span:
            span.set_data("db.system", "postgresql")
            span.set_data("db.user", mark("span_data"))
            span.set_tag("buyer", mark("span_tag"))
        with sentry_sdk.start_span(op=mark("span_op"), name=mark("span_name"), origin="manual.Qzx.origin"):
            pass
    sentry_sdk.crons.capture_checkin(monitor_slug="nightly", status="ok")
    sentry_sdk.crons.capture_checkin(monitor_slug="qzx-monitor-secret", status="ok")
    feedback: Any = {"type": "feedback", "contexts": {"feedback": {"message": mark("feedback")}}}
    sentry_sdk.capture_event(feedback)


otel_ws.declare(templates=["nightly"])
body = {"type": "http.request", "body": f"card={mark('body')}".encode()}
asyncio.run(converse(scope_of("http", f"/orders/{mark('path')}/"), body))
asyncio.run(
    converse(
        scope_of("websocket", f"/ws/7/{mark('ws_path')}/"),
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": mark("ws_text")},
    )
)
by_hand()
sentry_sdk.flush()
sentry_sdk.get_client().close()
sys.stdout.write(json.dumps([envelope.decode("utf-8", "surrogateescape") for envelope in ENVELOPES]))
