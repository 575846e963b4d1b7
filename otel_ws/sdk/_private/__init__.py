"""Every private touch of the OpenTelemetry SDK, each with its reason and a check of its shape.

Written against 1.39 to 1.45. Where a shape is not as expected, ``ShapeError`` sends the caller to the public way,
which is slower and otherwise the same.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import Histogram as ApiHistogram
from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits, ReadWriteLogRecord
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal.exemplar import Exemplar as Exemplar
from opentelemetry.sdk.metrics.export import AggregationTemporality, ExponentialHistogram, MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import Link, SpanContext, Status


class ShapeError(Exception):
    """The installed SDK does not look as expected here; the text names the place."""


def _get(thing: object, path: str) -> Any:
    for name in path.split("."):
        try:
            thing = getattr(thing, name)
        except AttributeError:
            raise ShapeError(path) from None
    return thing


def is_proxy(provider: object) -> bool:
    """Whether the API's stand-in is there because nobody has set a provider yet; only its name tells."""
    return type(provider).__name__.lstrip("_").startswith("Proxy")


# --- metrics: the API has no observable histogram, so points are added to what a reader receives ----------------
def readers(provider: MeterProvider) -> list[MetricReader]:
    """The provider's readers, late ones included."""
    return list(_get(provider, "_measurement_consumer._reader_storages"))


def real(instrument: ApiHistogram) -> ApiHistogram:
    """The SDK's own instrument, where ours was made before the provider was set."""
    return getattr(instrument, "_real_instrument", None) or instrument


def is_enabled(instrument: ApiHistogram) -> bool:
    """Whether its meter is on (SDKs before 1.40 have no switch)."""
    enabled = getattr(instrument, "_is_enabled", None)
    return bool(enabled()) if callable(enabled) else True


def scope_of(instrument: ApiHistogram) -> Any:
    """The instrumentation scope under which the SDK collects it."""
    return _get(instrument, "instrumentation_scope")


def is_matched_by_view(provider: MeterProvider, instrument: ApiHistogram) -> bool:
    """Whether a View of the user's is about this instrument."""
    return any(_get(view, "_match")(instrument) for view in _get(provider, "_sdk_config.views"))


def wants_exemplars(provider: MeterProvider) -> bool:
    """Whether the user left exemplars on."""
    return type(_get(provider, "_sdk_config.exemplar_filter")).__name__ != "AlwaysOffExemplarFilter"


def preference(reader: MetricReader, instrument: ApiHistogram) -> tuple[AggregationTemporality, bool]:
    """The reader's temporality for histograms, and whether it takes explicit buckets with our bounds."""
    temporality = _of(_get(reader, "_instrument_class_temporality"), instrument)
    aggregation = _of(_get(reader, "_instrument_class_aggregation"), instrument)
    plain = type(aggregation).__name__ in {"DefaultAggregation", "ExplicitBucketHistogramAggregation"}
    return temporality, plain and getattr(aggregation, "_boundaries", None) is None


def _of(by_class: dict[type, Any], instrument: ApiHistogram) -> Any:
    for kind, value in by_class.items():
        if isinstance(instrument, kind):
            return value
    raise ShapeError("_instrument_class_temporality")


def intercept(reader: MetricReader, change: Callable[[Any], Any]) -> Callable[[], None]:
    """Let ``change`` see and replace what the reader receives; returns what undoes it."""
    original = _get(reader, "_receive_metrics")
    before = vars(reader).get("_receive_metrics")
    wanted = True

    def receive(metrics_data: Any, *args: Any, **kwargs: Any) -> None:
        original(change(metrics_data) if wanted else metrics_data, *args, **kwargs)

    reader._receive_metrics = receive  # type: ignore[method-assign]

    def undo() -> None:
        nonlocal wanted
        # Where somebody has put a method of theirs around ours since, ours stays and hands on.
        wanted = False
        if vars(reader).get("_receive_metrics") is receive:
            del vars(reader)["_receive_metrics"]
            if before is not None:
                reader._receive_metrics = before  # type: ignore[method-assign]

    return undo


# --- spans: what a span of ours needs of the tracer it stands in for --------------------------------------------
@dataclass(frozen=True, slots=True)
class TracerParts:
    """The parts of a provider that make and take a span."""

    processor: SpanProcessor
    # The hook that runs for every processor before any `on_end`; SDKs before 1.40 have none.
    on_ending: Callable[[Any], None] | None
    sampler: Sampler
    ids: IdGenerator
    # Holds the resource, which a forked child gets anew.
    tracer: Any
    scope: Any


