"""Each wall of the gate carries weight: with any single one switched off, the hostile values are found outside.

A wall is switched off in a copy of the package, by the text that `walls.json` names. Where a wall's absence cannot be
seen in OTLP bytes (the encoder leaves the field out), the canary at start-up must stop everything instead.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("hypothesis")

import otel_ws

HOUSE = Path(otel_ws.__file__).parent
WALLS = {one["wall"]: one for one in json.loads((Path(__file__).parent / "walls.json").read_text("utf-8"))["walls"]}
VALUES = "6000"
TOGETHER = 2

Results = dict[str, Future[dict[str, Any]]]


def without(wall: dict[str, str], folder: Path) -> Path:
    """A copy of the package in which one wall is switched off."""
    shutil.copytree(HOUSE, folder / "otel_ws", ignore=shutil.ignore_patterns("__pycache__"))
    place = folder / "otel_ws" / wall["file"]
    text = place.read_text(encoding="utf-8")
    assert 1 == text.count(wall["on"]), f"{wall['wall']} is not where walls.json says: {wall['file']}"
    place.write_text(text.replace(wall["on"], wall["off"]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def results(
    program: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Results]:
    """What was found without each wall that a chosen test asks for: two at a time."""
    chosen = (getattr(item, "callspec", None) for item in request.session.items)
    asked = {spec.params.get("wall") for spec in chosen if spec is not None}

    def find(wall: dict[str, str]) -> dict[str, Any]:
        folder = without(wall, tmp_path_factory.mktemp("without"))
        believed = ["--unproven"] if wall["seen"] == "search" else []
        return dict(program("hostile.py", "--values", VALUES, "--quiet", *believed, before=folder))

    with ThreadPoolExecutor(TOGETHER) as pool:
        yield {name: pool.submit(find, wall) for name, wall in WALLS.items() if name in asked}


@pytest.mark.parametrize("wall", [name for name, one in WALLS.items() if one["seen"] == "search"])
def test_without_this_wall_the_search_finds_something(results: Results, wall: str) -> None:
    """Switched off, and believed by the canary, the wall lets canaries of hostile values out."""
    assert {} != results[wall].result()["leaks"]


@pytest.mark.parametrize("wall", [name for name, one in WALLS.items() if one["seen"] == "canary"])
def test_without_this_wall_the_canary_stops_everything(results: Results, wall: str) -> None:
    """Switched off, the wall fails its proof at start-up, and nothing leaves by it any more."""
    found = results[wall].result()

    assert {} == found["leaks"]
    assert [] != found["missing"]


def test_with_every_wall_nothing_is_found(program: Any) -> None:
    """The same run on the package as it is, believed by the canary too, finds nothing."""
    found = program("hostile.py", "--values", VALUES, "--quiet", "--unproven")

    assert ({}, []) == (found["leaks"], found["missing"])
