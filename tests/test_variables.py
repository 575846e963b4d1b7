"""What is said of OpenTelemetry's own variables once the SDK refused one."""

from __future__ import annotations

import pytest

from otel_ws.variables import refused


def test_what_is_not_known_names_the_variables_that_are_set() -> None:
    """Where no rule fits, the names of what is set are told with the exception's class: no value, nothing of others."""
    environ = {"OTEL_NEW_THING": "s3cret", "OTEL_WS_GATE": "all", "HOME": "/"}

    text = str(refused(KeyError("s3cret"), environ))

    assert (
        "otel-ws cannot start:\n  the OpenTelemetry SDK does not take a value (KeyError) among OTEL_NEW_THING." == text
    )


def test_every_wrong_value_is_named() -> None:
    """All of them at once, in order, whatever made the SDK stop first."""
    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_METRIC_EXPORT_INTERVAL": "0", "OTEL_PROPAGATORS": "tracecontext"}

    lines = str(refused(ValueError(), environ)).splitlines()

    assert ["OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_METRIC_EXPORT_INTERVAL"] == [line.split()[0] for line in lines[1:3]]


@pytest.mark.parametrize("name", ["OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT"])
def test_an_empty_value_is_none(name: str) -> None:
    """A variable that is set to nothing is not set."""
    assert name not in str(refused(ValueError(), {name: "", "OTEL_BLRP_SCHEDULE_DELAY": "x"}))
