"""The link from Django's admin to the live page, for staff, where the project includes our URLs.

It is an entry of the list of applications and no model: there is nothing to store, migrate, dump or grant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from otel_ws.faults import fault


def linked(listed: Callable[..., Any]) -> Callable[..., Any]:
    """An ``AdminSite.get_app_list`` whose list ends with the link; that of one application stays as it is."""

    @wraps(listed)
    def get_app_list(request: HttpRequest, app_label: str | None = None) -> Any:
        if app_label is not None:
            return listed(request, app_label)
        found = listed(request)
        try:
            return [*found, *_links(request)]
        except Exception as exc:
            fault("django.admin", exc)
            return found

    return get_app_list


def _links(request: HttpRequest) -> list[dict[str, Any]]:
    if not (request.user.is_active and request.user.is_staff):
        return []
    try:
        page = str(reverse("otel_ws:page"))
    except NoReverseMatch:
        return []
    named = {"name": "WebSocket monitoring", "app_label": "otel_ws", "app_url": page}
    return [{**named, "has_module_perms": True, "models": []}]


admin.site.get_app_list = linked(admin.site.get_app_list)
