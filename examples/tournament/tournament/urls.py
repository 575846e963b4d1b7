"""The HTTP routes."""

from django.urls import include, path

from tournament.scoreboard import scoreboard
from tournament.views import user

urlpatterns = [
    path("scoreboard/<int:tournament_id>/", scoreboard),
    path("support/users/<int:user_id>/", user),
    # The monitoring endpoints and the live page.
    path("", include("otel_ws.django.urls")),
]
