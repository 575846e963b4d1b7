"""The dashboards as they are kept, and their queries as Grafana sends them: variables filled in, windows worked out.

It knows Grafana's rules for variables, and refuses to know which answer is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tests.collector.stack.places import BUNDLE

FOLDER: Final = BUNDLE / "grafana" / "dashboards"
# What one chooses of a variable; none stands for all.
Choice = Mapping[str, Sequence[str]]
ALL: Final[Choice] = {}
RANGE_SECONDS: Final = 3600
# An hour on a wide screen; Prometheus' data source allows no less than its own.
INTERVAL_SECONDS: Final = 15
SOURCES_FILE: Final = BUNDLE / "grafana" / "provisioning" / "datasources" / "stack.yaml"
(_LEAST,) = re.findall(r"timeInterval: (\d+)s", SOURCES_FILE.read_text(encoding="utf-8"))
STEP_SECONDS: Final = max(INTERVAL_SECONDS, int(_LEAST))
WINDOWS: Final = {
    # Four of the data source's, or one more than the panel's, whichever is longer.
    "__rate_interval": f"{max(STEP_SECONDS + int(_LEAST), 4 * int(_LEAST))}s",
    "__range": f"{RANGE_SECONDS}s",
}
SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|]")
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Target:
    """One query of a panel, and what is said of its answer."""

    board: str
    panel: str
    panel_type: str
    unit: str
    source: str
    query: str
    legend: str
    is_instant: bool
    has_exemplars: bool

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}"

    @property
    def labels(self) -> list[str]:
        """The labels that its legend names."""
        return re.findall(r"\{\{(\w+)\}\}", self.legend)

    def filled(self, choice: Choice) -> str:
        """The query as its backend gets it."""
        return fill(self.query, self.source, choice)


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by its uid."""
    made = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return {one["uid"]: one for one in made}


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel of a dashboard, rows and what they hide included."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def targets() -> list[Target]:
    """Every query of every panel."""
    return [
        Target(
            board=uid,
            panel=panel["title"],
            panel_type=panel["type"],
            unit=panel["fieldConfig"]["defaults"]["unit"],
            source=target["datasource"]["uid"],
            query=target.get("expr") or target["query"],
            legend=target.get("legendFormat", ""),
            is_instant=bool(target.get("instant")),
            has_exemplars=bool(target.get("exemplar")),
        )
        for uid, board in dashboards().items()
        for panel in panels(board)
        for target in panel.get("targets", [])
    ]


def fill(text: str, source: str, choice: Choice) -> str:
    """A query with its variables filled in, as the data source of its backend does it."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name == "__interval":
            return f"{STEP_SECONDS if source == 'prometheus' else INTERVAL_SECONDS}s"
        return WINDOWS.get(name) or chosen(source, choice.get(name, ()))

    return VARIABLE.sub(value, text)


def chosen(source: str, values: Sequence[str]) -> str:
    """What stands for the values that were chosen; all have a value of their own, which is taken as it is."""
    if not values:
        return ".*"
    if source == "tempo":
        return "|".join(values)
    escaped = [SPECIAL.sub(r"\\\\\g<0>", one.replace("\\", r"\\\\")) for one in values]
    joined = "|".join(escaped)
    return f"({joined})" if source == "prometheus" and len(escaped) > 1 else joined
