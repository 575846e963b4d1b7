"""An instrumented application and its server see what they would see without otel-ws: property tests.

A generated application runs against a generated server twice, bare and instrumented, on event loops that run in
lockstep; everything that either side observes must be the same, in the same order.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otel_ws import faults, testing
from otel_ws.asgi import WebSocketMiddleware
from otel_ws.connection import Connection
from otel_ws.recorder import Recorder
from otel_ws.signals.spans import Spans
from otel_ws.testing import Telemetry

TICKS = 400
mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine", default=0)


class StrangeBaseError(BaseException):
    """An exception that only ``except BaseException`` catches."""


class GoneError(OSError):
    """What a server raises for a client that is gone."""


EXCEPTIONS: tuple[type[BaseException], ...] = (
    ValueError, GoneError, RuntimeError, StopAsyncIteration, StrangeBaseError, asyncio.CancelledError, TimeoutError,
    RecursionError,
)  # fmt: skip

exceptions = st.sampled_from(EXCEPTIONS)
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=3),
    st.lists(st.integers(), max_size=2), st.builds(object),
)  # fmt: skip
types = st.sampled_from([
    "websocket.connect", "websocket.accept", "websocket.receive", "websocket.send", "websocket.close",
    "websocket.disconnect", "websocket.http.response.start", "websocket.http.response.body", "lifespan.startup", "",
])  # fmt: skip
keys = st.sampled_from(["text", "bytes", "code", "reason", "subprotocol", "headers", "status", "body", "more"])
proper = st.sampled_from([
    {"type": "websocket.connect"}, {"type": "websocket.accept"}, {"type": "websocket.receive", "text": "hi"},
    {"type": "websocket.send", "text": "hi"}, {"type": "websocket.send", "bytes": b"hi"}, {"type": "websocket.close"},
    {"type": "websocket.close", "code": 4000}, {"type": "websocket.disconnect", "code": 1001},
])  # fmt: skip
odd = st.builds(lambda kind, rest: {**rest, "type": kind}, st.one_of(types, values), st.dictionaries(keys, values))
# Not even a mapping: applications and servers have bugs, and theirs must stay theirs.
malformed = st.one_of(st.dictionaries(keys, values, max_size=2), values)
messages = st.one_of(proper, proper, odd, malformed)

Step = tuple[Any, ...]
steps: st.SearchStrategy[list[Step]] = st.deferred(
    lambda: st.lists(
        st.one_of(
            st.tuples(st.just("receive")),
            st.tuples(st.just("send"), messages),
            st.tuples(st.just("send many"), st.lists(messages, max_size=3)),
            st.tuples(st.just("receive elsewhere")),
            st.tuples(st.just("begin"), steps),
            st.tuples(st.just("try"), steps),
            st.tuples(st.just("yield")),
            st.tuples(st.just("set"), st.integers(1, 9)),
            st.tuples(st.just("cancel myself")),
            st.tuples(st.just("raise"), exceptions),
            st.tuples(st.just("return"), values),
        ),
        max_size=6,
    )
)


@dataclass
class ServerScript:
    """What the server does: what ``receive`` hands out or raises, how sends go, and when it cancels."""

    inputs: list[tuple[int, Any]]
    sends: list[tuple[int, type[BaseException] | None]]
    cancel_after: int | None
    scope: dict[str, Any]


servers = st.builds(
    ServerScript,
    inputs=st.lists(st.tuples(st.integers(0, 3), st.one_of(messages, messages, exceptions)), max_size=8),
    sends=st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.none(), exceptions)), max_size=8),
    cancel_after=st.one_of(st.none(), st.integers(0, 20)),
    scope=st.fixed_dictionaries(
        {"type": st.just("websocket")},
        optional={
            "headers": st.one_of(values, st.just([(b"traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")])),
            "root_path": values,
            "path": values,
            "user": values,
            "role": values,
            "url_route": st.one_of(values, st.just({"kwargs": {"match_id": 3}})),
            "path_params": values,
            "route": values,
        },
    ),
)


@dataclass
class Trace:
    """Everything that application and server saw, as comparable values."""

    seen: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, *what: Any) -> None:
        """Note one observation."""
        self.seen.append(what)


def told(exc: BaseException) -> tuple[Any, ...]:
    """An exception as its identity for both runs: class, arguments, and what it came from."""
    cause, context = exc.__cause__, exc.__context__
    return (type(exc), exc.args, type(cause), type(context))


async def application(steps: list[Step], trace: Trace, receive: Any, send: Any) -> Any:
    """Interpret a script; ends with the value that a ``return`` step names."""
    begun: list[asyncio.Task[Any]] = []
    for step in steps:
        trace.add("step", step[0], mine.get())
        if step[0] == "receive":
            trace.add("received", id(await receive()))
        elif step[0] == "send":
            trace.add("send returned", await send(step[1]))
        elif step[0] == "send many":
            outcomes = await asyncio.gather(*(send(message) for message in step[1]), return_exceptions=True)
            trace.add("sent many", [told(one) if isinstance(one, BaseException) else one for one in outcomes])
        elif step[0] == "receive elsewhere":
            trace.add("received", id(await asyncio.ensure_future(receive())))
        elif step[0] == "begin":
            begun.append(asyncio.ensure_future(application(step[1], trace, receive, send)))
        elif step[0] == "try":
            try:
                trace.add("tried", await application(step[1], trace, receive, send))
            except Exception as exc:
                trace.add("caught", *told(exc))
        elif step[0] == "yield":
            await asyncio.sleep(0)
        elif step[0] == "set":
            mine.set(step[1])
        elif step[0] == "cancel myself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        elif step[0] == "raise":
            raise step[1]("by the application")
        elif step[0] == "return":
            return step[1]
    outcomes = await asyncio.gather(*begun, return_exceptions=True)
    trace.add("ended", [told(one) if isinstance(one, BaseException) else one for one in outcomes])
    return None


async def converse(script: ServerScript, steps: list[Step], instrumented: bool) -> list[tuple[Any, ...]]:
    """Run the application against the server; the trace ends with what the application returned or raised."""
    trace = Trace()
    inputs, sends = list(script.inputs), list(script.sends)

    async def receive() -> Any:
        trace.add("receive called")
        if not inputs:
            await asyncio.Event().wait()
        ticks, item = inputs.pop(0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        if isinstance(item, type):
            raise item("by receive")
        return item

    async def send(message: Any) -> None:
        trace.add("send called", id(message))
        ticks, raised = sends.pop(0) if sends else (0, None)
        for _ in range(ticks):
            await asyncio.sleep(0)
        if raised is not None:
            raise raised("by send")
        trace.add("send took", id(message))

    async def app(scope: Any, receive: Any, send: Any) -> Any:
        trace.add("scope", id(scope))
        return await application(steps, trace, receive, send)

    whole = WebSocketMiddleware(app) if instrumented else app
    task = asyncio.get_running_loop().create_task(
        whole(script.scope, receive, send),
        context=contextvars.Context(),
    )
    # A task that raises an exception which is none to asyncio would stop the loop.
    for tick in range(TICKS):
        if task.done():
            break
        if tick == script.cancel_after:
            task.cancel("by the server")
        await asyncio.sleep(0)
    else:
        task.cancel("at the end")
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    trace.add("result", *(told(outcome) if isinstance(outcome, BaseException) else (id(outcome),)))
    trace.add("cancelled", task.cancelled())
    left_over = asyncio.all_tasks() - {asyncio.current_task()}
    for other in sorted(left_over, key=lambda one: int(one.get_name().rpartition("-")[2])):
        other.cancel()
        trace.add("left over")
        await asyncio.gather(other, return_exceptions=True)
    return trace.seen


def run(script: ServerScript, steps: list[Step], instrumented: bool) -> list[tuple[Any, ...]]:
    """One run on an event loop of its own; a ``BaseException`` of a task ends the loop and is the result."""
    seen: list[tuple[Any, ...]] = []

    async def main() -> None:
        seen.extend(await converse(script, steps, instrumented))

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
    except asyncio.CancelledError as exc:
        seen.append(("loop", *told(exc)))
    return seen


@contextmanager
def unchanged(*values: Any) -> Iterator[None]:
    """Nobody changes these values during the block."""
    before = repr(values)
    yield
    assert before == repr(values)


@pytest.fixture(scope="module")
def captured() -> Iterator[Telemetry]:
    """One capture for all examples; wrong use does not raise, as in production."""
    with testing.capture(message_events="all", send_spans="all", delivery_events=True) as telemetry:
        faults.strict(False)
        yield telemetry


steady = settings(
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@steady
@given(script=servers, steps=steps)
@example(
    script=ServerScript([(0, {"type": "websocket.connect"})], [], 3, {"type": "websocket"}),
    steps=[("receive",), ("send", {"type": "websocket.accept"}), ("receive",)],
)
@example(
    script=ServerScript([(0, {"type": "websocket.connect"})], [(0, None), (1, GoneError)], None, {"type": "websocket"}),
    steps=[("receive",), ("send", {"type": "websocket.accept"}), ("send", {"type": "websocket.send", "text": "x"})],
)
def test_both_sides_see_the_same(captured: Telemetry, script: ServerScript, steps: list[Step]) -> None:
    """Same messages in the same order, same exceptions, same result, same cancellation as the bare application."""
    with unchanged(script, steps):
        bare = run(script, steps, instrumented=False)

        instrumented = run(script, steps, instrumented=True)

    assert bare == instrumented


# Readers and the recorder's own life cycle are nothing that a conversation calls.
LIFE = {"read", "by_id", "snapshot", "health", "summarise", "loop_lagged", "flush", "close", "after_fork", "take_over"}


def _public(owner: type) -> list[str]:
    found = {name for name in dir(owner) if not name.startswith("_") and callable(getattr(owner, name))}
    return sorted(found - LIFE)


VERBS = (*_public(Recorder), "clock", "now_ns", "new_id", *(f"spans.{verb}" for verb in _public(Spans)))
PARTS = ("ledger", "policy", "live", "spans", "metrics")
ALL_VERBS = (*VERBS, *PARTS, "writers", "tallies")


class BrokenError(Exception):
    """A failure of otel-ws itself."""


async def nothing(*_args: object) -> Any:
    """Neither receive nor send: it is not called."""
    raise AssertionError


def broken(*_args: object, **_kwargs: object) -> Any:
    """Fail."""
    raise BrokenError


class BrokenWriter:
    """An event writer on a full disk."""

    def write(self, record: object) -> None:
        """Fail."""
        raise BrokenError

    def is_wanted(self) -> bool:
        """Fail."""
        raise BrokenError

    def flush(self) -> None:
        """Fail."""
        raise BrokenError

    def close(self) -> None:
        """Fail."""
        raise BrokenError


class BrokenPart:
    """A part of which every member fails."""

    def __getattr__(self, name: str) -> Any:
        return broken


@contextmanager
def sabotaged(telemetry: Telemetry, verbs: set[str]) -> Iterator[None]:
    """Let these verbs and parts of the recorder fail during the block."""
    recorder = telemetry.recorder
    before = dict(vars(recorder)), dict(vars(recorder.spans))
    try:
        for verb in verbs:
            if verb in PARTS:
                setattr(recorder, verb, BrokenPart())
        for verb in verbs:
            if verb == "writers":
                recorder.writers = (BrokenWriter(),)
            elif verb == "tallies":
                vars(recorder)["tally"] = lambda door: BrokenPart()
            elif verb.startswith("spans."):
                setattr(recorder.spans, verb.removeprefix("spans."), broken)
            elif verb not in PARTS:
                setattr(recorder, verb, broken)
        yield
    finally:
        spans = before[0]["spans"]
        vars(recorder).clear()
        vars(recorder).update(before[0])
        vars(spans).clear()
        vars(spans).update(before[1])


PLAIN = ServerScript(
    [
        (0, {"type": "websocket.connect"}), (0, {"type": "websocket.receive", "text": "a"}),
        (1, {"type": "websocket.receive", "bytes": b"b"}), (0, {"type": "websocket.disconnect", "code": 1000}),
    ],
    [(0, None), (1, None), (0, None)],
    None,
    {"type": "websocket", "path": "/", "headers": []},
)  # fmt: skip
ECHO: list[Step] = [
    ("receive",), ("send", {"type": "websocket.accept"}),
    ("receive",), ("send", {"type": "websocket.send", "text": "a"}),
    ("receive elsewhere",), ("send", {"type": "websocket.send", "text": "b"}), ("receive",), ("return", 42),
]  # fmt: skip


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_a_broken_verb_is_not_noticed(captured: Telemetry, verb: str) -> None:
    """Whichever verb of ours fails, both sides see what they would see without otel-ws."""
    bare = run(PLAIN, ECHO, instrumented=False)

    with sabotaged(captured, {verb}):
        instrumented = run(PLAIN, ECHO, instrumented=True)

    assert bare == instrumented


@settings(steady, max_examples=250)
@given(
    script=servers,
    steps=steps,
    verbs=st.sets(st.sampled_from(ALL_VERBS), min_size=1),
)
def test_broken_verbs_are_not_noticed(
    captured: Telemetry, script: ServerScript, steps: list[Step], verbs: set[str]
) -> None:
    """Whatever fails in otel-ws, in whatever conversation, both sides see what they would see without it."""
    bare = run(script, steps, instrumented=False)

    with sabotaged(captured, verbs):
        instrumented = run(script, steps, instrumented=True)

    assert bare == instrumented


@pytest.mark.parametrize("exception", EXCEPTIONS)
def test_exception_object_is_the_same(captured: Telemetry, exception: type[BaseException]) -> None:
    """The very exception object that the application raised comes out, with the context that it had."""
    raised = exception("by the application")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise raised

    with pytest.raises(exception) as caught:
        _step(WebSocketMiddleware(app)({"type": "websocket"}, nothing, nothing))

    assert caught.value is raised
    assert (None, None, exception("by the application").args) == (raised.__context__, raised.__cause__, raised.args)


def test_result_object_is_the_same(captured: Telemetry) -> None:
    """The very object that the application returned comes out."""
    result = object()

    async def app(scope: Any, receive: Any, send: Any) -> object:
        return result

    assert result is _step(WebSocketMiddleware(app)({"type": "websocket"}, nothing, nothing))


def test_message_object_is_the_same(captured: Telemetry) -> None:
    """The server gets the very object that the application sent, unchanged."""
    message = {"type": "websocket.send", "text": "x", "extra": [1]}
    before = copy.deepcopy(message)
    taken: list[Any] = []

    async def send(message: Any) -> None:
        taken.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    _step(WebSocketMiddleware(app)({"type": "websocket"}, nothing, send))

    assert message is taken[0]
    assert before == message


def test_abandoned_conversation_ends_in_silence(captured: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine that is closed from another context, as garbage collection does, raises and logs nothing."""

    class Forever:
        def __await__(self) -> Generator[None, None, None]:
            yield None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Forever()

    conversation = WebSocketMiddleware(app)({"type": "websocket"}, nothing, nothing)
    contextvars.Context().run(conversation.send, None)

    contextvars.Context().run(conversation.close)

    assert [] == caplog.records


def test_abandoned_conversation_is_told(captured: Telemetry) -> None:
    """A connection whose coroutine is closed from another context is no longer active."""

    class Forever:
        def __await__(self) -> Generator[None, None, None]:
            yield None

    async def taken(message: Any) -> None:
        pass

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await Forever()

    conversation = WebSocketMiddleware(app)({"type": "websocket"}, nothing, taken)
    contextvars.Context().run(conversation.send, None)
    opened = len(captured.recorder.live)

    try:
        contextvars.Context().run(conversation.close)
    except ValueError:
        pass

    assert opened - 1 == len(captured.recorder.live)


def test_failure_while_a_connection_opens_lets_it_pass(captured: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that otel-ws cannot even open is served all the same."""
    monkeypatch.setattr(Connection, "__init__", broken)
    bare = run(PLAIN, ECHO, instrumented=False)

    instrumented = run(PLAIN, ECHO, instrumented=True)

    assert bare == instrumented


def _step(conversation: Any) -> Any:
    """Run a coroutine that never waits, without an event loop, and return what it returns."""
    try:
        contextvars.Context().run(conversation.send, None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the coroutine waits")
