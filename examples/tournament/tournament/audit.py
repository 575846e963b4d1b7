"""The audit trail of look-ups: a row, a log line and an event of our own, with ids and codes and nothing else."""

import logging

from opentelemetry._logs import SeverityNumber, get_logger

from tournament.models import AuditEntry

REASONS = ("ABUSE_REPORT", "PAYMENT_DISPUTE", "TECHNICAL_FAULT", "USER_REQUEST")

log = logging.getLogger("tournament.audit")
events = get_logger("tournament")


def user_looked_up(actor_id: int, subject_id: int, reason: str, granted: bool) -> None:
    """Somebody asked who is behind an id; ``reason`` is one of ``REASONS``."""
    AuditEntry.objects.create(actor_id=actor_id, subject_id=subject_id, reason=reason, granted=granted)
    outcome = "granted" if granted else "refused"
    log.info("USER_LOOKUP actor=%d subject=%d reason=%s outcome=%s", actor_id, subject_id, reason, outcome)
    events.emit(
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        event_name="USER_LOOKUP",
        attributes={
            "user.id": str(actor_id),
            "subject.id": str(subject_id),
            "lookup.reason": reason,
            "lookup.outcome": outcome,
        },
    )
