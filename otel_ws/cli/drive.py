"""Drives an ASGI application in this process with marked secrets, as a careless world would: every place has one.

It plays the server (scope, messages, close) and, inside the application's own context, code of the application (log
calls, verbs of otel-ws). It refuses to know what the application exports.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import otel_ws
from otel_ws.cli.marks import Marks
from otel_ws.cli.routes import Route

SECONDS: Final = 5.0
# Where an end is no answer: Channels' handlers of one connection run to their end first.
IDLE_SECONDS: Final = 0.5
VARIANTS: Final = ("mark", "4711", "0b8ff9a2-6e2c-4d7e-9f43-0f3f6b1d2a10")
NUMBER_OF_TYPES: Final = 8
CLOSE_CODES: Final = (1000, 1006, 4321)


class PeerError(Exception):
    """What the driven server raises into the application: its text is marked."""


class EndedError(Exception):
    """The application wanted to end the process."""


class MarkedUser:
    """A user whose every name is a mark; only the number may leave."""

    is_authenticated = True
    is_anonymous = False

    def __init__(self, marks: Marks) -> None:
        self.pk = self.id = 4711
        self.username = marks.word("the user's name")
        self.first_name = self.last_name = marks.person("the user's full name")
        self.email = marks.email("the user's e-mail address")

    def get_full_name(self) -> str:
        """The name that nobody may see."""
        return self.first_name

    def __str__(self) -> str:
        """What a careless `str()` gives."""
        return self.username

    __repr__ = __str__


class Drive:
    """Plays the world for one application; ``counts`` tells what came of it."""

    def __init__(
        self,
        application: Any,
        marks: Marks,
        *,
        paths: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        careless: Callable[[Marks], None] | None = None,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        self.application = _contained(application)
        self.marks = marks
        self.counts: Counter[str] = Counter()
        self._paths = paths
        self._headers = headers
        self._careless = careless
        self._progress = progress

    async def run(self, routes: Sequence[Route]) -> None:
        """Every route in every variant, a path that nobody knows, and what the caller named."""
        # What asyncio says of a task that nobody waits for is the application's text, and comes after the run too.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        conversations = self._conversations(routes)
        lifespan = _Lifespan(self.application)
        await lifespan.say("lifespan.startup")
        try:
            for done, (scope, script) in enumerate(conversations):
                self._progress(done, len(conversations))
                await self._converse(scope, script)
        finally:
            await lifespan.end()
        self._progress(len(conversations), len(conversations))

    def _conversations(self, routes: Sequence[Route]) -> list[tuple[dict[str, Any], list[Any]]]:
        word = self.marks.word("the path")
        found: list[tuple[dict[str, Any], list[Any]]] = []
        for place, route in enumerate(routes):
            for number, variant in enumerate(VARIANTS):
                path = route.filled(word if variant == "mark" else variant)
                close = CLOSE_CODES[(place + number) % len(CLOSE_CODES)]
                if route.scope_type == "http":
                    found.append((self._scope("http", path), [_REQUEST]))
                else:
                    found.append((self._scope("websocket", path), self._script(route.message_types, close)))
        for path in self._paths or (f"/{word}/",):
            found.append((self._scope("http", path), [_REQUEST]))
            found.append((self._scope("websocket", path), self._script((), 1000)))
            found.append((self._scope("websocket", path), self._failing()))
        if routes:
            last = next((one for one in reversed(routes) if one.scope_type == "websocket"), routes[-1])
            found.append((self._scope("websocket", last.filled("4711")), self._failing()))
        return found

    def _scope(self, kind: str, target: str) -> dict[str, Any]:
        marks = self.marks
        path, _, query = target.partition("?")
        token, mail = marks.token("the query's token"), marks.email("the query's e-mail address")
        query = "&".join(filter(None, [query, f"token={token}", f"email={mail}", f"q={marks.phone('the query')}"]))
        halves = marks.split("a value in two headers")
        sent = [
            ("host", f"{marks.word('the header host')}.example"),
            ("user-agent", f"Mozilla/5.0 ({marks.person('the header user-agent')})"),
            ("authorization", f"Bearer {marks.token('the header authorization')}"),
            ("cookie", f"sessionid={marks.word('a cookie')}; name={marks.email('a cookie with a name')}"),
            ("x-forwarded-for", marks.address("the header x-forwarded-for")),
            ("origin", f"https://{marks.word('the header origin')}.example"),
            ("referer", f"https://example.org/{marks.word('the header referer')}"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", f"vendor={marks.word('the header tracestate')}"),
            ("baggage", f"user={marks.word('the header baggage')}"),
            (f"x-{marks.word('a header by its name')}", "1"),
            ("x-first", halves[0]),
            ("x-second", halves[1]),
        ]
        named = {name.lower() for name, _ in self._headers}
        headers = [*self._headers, *(pair for pair in sent if pair[0] not in named)]
        scope: dict[str, Any] = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws" if kind == "websocket" else "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
            "client": (marks.address("the client's address"), 50000),
            "server": ("127.0.0.1", 80),
            "user": MarkedUser(marks),
            "state": {},
        }
        if kind == "websocket":
            scope["subprotocols"] = [marks.word("a subprotocol"), marks.token("a subprotocol with a token")]
            scope["extensions"] = {"websocket.http.response": {}}
        else:
            scope["method"] = "GET"
        return scope

    # --- what the other side says ---------------------------------------------------------------------------
    def _script(self, message_types: Sequence[str], close: int) -> list[Any]:
        marks = self.marks
        content = {
            "name": marks.person("a JSON message"),
            "email": marks.email("a JSON message with an address"),
            marks.word("a key of a JSON message"): {"nested": [marks.phone("a nested JSON value")]},
        }
        types = [*message_types[:NUMBER_OF_TYPES], "message", marks.word("the type of a JSON message")]
        reason = f"Goodbye, {marks.person('the close reason')}"
        return [
            {"type": "websocket.connect"},
            self._log,
            _text(f"I am {marks.person('a text message')}, {marks.email('a text message with an address')}"),
            self._verbs,
            *(_text(json.dumps({"type": one, "action": one, **content})) for one in types),
            self._careless_code,
            {"type": "websocket.receive", "bytes": marks.email("a bytes message").encode() + b"\xff\x00"},
            {"type": "websocket.disconnect", "code": close, "reason": reason},
        ]

    def _failing(self) -> list[Any]:
        return [{"type": "websocket.connect"}, _text("{"), self._fail]

    def _fail(self) -> None:
        raise PeerError(f"{self.marks.person('an exception')} was here")

    def _log(self) -> None:
        marks = self.marks
        told = logging.getLogger(__name__)
        told.warning("%s joined from %s", marks.email("a log argument"), marks.address("a log argument"))
        told.error(
            f"No seat for {marks.person('a log text')}",
            extra={"email": marks.email("a log extra"), f"x_{marks.word('the key of a log extra')}": 1},
        )
        logging.getLogger(marks.word("a logger's name")).warning("seated")

    def _verbs(self) -> None:
        marks = self.marks
        otel_ws.set_ids(user_id=marks.email("an id that is none"))
        otel_ws.set_role(marks.word("a role"))
        otel_ws.set_message_type(marks.word("a message type"))
        otel_ws.record_auth_failure(marks.word("a reason"))
        otel_ws.record_ratelimit_reject(marks.email("a reason with an address"), 10)
        otel_ws.record_error(ValueError(marks.person("the text of a recorded error")))
        with otel_ws.broadcast(f"room_{marks.word('a group name')}"):
            pass

    def _careless_code(self) -> None:
        if self._careless is not None:
            self._careless(self.marks)

    # --- one conversation -------------------------------------------------------------------------------------
    async def _converse(self, scope: dict[str, Any], script: list[Any]) -> None:
        peer = _Peer(script)
        task = asyncio.get_running_loop().create_task(
            self.application(scope, peer.receive, peer.send), context=contextvars.Context()
        )
        self.counts["requests" if scope["type"] == "http" else "connections"] += 1
        await _first(task, peer.said_all, SECONDS)
        done, _ = await asyncio.wait([task], timeout=IDLE_SECONDS)
        if not done:
            task.cancel()
            await asyncio.wait([task], timeout=SECONDS)
            self.counts["cancelled"] += 1
        else:
            ended: list[object] = await asyncio.gather(task, return_exceptions=True)
            self.counts["raised"] += isinstance(ended[0], Exception)
        self.counts["accepted"] += "websocket.accept" in peer.types
        self.counts["answered"] += "http.response.start" in peer.types
        self.counts["messages"] += peer.handed


def _contained(application: Any) -> Any:
    """The application, but that it cannot end the process: asyncio would let that out of the loop."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        try:
            await application(scope, receive, send)
        except SystemExit:
            raise EndedError from None

    return call


