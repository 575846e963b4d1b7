"""One event stream (server-sent events) over HTTP, told as the connection that it is.

Sans-I/O like ``connection``: a request is watched until its response says what it is; only a stream costs more than
a look at that. It counts events and their bytes, and keeps none of them. It refuses to know servers and frameworks;
what a framework learns about a request (its user, its route) is handed to the ``Request``.

Source: the HTML standard, "Server-sent events"; the ASGI specification, "HTTP".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from otel_ws import scope as scopes
from otel_ws import semconv
from otel_ws.connection import Connection, State
from otel_ws.live import STALLED_SECONDS
from otel_ws.recorder import Recorder
from otel_ws.semconv import Attribute
from otel_ws.types import Message, Scope

_MEDIA_TYPE: Final = b"text/event-stream"
_PLAIN_ENCODINGS: Final = (b"", b"identity")
_FIELD: Final = b"data"
# How far the line that is being read is known: so many characters of the field's name, or one of these.
_IS_DATA: Final = 5
_IS_OTHER: Final = -1
# Nothing of the stream was read: it may begin with a byte order mark.
_IS_UNREAD: Final = -2
_MARK: Final = b"\xef\xbb\xbf"

# Takes a framework's request and match; gives the rest of the route's template, and what belongs on the scope.
Resolve = Callable[[Any, Any], tuple[str, dict[str, Any]]]

# The request whose application runs here.
asked: ContextVar[Request | None] = ContextVar("otel_ws_request", default=None)


def running() -> Request | None:
    """The request whose application runs here, if it still does: an inner door joins it."""
    request = asked.get()
    return None if request is None or request.is_over else request


class Request(scopes.Trail):
    """One HTTP request while its application runs, and the stream that it became, if it did."""

    # Defaults of the class, not of each request: nearly all of them are never anything else. The door sets the rest.
    plain = True
    unrouted = is_over = False
    route_parts: tuple[str, ...] = ()
    routers: tuple[object, ...] = ()
    stream: EventStream | None = None
    _consumer: type | None = None
    _ids: dict[Attribute, object] | None = None
    _role: str | None = None
    _resolution: tuple[Resolve, Any, Any] | None = None

    recorder: Recorder
    scope: Scope
    asked_at: float
    root_path: str

    @property
    def is_routed(self) -> bool:
        """Whether a route that matches now is its own."""
        return self.plain and self.stream is None and not self.is_over

    # --- what is learnt before the response begins --------------------------------------------------------
    def handed_to(self, scope: Scope, consumer: type) -> None:
        """The scope as the outermost consumer sees it."""
        if self.plain:
            self.plain = False
            self.scope = scope
            self._consumer = consumer

    def resolved(self, read: Resolve, request: Any, found: Any) -> None:
        """A framework's own router found the rest of the route: how to read it, should this become a stream."""
        self._resolution = read, request, found

    def set_ids(self, ids: dict[Attribute, object]) -> None:
        """The application says what the stream is about, should it become one."""
        self._ids = {**(self._ids or {}), **ids}

    def set_role(self, role: str) -> None:
        """The application says what the user's role is."""
        self._role = role

    # --- the response -------------------------------------------------------------------------------------
    def begins_stream(self, message: Message) -> bool:
        """Whether this ``http.response.start`` begins an event stream."""
        if message.get("status") != 200 or self.scope.get("method") == "HEAD":
            return False
        value, length = _header(message, b"content-type"), len(_MEDIA_TYPE)
        # A parameter may follow, and nothing else.
        return value[:length].lower() == _MEDIA_TYPE and value[length:].lstrip()[:1] in b";"

    def open(self, message: Message) -> EventStream:
        """The stream that this ``http.response.start`` begins."""
        scope = self.scope
        if self._resolution is not None:
            read, *what = self._resolution
            template, known = read(*what)
            self.route_parts = (*self.route_parts, template)
            known["url_route"]["kwargs"] = {**scopes.url_values(scope), **known["url_route"]["kwargs"]}
            scope = {**scope, **known}
            self._resolution = None
        stream = EventStream(self.recorder, scope, self.asked_at, _header(message, b"content-encoding"))
        stream.route_parts, stream.root_path = self.route_parts, self.root_path
        if self._consumer is not None:
            stream.consumer = self.recorder.consumer_met(self._consumer)
        if self._role is not None:
            stream.set_role(self._role)
        if self._ids:
            stream.set_ids(self._ids)
        self.stream = stream
        return stream


