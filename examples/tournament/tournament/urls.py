"""The HTTP routes."""

from django.urls import path

from tournament.views import profile

urlpatterns = [path("profiles/<int:user_id>/", profile)]
