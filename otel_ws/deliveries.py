"""The offsets of one template's series of the channel layer, looked up once, and which template a name belongs to.

A group or channel is known to readers by a template that the application declared, and by no name of its own. It
refuses to know channel layers, and when anything happens.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Final

from otel_ws.ledger import Ledger
from otel_ws.policy import Policy
from otel_ws.semconv import LAYER_CONSUMED, LAYER_LAG, LAYER_SENT, MESSAGE_WAIT, MESSAGING_SYSTEM, OTHER
from otel_ws.tally import Cells

# So many names are remembered with their template; after that they are looked at anew.
NAMES_LIMIT: Final = 4096
# Channels refuses a name of this length, and whoever makes names of what a client says may try.
_TOO_LONG: Final = 100
SYSTEM: Final = MESSAGING_SYSTEM.choices[0]
_PLACE: Final = re.compile(r"\{[^{}]*\}")
_TIMES: Final = LAYER_LAG.bounds
_SUM: Final = len(_TIMES) + 1
# Most values are in the first bucket; one comparison is cheaper than a search.
_SHORT: Final = _TIMES[0]
assert MESSAGE_WAIT.bounds == _TIMES


class Delivery:
    """The busy series of one template."""

    __slots__ = ("_consumed", "_lag", "_ledger", "_sent", "template")

    def __init__(self, ledger: Ledger, template: str) -> None:
        self.template = template
        self._ledger = ledger
        self._sent: dict[tuple[str, str], int] = {}
        self._consumed: int = ledger.series(LAYER_CONSUMED, (SYSTEM, "receive", template))
        self._lag: int = ledger.series(LAYER_LAG, (template,))

    def sent(self, cells: Cells, operation: str, error_type: str) -> None:
        """The layer took a message, or raised."""
        offset = self._sent.get((operation, error_type))
        if offset is None:
            offset = self._ledger.series(LAYER_SENT, (SYSTEM, operation, self.template, error_type))
            self._sent[operation, error_type] = offset
        cells[offset] += 1.0

    def consumed(self, cells: Cells) -> None:
        """A message was handed to whoever asked for it."""
        cells[self._consumed] += 1.0

    def handled(self, cells: Cells, wait: int, seconds: float) -> float:
        """A message that was sent so long ago was handed to its handler; returns what was counted.

        ``wait``: the offset of the wait at the handler's route. Clocks of two hosts differ: a message from the future
        came at once.
        """
        cells[self._consumed] += 1.0
        lag = self._lag
        if seconds <= _SHORT:
            if seconds < 0.0:
                seconds = 0.0
            cells[lag] += 1.0
            cells[wait] += 1.0
        else:
            bucket = bisect_left(_TIMES, seconds)
            cells[lag + bucket] += 1.0
            cells[wait + bucket] += 1.0
        cells[lag + _SUM] += seconds
        cells[wait + _SUM] += seconds
        return seconds


class Deliveries:
    """The series of every template, and the template of every name."""

    def __init__(self, ledger: Ledger, policy: Policy) -> None:
        self._ledger = ledger
        self._templates = policy.templates
        self.by_template: dict[str, Delivery] = {}
        self._by_name: dict[str, Delivery] = {}
        # Names of groups and channels that match no template: they stay here, and only their number is told.
        self._undeclared: set[str] = set()
        # The literal parts of each template.
        self._patterns: list[tuple[list[str], str]] = []
        self._known = 0

    def of(self, template: str) -> Delivery:
        """The series of a template; of an undeclared one, those of ``_OTHER``."""
        found = self.by_template.get(template)
        if found is None:
            if template != OTHER and template not in self._templates:
                return self.of(OTHER)
            found = self.by_template[template] = Delivery(self._ledger, template)
        return found

    def of_name(self, name: object) -> Delivery:
        """The series of the template that a group's or channel's name was made from."""
        if len(self._templates) != self._known:
            self._learn()
        if type(name) is not str or len(name) >= _TOO_LONG:
            return self.of(OTHER)
        found = self._by_name.get(name)
        if found is None:
            found = self.of(next((template for literal, template in self._patterns if _fits(name, literal)), OTHER))
            if len(self._by_name) >= NAMES_LIMIT:
                self._by_name.clear()
            self._by_name[name] = found
            if found.template == OTHER and "!" not in name and len(self._undeclared) < NAMES_LIMIT:
                self._undeclared.add(name)
        return found

    def undeclared(self) -> int:
        """How many names of groups and of named channels, at most ``NAMES_LIMIT``, belonged to no template."""
        if len(self._templates) != self._known:
            self._learn()
        return len(self._undeclared)

    def _learn(self) -> None:
        templates = [str(one) for one in tuple(self._templates)]
        self._known = len(templates)
        # The one that says most of the name itself comes first: `match_{id}_staff` before `match_{id}`.
        templates.sort(key=lambda one: (-len(_PLACE.sub("", one)), one))
        self._patterns = [(_PLACE.split(one), one) for one in templates]
        self._by_name.clear()
        self._undeclared = {name for name in tuple(self._undeclared) if self.of_name(name).template == OTHER}


def _fits(name: str, literal: list[str]) -> bool:
    """Whether a name is those literal parts with something between them; in one pass, for names may be hostile."""
    first, *rest = literal
    if not rest:
        return name == first
    if not name.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = name.find(part, at + 1)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - len(rest[-1]) > at and name.endswith(rest[-1])
