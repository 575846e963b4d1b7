"""The audit trail of profile look-ups: a row, a log line and an event of our own, with ids and nothing else."""

import logging

from opentelemetry._logs import SeverityNumber, get_logger

from tournament.models import AuditEntry

log = logging.getLogger("tournament.audit")
events = get_logger("tournament")


def profile_viewed(actor_id: int, subject_id: int, granted: bool) -> None:
    """Somebody asked for a profile."""
    AuditEntry.objects.create(actor_id=actor_id, subject_id=subject_id, granted=granted)
    log.info("PROFILE_VIEW actor=%d subject=%d granted=%s", actor_id, subject_id, granted)
    events.emit(
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        event_name="PROFILE_VIEW",
        attributes={"user.id": str(actor_id), "profile.user.id": str(subject_id), "granted": granted},
    )
