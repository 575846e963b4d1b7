"""Django's door: what happens when its applications are ready. It wires, and refuses to know what is wired."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks as registry

from otel_ws.faults import fault
from otel_ws.instrumentor import django_is_ready, tell
from otel_ws.settings import SettingsError


class OtelWsConfig(AppConfig):  # type: ignore[misc]
    """otel-ws as a Django application; it has no models: nothing of it is kept in a database."""

    name = "otel_ws.django"
    label = "otel_ws"
    verbose_name = "WebSocket monitoring"

    def ready(self) -> None:
        """Register the system checks, and let Django's ``OTEL_WS`` be heard."""
        from otel_ws.django import checks

        for check in checks.CHECKS:
            registry.register(check, checks.TAG)
        try:
            django_is_ready()
        except SettingsError as exc:
            tell(f"{exc}\notel-ws goes on without Django's OTEL_WS.")
        except Exception as exc:
            fault("django.ready", exc)
