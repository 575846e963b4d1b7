"""The application with no line of OpenTelemetry, for ``opentelemetry-instrument``.

DJANGO_SETTINGS_MODULE must be in the environment: instrumentors read Django's settings before this file runs.
"""

from tournament.routing import application

__all__ = ["application"]
