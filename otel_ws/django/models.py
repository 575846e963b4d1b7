"""A place for the live page in Django's admin. There is no table: nothing of otel-ws is kept in a database."""

from __future__ import annotations

from django.db import models


class LivePage(models.Model):  # type: ignore[misc]
    """The live page, as the admin's index lists it."""

    class Meta:
        """Nothing to migrate, and nothing to grant."""

        managed = False
        default_permissions = ()
        verbose_name = "live page"
        verbose_name_plural = "live page"
