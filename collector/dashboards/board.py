"""A dashboard as rows of panels: titles, places, variables, annotations, links, and the runbooks of its alerts.

It knows what every dashboard of the bundle has in common, and refuses to know what one of them is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, logs, stat, table, text, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataTransformerConfig,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.text import TextMode

from collector.dashboards.queries import ANY_SCOPE, PROMETHEUS, SCOPE, now

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = ROOT / "collector" / "prometheus" / "rules"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
COLUMNS: Final = 24
VERDICT_HEIGHT, PANEL_HEIGHT = 4, 8
BELOW: Final = LegendPlacement.BOTTOM
KEEP: Final = "${__url_time_range}&${__all_variables}"
# Every process of otel-ws has it, whatever it does, on every system.
PROCESS: Final = "process_cpu_utilization_ratio"
# Without the one that always does, and calls nobody.
FIRING: Final = 'ALERTS{alertstate="firing",severity!="none",'

# Any panel: their builders have no class in common that knows their methods.
Panel = Any


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """Every alert of the bundle by name."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    rules = [rule for content in files for group in content["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def uid(name: str) -> str:
    """A dashboard's fixed uid, which the alerts' ``dashboard_url`` ends with."""
    return f"otel-ws-{name}"


def link(title: str, name: str) -> dashboard.DashboardLink:
    """The way from a value to the dashboard that tells more, with the same time and variables."""
    return dashboard.DashboardLink(title).url(f"/d/{uid(name)}?{KEEP}")


def legend() -> common.VizLegendOptions:
    """What each line is, below them."""
    return common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST).placement(BELOW)


