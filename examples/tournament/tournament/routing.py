"""Which consumer answers which WebSocket path or worker's channel, and what stands in front of them all."""

from typing import Any

from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

# Django must be set up before anything that imports models.
django_application = get_asgi_application()

from otel_ws.endpoints import monitoring_socket  # noqa: E402
from tournament.auth import JWTAuthMiddleware  # noqa: E402
from tournament.consumers import MatchConsumer, TickerConsumer, TournamentConsumer  # noqa: E402
from tournament.limits import ConnectionLimitMiddleware  # noqa: E402
from tournament.lobby import GlobalConsumer  # noqa: E402
from tournament.payments import PaymentConsumer, ReceiptConsumer  # noqa: E402

match_router = URLRouter([path("<int:match_id>/", MatchConsumer.as_asgi())])

websocket_router = URLRouter(
    [
        path("ws/global/", GlobalConsumer.as_asgi()),
        path("ws/tournament/<int:tournament_id>/", TournamentConsumer.as_asgi()),
        path("ws/match/<int:tournament_id>/", match_router),
        # Reached when the nested router above finds no match id in the rest of the path.
        path("ws/match/<int:tournament_id>/live/", TickerConsumer.as_asgi()),
    ]
)

players = JWTAuthMiddleware(ConnectionLimitMiddleware(websocket_router))


class LivePage:
    """Whoever watches the live page is no player; otel-ws knows who may.

    A class that keeps what it stands before, and no function: so ``otel-ws check`` finds the routes behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass the conversation on."""
        application = monitoring_socket if scope["path"] == "/events/monitor" else self.app
        await application(scope, receive, send)


application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": LivePage(players),
        # manage.py runworker payments receipts
        "channel": ChannelNameRouter({"payments": PaymentConsumer.as_asgi(), "receipts": ReceiptConsumer.as_asgi()}),
    }
)
