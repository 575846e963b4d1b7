"""What a running bundle's files are made to wait for, where a test cannot: an alert's patience, the disk to watch.

It changes the files that were written for one stack, and refuses to know thresholds: those are the bundle's.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.collector.stack.programs import Stack


def shorten_alerts(stack: Stack) -> None:
    """A condition holds for a second, where the bundle wants minutes, and whoever speaks is soon known."""
    know_soon(stack)
    _in_rules(stack, r"\bfor: \d+m\b", "for: 1s")


def know_soon(stack: Stack) -> None:
    """Whoever was heard of a second ago is known, where the bundle wants minutes: what is new of it counts whole."""
    _in_rules(stack, r"\boffset (6m|55m)\b", "offset 1s")


def _in_rules(stack: Stack, old: str, new: str) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (stack.places.files / "prometheus/rules").glob("*.yml")}
    if not any(re.search(old, text) for text in texts.values()):
        raise LookupError(f"no rule says {old} any more")
    for path, text in texts.items():
        path.write_text(re.sub(old, new, text), encoding="utf-8")


def open_all_hours(stack: Stack) -> None:
    """Business is at any hour of any day."""
    file = stack.places.files / "prometheus" / "rules" / "alerts-connections.yml"
    text = file.read_text(encoding="utf-8")
    for old, new in (("hour() >= 8 < 18", "hour() >= 0 < 24"), ("day_of_week() > 0 < 6", "day_of_week() >= 0 < 7")):
        if old not in text:
            raise LookupError(f"{file.name} does not say {old!r} any more")
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def set_in_collector(stack: Stack, old: str, new: str) -> None:
    """Say something else in the collector's file.

    Raises:
        LookupError: The file does not say it.
    """
    file = stack.places.files / "otelcol" / "collector.yaml"
    text = file.read_text(encoding="utf-8")
    if old not in text:
        raise LookupError(f"collector.yaml does not say {old!r} any more")
    file.write_text(text.replace(old, new), encoding="utf-8")


def watch_disk(stack: Stack, disk: Path) -> None:
    """The disk whose room is told; one in memory is a disk, too."""
    set_in_collector(stack, "mount_points: [/]", f"mount_points: [{disk}]")
    set_in_collector(stack, "      filesystem:\n", "      filesystem:\n        include_virtual_filesystems: true\n")
