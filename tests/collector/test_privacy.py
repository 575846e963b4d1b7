"""Marked secrets, sent past the library into the collector: no backend keeps one, but where no processor reaches."""

from __future__ import annotations

import pytest

from tests.collector.stack.kept import Kept, sent
from tests.collector.stack.programs import Stack
from tests.collector.stack.questions import Questions

# Fields of OTLP that no processor of the collector can change; the library puts no value there.
UNREACHED = (".links.", ".entity_refs.")


@pytest.fixture(scope="module")
def kept(stack: Stack, ask: Questions) -> Kept:
    """Marks through the bundle as it is."""
    return sent(stack, ask)


@pytest.mark.parametrize("where", ["loki", "prometheus", "exemplars", "collector's log"])
def test_nothing_marked_is_kept(where: str, kept: Kept) -> None:
    """Not one of the marks can be read back."""
    assert len(kept.marks.places) > 100
    assert not kept.seen(where)


@pytest.mark.parametrize("where", ["tempo", "jaeger"])
def test_of_traces_only_links_and_entities_are_not_reached(where: str, kept: Kept) -> None:
    """What stays is in the two places that no processor reaches, and no other."""
    assert {place for place in kept.seen(where) if not any(part in place for part in UNREACHED)} == set()


def test_links_are_still_out_of_reach(kept: Kept) -> None:
    """The day on which a collector clears links as well, this says so."""
    assert {place for place in kept.seen("tempo") if ".links." in place}


def test_entities_are_still_out_of_reach(kept: Kept) -> None:
    """The same for a resource's references to entities."""
    assert {place for place in kept.seen("jaeger") if ".entity_refs." in place}
