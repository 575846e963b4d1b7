"""What a person sees at the end: the metrics, the last events, one whole trace, the search for leaks, the verdict."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
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
    print("\nOne conversation, as its spans tell it\n")
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
def trace_tree(received: Received) -> list[str]:
    """A connect span, the messages and the disconnect that link to it, and what happened below them."""
    every = list(exported.spans(received))
    ours = [span for scope, span in every if scope == OURS]
    below: defaultdict[bytes, list[tuple[str, Span]]] = defaultdict(list)
    for scope, span in every:
        below[span.parent_span_id].append((scope, span))
    linked: defaultdict[bytes, list[Span]] = defaultdict(list)
    for span in ours:
        for link in span.links:
            linked[link.span_id].append(span)
    connects = [span for span in ours if span.name.startswith("connect ") and span.span_id in linked]
    if not connects:
        return ["(no connect span was exported)"]
    connect = max(connects, key=lambda span: sum(2 + len(below[one.span_id]) * 100 for one in linked[span.span_id]))
    lines = [_line(connect, "", connect)]
    followers = sorted(linked[connect.span_id], key=lambda span: span.start_time_unix_nano)
    for place, span in enumerate(followers):
        last = place == len(followers) - 1
        lines.append(("└" if last else "├") + _line(span, "╌ link ╌ ", connect))
        for scope, child in below[span.span_id]:
            lines.append((" " if last else "│") + f"          └─ {_line(child, '', connect)}  (scope {scope})")
    return lines


def _line(span: Span, lead: str, connect: Span) -> str:
    said = exported.attributes(span.attributes)
    shown = ["ws.outcome", "ws.close.code", "ws.close.initiator", "error.type", "ws.message.size"]
    if span is connect:
        shown += ["user.id", "tournament.id", "match.id", "ws.role"]
    milliseconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    after = (span.start_time_unix_nano - connect.start_time_unix_nano) / 1e6
    words = " ".join(f"{key}={exported.plain(said[key])}" for key in shown if key in said)
    return f"{lead}{span.name}  +{after:.0f} ms, took {milliseconds:.1f} ms  trace {span.trace_id.hex()[:8]}…  {words}"
