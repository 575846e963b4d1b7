"""Start-up: what otel-ws may let through as it is, because it is a word of this application."""

from django.apps import AppConfig

import otel_ws


class TournamentConfig(AppConfig):
    """The tournament application."""

    name = "tournament"

    def ready(self) -> None:
        """Declare the vocabulary; values that are not declared leave as ``_OTHER`` or ``unknown``."""
        otel_ws.declare(
            close_codes=[4401, 4403, 4409, 4410, 4413, 4429],
            templates=["tournament_{tournament_id}", "match_{tournament_id}_{match_id}", "global"],
            subprotocols=["tournament.v1", "tournament.v2"],
        )
