"""Log records of every make, as they may leave: body, attributes, names, exception, scope and resource.

A record that is not ours is copied, because the application may hold it. It refuses to know where records go.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final

from otel_ws.foreign import Foreign
from otel_ws.gate.origin import Origin
from otel_ws.sdk._private.pipelines import attributes_of
from otel_ws.sdk.light import OwnRecord

SIGNAL: Final = "logs"


class LogClearing:
    """Clears log records: the SDK's writable ones, and the readable ones that exporters get."""

    def __init__(self, foreign: Foreign, origin: Origin) -> None:
        self._foreign = foreign
        self._origin = origin

    def record(self, record: Any) -> Any:
        """One record on its way into the processors."""
        if type(record.log_record) is OwnRecord:
            resource = self._origin.resource(record.resource)
            return record if resource is record.resource else replace(record, resource=resource)
        return self.stranger(record)

    def stranger(self, record: Any) -> Any:
        """One record of which nothing is known, whoever made it."""
        foreign, found = self._foreign, record.log_record
        attributes = foreign.attributes(SIGNAL, attributes_of(found))
        cleared = copy.copy(found)
        cleared.body = foreign.body(found.body)
        cleared.severity_text = foreign.severity_text(found.severity_text)
        if found.event_name is not None:
            cleared.event_name = foreign.event_name(SIGNAL, found.event_name)
        if attributes is None and (kept := attributes_of(found)) is not None:
            # The application may hold the record, and write to it after it was looked at.
            attributes = dict(kept)
        if attributes is not None:
            cleared.attributes = attributes
        if getattr(found, "exception", None) is not None:
            cleared.exception = None
        # Stays on the shallow copies that the SDK's processors make.
        cleared._otel_ws_cleared_by = self
        return replace(
            record,
            log_record=cleared,
            resource=None if record.resource is None else self._origin.resource(record.resource),
            instrumentation_scope=self._origin.scope(SIGNAL, record.instrumentation_scope),
        )

    def is_cleared(self, record: Any) -> bool:
        """Whether the record comes from here."""
        return getattr(record.log_record, "_otel_ws_cleared_by", None) is self
