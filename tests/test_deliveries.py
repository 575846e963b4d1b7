"""Which template a name belongs to, whoever made the name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws import deliveries, semconv
from otel_ws.testing import Telemetry


@given(parts=st.lists(st.text("ab_", max_size=3), min_size=1, max_size=4), name=st.text("ab_", min_size=1, max_size=12))
def test_a_name_fits_a_template_as_its_pattern_says(parts: list[str], name: str) -> None:
    """Something stands for each place, whatever the literal parts are."""
    expected = re.fullmatch(".+?".join(re.escape(part) for part in parts), name) is not None

    assert expected is deliveries._fits(name, parts)


@pytest.mark.parametrize("name", ["room_" + "7" * 95, "match_" + "_of_" * 250_000 + "!"])
def test_a_name_that_no_layer_takes_is_not_looked_at(telemetry: Telemetry, name: str) -> None:
    """It is neither matched nor remembered, however long it is."""
    telemetry.recorder.policy.declare(semconv.TEMPLATE, ["room_{id}", "match_{id}_of_{id}"])
    known = telemetry.recorder.deliveries

    assert ("_OTHER", 0, {}) == (known.of_name(name).template, known.undeclared(), known._by_name)
