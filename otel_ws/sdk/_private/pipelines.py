"""The SDK's pipelines, as far as the gate stands in them: where they begin, and which exporters they end in.

It knows where the SDK keeps things, and refuses to know what passes. Nothing is replaced: a method of one object is
put in another's place on that object alone, so that identity, type and signature stay what they were.
"""

from __future__ import annotations

import functools
import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import DEFAULT_TRACE_STATE

from otel_ws.sdk._private import ShapeError, _get, readers

PROVIDERS: Final = (TracerProvider, LoggerProvider, MeterProvider)
EXPORTERS: Final = (SpanExporter, LogRecordExporter, MetricExporter)
_PROCESSORS: Final = (SpanProcessor, LogRecordProcessor, MetricReader)
_PLAIN_PROCESSORS: Final = (
    SimpleSpanProcessor, BatchSpanProcessor, SimpleLogRecordProcessor, BatchLogRecordProcessor
)  # fmt: skip
# Code that hands on what it was given, or sends it, and adds nothing; exporters of that kind by their exact class.
_KNOWN_PROCESSORS: Final = ("opentelemetry.sdk.", "opentelemetry.processor.baggage", "otel_ws.")
_KNOWN_EXPORTERS: Final = (
    "opentelemetry.sdk.", "opentelemetry.exporter.otlp.", "opentelemetry.exporter.prometheus", "otel_ws.sdk."
)  # fmt: skip
_HOLDERS: Final = (list, tuple, set, frozenset, deque)
# How far from a processor an exporter is looked for: through processors and exporters that hold others.
_DEPTH: Final = 6
_HELD: Final = 100


class Standing:
    """Whether a method of ours is wanted where it stands; where it is not, it hands on."""

    __slots__ = ("is_wanted",)

    def __init__(self) -> None:
        self.is_wanted = True


Around = Callable[[Callable[..., Any], Standing], Callable[..., Any]]


class Undo:
    """Takes one method of ours away again; keeps neither the object nor the method alive."""

    __slots__ = ("_name", "_placed", "_standing", "_thing")

    def __init__(self, thing: object, name: str, placed: Any, standing: Standing) -> None:
        self._thing = weakly(thing)
        self._name = name
        self._placed = weakref.ref(placed)
        self._standing = standing

    @property
    def is_gone(self) -> bool:
        """Whether the object is no more."""
        return self._thing() is None

    def __call__(self) -> None:
        # Where somebody has put a method of theirs around ours since, ours stays and hands on.
        self._standing.is_wanted = False
        thing, placed = self._thing(), self._placed()
        if thing is not None and placed is not None and vars(thing).get(self._name) is placed:
            if placed._otel_ws_had is not None:
                setattr(thing, self._name, placed._otel_ws_had)
            else:
                delattr(thing, self._name)


def weakly(thing: object) -> Callable[[], Any]:
    """A reference that keeps nothing alive, where the object allows for one."""
    try:
        return weakref.ref(thing)
    except TypeError:
        return lambda: thing


def interpose(thing: object, name: str, around: Around, by: object) -> Undo:
    """Put ``around(method, standing)`` in place of one object's (or class's) method; returns what undoes it.

    Raises:
        ShapeError: there is no such method, or the object takes no attribute.
    """
    original = _get(thing, name)
    had = vars(thing).get(name) if hasattr(thing, "__dict__") else None
    standing = Standing()
    placed: Any = functools.wraps(original)(around(original, standing))
    placed._otel_ws_by = by
    placed._otel_ws_had = had
    # A stranger's ``functools.wraps`` copies the marks of ours onto theirs.
    placed._otel_ws_placed = weakref.ref(placed)
    try:
        setattr(thing, name, placed)
    except (AttributeError, TypeError):
        raise ShapeError(f"{type(thing).__name__}.{name}") from None
    return Undo(thing, name, placed, standing)


def is_interposed(thing: object, name: str, by: object) -> bool:
    """Whether a method in the chain on this object is the one that ``by`` put there."""
    method: Any = getattr(thing, "__dict__", {}).get(name)
    while method is not None:
        if getattr(method, "_otel_ws_by", None) is by:
            return True
        method = getattr(method, "__wrapped__", None)
    return False


def is_called(thing: object, name: str, by: object) -> bool:
    """Whether a call of that method by its name comes to the one that ``by`` put there first."""
    method = getattr(thing, name, None)
    return getattr(method, "_otel_ws_by", None) is by and method._otel_ws_placed() is method  # type: ignore[union-attr]


def is_patched(thing: object, name: str) -> bool:
    """Whether somebody else has put a method of theirs in this one's place, on this object alone."""
    method = getattr(thing, "__dict__", {}).get(name)
    if method is None:
        return False
    placed = getattr(method, "_otel_ws_placed", None)
    return placed is None or placed() is not method


# --- where telemetry enters -------------------------------------------------------------------------------------
def entrance(provider: object) -> Any:
    """What every span or log record of a provider goes through first: its composite of processors.

    Tracers and loggers keep a reference to it, so it is never another one.
    """
    name = "_active_span_processor" if isinstance(provider, TracerProvider) else "_multi_log_record_processor"
    return _get(provider, name)


def processors_of(entrance: object) -> tuple[Any, ...]:
    """The processors that a composite hands to, by now."""
    for name in ("_span_processors", "_log_record_processors"):
        found = getattr(entrance, name, None)
        if isinstance(found, tuple):
            return found
    raise ShapeError("_span_processors")


def readers_of(provider: MeterProvider) -> list[MetricReader]:
    """The readers that a provider has by now."""
    return readers(provider)


def providers_alive() -> list[Any]:
    """Every provider of the SDK in this process, whoever holds it: an object refers to its class."""
    kinds: set[type] = set(PROVIDERS)
    for kind in PROVIDERS:
        kinds.update(_below(kind))
    return [one for one in gc.get_referrers(*kinds) if type(one) in kinds]


