"""What the house lives on, counted with the application's own OpenTelemetry meter and told by its own tracer."""

from django.contrib.auth.models import User
from django.db import transaction
from opentelemetry import metrics, trace

from tournament.models import Match, Payment, Profile, Registration, Tournament

PRIZE = 25

meter = metrics.get_meter("tournament")
tracer = trace.get_tracer("tournament")

registrations = meter.create_counter("tournament.registrations", "{registration}", "Players who take part.")
matches = meter.create_counter("tournament.matches", "{match}", "Matches, by what happened to them.")
payments = meter.create_counter("tournament.payments", "{payment}", "Attempts to pay, by status and method.")
coins = meter.create_counter("tournament.coins", "{coin}", "Coins that changed hands, by reason.")


class PrizeError(Exception):
    """A prize cannot be paid out."""


class PaymentError(Exception):
    """A payment cannot be taken."""


@transaction.atomic
def register(user_id: int, tournament_id: int, method: str) -> bool:
    """Take part in a tournament; false if the fee could not be paid."""
    tournament = Tournament.objects.get(pk=tournament_id)
    profile = Profile.objects.get(user_id=user_id)
    paid = method == "card" or (method == "coins" and profile.coins >= tournament.fee)
    status = "paid" if paid else "declined"
    payment = Payment.objects.create(user_id=user_id, method=method, status=status)
    payments.add(1, {"status": status, "method": method})
    if not paid:
        return False
    if method == "coins":
        profile.coins -= tournament.fee
        profile.save(update_fields=["coins"])
        coins.add(tournament.fee, {"reason": "fee"})
    Registration.objects.create(user_id=user_id, tournament=tournament, payment=payment)
    registrations.add(1)
    return True


def start_match(tournament_id: int) -> int:
    """Open a match; returns its id."""
    match = Match.objects.create(tournament_id=tournament_id)
    matches.add(1, {"status": "started"})
    return match.pk


def finish_match(match_id: int, winner_id: int) -> None:
    """Close a match and pay the prize; raises ``Match.DoesNotExist`` if there is none."""
    # An exception's text can hold personal data, so it may not become part of the span.
    with tracer.start_as_current_span("settle match", record_exception=False, set_status_on_exception=False) as span:
        with transaction.atomic():
            match = Match.objects.get(pk=match_id)
            match.status, match.winner_id = "finished", winner_id
            match.save()
            grant_coins(winner_id, PRIZE, "prize")
        span.set_attribute("tournament.prize", PRIZE)
        matches.add(1, {"status": "finished"})


def grant_coins(user_id: int, amount: int, reason: str = "grant") -> None:
    """Give coins to a player."""
    with transaction.atomic():
        profile = Profile.objects.get(user_id=user_id)
        profile.coins += amount
        profile.save(update_fields=["coins"])
    coins.add(amount, {"reason": reason})


@transaction.atomic
def buy_coins(user_id: int, amount: int, method: str) -> None:
    """Sell coins; raises ``PaymentError``, with a text that is far too frank."""
    status = "paid" if method == "card" else "declined"
    payments.add(1, {"status": status, "method": method})
    if status == "declined":
        user = User.objects.select_related("profile").get(pk=user_id)
        raise PaymentError(f"{user.profile.display_name} <{user.email}> has no {method}")
    Payment.objects.create(user_id=user_id, method=method, status=status)
    grant_coins(user_id, amount)


def claim_prize(user_id: int, token: str) -> None:
    """Pay a player's coins out; raises ``PrizeError``, with a text that is far too frank."""
    user = User.objects.select_related("profile").get(pk=user_id)
    if not user.profile.bank_account:
        raise PrizeError(f"no bank account for {user.profile.display_name} <{user.email}>, asked with token {token}")
