"""The careless stranger that `check --leaks` plays says something on every surface that the API reaches."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk")

# Neither View nor resource is a stranger's to make, and the OTLP encoder leaves a link's trace state out.
OUT_OF_REACH = {"exemplar attribute key", "exemplar attribute value", "link trace_state"}
ACT = """
import json, sys
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otel_ws.cli.marks import Marks
from otel_ws.gate.careless import Careless
from otel_ws.sdk import capture

trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(capture.MetricCapture())]))
set_logger_provider(LoggerProvider())
capture.attach()
marks = Marks("a test")
Careless(marks.person, marks.word).act()
capture.flush()
found = {
    f"{signal}: {one.surface}"
    for signal, request in capture.KEPT.take()
    for one in capture.exported(signal, request)
    if marks.found_in(one.value)
}
json.dump(sorted(found), sys.stdout)
"""


def test_every_surface_has_a_mark() -> None:
    """Without a gate, marks are on every surface: names, keys, values, descriptions, trace state, scope."""
    from otel_ws.sdk.capture import SURFACES

    done = subprocess.run([sys.executable, "-c", ACT], capture_output=True, text=True, timeout=60, check=True)

    marked = set(json.loads(done.stdout))
    expected = {f"{signal}: {one}" for signal, all_ in SURFACES.items() for one in all_ if one not in OUT_OF_REACH}
    assert set() == expected - marked
    assert {"traces: scope name", "metrics: scope version", "logs: scope name", "logs: record body"} <= marked
