"""Scenarios for Prometheus' own calculator, and the rules that it needs for them.

It knows what a rule is made of, and refuses to know what it is for.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.collector.stack import build
from tests.collector.stack.places import BUNDLE

RULES: Final = BUNDLE / "prometheus" / "rules"
Rule = dict[str, Any]


@cache
def files() -> dict[str, dict[str, Any]]:
    """The bundle's files of rules, by name."""
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))}


def rules() -> list[Rule]:
    """Every rule that the bundle has."""
    return [rule for content in files().values() for group in content["groups"] for rule in group["rules"]]


def name_of(rule: Rule) -> str:
    """What a rule records, or the alert that it is."""
    return str(rule.get("record") or rule["alert"])


def needed(*names: str) -> set[str]:
    """The names, and those of the rules that they are made of."""
    words = {name_of(rule): set[str]() for rule in rules()}
    for rule in rules():
        # Several rules may record parts of one thing.
        words[name_of(rule)] |= set(re.findall(r"[a-zA-Z_][\w:]*", rule["expr"]))
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        found |= waiting
        waiting = set().union(*(words[name] & set(words) for name in waiting)) - found
    return found


def run(folder: Path, scenarios: list[dict[str, Any]], *names: str) -> subprocess.CompletedProcess[str]:
    """What promtool says of some scenarios for rules of these names.

    Texts, which it would compare word by word, are left out; so are the rules that nobody needs here, because it
    evaluates all that it is given for each minute.
    """
    wanted = needed(*names)
    for file, content in files().items():
        groups = [
            {
                **group,
                "rules": [
                    {key: value for key, value in rule.items() if key != "annotations"}
                    for rule in group["rules"]
                    if name_of(rule) in wanted
                ],
            }
            for group in content["groups"]
        ]
        (folder / file).write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    test = folder / "test.yaml"
    test.write_text(yaml.safe_dump({"rule_files": ["*.yml"], "evaluation_interval": "1m", "tests": scenarios}))
    return subprocess.run(
        [str(build.program("promtool")), "test", "rules", str(test)], capture_output=True, text=True, check=False
    )