def tracer_parts(provider: TracerProvider, tracer: object) -> TracerParts:
    """The parts, if a light span may stand in for the SDK's.

    Raises:
        ShapeError: limits are set, the tracer is off, SDK self-metrics are on, or something looks otherwise.
    """
    if not _is_roomy(_get(tracer, "_span_limits")):
        raise ShapeError("span limits are set")
    enabled = getattr(tracer, "_is_enabled", None)
    if callable(enabled) and not enabled():
        raise ShapeError("the tracer is off")
    if type(getattr(tracer, "_tracer_metrics", None)).__name__ not in {"NoneType", "NoOpTracerMetrics"}:
        raise ShapeError("SDK self-metrics are on")
    for name in ("_name", "_context", "_kind", "_attributes", "_events", "_links", "_status", "_resource"):
        if name not in vars(ReadableSpan("probe", resource=Resource({}))):
            raise ShapeError(f"ReadableSpan.{name}")
    _get(tracer, "resource")
    composite = _get(provider, "_active_span_processor")
    if not isinstance(_get(composite, "_span_processors"), tuple):
        raise ShapeError("_span_processors")
    return TracerParts(
        composite,
        getattr(composite, "_on_ending", None),
        provider.sampler,
        provider.id_generator,
        tracer,
        _get(tracer, "_instrumentation_scope"),
    )


def processors(processor: SpanProcessor) -> tuple[SpanProcessor, ...]:
    """The processors that a provider's composite hands spans to: another tuple after one was added."""
    return processor._span_processors  # type: ignore[attr-defined, no-any-return]


def is_blind_at_start(processor: SpanProcessor) -> bool:
    """Whether a processor does nothing when a span starts: then it cannot miss a real one."""
    # By type, so that no attribute of a stranger's is asked; one that is set on the object itself counts too.
    if "on_start" in getattr(processor, "__dict__", ()):
        return False
    if getattr(type(processor), "on_start", None) is SpanProcessor.on_start:
        return True
    return type(processor) in (BatchSpanProcessor, SimpleSpanProcessor)


def acts_on_ending(processor: SpanProcessor) -> bool:
    """Whether a processor does anything when a span is about to end."""
    return getattr(type(processor), "_on_ending", None) is not getattr(SpanProcessor, "_on_ending", None)


def always_samples_roots(sampler: Sampler) -> bool:
    """Whether every span without a parent is kept, as the default sampler does: then it need not be asked."""
    return sampler is ALWAYS_ON or (type(sampler) is ParentBased and getattr(sampler, "_root", None) is ALWAYS_ON)


def clear_sdk_span(span: Any, clear: Callable[[Any], dict[str, Any]], clear_event: Callable[[Any], Any]) -> None:
    """Clear what the application put on an SDK span of ours, before it ends: nothing public takes a value away."""
    found = _get(span, "_attributes")
    kept = clear(dict(found))
    for key in list(found):
        if key not in kept:
            del found[key]
        elif kept[key] != found[key]:
            found[key] = kept[key]
    if span._events:
        span._events = tuple(clear_event(event) for event in span._events)
    if any(link.attributes or link.context.trace_state for link in span._links):
        span._links = tuple(Link(ids_only(link.context), {}) for link in span._links)
    if span._status.description:
        span._status = Status(span._status.status_code)


def clear_contexts(span: Any, clear: Callable[[Any], Any]) -> None:
    """Clear the trace states of an SDK span and of its parent: nothing public replaces them."""
    span._context, span._parent = clear(_get(span, "_context")), clear(_get(span, "_parent"))


