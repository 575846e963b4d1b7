"""The link from Django's admin to the live page, for staff, where the project includes our URLs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse

from otel_ws.django.models import LivePage


@admin.register(LivePage)
class LivePageAdmin(admin.ModelAdmin):  # type: ignore[misc]
    """A link, and nothing to add, change or delete."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Listed where the page is."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """For whom the page opens."""
        return bool(request.user.is_active and request.user.is_staff) and _page() is not None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is nothing to add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """There is nothing to change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """There is nothing to delete."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseRedirect:
        """Go to the page."""
        return HttpResponseRedirect(_page() or reverse("admin:index"))


def _page() -> str | None:
    try:
        return str(reverse("otel_ws:page"))
    except NoReverseMatch:
        return None
