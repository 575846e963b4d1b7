"""The same marks through a collector without the ids-only pass: a search that finds nothing proves nothing else.

The last of all modules: the collector that it ends takes the counts of its span metrics with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.collector.stack.kept import Kept, sent
from tests.collector.stack.programs import Stack
from tests.collector.stack.questions import Questions

PIPELINES = ("traces/in", "metrics", "logs")


@pytest.fixture
def kept(stack: Stack, ask: Questions) -> Iterator[Kept]:
    """Marks through an open collector; afterwards it is as it was."""
    stack.stop("collector")
    stack.more_options["collector"] = [
        f"--config=yaml:service::pipelines::{pipeline}::processors: [memory_limiter]" for pipeline in PIPELINES
    ]
    stack.start("collector")
    yield sent(stack, ask)
    stack.stop("collector")
    stack.more_options.clear()
    stack.start("collector")


def test_the_search_finds_what_is_there(kept: Kept) -> None:
    """Without the pass marks are in every backend: the search works, and the pass is what stops them."""
    for where in ("tempo", "jaeger", "loki", "prometheus", "exemplars"):
        assert len(kept.seen(where)) >= 2, where
    for where in ("tempo", "jaeger", "loki"):
        for kind in ("again]", "as bytes]"):
            assert [place for place in kept.seen(where) if kind in place], (where, kind)