class Board:
    """One dashboard; panels flow from left to right, a row begins below everything."""

    def __init__(self, name: str, title: str, description: str) -> None:
        self.name = name
        self._next_id = 1
        self._x = self._y = self._line = 0
        self._made = (
            dashboard.Dashboard(title)
            .uid(uid(name))
            .description(description)
            .tags(["otel-ws"])
            .readonly()
            .timezone("browser")
            .time("now-1h", "now")
            .refresh("30s")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .link(
                dashboard.DashboardLink("Dashboards")
                .type(DashboardLinkType.DASHBOARDS)
                .tags(["otel-ws"])
                .as_dropdown(True)
                .include_vars(True)
                .keep_time(True)
            )
        )
        for variable in variables():
            self._made.with_variable(variable)
        for annotation in marks():
            self._made.annotation(annotation)

    # --- rows and panels --------------------------------------------------------------------------------
    def row(self, title: str) -> None:
        """Begin a row."""
        self._break()
        head = dashboard.Row(title).id(self._take_id()).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=self._y))
        self._made.with_row(head)
        self._y += 1

    def verdict(
        self, title: str, about: str, unit: str, expression: str, *bad: float, to: str = "", width: int = 4
    ) -> None:
        """One number with its colour: orange from the first limit, red from the last."""
        colours = ["orange", "red"][-len(bad) :] if bad else []
        steps = [Threshold(value=None, color="green")]
        steps += [Threshold(value=value, color=colour) for value, colour in zip(bad, colours, strict=True)]
        self._verdict(title, about, unit, expression, steps, to, width)

    def needed(self, title: str, about: str, unit: str, expression: str, least: float, *, to: str = "") -> None:
        """One number that is red below a limit."""
        steps = [Threshold(value=None, color="red"), Threshold(value=least, color="green")]
        self._verdict(title, about, unit, expression, steps, to, 4)

    def _verdict(
        self, title: str, about: str, unit: str, expression: str, steps: list[Threshold], to: str, width: int
    ) -> None:
        panel = (
            stat.Panel()
            .with_target(now(expression))
            .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .color_mode(BigValueColorMode.BACKGROUND)
            .no_value("nothing")
        )
        self._add(panel, title, about, unit, width, VERDICT_HEIGHT, to)

    def firing(self, width: int = 4) -> None:
        """How many of this dashboard's alerts call for somebody; their runbooks stand at its end."""
        names = "|".join(self.alerts())
        expression = f'count({FIRING}alertname=~"{names}",{ANY_SCOPE}}}) or vector(0)'
        about = "Alerts that lead here and are firing. What to do stands below, under Runbooks."
        self.verdict("Alerts firing", about, "short", expression, 1, width=width)

    def series(
        self, title: str, about: str, unit: str, targets: Sequence[Any], *,
        to: str = "", stacked: bool = False, width: int = 8, top: float | None = None,
    ) -> None:  # fmt: skip
        """Lines over time."""
        panel = (
            timeseries.Panel()
            .targets(list(targets))
            .min(0)
            .line_width(1)
            .fill_opacity(30 if stacked else 8)
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
            .legend(legend())
        )
        if stacked:
            panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        if top is not None:
            panel.max(top)
        self._add(panel, title, about, unit, width, PANEL_HEIGHT, to)

    def bars(self, title: str, about: str, unit: str, targets: Sequence[Any], *, to: str = "", width: int = 8) -> None:
        """Counts in bars over time."""
        panel = timeseries.Panel().targets(list(targets)).min(0).draw_style(GraphDrawStyle.BARS).fill_opacity(60)
        panel.legend(legend())
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        self._add(panel, title, about, unit, width, PANEL_HEIGHT, to)

    def heat(self, title: str, about: str, unit: str, target: Any, *, width: int = 12) -> None:
        """A histogram over time; its points are exemplars, and open their traces."""
        panel = heatmap.Panel().with_target(target).calculate(False).y_axis(heatmap.YAxisConfig().unit(unit))
        self._add(panel, title, about, unit, width, PANEL_HEIGHT)

    def ranks(self, title: str, about: str, unit: str, target: Any, *, to: str = "", width: int = 8) -> None:
        """The greatest values now, as bars."""
        panel = bargauge.Panel().with_target(target).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        self._add(panel, title, about, unit, width, PANEL_HEIGHT, to)

    def rows(self, title: str, about: str, unit: str, target: Any, *, to: str = "", width: int = 8) -> None:
        """Values now, as a table, the greatest first."""
        panel = (
            table.Panel()
            .with_target(target)
            .with_transformation(DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True}}))
            .sort_by([common.TableSortByFieldState().display_name("Value").desc(True)])
        )
        self._add(panel, title, about, unit, width, PANEL_HEIGHT, to)

    def lines(self, title: str, about: str, target: Any, *, width: int = 12) -> None:
        """Log records; the data source makes a link to the trace of each."""
        panel = logs.Panel().with_target(target).show_time(True).enable_log_details(True).wrap_log_message(True)
        self._add(panel, title, about, "none", width, PANEL_HEIGHT)

    def traces(self, title: str, about: str, target: Any, *, width: int = 12) -> None:
        """Traces; a click opens one, and from there its log records."""
        self._add(table.Panel().with_target(target), title, about, "none", width, PANEL_HEIGHT)

    def runbooks(self) -> None:
        """What to do, for each alert that leads here: its page, readable where the alert is read."""
        self._break()
        head = dashboard.Row("Runbooks").id(self._take_id()).collapsed(True)
        head.grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=self._y))
        self._y += 1
        for name in self.alerts():
            page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
            _, _, page = page.partition("\n")
            panel = text.Panel().mode(TextMode.MARKDOWN).content(page.strip())
            about = f"docs/runbooks/{name}.md"
            head.with_panel(self._dress(panel, name, about, "none", 12, 2 * PANEL_HEIGHT))
        self._break()
        self._made.with_row(head)

    def alerts(self) -> list[str]:
        """The names of the alerts whose ``dashboard_url`` leads here."""
        ending = f"/d/{uid(self.name)}"
        return [name for name, rule in alerts().items() if rule["annotations"]["dashboard_url"].endswith(ending)]

    def build(self) -> Dashboard:
        """The dashboard."""
        return self._made.build()

    # --- places -----------------------------------------------------------------------------------------
    def _add(self, panel: Panel, title: str, about: str, unit: str, width: int, height: int, to: str = "") -> None:
        if to:
            panel.data_links([link(f"More: {to}", to)])
        self._made.with_panel(self._dress(panel, title, about, unit, width, height))

    def _dress(self, panel: Panel, title: str, about: str, unit: str, width: int, height: int) -> Panel:
        if self._x + width > COLUMNS:
            self._break()
        place = GridPos(h=height, w=width, x=self._x, y=self._y)
        self._x += width
        self._line = max(self._line, height)
        for number, target in enumerate(panel.build().targets or []):
            target.ref_id = chr(ord("A") + number)
            panel.datasource(target.datasource)
        return panel.id(self._take_id()).title(title).description(about).unit(unit).grid_pos(place)

    def _break(self) -> None:
        self._x, self._y, self._line = 0, self._y + self._line, 0

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def variables() -> list[dashboard.QueryVariable]:
    """What one chooses from: several of each, or all, which is any text and also none."""
    service = 'service_name=~"$service"'
    asked = {
        "service": ("Service", f"label_values({PROCESS}, service_name)"),
        "environment": ("Environment", f"label_values({PROCESS}{{{service}}}, deployment_environment_name)"),
        "transport": ("Transport", f"label_values(ws_connections_total{{{SCOPE}}}, transport)"),
        "route": ("Route", f"label_values(ws_connections_total{{{SCOPE}}}, http_route)"),
    }
    return [
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(query)
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        for name, (label, query) in asked.items()
    ]


def marks() -> list[dashboard.AnnotationQuery]:
    """When alerts fired, and when processes began: what went wrong after a deploy is seen at once."""
    fired = f"{FIRING}{ANY_SCOPE}}}"
    alive = f"{PROCESS}{{{SCOPE}}}"
    began = f"count by (service_name) ({alive} unless {alive} offset 1m)"
    return [
        dashboard.AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color("red")
        .expr(fired)
        .step("15s")
        .title_format("{{alertname}} ({{severity}})")
        .text_format("{{service_name}}")
        .tag_keys("alertname,severity"),
        dashboard.AnnotationQuery()
        .name("Deploys")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color("blue")
        .expr(began)
        .step("15s")
        .title_format("Processes began: {{service_name}}")
        .tag_keys("service_name"),
    ]