def _below(kind: type) -> Iterator[type]:
    below: list[type] = kind.__subclasses__()
    for one in below:
        yield one
        yield from _below(one)


# --- where telemetry leaves -------------------------------------------------------------------------------------
def exporters_in(holder: object) -> list[Any]:
    """The exporters that a processor or reader holds, also through processors and exporters that hold others.

    Looks only into instance dictionaries, by type: no method or property of a stranger's runs.
    """
    found: list[Any] = []
    seen = {id(holder)}
    layer: list[object] = [holder]
    for _ in range(_DEPTH):
        below: list[object] = []
        for thing in layer:
            exporter_places = _is_plain(thing) or _is_batch(thing)
            for name, value in list(getattr(thing, "__dict__", {}).items())[:_HELD]:
                for one in _held(value):
                    is_exporter = _is(one, EXPORTERS) or (
                        exporter_places and name in {"span_exporter", "_exporter"} and one is not None
                    )
                    if id(one) in seen or not (is_exporter or _is(one, _PROCESSORS) or _is_batch(one)):
                        continue
                    seen.add(id(one))
                    below.append(one)
                    if is_exporter:
                        found.append(one)
        layer = below
    return found


def _held(value: object, depth: int = 0) -> Iterator[Any]:
    """What an attribute holds: itself, or what is in its containers, of the language's own kinds alone."""
    if depth < 3 and type(value) is dict:
        value = list(value.values())
    if depth < 3 and type(value) in _HOLDERS:
        for one in list(value)[:_HELD]:  # type: ignore[call-overload]
            yield from _held(one, depth + 1)
    else:
        yield value


def may_ship_by_itself(processor: object) -> bool:
    """Whether a processor of other make takes telemetry, and could send it where nobody looks for an exporter.

    One that looks at starting spans holds them before they are cleared; one that takes them at their end is harmless
    where it holds exporters, for those have walls.
    """
    if _overrides(processor, ("on_start", "_on_ending")):
        return True
    return _overrides(processor, ("on_end", "on_emit")) and not exporters_in(processor)


def _overrides(processor: object, names: tuple[str, ...]) -> bool:
    for name in names:
        if is_patched(processor, name):
            return True
        for kind in type(processor).__mro__:
            if name in vars(kind):
                if not _is_from(kind, _KNOWN_PROCESSORS):
                    return True
                break
    return False


def _is_from(kind: type, modules: tuple[str, ...]) -> bool:
    return str(kind.__module__).startswith(modules)


def is_composite(processor: object) -> bool:
    """Whether it is the SDK's own processor of several processors."""
    held = getattr(processor, "__dict__", {})
    return _is_from(type(processor), _KNOWN_PROCESSORS) and (
        "_span_processors" in held or "_log_record_processors" in held
    )


def is_known_exporter(exporter: object) -> bool:
    """Whether it sends what it is given and changes nothing: the SDK's own, OTLP's, Prometheus's, ours."""
    return _is_from(type(exporter), _KNOWN_EXPORTERS)


def ends_of(processor: object) -> list[Any]:
    """The exporters of one of the SDK's plain processors, by now: somebody may have put another one there."""
    own: dict[str, Any] = getattr(processor, "__dict__", {})
    inner: dict[str, Any] = getattr(own.get("_batch_processor"), "__dict__", {})
    return [held[name] for held in (own, inner) for name in ("span_exporter", "_exporter") if name in held]


def is_plain_processor(processor: object) -> bool:
    """Whether it is the SDK's Simple or Batch processor, which hands on what it was given."""
    return _is_plain(processor) and not any(is_patched(processor, name) for name in ("on_end", "on_emit"))


def _is_plain(thing: object) -> bool:
    return type(thing) in _PLAIN_PROCESSORS


def _is_batch(thing: object) -> bool:
    return type(thing).__name__ == "BatchProcessor" and type(thing).__module__.startswith("opentelemetry.sdk.")


def _is(thing: object, kinds: tuple[type, ...]) -> bool:
    # By ``type``: a lazy object answers ``isinstance`` by evaluating itself.
    return any(kind in kinds for kind in type(thing).__mro__)


# --- a quick look at a span -------------------------------------------------------------------------------------
# Others may show by their members what is not in these places.
_EXACT: Final = frozenset({ReadableSpan, SdkSpan, getattr(sdk_trace, "_Span", SdkSpan)})


def bare_parts(span: Any) -> tuple[Any, Any, Any, Any] | None:
    """Name, scope, resource and attributes of a span that has neither events, links, status text nor trace state.

    ``None`` for any other span. The public members copy all that they show, at ten times the price.
    """
    if type(span) not in _EXACT:
        return None
    context, parent = span._context, span._parent
    if (context is not None and context.trace_state is not DEFAULT_TRACE_STATE) or (
        parent is not None and parent.trace_state is not DEFAULT_TRACE_STATE
    ):
        return None
    events, links = span._events, span._links
    if type(events) is type(links) is BoundedList:
        events, links = events._dq, links._dq  # type: ignore[attr-defined]
    if events or links or span._status._description:
        return None
    attributes = span._attributes
    if type(attributes) is BoundedAttributes:
        attributes = attributes._dict
    return span._name, span._instrumentation_scope, span._resource, attributes


def attributes_of(thing: Any) -> Any:
    """The attributes of a span, event, link or log record: the dictionary inside the SDK's, at a fifth of the price."""
    found = getattr(thing, "_attributes", None)
    if found is None:
        found = thing.attributes
    if type(found) is BoundedAttributes:
        inside = getattr(found, "_dict", None)
        if type(inside) is dict:
            return inside
    return found
