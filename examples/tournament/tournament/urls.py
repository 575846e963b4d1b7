"""The HTTP routes."""

from django.urls import include, path

from tournament.views import user

urlpatterns = [
    path("support/users/<int:user_id>/", user),
    # The monitoring endpoints and the live page.
    path("", include("otel_ws.django.urls")),
]
