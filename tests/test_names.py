"""Names of others' spans and routes: operations and templates leave, paths and texts do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws import faults, semconv
from otel_ws.names import Names
from otel_ws.policy import Policy
from otel_ws.semconv import OTHER

ROUTE = "users/<int:pk>/"
POSTGRES = {"db.system": "postgresql"}
REDIS = {"db.system.name": "redis"}
ROUTED = {"http.route": ROUTE}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Faults of one test are no other's."""
    faults.reset()
    yield
    faults.reset()


@pytest.fixture
def names() -> Names:
    """With one known route and two declared texts."""
    policy = Policy()
    policy.declare(semconv.TEMPLATE, ["process order", "orders"])
    made = Names(policy)
    made.known_routes[:] = [lambda: [ROUTE]]
    return made


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("GET", {}, "GET"),
        ("HTTP", {}, "HTTP"),
        ("HTTP GET", {}, "HTTP GET"),
        (f"GET {ROUTE}", {}, f"GET {ROUTE}"),
        ("GET /users/7/", {}, "GET"),
        ("GET /users/7/", ROUTED, f"GET {ROUTE}"),
        ("GET /users/7/", {"http.route": OTHER}, "GET"),
        ("POST /users/Alice Example/ http send", {}, "POST http send"),
        (f"GET {ROUTE} http receive", {}, f"GET {ROUTE} http receive"),
        ("/ws/alice websocket send", {}, "websocket send"),
        ("HTTP /ws/alice@example.com/ websocket receive", {}, "HTTP websocket receive"),
        ("GET alice", {}, "GET"),
        ("BREW /pot", {}, OTHER),
        ("/users/alice", {}, OTHER),
        ("SELECT", POSTGRES, "SELECT"),
        ("SELECT alice", POSTGRES, "SELECT"),
        ("select", {}, "select"),
        ("alice", POSTGRES, "postgresql"),
        ("alice", {"db.system": OTHER}, OTHER),
        ("GET", REDIS, "GET"),
        ("GET SET EXPIRE", REDIS, "GET SET EXPIRE"),
        ("GET alice", REDIS, "redis"),
        ("redis.search", REDIS, "redis.search"),
        ("run/json.loads", {}, "run/json.loads"),
        ("run/orders", {}, "run/orders"),
        ("apply_async/alice", {}, f"apply_async/{OTHER}"),
        ("run/alice@example.com", {}, f"run/{OTHER}"),
        ("send", {}, "send"),
        ("send orders", {}, "send orders"),
        ("process user_7", {}, "process"),
        ("process order", {}, "process order"),
        ("json.loads", {}, "json.loads"),
        ("checkout", {}, OTHER),
        ("alice@example.com", {}, OTHER),
        ("", {}, OTHER),
        (OTHER, {}, OTHER),
    ],
)
def test_a_spans_name_leaves_in_a_known_form(
    names: Names, name: str, attributes: dict[str, object], expected: str
) -> None:
    """What can be saved of a name is saved, and no path, key, table or text."""
    assert expected == names.of_span(name, attributes)


@given(
    name=st.text(max_size=60)
    | st.tuples(st.sampled_from(["GET ", "SELECT ", "run/", "send ", "HTTP ", ""]), st.text(max_size=40)).map("".join)
)
def test_a_cleared_name_stays(name: str) -> None:
    """Clearing a cleared name changes nothing: two walls agree."""
    made = Names(Policy())
    made.known_routes.clear()

    for attributes in ({}, POSTGRES, ROUTED):
        cleared = made.of_span(name, attributes)
        assert cleared == made.of_span(cleared, attributes)


def test_a_route_that_is_not_known_is_asked_for() -> None:
    """Routers are asked when a route is not known, as they may be loaded late."""
    routes: list[str] = []
    names = Names(Policy(), clock=lambda: 0.0)
    names.known_routes[:] = [lambda: routes]
    before = names.is_route(ROUTE)
    routes.append(ROUTE)

    assert not before
    assert names.is_route(ROUTE)


def test_a_declared_text_is_a_route(names: Names) -> None:
    """The application may name the routes of a router that we cannot see."""
    assert names.is_route("orders")


def test_a_router_that_fails_is_a_fault_of_ours() -> None:
    """A router that cannot be asked knows nothing, and the others are asked."""

    def broken() -> list[str]:
        raise RuntimeError

    made = Names(Policy())
    made.known_routes[:] = [broken, lambda: [ROUTE, 7]]  # type: ignore[list-item]

    assert made.is_route(ROUTE)
    assert {"names.routes": 1} == faults.snapshot()
