"""What tests of several channel layers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis_server import Redis, skip_without_redis


@pytest.fixture(scope="session")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Two Redis servers of our own, which keep nothing."""
    skip_without_redis()
    running: list[Redis] = []
    for _ in range(2):
        running.append(Redis(tmp_path_factory.mktemp("redis")))
        running[-1].start()
    yield [one.port for one in running]
    for one in running:
        one.kill()
