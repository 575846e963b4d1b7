"""Celery tasks in a module of their own, as a project has them."""

from __future__ import annotations

import logging

import celery

app = celery.Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


@app.task
def mail_receipt(address: str, fail: bool = False) -> str:
    """Mail it, or fail with the address in the text."""
    logging.getLogger(__name__).info("mailing %s", address)
    if fail:
        raise ValueError(f"no such address: {address}")
    return address
