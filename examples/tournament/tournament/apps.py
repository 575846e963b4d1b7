"""Start-up: what otel-ws may let through as it is, because it is a word of this application."""

from django.apps import AppConfig

import otel_ws


class TournamentConfig(AppConfig):
    """The tournament application."""

    name = "tournament"

    def ready(self) -> None:
        """Declare the vocabulary; what is not declared leaves as ``_OTHER`` or ``unknown``, or not at all."""
        from tournament.audit import REASONS

        otel_ws.declare(
            close_codes=[4401, 4403, 4409, 4410, 4413, 4429],
            template=[
                "tournament_{tournament_id}",
                "match_{tournament_id}_{match_id}",
                "scoreboard_{tournament_id}",
                "global",
                "payments",
                "receipts",
            ],
            subprotocols=["tournament.v1", "tournament.v2"],
        )
        # What business.py and audit.py tell with OpenTelemetry's own means.
        otel_ws.declare(
            id="subject.id",
            choice={
                "status": ("paid", "declined", "started", "finished"),
                "method": ("card", "coins", "voucher"),
                "reason": ("fee", "prize", "grant"),
                "lookup.reason": REASONS,
                "lookup.outcome": ("granted", "refused"),
            },
            template=("settle match", "USER_LOOKUP"),
            number=(
                "tournament.registrations",
                "tournament.matches",
                "tournament.payments",
                "tournament.coins",
                "tournament.prize",
            ),
        )