class EventStream(Connection):
    """One event stream: open when its response has begun, ended with its last part; it has no close codes."""

    __slots__ = ("_count", "_is_first")

    def __init__(self, recorder: Recorder, scope: Scope, asked_at: float, encoding: bytes = b"") -> None:
        super().__init__(recorder, scope, "sse", asked_at)
        # What is compressed shows no blank lines: its events are not counted.
        self._count = EventCount() if encoding.strip().lower() in _PLAIN_ENCODINGS else None
        self._is_first = True

    def received(self, message: Message, asked_at: float) -> None:
        """``receive`` returned a message: nothing is told but the client's leaving."""
        if message.get("type") == "http.disconnect":
            self.disconnected(None)

    def sent(self, message: Message, started_at: float, exc: BaseException | None = None) -> None:
        """The server took the message, or raised ``exc``."""
        kind = message.get("type")
        if kind == "http.response.body":
            self._part_sent(message, started_at, exc)
        super().sent(message, started_at, exc)
        if exc is not None:
            return
        if kind == "http.response.start":
            self._accepted(None)
            # Its client never speaks, so no heartbeat of its can be missed.
            self.last_heartbeat = math.inf
        elif kind == "http.response.body" and not message.get("more_body") and self.state is State.OPEN:
            self._closed(None, "application")

    def _part_sent(self, message: Message, started_at: float, exc: BaseException | None) -> None:
        recorder, now = self.recorder, self.clock()
        seconds, body = now - started_at, message.get("body") or b""
        if isinstance(body, bytearray | memoryview):
            body = bytes(body)
        sizes = self._count.sizes(body) if self._count is not None else ()
        failed = exc is not None or self.state is State.ENDED
        is_told = bool(sizes) or (self._count is None and bool(body))
        self.last_send_bad = (failed and is_told) or exc is not None or seconds > STALLED_SECONDS
        self.tally.streamed(self.cells, sizes, seconds, failed)
        if self._is_first and is_told and not failed:
            self._is_first = False
            recorder.observe(semconv.FIRST_EVENT, (self.route,), now - self.opened_at)
        if recorder.by_api:
            recorder.by_api_observe(semconv.SEND_DURATION, self.door, seconds)
        for size in sizes:
            if recorder.by_api and not failed:
                recorder.by_api_observe(semconv.MESSAGE_SIZE, (self.transport, "transmit"), size)
            if recorder.settings.delivery_events:
                about: dict[Attribute, object] = {
                    semconv.OUTCOME: "error" if failed else "success",
                    semconv.SIZE: size,
                    semconv.DURATION: seconds,
                }
                recorder.event(semconv.WS_DELIVERY, self, about)

    def _closed(self, code: int | None, initiator: str) -> None:
        super()._closed(None, initiator)


class EventCount:
    """Counts the events of one stream over its parts: blank lines that end a block with data in it."""

    __slots__ = ("_after_return", "_has_data", "_known", "_size")

    def __init__(self) -> None:
        self._known = _IS_UNREAD
        self._has_data = self._after_return = False
        self._size = 0

    def sizes(self, part: bytes) -> list[int]:
        """The bytes of each event that ends in this part."""
        found: list[int] = []
        if not part:
            return found
        # Its line ended with the part before: a line feed that begins this one belongs to that end.
        begins = 1 if self._after_return and part[:1] == b"\n" else 0
        self._size += begins
        self._after_return = part[-1:] == b"\r"
        known, size = self._known, self._size
        for line in part[begins:].splitlines(True) if begins else part.splitlines(True):
            size += len(line)
            text = line.rstrip(b"\r\n")
            if text and known not in (_IS_DATA, _IS_OTHER):
                known = _known(known, text)
            if len(text) == len(line):
                break  # the last line, which goes on in the next part
            if known == 0:
                if self._has_data:
                    found.append(size)
                    size = 0
                self._has_data = False
            elif known >= len(_FIELD):
                self._has_data = True
            known = 0
        self._known, self._size = known, size
        return found


def _known(known: int, text: bytes) -> int:
    """What a line is, after ``text`` in it, of which so many characters of the field's name came before."""
    if known == _IS_UNREAD:
        known, text = 0, text.removeprefix(_MARK)
    missing = _FIELD[known:]
    if len(text) <= len(missing):
        return known + len(text) if missing.startswith(text) else _IS_OTHER
    return _IS_DATA if text.startswith(missing + b":") else _IS_OTHER


def _header(message: Message, name: bytes) -> bytes:
    headers = message.get("headers")
    # Anything else may be a generator, which gives its headers to one reader alone.
    if type(headers) is list or type(headers) is tuple:
        for key, value in headers:
            if len(key) == len(name) and key.lower() == name:
                return bytes(value)
    return b""
