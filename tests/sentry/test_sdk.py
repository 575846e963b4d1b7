"""The real sentry-sdk with ``scrub`` in every place that takes it, and what its transport was given."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment

import otel_ws

pytest.importorskip("sentry_sdk")
pytest.importorskip("channels")
DRIVEN = Path(__file__).with_name("driven.py")
MARK = re.compile(r"qzx[.-]([a-z_.]+)")


def drive(*arguments: str) -> list[str]:
    """Run the program; returns the envelopes."""
    done = subprocess.run(
        [sys.executable, str(DRIVEN), *arguments],
        env={**bare_environment(), "PYTHONPATH": str(Path(otel_ws.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def scrubbed() -> list[str]:
    """What is sent with ``scrub``."""
    return drive()


@pytest.fixture(scope="module")
def raw() -> list[str]:
    """What is sent without it."""
    return drive("raw")


def found(envelopes: list[str]) -> set[str]:
    """The places whose secrets are in the envelopes."""
    text = "\n".join(envelopes).lower()
    return set(MARK.findall(text)) | ({"client address"} if "203.0.113" in text else set())


def items(envelopes: list[str], kind: str) -> list[Any]:
    """The payloads of one type."""
    result = []
    for envelope in envelopes:
        lines = envelope.split("\n")
        for head, payload in zip(lines[1::2], lines[2::2], strict=False):
            if json.loads(head)["type"] == kind:
                result.append(json.loads(payload))
    return result


def test_nothing_marked_is_sent(scrubbed: list[str]) -> None:
    """Of the secrets in messages, exceptions, locals, requests, users, tags, spans and headers none is in the bytes."""
    assert set() == found(scrubbed)


def test_the_search_finds_what_is_there(raw: list[str]) -> None:
    """Without ``scrub`` the same search finds secrets from more than fifty places."""
    places = found(raw)

    assert len(places) > 50
    assert {"view.local", "cookie", "query", "sql", "email", "attachment", "baggage_transaction"} <= places


def test_the_same_items_are_sent(scrubbed: list[str], raw: list[str]) -> None:
    """Every event, transaction and log still arrives; feedback, undeclared monitors and metrics do not."""
    assert {kind: len(items(raw, kind)) for kind in ("transaction", "log")} == {
        kind: len(items(scrubbed, kind)) for kind in ("transaction", "log")
    }
    assert len(items(raw, "event")) - 1 == len(items(scrubbed, "event"))
    assert ["nightly"] == [one["monitor_slug"] for one in items(scrubbed, "check_in")]
    assert [] == items(scrubbed, "trace_metric")


def test_codes_and_ids_stay(scrubbed: list[str]) -> None:
    """An event keeps the tournament, that it was a WebSocket, the user's id, the release and the trace."""
    (event,) = [one for one in items(scrubbed, "event") if one.get("tags", {}).get("tournament_id") == "7"][1:2]
    trace = event["contexts"]["trace"]

    assert "true" == event["tags"]["websocket"]
    assert ("tournament@1.4.2", "production", "python") == (
        event["release"],
        event["environment"],
        event["platform"],
    )
    assert "4bf92f3577b34da6a3ce929d0e0e4736" == trace["trace_id"]
    assert re.fullmatch("[0-9a-f]{16}", trace["span_id"])
    assert {"id": "42"} == items(scrubbed, "event")[-1]["user"]


def test_an_exception_keeps_its_place_in_the_code(scrubbed: list[str]) -> None:
    """Type, module, function and line of each frame stay; values, files, locals and source lines go."""
    exceptions = items(scrubbed, "event")[0]["exception"]["values"]
    frames = exceptions[-1]["stacktrace"]["frames"]

    assert ["KeyError", "PrizeError"] == [one["type"] for one in exceptions]
    assert ("__main__", "fail") == (frames[-1]["module"], frames[-1]["function"])
    assert frames[-1]["lineno"] > 0
    assert {"module", "function", "lineno", "in_app"} >= {key for frame in frames for key in frame}
    assert not any("value" in one for one in exceptions)


def test_a_transaction_keeps_its_route_and_its_spans(scrubbed: list[str]) -> None:
    """The route's template, the operations and the SQL verb stay, with their times."""
    transaction = items(scrubbed, "transaction")[0]
    database = [span for span in transaction["spans"] if span.get("op") == "db"]

    assert "/orders/{name}/" == transaction["transaction"]
    assert "http.server" == transaction["contexts"]["trace"]["op"]
    assert "SELECT" in [span.get("description") for span in database]
    assert all(span["start_timestamp"] and span["timestamp"] for span in transaction["spans"])
    assert "POST" == transaction["request"]["method"]


def test_a_log_keeps_its_level_and_ids(scrubbed: list[str]) -> None:
    """A log's text is a fixed sentence; its level, ids and line stay."""
    (logs,) = items(scrubbed, "log")
    said = [one for one in logs["items"] if "tournament_id" in one["attributes"]]

    assert {"Text removed by otel-ws."} == {one["body"] for one in logs["items"]}
    assert [("warn", "7")] == [(one["level"], one["attributes"]["tournament_id"]["value"]) for one in said]
