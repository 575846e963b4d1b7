"""From an id in the telemetry to the person behind it: two steps, the second one only for those who may."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from tournament.models import AuditEntry, Profile
from tournament.routing import application

import otel_ws
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def player() -> User:
    """Somebody with a name and an address that telemetry must never show."""
    user = User.objects.create(pk=1007, username="ottokar", email="ottokar.marchbanks@mail.example")
    Profile.objects.create(user=user, display_name="Ottokar the March", address="4 Tanglewood Mews")
    return user


@pytest.fixture
def operator() -> User:
    """Staff who may look people up."""
    user = User.objects.create(pk=1031, username="leocadia", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_profile"))
    return user


def token(user: User, role: str) -> str:
    """What the user signs in with."""
    claims = {"sub": str(user.pk), "role": role, "exp": datetime.now(UTC) + timedelta(hours=1)}
    return jwt.encode(claims, settings.SECRET_KEY, algorithm="HS256")


@pytest.fixture
def look_up(client: Client) -> Callable[..., Any]:
    """Ask who is behind an id; returns the status and the answer."""

    def ask(who: User, user_id: object, reason: str = "ABUSE_REPORT", role: str = "admin") -> tuple[int, Any]:
        response = client.get(
            f"/support/users/{user_id}/?reason={reason}", headers={"Authorization": f"Bearer {token(who, role)}"}
        )
        return response.status_code, json.loads(response.content)

    return ask


async def flood(user: User) -> None:
    """A player sends more than he may."""
    scope = {
        "type": "websocket",
        "path": "/ws/tournament/7/",
        "query_string": f"token={token(user, 'player')}".encode(),
        "headers": [],
        "subprotocols": [],
    }
    socket = ApplicationCommunicator(otel_ws.WebSocketMiddleware(application), scope)
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output())["type"] == "websocket.accept"
    for _ in range(12):
        await socket.send_input({"type": "websocket.receive", "text": '{"type": "heartbeat"}'})
        await socket.receive_output()
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait()


async def test_from_a_log_line_to_the_person(
    telemetry: Telemetry, player: User, operator: User, look_up: Callable[..., Any]
) -> None:
    """The log has an id; the look-up by it has the name; the audit has who asked, about whom, and why."""
    from asgiref.sync import sync_to_async

    await flood(player)
    line = telemetry.events("WS_RATELIMIT_REJECT")[0]
    telemetry.assert_ids_only()

    status, answer = await sync_to_async(look_up)(operator, line.attributes["user.id"])

    assert (status, answer["email"]) == (200, player.email)
    (audited,) = telemetry.events("USER_LOOKUP")
    assert audited.attributes == {
        "user.id": "1031",
        "subject.id": "1007",
        "lookup.reason": "ABUSE_REPORT",
        "lookup.outcome": "granted",
    }
    entry = await AuditEntry.objects.aget()
    assert (entry.actor_id, entry.subject_id, entry.reason, entry.granted) == (1031, 1007, "ABUSE_REPORT", True)
    telemetry.assert_ids_only()


def test_without_permission_nothing_is_told(
    telemetry: Telemetry, player: User, operator: User, look_up: Callable[..., Any]
) -> None:
    """An admin's role in a player's token, and staff who has left or lost the right, are refused and audited."""
    former = User.objects.create(pk=1032, username="evander")
    former.user_permissions.add(Permission.objects.get(codename="view_profile"))
    operator.user_permissions.clear()

    for who in (player, former, operator):
        assert look_up(who, player.pk) == (403, {"code": "NOT_PERMITTED"})

    outcomes = [(event.attributes["user.id"], event.attributes["lookup.outcome"]) for event in telemetry.events()]
    assert outcomes == [("1007", "refused"), ("1032", "refused"), ("1031", "refused")]
    assert AuditEntry.objects.filter(granted=False).count() == 3


@pytest.mark.parametrize("reason", ["", "CURIOSITY", "ottokar%20owes%20me"])
def test_without_a_reason_nothing_is_told(
    telemetry: Telemetry, player: User, operator: User, look_up: Callable[..., Any], reason: str
) -> None:
    """A reason is one of a closed list; free text would be a way into the audit trail."""
    status, answer = look_up(operator, player.pk, reason)

    assert (status, answer["code"]) == (400, "REASON_MISSING")
    assert not AuditEntry.objects.exists()
    assert telemetry.events() == []


def test_without_a_valid_token_nothing_is_told(client: Client, player: User) -> None:
    """Whoever is not signed in learns nothing, not even whether the id exists."""
    response = client.get(f"/support/users/{player.pk}/?reason=ABUSE_REPORT")

    assert (response.status_code, json.loads(response.content)) == (401, {"code": "JWT_INVALID"})


def test_an_id_that_nobody_has_is_audited_too(operator: User, look_up: Callable[..., Any]) -> None:
    """Guessing ids leaves a trace."""
    assert look_up(operator, 999)[0] == 404
    assert AuditEntry.objects.get().subject_id == 999


def test_the_answer_is_not_kept(client: Client, player: User, operator: User) -> None:
    """Neither browsers nor proxies may store the answer."""
    headers = {"Authorization": f"Bearer {token(operator, 'admin')}"}

    response = client.get(f"/support/users/{player.pk}/?reason=USER_REQUEST", headers=headers)

    assert "no-store" in response.headers["Cache-Control"]


def test_where_it_cannot_be_written_down_nothing_is_told(
    client: Client, player: User, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit comes first: if it fails, the look-up fails."""

    def full(*args: object) -> None:
        raise OSError

    monkeypatch.setattr("tournament.views.user_looked_up", full)
    client.raise_request_exception = False

    response = client.get(
        f"/support/users/{player.pk}/?reason=ABUSE_REPORT",
        headers={"Authorization": f"Bearer {token(operator, 'admin')}"},
    )

    assert response.status_code == 500
    assert player.email.encode() not in response.content
