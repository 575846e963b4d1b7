"""Six dashboards as code, one module each; ``generate.py`` writes them to ``grafana/dashboards`` as JSON.

It knows questions of the on-call engineer and the queries that answer them, and refuses to know how Grafana draws.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from collector.dashboards import connections, errors, layer, messages, platform, telemetry
from collector.dashboards.board import Board

FOLDER = Path(__file__).resolve().parent.parent / "grafana" / "dashboards"
MODULES = (connections, messages, layer, errors, platform, telemetry)


def boards() -> list[Board]:
    """Every dashboard, in the order in which one walks through them."""
    return [module.board() for module in MODULES]


def made() -> dict[Path, str]:
    """Every dashboard's file with its text."""
    texts = {}
    for board in boards():
        content = json.loads(json.dumps(board.build(), cls=JSONEncoder), object_hook=in_sight)
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
        texts[FOLDER / f"{board.name}.json"] = text + "\n"
    return texts


def in_sight(part: dict[str, Any]) -> dict[str, Any]:
    """Links and annotations stand above the panels: the SDK's types would put them into a menu."""
    return {key: value for key, value in part.items() if (key, value) != ("placement", "inControlsMenu")}
