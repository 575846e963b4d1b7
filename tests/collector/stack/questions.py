"""Questions to the backends through their HTTP APIs, and their answers as plain data. Knows no expected answer."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any

from tests.collector.stack.programs import Stack, call

HOUR = 3600


class Questions:
    """What the running backends keep."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def raw(self, program: str, path: str, **query: object) -> tuple[int, str]:
        """Status and text of a GET."""
        return call(self.stack.url(program, f"{path}?{urllib.parse.urlencode(query)}" if query else path))

    def json(self, program: str, path: str, **query: object) -> Any:
        """The JSON of a GET; ``None`` where the answer is no success."""
        status, text = self.raw(program, path, **query)
        return json.loads(text) if status == 200 and text[:1] in ("{", "[") else None

    # --- Prometheus -------------------------------------------------------------------------------------
    def samples(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """The instant vector of an expression: labels and value."""
        answer = self.json("prometheus", "/api/v1/query", query=promql)
        rows = answer["data"]["result"] if answer else []
        return [(row["metric"], float(row["value"][1])) for row in rows]

    def value(self, promql: str) -> float:
        """The one value of an expression; 0 where there is none."""
        return sum(value for _, value in self.samples(promql))

    def metric_names(self) -> set[str]:
        """Every name that Prometheus has seen."""
        return set(self.json("prometheus", "/api/v1/label/__name__/values")["data"])

    def exemplars(self, selector: str) -> list[dict[str, Any]]:
        """Exemplars of the series that a selector finds."""
        now = time.time()
        answer = self.json("prometheus", "/api/v1/query_exemplars", query=selector, start=now - HOUR, end=now + 60)
        return [one for series in (answer or {"data": []})["data"] for one in series["exemplars"]]

    # --- Loki -------------------------------------------------------------------------------------------
    def logs(self, logql: str, limit: int = 5000) -> list[tuple[dict[str, str], str]]:
        """Lines of a query: labels with structured metadata, and the line."""
        now = time.time_ns()
        answer = self.json(
            "loki",
            "/loki/api/v1/query_range",
            query=logql,
            limit=limit,
            start=now - HOUR * 10**9,
            end=now + 60 * 10**9,
        )
        streams = answer["data"]["result"] if answer else []
        return [(stream["stream"], line) for stream in streams for _, line in stream["values"]]

    # --- Tempo and Jaeger -------------------------------------------------------------------------------
    def tempo_trace(self, trace_id: str) -> Any:
        """A trace by its id."""
        return self.json("tempo", f"/api/traces/{trace_id}")

    def tempo_search(self, traceql: str, limit: int = 2000) -> list[dict[str, Any]]:
        """Traces that a TraceQL query finds."""
        now = int(time.time())
        answer = self.json("tempo", "/api/search", q=traceql, limit=limit, start=now - HOUR, end=now + 60)
        return (answer or {}).get("traces") or []

    def jaeger_trace(self, trace_id: str) -> Any:
        """A trace by its id."""
        return self.json("jaeger", f"/api/v3/traces/{trace_id}")

    def jaeger_traces(self, service: str) -> set[str]:
        """The ids of a service's traces."""
        now = time.time()

        def moment(seconds: float) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

        answer = self.json(
            "jaeger",
            "/api/v3/traces",
            **{
                "query.service_name": service,
                "query.start_time_min": moment(now - HOUR),
                "query.start_time_max": moment(now + 60),
                "query.num_traces": 5000,
                "query.search_depth": 5000,
            },
        )
        resources = ((answer or {}).get("result") or {}).get("resourceSpans", [])
        return {span["traceId"] for one in resources for scope in one["scopeSpans"] for span in scope["spans"]}
