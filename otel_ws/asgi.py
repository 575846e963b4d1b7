"""Door: the ASGI middleware. It hands every message on, unchanged and in order, and tells the connection.

Source: the ASGI specification, "WebSocket" and "HTTP" (scope, receive and send events). Awaits only what it wraps.
"""

from __future__ import annotations

import asyncio
from typing import Any

from otel_ws import pulse, recorder, sse
from otel_ws.connection import Connection, current
from otel_ws.faults import fault
from otel_ws.handling import Handling
from otel_ws.loaded import django_settings
from otel_ws.scope import Trail
from otel_ws.settings import Settings
from otel_ws.signals import spans as span_tools
from otel_ws.types import ASGIApp, Message, Receive, Scope, Send


class WebSocketMiddleware:
    """Wraps an ASGI application so that its WebSocket connections and event streams are seen.

    An HTTP response of the type ``text/event-stream`` is a connection too; any other passes with a look at its
    headers. Where telemetry is off (``OTEL_WS_ENABLED=false``, ``OTEL_SDK_DISABLED=true``) there is no wrapper:
    ``WebSocketMiddleware(application)`` returns the application itself. Scopes of other types pass untouched.

    Raises:
        SystemExit: a setting has a wrong value; the text names it and what is allowed.

    Source: ASGI specification 3.0, "WebSocket" and "HTTP".
    """

    def __new__(cls, app: ASGIApp) -> Any:
        """Wrap ``app``, or hand it back where telemetry is off."""
        if recorder.active() is None and recorder.install(Settings.load_or_exit(django_settings())) is None:
            return app
        return super().__new__(cls)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the application; a WebSocket's or a stream's messages are told on the way."""
        if (conversation := opened(scope, receive, send)) is None:
            return await self.app(scope, receive, send)
        with conversation:
            return await self.app(scope, conversation.receive, conversation.send)


def opened(scope: Scope, receive: Receive, send: Send) -> Conversation | Exchange | None:
    """What tells this WebSocket's or HTTP scope's messages.

    ``None`` for other types, within one that is told already, and where nothing is told. Enter it around the
    application's call, in the coroutine that makes the call, and give the application its ``receive`` and ``send``.
    """
    active = recorder.active()
    kind = scope.get("type")
    if active is None or (kind != "websocket" and kind != "http"):
        if active is not None and kind == "lifespan":
            active.serves()
        return None
    try:
        if kind == "http":
            request = sse.asked.get()
            return Exchange(active, scope, receive, send) if request is None or request.is_over else None
        if running() is not None:
            return None
        if not active.is_fast:
            active.speed_up(active)
        return Conversation(Connection(active, scope), receive, send)
    except Exception as exc:
        fault("open", exc)
        return None


def running() -> Connection | None:
    """The connection whose application runs here, if there is one: an inner door joins it."""
    connection = current.get()
    return None if connection is None or connection.scope is None else connection


def trail(scope: Scope) -> Trail | None:
    """The connection, or the request that may become one, whose application runs here and routes this scope."""
    kind = scope.get("type")
    return running() if kind == "websocket" else sse.running() if kind == "http" else None


class Exchange(sse.Request):
    """One HTTP request while its application runs, and the two callables that the application gets."""

    def __init__(self, active: recorder.Recorder, scope: Scope, receive: Receive, send: Send) -> None:
        # Nearly every request is no stream, and pays for this alone.
        self.recorder = active
        self.scope = scope
        self.asked_at = active.clock()
        self.root_path = scope.get("root_path") or ""
        self._receive = receive
        self._send = send

    def __enter__(self) -> None:
        """Make the request current."""
        self._joined = sse.asked.set(self)

    def __exit__(self, kind: object, raised: BaseException | None, traceback: object) -> None:
        """Tell how a stream's application ended, once; what it raised goes on."""
        self.is_over = True
        if self.stream is not None:
            _ended(self.stream, raised)
        try:
            sse.asked.reset(self._joined)
        except ValueError:
            # Closed from another context, which is not ours.
            return

    async def receive(self) -> Message:
        """The server's ``receive``; a client that leaves its stream is told."""
        message = await self._receive()
        if self.stream is not None:
            try:
                self.stream.received(message, 0.0)
            except Exception as exc:
                fault("receive", exc)
        return message

    async def send(self, message: Message) -> None:
        """The server's ``send``; a stream's parts are told, and nothing of any other response."""
        stream = self.stream
        started_at = 0.0
        try:
            if stream is None and message.get("type") == "http.response.start" and self.begins_stream(message):
                stream = self._opened(message)
            if stream is not None:
                started_at = stream.sending()
        except Exception as exc:
            fault("send", exc)
        if stream is None:
            await self._send(message)
            return
        try:
            await self._send(message)
        except BaseException as exc:
            _sent(stream, message, started_at, exc)
            raise
        _sent(stream, message, started_at, None)

    def _opened(self, message: Message) -> sse.EventStream:
        if not self.recorder.is_fast:
            self.recorder.speed_up(self.recorder)
        pulse.beat()
        return self.open(message)


