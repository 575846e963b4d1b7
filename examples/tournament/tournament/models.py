"""What is stored: tournaments, matches, registrations with their payments, profiles and the audit trail."""

from django.conf import settings
from django.db import models


class Profile(models.Model):
    """What a person told us about himself. None of it may ever reach telemetry; his id may."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    display_name = models.CharField(max_length=80)
    address = models.CharField(max_length=200)
    bank_account = models.CharField(max_length=40, blank=True)
    coins = models.PositiveIntegerField(default=0)


class Tournament(models.Model):
    """A tournament and what it costs to take part, in coins."""

    name = models.CharField(max_length=80)
    fee = models.PositiveIntegerField(default=10)


class Match(models.Model):
    """One match of a tournament."""

    tournament = models.ForeignKey(Tournament, on_delete=models.CASCADE)
    status = models.CharField(max_length=10, default="started")
    winner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)


class Payment(models.Model):
    """An attempt to pay a tournament's fee."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    method = models.CharField(max_length=10)
    status = models.CharField(max_length=10)


class Registration(models.Model):
    """A user who takes part in a tournament."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    tournament = models.ForeignKey(Tournament, on_delete=models.CASCADE)
    payment = models.OneToOneField(Payment, on_delete=models.PROTECT)


class AuditEntry(models.Model):
    """Who asked who is behind an id, why, and whether he was told."""

    at = models.DateTimeField(auto_now_add=True)
    actor_id = models.BigIntegerField()
    subject_id = models.BigIntegerField()
    reason = models.CharField(max_length=32)
    granted = models.BooleanField()
