"""What a person sees at the end: the metrics, the last events, one whole trace, the search for leaks, the verdict."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo import exported
from demo.compare import OURS, Check
from demo.leaks import Search

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from demo.sink import Received

EVENTS_OF_A_KIND = 2
SHOWN_DIFFERENCES = 60
_SAME_TO_ALL = {"transport"}


@dataclass
class Summary:
    """Everything that the demo found out."""

    server: str
    way: str
    seconds: float
    conversations: int
    messages: int
    checks: list[Check]
    surprises: list[str]
    searches: list[Search]
    log_hits: int
    events: list[str]
    # What a worker would have needed, if this machine lacks it.
    missing: str
    trace: list[str]

    @property
    def differences(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if not check.is_equal]

    @property
    def leaks(self) -> list[Search]:
        """The searches that found something where nothing may be."""
        return [search for search in self.searches if search.found and search.is_ours]

    @property
    def is_good(self) -> bool:
        """Whether all counts agree, nothing leaked, and the search itself is known to work."""
        return not (self.differences or self.surprises or self.leaks) and self.log_hits > 0

    def as_data(self) -> dict[str, Any]:
        """The summary for ``--json``."""
        return {
            "server": self.server,
            "way": self.way,
            "seconds": round(self.seconds, 1),
            "is_good": self.is_good,
            "conversations": self.conversations,
            "messages": self.messages,
            "checks": [check.as_data() for check in self.checks],
            "surprises": self.surprises,
            "leaks": [
                {"place": one.place, "checked": one.checked, "found": len(one.found), "where": sorted(set(one.found))}
                for one in self.searches
            ],
            "hits_in_server_log": self.log_hits,
            "events": [json.loads(line) for line in self.events],
            "trace": self.trace,
        }


def show(summary: Summary) -> None:
    """Print the summary."""
    print("\nMetrics (what the clients did, and what OTLP and Prometheus say)\n")
    print("\n".join(metric_table(summary.checks)))
    print(f"\nThe last events (JSON lines, up to {EVENTS_OF_A_KIND} of a kind)\n")
    print("\n".join(summary.events))
    if summary.missing:
        print("\nOne conversation, as the spans of the server tell it; a trace that crosses to a worker needs")
        print(f"{summary.missing}\n")
    else:
        print("\nOne conversation that crosses processes: to the worker (its spans say so) and back to the server\n")
    print("\n".join(summary.trace))
    print("\nSearched for names, e-mails, addresses, tokens, display names and exception texts\n")
    for search in summary.searches:
        print(f"  {search.place:<24} {search.checked:>8,} values checked   {len(search.found)} leaks")
        for where in sorted(set(search.found))[:5]:
            print(f"    found in {where}")
    print(f"  {'(the server log has them':<24} {summary.log_hits:>8,} times: the search works)")
    print()
    for text in summary.surprises:
        print(f"  SURPRISE  {text}")
    for check in summary.differences[:SHOWN_DIFFERENCES]:
        print(f"  DIFFERS   {check}")
    if len(summary.differences) > SHOWN_DIFFERENCES:
        print(f"  … and {len(summary.differences) - SHOWN_DIFFERENCES} more")
    checked = sum(one.checked for one in summary.searches)
    leaked = sum(len(one.found) for one in summary.leaks)
    print(
        f"{summary.server}, {summary.way}: {summary.conversations} conversations, {summary.messages} messages; "
        f"{len(summary.checks)} counts compared, {len(summary.differences)} differ; "
        f"{checked:,} exported values checked, {leaked} leaks; {summary.seconds:.0f} s. "
        f"{'All good.' if summary.is_good else 'FAILED.'}"
    )


def last_events(lines: list[str]) -> list[str]:
    """The last few JSON lines of each kind, in their order."""
    seen: Counter[str] = Counter()
    chosen = []
    for line in reversed(lines):
        name = json.loads(line)["event"]
        seen[name] += 1
        if seen[name] <= EVENTS_OF_A_KIND:
            chosen.append(line)
    return chosen[::-1]


def metric_table(checks: Iterable[Check]) -> list[str]:
    """One line for each series: expected, OTLP, Prometheus."""
    rows: defaultdict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for check in checks:
        if check.source in ("OTLP", "Prometheus"):
            shown = [(name, value) for name, value in check.labels if name not in _SAME_TO_ALL]
            title = f"{check.name}  ({', '.join(name for name, _ in shown)})" if shown else check.name
            labels = ", ".join(value or "-" for _, value in shown)
            rows[title, labels][check.source] = (check.expected, check.got)
    lines = [f"{'':<82} {'clients':>9} {'OTLP':>9} {'Prom.':>9}"]
    last = ""
    for (title, labels), by_source in rows.items():
        if title != last and labels:
            lines.append(title)
        last = title
        wanted = next(iter(by_source.values()))[0]
        got = [f"{by_source[one][1]:>9g}" if one in by_source else f"{'-':>9}" for one in ("OTLP", "Prometheus")]
        differs = any(expected != number for expected, number in by_source.values())
        row = f"  {labels}" if labels else title
        lines.append(f"{row:<82} {wanted:>9g} {' '.join(got)}{'  <--' if differs else ''}")
    return lines


# --- a trace --------------------------------------------------------------------------------------------------
class Story:
    """Spans of all processes, and what hangs below each: its children, and the traces that link to it."""

    def __init__(self, received: Received) -> None:
        self._at: dict[bytes, tuple[str, str, Span]] = {}
        self._below: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for process, scope, span in exported.spans_of_processes(received):
            self._at[span.span_id] = (process, scope, span)
            for above in (span.parent_span_id, *(link.span_id for link in span.links)):
                if above:
                    self._below[above].append(span.span_id)
        for below in self._below.values():
            below.sort(key=lambda one: self._at[one][2].start_time_unix_nano)

    def told(self) -> list[str]:
        """The conversation that went through most processes, as far as it went, with as little beside as there is."""
        connects = [one for one, (_, scope, span) in self._at.items() if scope == OURS and span.name[:8] == "connect "]
        if not connects:
            return ["(no connect span was exported)"]
        chosen = max(connects, key=self._worth)
        return list(self._lines(chosen, chosen, "", ""))

    def _whole(self, top: bytes) -> list[bytes]:
        return [top, *(one for below in self._below[top] for one in self._whole(below))]

    def _worth(self, one: bytes) -> tuple[int, int]:
        """Processes and names tell something, what repeats them does not."""
        spans = [self._at[below] for below in self._whole(one)]
        names = {span.name for _, _, span in spans}
        return len({process for process, _, _ in spans}), 3 * len(names) - len(spans)

    def _lines(self, one: bytes, top: bytes, lead: str, indent: str) -> Iterator[str]:
        yield lead + self._line(one, top)
        for place, below in enumerate(self._below[one]):
            is_last = place == len(self._below[one]) - 1
            is_child = self._at[below][2].parent_span_id == one
            branch = ("└" if is_last else "├") + ("─ " if is_child else "╌ link ╌ ")
            yield from self._lines(below, top, indent + branch, indent + ("   " if is_last else "│  "))

    def _line(self, one: bytes, top: bytes) -> str:
        (process, scope, span), first = self._at[one], self._at[top][2]
        said = exported.attributes(span.attributes)
        shown = ["ws.outcome", "ws.close.code", "ws.close.initiator", "error.type", "ws.message.size"]
        if one == top:
            shown += ["user.id", "tournament.id", "match.id", "ws.role"]
        milliseconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        after = (span.start_time_unix_nano - first.start_time_unix_nano) / 1e6
        words = [f"{key}={exported.plain(said[key])}" for key in shown if key in said]
        words += [] if scope == OURS else [f"(scope {scope})"]
        words += [] if process == self._at[top][0] else [f"[process {process}]"]
        took = f"+{after:.0f} ms, took {milliseconds:.1f} ms  trace {span.trace_id.hex()[:8]}…"
        return f"{span.name}  {took}  {' '.join(words)}".rstrip()