class _Peer:
    """The server's side of one conversation."""

    def __init__(self, script: list[Any]) -> None:
        self._script = list(script)
        self.types: set[str] = set()
        self.handed = 0
        self.said_all = asyncio.Event()

    async def receive(self) -> Any:
        while self._script:
            item = self._script.pop(0)
            if not self._script:
                self.said_all.set()
            if callable(item):
                item()
            else:
                self.handed += item["type"] == "websocket.receive"
                return dict(item)
        return await asyncio.get_running_loop().create_future()

    async def send(self, message: Any) -> None:
        self.types.add(message["type"])
        if message["type"] in {"websocket.close", "websocket.http.response.body"}:
            # A server tells an application that closed only of the end.
            self._script = [item for item in self._script[-1:] if not callable(item)]


class _Lifespan:
    """Start and end of the application, for those that want to be told."""

    def __init__(self, application: Any) -> None:
        self._asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answered = asyncio.Event()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self._task = asyncio.get_running_loop().create_task(application(scope, self._asked.get, self._answer))

    async def say(self, kind: str) -> None:
        """Tell the application, and wait for its answer."""
        self._answered.clear()
        self._asked.put_nowait({"type": kind})
        await _first(self._task, self._answered, SECONDS)

    async def end(self) -> None:
        """Tell the application that it is over, and make sure that it is."""
        await self.say("lifespan.shutdown")
        self._task.cancel()
        done, _ = await asyncio.wait([self._task], timeout=SECONDS)
        # Looked at, so that asyncio does not print it: most applications refuse the scope by an exception.
        await asyncio.gather(*done, return_exceptions=True)

    async def _answer(self, message: Any) -> None:
        self._answered.set()


async def _first(task: asyncio.Task[Any], event: asyncio.Event, seconds: float) -> None:
    """Wait until the task is done or the event is set."""
    waiting = asyncio.get_running_loop().create_task(event.wait())
    await asyncio.wait([task, waiting], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


_REQUEST: Final = {"type": "http.request", "body": b"", "more_body": False}


def _text(text: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": text}
