"""The queries of panels: PromQL, LogQL and TraceQL with the dashboards' variables in the right places.

It knows which labels a metric is declared with, so that a variable filters what has the label and nothing else; it
refuses to know panels.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import loki, prometheus, tempo
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.loki import LokiQueryDirection
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from otel_ws.semconv import METRICS

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
LOKI = DataSourceRef(type_val="loki", uid="loki")
TEMPO = DataSourceRef(type_val="tempo", uid="tempo")

# One service, or several, or all: a regular expression in each case, which also matches that there is no environment.
SCOPE = 'service_name=~"$service",deployment_environment_name=~"$environment"'
# Of those whose series need not be about a service.
ANY_SCOPE = 'service_name=~"$service|",deployment_environment_name=~"$environment|"'
# Loki wants one matcher that does not match nothing.
STREAM = '{service_name=~".+",' + SCOPE + "}"
IDS = ("user_id", "tournament_id", "match_id", "ws_connection_id")
VARIABLE_OF = {"transport": "transport", "http_route": "route"}
LABELS = {metric.prometheus_name: {name for name in metric.label_names if name} for metric in METRICS}
PARTS = ("_bucket", "_count", "_sum")


def labels_of(name: str) -> set[str]:
    """The labels that a metric is declared with; none where it is not ours."""
    for part in PARTS:
        if name not in LABELS and name.endswith(part):
            name = name.removesuffix(part)
    return LABELS.get(name, set())


def select(name: str, *matchers: str) -> str:
    """A metric's series that the variables choose."""
    own = [f'{label}=~"${VARIABLE_OF[label]}"' for label in sorted(VARIABLE_OF) if label in labels_of(name)]
    return f"{name}{{{','.join([SCOPE, *own, *matchers])}}}"


def rate(name: str, *by: str, where: str = "") -> str:
    """How much a counter grows each second, by some of its labels."""
    return f"sum by ({', '.join(by)}) (rate({select(name, *filter(None, [where]))}[$__rate_interval]))"


def total(name: str, *by: str, where: str = "") -> str:
    """How much a counter grew within the time that is shown.

    ``increase`` misses the first value of a series, which of an error that came once is all there is. So what was
    not there in the hour before that time counts whole. Nearly always it is new: each process has series of its own,
    and what they sent while Prometheus was away comes later. Only where it was away for longer than the collector's
    queue and ``out_of_order_time_window`` reach, or began beside processes that are old, is once shown what these
    counted in their lives. Of the two that is the lesser evil: too much is looked at, and a failure that is shown as
    none is not. Alerts call people, and know better: see ``prometheus/rules/red.yml``.
    """
    series = select(name, *filter(None, [where]))
    return (
        f"sum by ({', '.join(by)}) ("
        f"(increase({series}[$__range]) and last_over_time({series}[1h] offset $__range))"
        f" or (last_over_time({series}[$__range]) unless last_over_time({series}[1h] offset $__range)))"
    )


def gauge(name: str, *by: str, where: str = "") -> str:
    """A gauge's sum, by some of its labels."""
    return f"sum by ({', '.join(by)}) ({select(name, *filter(None, [where]))})"


def quantile(number: float, name: str, *by: str, where: str = "") -> str:
    """A quantile of a histogram, by some of its labels."""
    series = select(f"{name}_bucket", *filter(None, [where]))
    inner = f"sum by ({', '.join([*by, 'le'])}) (rate({series}[$__rate_interval]))"
    return f"histogram_quantile({number}, {inner})"


def recorded(name: str, *matchers: str) -> str:
    """A recording rule's series: a service and an environment is all that each of them has."""
    return f"{name}{{{','.join([SCOPE, *matchers])}}}"


# --- targets ------------------------------------------------------------------------------------------------
def prom(expression: str, legend: str = "", *, exemplars: bool = False) -> prometheus.Dataquery:
    """PromQL over the time that is shown."""
    query = prometheus.Dataquery().datasource(PROMETHEUS).expr(expression).legend_format(legend or "__auto")
    return query.range().exemplar(True) if exemplars else query.range()


def now(expression: str, legend: str = "") -> prometheus.Dataquery:
    """PromQL at the end of the time that is shown."""
    return prometheus.Dataquery().datasource(PROMETHEUS).expr(expression).legend_format(legend or "__auto").instant()


def table(expression: str) -> prometheus.Dataquery:
    """PromQL at the end of the time that is shown, as rows."""
    return now(expression).format(PromQueryFormat.TABLE)


def buckets(name: str) -> prometheus.Dataquery:
    """A histogram's buckets, for a heatmap."""
    expression = f"sum by (le) (rate({select(f'{name}_bucket')}[$__rate_interval]))"
    return prom(expression, "{{le}}", exemplars=True).format(PromQueryFormat.HEATMAP)


def quantiles(name: str, *numbers: float, exemplars: bool = False) -> list[prometheus.Dataquery]:
    """Some quantiles of a histogram; exemplars once are enough."""
    return [
        prom(quantile(number, name), f"p{number * 100:g}", exemplars=exemplars and place == 0)
        for place, number in enumerate(numbers)
    ]


def lines(pipeline: str, *fields: str) -> loki.Dataquery:
    """Log records, the newest first; as a line what some fields hold, because the sentence is always the same."""
    told = "".join(f"{{{{if .{one}}}}} {one}={{{{.{one}}}}}{{{{end}}}}" for one in (*fields, *IDS))
    expression = f'{STREAM} | {pipeline} | line_format "{{{{.event_name}}}}{told}"'
    query = loki.Dataquery().datasource(LOKI).expr(expression).query_type("range")
    return query.max_lines(100).direction(LokiQueryDirection.BACKWARD)


def counted(pipeline: str, by: str) -> loki.Dataquery:
    """How many log records there were, by one of their fields."""
    expression = f"sum by ({by}) (count_over_time({STREAM} | {pipeline} [$__interval]))"
    return loki.Dataquery().datasource(LOKI).expr(expression).legend_format(f"{{{{{by}}}}}").query_type("range")


def most(pipeline: str, by: str) -> loki.Dataquery:
    """The ten values of a field that most log records have within the time that is shown."""
    inner = f'sum by ({by}) (count_over_time({STREAM} | {pipeline} | {by}!="" [$__range]))'
    query = loki.Dataquery().datasource(LOKI).expr(f"topk(10, {inner})")
    return query.legend_format(f"{{{{{by}}}}}").query_type("instant").instant(True)


def traces(condition: str) -> tempo.Dataquery:
    """Traces that Tempo kept, the newest first."""
    text = f'{{ resource.service.name =~ "$service" && {condition} }}'
    return (
        tempo.Dataquery()
        .datasource(TEMPO)
        .query_type("traceql")
        .query(text)
        .limit(20)
        .table_type(SearchTableType.TRACES)
    )
