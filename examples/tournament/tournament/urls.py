"""The HTTP routes."""

from django.urls import path

from tournament.views import user

urlpatterns = [path("support/users/<int:user_id>/", user)]
