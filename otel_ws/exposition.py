"""A snapshot in the two text formats that Prometheus reads: its own and OpenMetrics, which has exemplars.

Source: Prometheus, "Exposition formats" (text 0.0.4), and OpenMetrics 1.0. It knows names and numbers, and refuses to
know whose they are; it needs no SDK and no exporter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from otel_ws.ledger import Distribution, Snapshot
from otel_ws.semconv import METRICS, Instrument, Metric
from otel_ws.types import Labels

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# More of an Accept header is nobody's.
_LONGEST: Final = 1024
_TYPES: Final = {
    Instrument.COUNTER: "counter",
    Instrument.UP_DOWN: "gauge",
    Instrument.GAUGE: "gauge",
    Instrument.HISTOGRAM: "histogram",
}


def render(now: Snapshot, is_openmetrics: bool) -> str:
    """Every metric of the snapshot as text; one without series is left out."""
    lines: list[str] = []
    for metric in METRICS:
        if metric.instrument is Instrument.HISTOGRAM:
            samples = list(_histogram(metric, now.distributions.get(metric, {}), is_openmetrics))
        else:
            series = now.values.get(metric, {}).items()
            samples = [f"{metric.prometheus_name}{_labels(metric, key)} {_number(value)}" for key, value in series]
        if samples:
            family = metric.prometheus_name
            if is_openmetrics and metric.instrument is Instrument.COUNTER:
                family = family.removesuffix("_total")
            lines += [
                f"# HELP {family} {_escaped(metric.brief)}",
                f"# TYPE {family} {_TYPES[metric.instrument]}",
                *samples,
            ]
    if is_openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines)


def prefers_openmetrics(accept: str) -> bool:
    """Whether ``Accept`` names OpenMetrics, in a version that is spoken here, and plain text not before it."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for one in accept[:_LONGEST].lower().split(","):
        kind, *rest = (part.strip() for part in one.split(";"))
        options = dict(part.split("=", 1) for part in rest if "=" in part)
        weight = options.get("q", "1")
        if kind in best and options.get("version", "1.0.0") in {"0.0.1", "0.0.4", "1.0.0"}:
            is_number = weight.isascii() and weight.replace(".", "", 1).isdigit()
            best[kind] = max(best[kind], float(weight) if is_number else 0.0)
    return 0.0 < best["application/openmetrics-text"] >= best["text/plain"]


def _histogram(metric: Metric, series: dict[Labels, Distribution], with_exemplars: bool) -> Iterator[str]:
    name = metric.prometheus_name
    bounds = [*(_number(bound, of_bound=True) for bound in metric.bounds), "+Inf"]
    for key, one in series.items():
        exemplars = dict(_by_bucket(metric, one)) if with_exemplars else {}
        labels = _labels(metric, key)
        # The same for each bucket, and there are a dozen.
        with_bound = f'{name}_bucket{labels[:-1]},le="' if labels else f'{name}_bucket{{le="'
        below = 0
        for place, (bound, inside) in enumerate(zip(bounds, one.buckets, strict=True)):
            below += inside
            yield f'{with_bound}{bound}"}} {below}{exemplars.get(place, "")}'
        yield f"{name}_sum{labels} {_number(one.sum)}"
        yield f"{name}_count{labels} {below}"


def _by_bucket(metric: Metric, one: Distribution) -> Iterator[tuple[int, str]]:
    for value, time_ns, trace_id, span_id in one.exemplars:
        place = sum(value > bound for bound in metric.bounds)
        ids = f'trace_id="{trace_id:032x}",span_id="{span_id:016x}"'
        yield place, f" # {{{ids}}} {_number(value)} {time_ns / 1e9:.3f}"


def _labels(metric: Metric, key: Labels) -> str:
    """The labels by name, without empty ones."""
    pairs = zip(metric.label_names, key, strict=True)
    told = ",".join([f'{name}="{_escaped(value)}"' for name, value in pairs if value])
    return f"{{{told}}}" if told else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float, of_bound: bool = False) -> str:
    return str(int(value)) if not of_bound and float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
