"""The HTTP routes."""

from django.urls import path

from tournament.scoreboard import scoreboard
from tournament.views import user

urlpatterns = [
    path("scoreboard/<int:tournament_id>/", scoreboard),
    path("support/users/<int:user_id>/", user),
]
