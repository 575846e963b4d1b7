"""What all tests share: Django's settings in code, captured telemetry, a clock of one's own, a scripted server.

Imports nothing that a base install does not have.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from doubles import Clock
from surroundings import RUNTIME_DIR

from otel_ws import faults

if TYPE_CHECKING:
    from otel_ws.testing import Telemetry

if find_spec("hypothesis") is not None:
    import hypothesis

    # No test is timed: a busy machine is no defect.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")

if find_spec("django") is not None:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            SECRET_KEY="only-for-tests",
            ALLOWED_HOSTS=["*"],
            USE_TZ=True,
            INSTALLED_APPS=[],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        )
        django.setup()


class Server:
    """An ASGI server with one connection: hands out a script of messages and keeps what the application sent.

    A script's item is a message, an exception that ``receive`` raises, or a callable that is called when its turn
    comes (with the server; its awaitable, if any, is awaited) and hands out nothing. When the script is over,
    ``receive`` waits for ever.
    """

    def __init__(self, application: Any, *script: Any, path: str = "/", **scope: Any) -> None:
        self.application = application
        self.script = list(script)
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "subprotocols": [],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
            "scheme": "ws",
            "extensions": {"websocket.http.response": {}},
            **scope,
        }
        self.sent: list[Any] = []
        self.on_send: Callable[[Any], Awaitable[None] | None] | None = None
        self.task: asyncio.Task[Any] | None = None

    async def receive(self) -> MutableMapping[str, Any]:
        """Hand out the script's next message."""
        while self.script:
            item = self.script.pop(0)
            if isinstance(item, BaseException):
                raise item
            if not callable(item):
                return item  # type: ignore[no-any-return]
            waiting = item(self)
            if waiting is not None:
                await waiting
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Any) -> None:
        """Keep a message of the application."""
        if self.on_send is not None:
            waiting = self.on_send(message)
            if waiting is not None:
                await waiting
        self.sent.append(message)

    async def run(self) -> Any:
        """Run the application in a task with an empty context, as servers do; returns or raises what it does."""
        self.task = asyncio.get_running_loop().create_task(
            self.application(self.scope, self.receive, self.send), context=contextvars.Context()
        )
        async with asyncio.timeout(10):
            return await self.task

    def cancel(self, _server: object = None) -> None:
        """Cancel the application: for a script, or from outside."""
        assert self.task is not None
        self.task.cancel()

    def types(self) -> list[Any]:
        """The types of what was sent."""
        return [message["type"] for message in self.sent]


@pytest.fixture(scope="session", autouse=True)
def _runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs that tests start meet in a folder of this run, and leave nothing in the machine's memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RUNTIME_DIR, str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def server() -> type[Server]:
    """The scripted server's class."""
    return Server


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Everything that otel-ws emits during the test, with an event for every message."""
    from otel_ws import testing

    with testing.capture(message_events="all") as captured:
        yield captured


@pytest.fixture
def no_faults() -> Iterator[None]:
    """Fail a test in which otel-ws itself failed, though it hid that from the application."""
    faults.reset()
    yield
    assert faults.snapshot() == {}
