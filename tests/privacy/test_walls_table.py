"""The table of walls, by which `test_walls.py` switches each off, says where they are: checked with every test run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import otel_ws

HOUSE = Path(otel_ws.__file__).parent
WALLS = json.loads((Path(__file__).parent / "walls.json").read_text(encoding="utf-8"))["walls"]


@pytest.mark.parametrize("row", WALLS, ids=lambda row: row["wall"])
def test_a_wall_is_where_the_table_says(row: dict[str, str]) -> None:
    """What the table names stands once in the file that it names; who moves a wall moves its row."""
    assert 1 == (HOUSE / row["file"]).read_text(encoding="utf-8").count(row["on"])
