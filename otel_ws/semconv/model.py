"""The shapes of a declaration: what there is to say about an attribute, a metric, a span and an event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

SCOPE_NAME: Final = "otel_ws"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
OTHER: Final = "_OTHER"
UNKNOWN: Final = "unknown"


class Kind(Enum):
    """The form that an attribute's value must have. There is no kind for free text."""

    ID = "id"
    CHOICE = "choice"
    CODE = "code"
    CODE_NAME = "code_name"
    TEMPLATE = "template"
    NUMBER = "number"
    FLAG = "flag"
    CLOSE_CODE = "close_code"


class Instrument(Enum):
    """How a metric's points behave, as in the OpenTelemetry metrics data model."""

    COUNTER = "counter"
    UP_DOWN = "up_down"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Level(Enum):
    """The severity of an event, as in the OpenTelemetry logs data model."""

    INFO = 9
    WARNING = 13
    ERROR = 17


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """One concept and its spelling on each signal: ``key`` on spans and log records, ``label``, ``field``."""

    key: str
    label: str | None
    field: str | None
    kind: Kind
    brief: str
    choices: tuple[str, ...] = ()
    adopted: bool = False


@dataclass(frozen=True, eq=False)
class Metric:
    """One instrument: its unit (UCUM), the attributes that it may carry and, for a histogram, its bounds."""

    name: str
    instrument: Instrument
    unit: str
    labels: tuple[Attribute, ...]
    brief: str
    bounds: tuple[float, ...] = ()
    live: bool = False
    spelling: tuple[tuple[Attribute, str], ...] = ()
    adopted: bool = False

    # Each answer of an endpoint asks for them many hundred times.
    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """The metric's label names, in the order of ``labels``."""
        spelled = dict(self.spelling)
        return tuple(spelled.get(attribute) or attribute.label or "" for attribute in self.labels)

    @cached_property
    def prometheus_name(self) -> str:
        """The name after the OTLP to Prometheus translation, without ``_bucket``, ``_sum`` and ``_count``."""
        base = self.name.replace(".", "_")
        suffix = {
            "s": "_seconds",
            "By": "_bytes",
            "1": "_ratio" if self.instrument is Instrument.GAUGE else "",
        }
        unit = suffix.get(self.unit, "")
        total = "_total" if self.instrument is Instrument.COUNTER else ""
        return base + ("" if base.endswith(unit) else unit) + total


@dataclass(frozen=True, slots=True, eq=False)
class SpanType:
    """One kind of span: the pattern of its name, its OpenTelemetry span kind and its attributes."""

    name: str
    kind: str
    attributes: tuple[Attribute, ...]
    brief: str


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """A log record with an event name: its level, its fixed sentence, and its fields beside the ids."""

    name: str
    level: Level
    message: str
    fields: tuple[Attribute, ...]
