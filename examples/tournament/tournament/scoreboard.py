"""The scoreboard of a tournament, as server-sent events: a Django view that streams what its group is told."""

import json
from collections.abc import AsyncIterator

from channels.layers import get_channel_layer
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse

import otel_ws
from tournament.auth import RefusedError, read_token


async def scoreboard(request: HttpRequest, tournament_id: int) -> HttpResponseBase:
    """``GET /scoreboard/7/?token=…``: who won which match, and who bought coins."""
    try:
        claims = read_token(request.GET.get("token", ""))
    except RefusedError as refused:
        return JsonResponse({"code": refused.reason}, status=401)
    # Django knows no user here; whoever watches by both transports is seen as one.
    otel_ws.set_ids(user_id=claims.user_id)
    otel_ws.set_role(claims.role)
    headers = {"Cache-Control": "no-store"}
    return StreamingHttpResponse(scores(tournament_id), content_type="text/event-stream", headers=headers)


async def scores(tournament_id: int) -> AsyncIterator[bytes]:
    """Each score as one event, until the client leaves."""
    layer = get_channel_layer()
    channel, group = await layer.new_channel(), f"scoreboard_{tournament_id}"
    await layer.group_add(group, channel)
    try:
        yield b"event: open\ndata: {}\n\n"
        while True:
            told = await layer.receive(channel)
            yield f"event: score\ndata: {json.dumps(told['score'])}\n\n".encode()
    finally:
        await layer.group_discard(group, channel)