class Conversation:
    """One WebSocket while its application runs, and the two callables that the application gets."""

    __slots__ = ("_attached", "_before", "_joined", "_receive", "_send", "_task", "connection")

    def __init__(self, connection: Connection, receive: Receive, send: Send) -> None:
        self.connection = connection
        self._receive = receive
        self._send = send
        self._before: Any = None
        self._task: object = None

    def __enter__(self) -> None:
        """Make the connection, and its connect span, current."""
        connection = self.connection
        self._joined = current.set(connection)
        self._attached = None
        try:
            if connection.connect_links:
                self._attached = span_tools.attach(connection.connect_span)
            self._task = _task()
            pulse.beat()
        except Exception as exc:
            fault("open", exc)

    def __exit__(self, kind: object, raised: BaseException | None, traceback: object) -> None:
        """Tell how the application ended, once; what it raised goes on."""
        connection = self.connection
        try:
            if connection.plain_handling is not None:
                self._plain_ended(raised)
        except Exception as exc:
            fault("close", exc)
        _ended(connection, raised)
        try:
            current.reset(self._joined)
        except ValueError:
            # Closed from another context, as a loop does with what is left at its end: that context is not ours.
            return
        if self._attached is not None:
            span_tools.detach(self._attached)

    async def receive(self) -> Message:
        """The server's ``receive``; what it returned is told."""
        connection = self.connection
        asked_at = 0.0
        try:
            if connection.plain_handling is not None:
                self._plain_ended(None)
            asked_at = connection.clock()
        except Exception as exc:
            fault("receive", exc)
        message = await self._receive()
        try:
            connection.received(message, asked_at)
            if connection.plain and message.get("type") == "websocket.receive":
                self._plain_began()
        except Exception as exc:
            fault("receive", exc)
        return message

    async def send(self, message: Message) -> None:
        """The server's ``send``; what became of the message is told."""
        connection = self.connection
        started_at = 0.0
        try:
            started_at = connection.sending()
        except Exception as exc:
            fault("send", exc)
        try:
            await self._send(message)
        except BaseException as exc:
            _sent(connection, message, started_at, exc)
            raise
        try:
            connection.sent(message, started_at)
        except Exception as exc:
            fault("send", exc)

    # A plain ASGI application has no dispatch: its message lasts until it asks for the next one. The span is made
    # current only in the task that runs the application; anywhere else it would not reach the handler.
    def _plain_began(self) -> None:
        if self.connection.plain_handling is not None:
            # Asked for by several tasks at once: the one before lasted until now.
            self._plain_ended(None)
        handling = Handling(self.connection, "websocket.receive", None, True)
        self.connection.plain_handling = handling
        if handling.span is not None and self._is_own_task():
            self._before = span_tools.current_but(self.connection.connect_span)
            span_tools.attach(handling.span)

    def _plain_ended(self, raised: BaseException | None) -> None:
        handling, self.connection.plain_handling = self.connection.plain_handling, None
        try:
            if handling is not None:
                handling.end(raised)
                if handling.span is not None and self._is_own_task():
                    span_tools.leave(handling.span, self._before)
        except Exception as exc:
            fault("receive", exc)

    def _is_own_task(self) -> bool:
        return self._task is not None and _task() is self._task


def _sent(connection: Connection, message: Message, started_at: float, raised: BaseException | None) -> None:
    try:
        connection.sent(message, started_at, raised)
    except Exception as exc:
        fault("send", exc)


def _ended(connection: Connection, raised: BaseException | None) -> None:
    try:
        if raised is None:
            connection.returned()
        elif isinstance(raised, Exception):
            connection.failed(raised)
        else:
            connection.cancelled()
    except Exception as exc:
        fault("close", exc)


def _task() -> object:
    """The running asyncio task; ``None`` under another event loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
