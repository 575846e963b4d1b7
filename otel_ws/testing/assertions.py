"""What a test may claim about captured telemetry, with failures that say what was there instead.

A failure never shows a value that may not leave. It refuses to know how the telemetry was captured.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_ws import semconv
from otel_ws.foreign import Foreign
from otel_ws.semconv import Metric
from otel_ws.testing import places


class Assertions:
    """Assertions over what ``spans``, ``value`` and ``points`` tell."""

    foreign: Foreign

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Finished spans, in the order in which they ended: all, or those of one name."""
        raise NotImplementedError

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """The points of a metric: sorted attributes to value, or to count for a histogram."""
        raise NotImplementedError

    def _places(self) -> list[str]:
        raise NotImplementedError

    def span(self, name: str) -> ReadableSpan:
        """The one finished span of that name.

        Raises:
            AssertionError: there is none, or more than one.
        """
        __tracebackhide__ = True
        found = self.spans(name)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans are named '{name}' instead of one; {self._names()}")
        return found[0]

    def assert_ids_only(self) -> None:
        """Every captured value is an id, a closed choice, a code name or a number that is known or declared.

        Raises:
            AssertionError: some are not; it lists their places, and never a value.
        """
        __tracebackhide__ = True
        found = Counter(self._places())
        if found:
            lines = (f"  {place}{f' ({times} times)' if times > 1 else ''}" for place, times in sorted(found.items()))
            raise AssertionError(
                "telemetry holds what is no known id, choice, code name or number:\n"
                + "\n".join(lines)
                + "\nRemove it, or declare what it is with otel_ws.declare()."
            )

    def assert_connections(
        self,
        accepted: int | None = None,
        *,
        rejected: int | None = None,
        open: int | None = None,  # noqa: A002 - the word for it
        **labels: str,
    ) -> None:
        """So many connections were accepted, were rejected, are open now; only those with these labels.

        Labels: ``route``, ``role``, ``scope_type``, ``transport``, ``reason``, ``close_code``, ``subprotocol``.

        Raises:
            AssertionError: it were others; it shows all that were counted.
            TypeError: nothing is claimed, or a label is not one of that metric.
        """
        __tracebackhide__ = True
        self._assert_counts(
            ("accepted", accepted, semconv.CONNECTIONS, {"status": "connected"}),
            ("rejected", rejected, semconv.REJECTIONS, {}),
            ("open", open, semconv.ACTIVE, {}),
            labels=labels,
        )

    def assert_messages(self, received: int | None = None, *, sent: int | None = None, **labels: str) -> None:
        """So many messages were received from clients, sent to them; only those with these labels.

        Labels: ``type`` (of received ones), ``status``, ``route``, ``transport``.

        Raises:
            AssertionError: it were others; it shows all that were counted.
            TypeError: nothing is claimed, or a label is not one of that metric.
        """
        __tracebackhide__ = True
        self._assert_counts(
            ("received", received, semconv.MESSAGES, {}),
            ("sent", sent, semconv.MESSAGES_SENT, {}),
            labels=labels,
        )

    def assert_linked(self, name: str, to: str) -> None:
        """Every span of that name has a link to a span named ``to``.

        Raises:
            AssertionError: there is no such span, or one has no such link.
        """
        __tracebackhide__ = True
        sources, targets = self.spans(name), self.spans(to)
        for wanted, found in ((name, sources), (to, targets)):
            if not found:
                raise AssertionError(f"no span is named '{wanted}'; {self._names()}")
        ids = {(span.context.trace_id, span.context.span_id) for span in targets if span.context is not None}
        for span in sources:
            linked = [(link.context.trace_id, link.context.span_id) for link in span.links]
            if ids.isdisjoint(linked):
                raise AssertionError(f"a span '{name}' has {len(linked)} links, none of them to a span '{to}'")

    def _assert_counts(self, *claims: tuple[str, int | None, Metric, dict[str, str]], labels: dict[str, str]) -> None:
        __tracebackhide__ = True
        made = [claim for claim in claims if claim[1] is not None]
        if not made:
            raise TypeError(f"say how many: {', '.join(claim[0] for claim in claims)}")
        for word, expected, metric, fixed in made:
            wanted = {**{_label(metric, name): str(value) for name, value in labels.items()}, **fixed}.items()
            points = self.points(metric.name)
            found = sum(value for key, value in points.items() if wanted <= set(key))
            if found != expected:
                raise AssertionError(
                    f"{found:g} {word} instead of {expected}{_listed(labels.items(), ' with ')}; "
                    f"{metric.name} counted{_counted(points)}"
                )

    def _names(self) -> str:
        names = Counter(places.shown(self.foreign, span) for span in self.spans())
        return (
            f"captured: {', '.join(f'{name} ({times})' for name, times in names.items())}"
            if names
            else ("no span was captured")
        )


def _label(metric: Metric, name: str) -> str:
    known = {}
    for attribute, label in zip(metric.labels, metric.label_names, strict=True):
        known["route" if attribute is semconv.ROUTE else label] = label
    if name not in known:
        raise TypeError(f"{metric.name} has no label {name}; it has {', '.join(known)}")
    return known[name]


def _listed(pairs: Any, before: str) -> str:
    text = ", ".join(f"{name}={value}" for name, value in pairs)
    return before + text if text else ""


def _counted(points: dict[tuple[tuple[str, Any], ...], Any]) -> str:
    return "".join(f"\n  {value:g}{_listed(key, ': ')}" for key, value in points.items()) or " nothing"
