"""OpenTelemetry's own variables: which of them the SDK did not take, said by name.

It is asked once the SDK has raised, so it stops nothing that the SDK would have started. It refuses to show a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Final

from otel_ws.faults import warn_once

_COUNT: Final = "a whole number, 0 or more"
_POSITIVE: Final = "a whole number above 0"
_FILTERS: Final = ("always_on", "always_off", "trace_based")
_PROPAGATORS: Final = "OTEL_PROPAGATORS"
# What the batch processors take where nothing else is set; their queue is never smaller than a batch.
_SIZES: Final = {"MAX_QUEUE_SIZE": 2048, "MAX_EXPORT_BATCH_SIZE": 512}


def _is_count(value: str) -> bool:
    return int(value) >= 0


def _is_positive(value: str) -> bool:
    return int(value) > 0


def _is_interval(value: str) -> bool:
    return float(value) > 0


def _is_filter(value: str) -> bool:
    return value in _FILTERS


_FORMS: Final[tuple[tuple[str, Callable[[str], bool], str], ...]] = (
    ("OTEL_METRIC_EXPORT_INTERVAL", _is_interval, "milliseconds, more than 0"),
    ("OTEL_(BSP|BLRP)_(SCHEDULE_DELAY|MAX_QUEUE_SIZE|MAX_EXPORT_BATCH_SIZE)", _is_positive, _POSITIVE),
    ("OTEL_([A-Z]+_)?ATTRIBUTE_(COUNT|VALUE_LENGTH)_LIMIT|OTEL_SPAN_(EVENT|LINK)_COUNT_LIMIT", _is_count, _COUNT),
    ("OTEL_METRICS_EXEMPLAR_FILTER", _is_filter, ", ".join(_FILTERS)),
)


def refused(exc: Exception, environ: Mapping[str, str]) -> SystemExit:
    """How the start ends after the SDK raised ``exc`` over a value in ``environ``: a text for the operator."""
    lines = [f"  {line}." for line in _wrong(environ)]
    if not lines:
        given = ", ".join(sorted(name for name in environ if re.fullmatch("OTEL_(?!WS_)[A-Z0-9_]+", name)))
        lines = [f"  the OpenTelemetry SDK does not take a value ({type(exc).__name__}) among {given or 'its own'}."]
    return SystemExit("\n".join(("otel-ws cannot start:", *lines)))


def _wrong(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(environ.items()):
        for form, is_right, allowed in _FORMS:
            if value and re.fullmatch(form, name) and not _holds(is_right, value):
                yield f"{name} has a value that is not valid; allowed: {allowed}"
    for kind in ("BSP", "BLRP"):
        queue, batch = (_number(environ.get(f"OTEL_{kind}_{name}"), size) for name, size in _SIZES.items())
        if batch > queue > 0:
            yield f"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE is above OTEL_{kind}_MAX_QUEUE_SIZE ({queue}); allowed: up to it"
    known = {one.name for one in entry_points(group="opentelemetry_propagator")} | {"none"}
    given = {one.strip() for one in environ.get(_PROPAGATORS, "tracecontext").split(",")}
    if not given <= known:
        yield f"{_PROPAGATORS} names one that is not installed; allowed, with commas: {', '.join(sorted(known))}"


def _holds(is_right: Callable[[str], bool], value: str) -> bool:
    try:
        return is_right(value)
    except ValueError:
        return False


def _number(value: str | None, default: int) -> int:
    try:
        return int(value or default)
    except ValueError:
        return default


def look_at_endpoint(signal: str, environ: Mapping[str, str]) -> None:
    """Warn of an address without a scheme for OTLP over HTTP: the exporter starts, and no export ever succeeds."""
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    name = next((one for one in names if environ.get(one)), None)
    if name is not None and not re.match("https?://", environ[name].strip(), re.IGNORECASE):
        warn_once(
            f"endpoint.{name}",
            f"otel-ws: {name} does not begin with http:// or https://, so nothing can be exported to it. Write the "
            "scheme; for gRPC, whose port is 4317 as a rule, set OTEL_EXPORTER_OTLP_PROTOCOL=grpc.",
        )
