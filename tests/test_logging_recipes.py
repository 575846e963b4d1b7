"""The recipes of docs/logging.md, run as they stand there: an application's own lines carry its message's trace ids."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("opentelemetry.sdk")

import otel_ws

ROOT = Path(otel_ws.__file__).parents[1]
PAGE = Path(__file__).parents[1] / "docs" / "logging.md"
NEEDS = {"python-json-logger": "pythonjsonlogger", "structlog": "structlog"}
LOGS = {
    "python-json-logger": "import logging\nlogger = logging.getLogger('shop')",
    "structlog": "import structlog\nlogger = structlog.stdlib.get_logger('shop')",
}
DRIVE = """
import asyncio, contextvars, json, logging, sys
from django.conf import settings
import django
django.setup()
{logger}
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from otel_ws import testing

class Asynchronous(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        logger.info("moved")
        logging.getLogger("library").warning("a library said so")

class Synchronous(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        logger.info("moved")
        logging.getLogger("library").warning("a library said so")

async def talk(application):
    script = [{{"type": "websocket.connect"}}, {{"type": "websocket.receive", "text": "x"}},
              {{"type": "websocket.disconnect", "code": 1000}}]
    async def receive():
        return script.pop(0)
    async def send(message):
        pass
    await application({{"type": "websocket", "path": "/", "headers": []}}, receive, send)

logger.info("nobody is connected")
with testing.capture(message_events="all") as telemetry:
    for consumer in (Asynchronous, Synchronous):
        asyncio.run(talk(consumer.as_asgi()))
    found = [event for event in telemetry.events() if event.name == "WS_MESSAGE"]
print(json.dumps([[f"{{one.trace_id:032x}}", f"{{one.span_id:016x}}"] for one in found]))
"""


def recipe(name: str, file: str) -> str:
    """One file of a recipe, as it stands in the documentation."""
    found = re.search(rf"<!-- recipe: {name}, {file} -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(params=list(NEEDS))
def lines(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """What an application with the recipe logged, and the ids of its messages' events."""
    name = request.param
    pytest.importorskip(NEEDS[name])
    project = tmp_path / "project"
    project.mkdir()
    (project / "__init__.py").touch()
    for file in ("logs.py", "settings.py"):
        (project / file).write_text(recipe(name, file))
    with (project / "settings.py").open("a") as more:
        more.write("\nSECRET_KEY = 'only-for-tests'\nUSE_TZ = True\n")
    done = subprocess.run(
        [sys.executable, "-c", DRIVE.format(logger=LOGS[name])],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "project.settings",
        },
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()], json.loads(done.stdout)


def test_a_recipe_puts_the_message_on_the_line(
    lines: tuple[list[dict[str, Any]], list[list[str]]],
) -> None:
    """Lines of the application and of libraries carry the ids of the message that was handled; others carry none."""
    logged, events = lines
    (outside,) = [one for one in logged if one["message"] == "nobody is connected"]
    own = [one for one in logged if one["message"] == "moved"]
    library = [one for one in logged if one["message"] == "a library said so"]

    assert (2, 2) == (len(own), len(set(map(tuple, events))))
    assert events == [[one["trace_id"], one["span_id"]] for one in own]
    assert events == [[one["trace_id"], one["span_id"]] for one in library]
    assert outside.get("trace_id") is None
    assert {"timestamp", "level", "logger"} <= set(own[0])
    assert ("shop", "library") == (own[0]["logger"], library[0]["logger"])
