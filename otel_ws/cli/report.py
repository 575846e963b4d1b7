"""What ``otel-ws check --leaks`` answers: places and numbers, as text for a person and as JSON for a machine.

It holds no value of what was searched, so that none can be printed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Leak:
    """One mark that left: by which signal and surface, where there, how often, and from where it came."""

    signal: str
    surface: str
    scope: str
    key: str | None
    item: int
    origin: str
    times: int

    def __str__(self) -> str:
        """The place as a line for a person."""
        where = [f"scope {self.scope}" if self.scope else "", f"key {self.key}" if self.key else ""]
        where.append(f"the {self.item}. of its batch" if self.item else "")
        inside = ", ".join(filter(None, where))
        return (
            f"{self.signal}: {self.surface}{f' ({inside})' if inside else ''} holds {self.origin}, {self.times} times"
        )


@dataclass(slots=True)
class Report:
    """What was driven, what was looked at, what leaked, and what keeps the answer from being a yes."""

    application: str
    mode: str = ""
    driven: dict[str, int] = field(default_factory=dict)
    marks: int = 0
    surfaces: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing leaked and enough was seen to say so."""
        return not self.leaks and not self.failures

    @property
    def values(self) -> int:
        """How many values were looked at."""
        return sum(values for values, _ in self.surfaces.values())


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data: one object a surface, one a leak."""
    return {
        "ok": report.ok,
        "application": report.application,
        "mode": report.mode,
        "driven": report.driven,
        "marks": report.marks,
        "values": report.values,
        "surfaces": [
            {"signal": signal, "surface": surface, "values": values, "leaks": leaks}
            for (signal, surface), (values, leaks) in report.surfaces.items()
        ],
        "leaks": [asdict(leak) for leak in report.leaks],
        "warnings": report.warnings,
        "failures": report.failures,
    }


def as_text(report: Report) -> list[str]:
    """The report as lines."""
    driven = ", ".join(f"{count} {what}" for what, count in sorted(report.driven.items()) if count)
    lines = [f"{report.application}, gate {report.mode}; {report.marks} secrets; {driven or 'nothing driven'}", ""]
    lines.append(f"{'signal':12}{'surface':28}{'values':>8}{'leaks':>8}")
    for (signal, surface), (values, leaks) in report.surfaces.items():
        lines.append(f"{signal:12}{surface:28}{values or '-':>8}{leaks if values else '-':>8}")
    lines += ["", "-: nothing was exported there", *(f"leak     {leak}" for leak in report.leaks)]
    lines += [*(f"warning  {text}" for text in report.warnings), *(f"failure  {text}" for text in report.failures)]
    leaks = sum(leak.times for leak in report.leaks)
    places = f" in {len(report.leaks)} places" if leaks else ""
    lines.append(f"{'ok' if report.ok else 'failure':8} {report.values} values checked, {leaks} leaks{places}")
    return lines
