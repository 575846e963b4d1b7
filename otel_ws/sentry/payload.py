"""What an item of Sentry's consists of: the fields that may leave, each with the rule for its value. Pure structure.

Not here, so never sent: messages and their parameters, exception values, local variables, source lines, file paths,
the request but for its method, the user but for his id, the server's name, installed packages, devices.
"""

from __future__ import annotations

import re
from typing import Any, Final

from otel_ws.foreign import BODY, Foreign
from otel_ws.semconv import OTHER
from otel_ws.semconv.words import HTTP_METHODS
from otel_ws.sentry import rules
from otel_ws.sentry.rules import LEVEL, Rule, among, digits, each, fields, flag, matching, number, time, values

# An interpreter's frame says what the code is called; there a form is enough, in a module that is loaded.
_FUNCTION: Final = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]{0,99}|<(?:module|lambda|listcomp|dictcomp|setcomp|genexpr|unknown)>"
)
_OPERATION: Final = rules.declared_by_sentry("OP")

_FRAME: Final = fields({"module": rules.module, "function": matching(_FUNCTION), "lineno": number, "in_app": flag})


def _frame(foreign: Foreign, value: Any) -> dict[str, Any]:
    cleared = _FRAME(foreign, value)
    if cleared.get("module") in (None, OTHER):
        cleared.pop("function", None)
    return cleared


_STACK: Final = fields({"frames": each(_frame, 250)})
_EXCEPTION: Final = fields(
    {
        "type": rules.exception_type,
        "module": rules.module,
        "mechanism": fields(
            {
                "type": rules.mechanism,
                "handled": flag,
                "synthetic": flag,
                "exception_id": number,
                "parent_id": number,
                "is_exception_group": flag,
            }
        ),
        "stacktrace": _STACK,
        "thread_id": number,
    }
)
_THREAD: Final = fields({"id": number, "current": flag, "crashed": flag, "main": flag, "stacktrace": _STACK})
_SPAN: Final[dict[str, Rule]] = {
    "trace_id": digits(32),
    "span_id": digits(16),
    "parent_span_id": digits(16),
    "same_process_as_parent": flag,
    "op": _OPERATION,
    "status": rules.declared_by_sentry("SPANSTATUS"),
    "description": rules.description,
    "start_timestamp": time,
    "timestamp": time,
    "tags": rules.tags,
    "data": rules.span_data,
}
# sentry-sdk makes it the envelope's `trace` header.
_SAMPLING: Final = fields(
    {
        "trace_id": digits(32),
        "public_key": digits(32),
        "org_id": matching(re.compile("[0-9]{1,19}")),
        "release": rules.release,
        "environment": rules.code_name,
        "transaction": rules.name,
        "sample_rate": rules.ratio,
        "sample_rand": rules.ratio,
        "sampled": among("true", "false"),
    }
)
_CONTEXTS: Final = fields(
    {
        "trace": fields({**_SPAN, "dynamic_sampling_context": _SAMPLING}),
        "runtime": fields({"name": among("CPython", "PyPy"), "version": rules.version}),
        "response": fields({"status_code": number}),
    }
)
_COMMON: Final[dict[str, Rule]] = {
    "event_id": digits(32),
    "type": among("transaction", "check_in", "event", "error", "default"),
    "timestamp": time,
    "platform": among("python"),
    "release": rules.release,
    "environment": rules.code_name,
    "contexts": _CONTEXTS,
    "sdk": fields({"name": rules.sdk_name, "version": rules.version, "integrations": each(rules.integration)}),
}

BREADCRUMB: Final = fields(
    {
        "type": among("default", "http", "error", "debug", "info", "query", "navigation", "user", "log", "redis"),
        "category": rules.category,
        "level": LEVEL,
        "timestamp": time,
        "data": rules.attributes,
    }
)
_EVENT: Final[dict[str, Rule]] = {
    **_COMMON,
    "level": LEVEL,
    "logger": rules.module,
    "transaction": rules.name,
    "transaction_info": fields({"source": among("component", "custom", "route", "task", "url", "view")}),
    "message": rules.text,
    "logentry": lambda foreign, value: {"message": BODY},
    "exception": values(_EXCEPTION),
    "threads": values(_THREAD),
    "stacktrace": _STACK,
    "breadcrumbs": values(BREADCRUMB),
    "fingerprint": each(rules.grouping),
    "request": fields({"method": among(*HTTP_METHODS)}),
    "user": rules.user,
    "tags": rules.tags,
    "extra": rules.attributes,
}
EVENT: Final = fields(_EVENT)
TRANSACTION: Final = fields({**_EVENT, "start_timestamp": time, "spans": each(fields(_SPAN))})
CHECK_IN: Final = fields(
    {
        **_COMMON,
        "check_in_id": digits(32),
        "monitor_slug": rules.slug,
        "status": among("ok", "in_progress", "error"),
        "duration": number,
    }
)
LOG: Final = fields(
    {
        "severity_text": LEVEL,
        "severity_number": number,
        "body": rules.text,
        "attributes": rules.attributes,
        "time_unix_nano": number,
        "trace_id": digits(32),
        "span_id": digits(16),
    }
)
# Its name and unit are the policy's to say, together.
METRIC: Final = fields(
    {
        "timestamp": number,
        "trace_id": digits(32),
        "span_id": digits(16),
        "type": among("counter", "gauge", "distribution", "set"),
        "value": number,
        "attributes": rules.metric_attributes,
    }
)