def ids_only(context: SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


# --- log records: one pass over attributes that are cleared already is enough -----------------------------------
@dataclass(frozen=True, slots=True)
class LoggerParts:
    """The parts of a logger that make and take a record."""

    processor: Any
    # Holds the resource, which a forked child gets anew.
    logger: Any
    scope: Any
    limits: Any


def logger_parts(provider: LoggerProvider, logger: object) -> LoggerParts:
    """The parts, if a light record may stand in for the SDK's.

    Raises:
        ShapeError: limits are set, the logger is off, or something looks otherwise.
    """
    enabled = getattr(logger, "_is_enabled", None)
    if callable(enabled) and not enabled():
        raise ShapeError("the logger is off")
    limits = getattr(logger, "_log_record_limits", None) or LogRecordLimits()
    composite = _get(logger, "_multi_log_record_processor")
    if not isinstance(_get(composite, "_log_record_processors"), tuple):
        raise ShapeError("_log_record_processors")
    fields = set(getattr(ReadWriteLogRecord, "__dataclass_fields__", ()))
    if fields != {"log_record", "resource", "instrumentation_scope", "limits"}:
        raise ShapeError("ReadWriteLogRecord")
    if not _is_roomy(limits):
        raise ShapeError("log record limits are set")
    if type(getattr(logger, "_logger_metrics", None)).__name__ not in {"NoneType", "NoOpLoggerMetrics"}:
        raise ShapeError("SDK self-metrics are on")
    _get(logger, "_resource")
    return LoggerParts(
        composite,
        logger,
        _get(logger, "_instrumentation_scope"),
        limits,
    )


def has_processors(parts: LoggerParts) -> bool:
    """Whether anybody takes log records."""
    return bool(parts.processor._log_record_processors)


def record_of(log_record: Any, parts: LoggerParts) -> ReadWriteLogRecord:
    """An SDK record around one whose attributes need no further pass."""
    made = object.__new__(ReadWriteLogRecord)
    made.log_record = log_record
    made.resource = parts.logger._resource
    made.instrumentation_scope = parts.scope
    made.limits = parts.limits
    return made


def _is_roomy(limits: object) -> bool:
    """Whether the limits are those of the specification or wider, so that ours never meet them."""
    return all(value is None or (not name.endswith("_length") and value >= 128) for name, value in vars(limits).items())


# --- ws_prometheus: the exporter's reader without its global registry, and whether this process serves -----------
def isolated(reader: Any, init: Callable[..., None]) -> Any:
    """Run the exporter's own constructor; the registry it is in is its own, not the one of the whole process."""
    from prometheus_client import REGISTRY, CollectorRegistry  # not there with every SDK

    registry = CollectorRegistry()
    if "registry" in inspect.signature(init).parameters:
        init(registry=registry)
    else:  # before 0.66 there is no choice
        init()
        REGISTRY.unregister(_get(reader, "_collector"))
        registry.register(_get(reader, "_collector"))
    return registry


def forget_collected(reader: Any) -> None:
    """A collection failed half-way: what it left would be shown twice."""
    _get(reader, "_collector._metrics_datas").clear()


def running_loops() -> int:
    """How many calls that run an asyncio loop the main thread is in: a supervisor is in none.

    Nothing public tells another thread; uvloop's own frames are not Python's, those of ``asyncio.Runner`` are.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    found = 0
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        found += module.startswith("asyncio.") and frame.f_code.co_name in {"run", "run_forever"}
        frame = frame.f_back
    return found


def leave_out_unprintable(data: Any) -> bool:
    """Take out what the exporter fails on, and with it on every other metric; whether there was such a thing."""
    found = False
    for scope in (scope for resource in data.resource_metrics for scope in resource.scope_metrics):
        shown = [metric for metric in scope.metrics if not isinstance(metric.data, ExponentialHistogram)]
        if len(shown) < len(scope.metrics):
            object.__setattr__(scope, "metrics", shown)
            found = True
    return found


BucketSeries = tuple[str, frozenset[tuple[str, str]], str]


def openmetrics_families(families: list[Any], exemplars: dict[BucketSeries, Any]) -> list[Any]:
    """One family a name, as OpenMetrics wants it, with exemplars; the exporter makes one a set of labels or text."""
    found: dict[str, Any] = {}
    for family in families:
        first = found.setdefault(family.name, family)
        if first is not family and first.type == family.type:
            first.samples = [*first.samples, *family.samples]
    for family in found.values():
        if exemplars and family.type == "histogram":
            family.samples = [one._replace(exemplar=exemplars.get(_series(one))) for one in family.samples]
    return list(found.values())


def _series(sample: Any) -> BucketSeries:
    labels = sample.labels.items()
    own = frozenset((key, value) for key, value in labels if value and key != "le" and key[:11] != "otel_scope_")
    return sample.name, own, sample.labels.get("le", "")
