"""Every setting of otel-ws, once: its default, its parser and its sentence for the documentation.

Reads an environment and a mapping; refuses to know whose they are. Precedence: argument, environment,
Django's ``OTEL_WS``, default. The documentation's table and the start-up check loop over the fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from otel_ws import forms, parsers, pseudonyms, thresholds
from otel_ws.declarations import DeclarationError, Declarations, load
from otel_ws.faults import warn_once
from otel_ws.thresholds import Thresholds
from otel_ws.types import Resolver

PREFIX = "OTEL_WS_"
_NAME = "a name of up to 64 letters, digits and _ . : -, the first a letter or _"


class SettingsError(ValueError):
    """One or more settings have a wrong value; the text names each, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong setting: where it was given, its value where that may be shown, and what would be right."""

    name: str
    value: str | None
    allowed: str

    def __str__(self) -> str:
        """The problem as one line for a person."""
        if self.value is None:
            return f"{self.name}: {self.allowed}."
        return f"{self.name}={self.value!r} is not valid; allowed: {self.allowed}."


def _setting(
    default: Any, parse: Callable[[Any], Any], allowed: str, doc: str, form: re.Pattern[str] | None = None
) -> Any:
    """A field; where it names a file or a function, a wrong value is repeated only in the ``form`` of such a name."""
    return field(default=default, metadata={"parse": parse, "allowed": allowed, "doc": doc, "form": form})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decided. Frozen: a change means a new start."""

    enabled: bool = _setting(
        True,
        parsers.flag,
        "true, false",
        "`false` takes otel-ws out of the way: the application object itself is returned.",
    )
    json_log: str = _setting(
        "",
        parsers.log_target,
        "stdout, or a path in a folder that exists and is writable; {pid} is replaced",
        "Also write every event as a JSON line, to `stdout` or to a file. The file is reopened when it was moved; "
        "a path with `{pid}` is rotated at 64 MiB.",
        forms.PATH,
    )
    console_log: bool = _setting(
        False,
        parsers.flag,
        "true, false",
        "Also write every event as a line for people to standard error, in colour on a terminal: for development.",
    )
    message_events: str = _setting(
        "slow",
        parsers.choice("all", "sampled", "slow", "errors", "off"),
        "all, sampled, slow, errors, off",
        "Which handled messages become `WS_MESSAGE` events. `slow`: over 100 ms, and errors. `sampled`: those whose "
        "span is sampled, and errors.",
    )
    runtime_dir: str = _setting(
        "",
        parsers.absolute,
        "the absolute path of a folder, or nothing",
        "Where the workers of a host share their counts: a folder that this user can write. In it a private one is "
        "made (`otel-ws-<uid>`, for nobody else to look into). Not set: `/dev/shm`, else the folder for temporary "
        "files.",
        forms.PATH,
    )
    group: str = _setting(
        "",
        parsers.one_name,
        f"{_NAME}, or nothing",
        "Workers with the same user, service (`OTEL_SERVICE_NAME`, namespace, environment; without a name the "
        "folder that they were started in) and group answer for each other. Set it to keep two deployments of a "
        "service apart.",
    )
    recent: bool = _setting(
        False,
        parsers.flag,
        "true, false",
        "Keep the last events and spans of this host's workers, at most 512 of each and process, for the live page and "
        "`/monitoring/errors`.",
    )
    delivery_events: bool = _setting(
        False, parsers.flag, "true, false", "Also emit one `WS_DELIVERY` event for each message sent to a client."
    )
    message_traces: str = _setting(
        "linked",
        parsers.choice("linked", "child", "off"),
        "linked, child, off",
        "`linked`: each client message is a trace of its own, linked to the connect span. `child`: a child of it. "
        "`off`: no message spans.",
    )
    message_sample_ratio: float = _setting(
        1.0,
        parsers.ratio,
        "a number from 0 to 1",
        "Share of message spans that is kept, on top of the sampler (`OTEL_TRACES_SAMPLER`). The messages of a "
        "connection that are not kept have one trace id in log lines.",
    )
    send_spans: str = _setting(
        "off",
        parsers.choice("off", "slow", "all"),
        "off, slow, all",
        "Spans for messages to the client. `slow`: only those over 100 ms.",
    )
    connect_context: str = _setting(
        "parent",
        parsers.choice("parent", "link", "ignore"),
        "parent, link, ignore",
        "What a `traceparent` header of the handshake does to the connect span.",
    )
    layer_context: str = _setting(
        "link",
        parsers.choice("link", "parent", "off"),
        "link, parent, off",
        "What travels with a message of the channel layer. `link`: the sender's trace context, to which the span of "
        "whoever handles the message is linked. `parent`: the same, as its parent. `off`: nothing.",
    )
    message_context: str = _setting(
        "off",
        parsers.choice("off", "link"),
        "off, link",
        "Whether a client's trace context, the member `traceparent` of a decoded JSON message, is followed. `link`: "
        "the message's span is linked to it. The message itself stays as it is.",
    )
    layer_poll: float = _setting(
        15.0,
        parsers.seconds,
        "seconds from 0.1 to 3600, or 0",
        "How often the queues of a channel layer in Redis are looked at, for `ws.layer.depth` and its like: by one "
        "process of all that share the layer, on a connection of its own. 0: never.",
    )
    max_connections: int = _setting(
        0,
        parsers.whole,
        "a whole number, or 0",
        "How many connections may be open at once; above 90 % `health()` is degraded. 0: no limit is known. "
        "otel-ws itself refuses nobody.",
    )
    histograms: str = _setting(
        "ledger",
        parsers.choice("ledger", "api"),
        "ledger, api",
        "How histograms reach OpenTelemetry's readers. `ledger`: counted by otel-ws and added to what a reader "
        "collects. `api`: one call of the SDK for each value, three to five times the price; chosen anyway for a "
        "histogram that one of your Views is about.",
    )
    metric_ids: tuple[str, ...] = _setting(
        (),
        parsers.ids,
        "a comma-separated list of ids that end in .id, never user.id",
        "Ids by which `ws.active_connections.by_id` is broken down, for example `tournament.id`; at most 200 values.",
    )
    message_type_key: str = _setting(
        "type", parsers.key, _NAME, "The key of a decoded JSON message that holds its type."
    )
    message_types: tuple[str, ...] = _setting(
        (),
        parsers.names,
        "a comma-separated list of names",
        "Message types that may be told apart, beside those that consumers and `declare()` name. Others are `unknown`.",
    )
    thresholds: Thresholds = _setting(  # noqa: RUF009 - a dataclass field
        Thresholds(),
        thresholds.parse,
        f"name=number with commas between; names are {thresholds.NAMES}",
        "Where the rules of the health verdict fire, for those that should fire elsewhere: "
        "`error_rate_degraded=0.02,queue_depth_unhealthy=20000`. Shares are from 0 to 1, times in seconds.",
    )
    token_file: str = _setting(
        "",
        parsers.key_file,
        f"the path of a file of {pseudonyms.SHORTEST_KEY} to {pseudonyms.LONGEST_KEY} bytes that can be read and "
        "that not everybody can write",
        "The bearer token that opens the monitoring endpoints and the live page. Read again when the file changes.",
        forms.PATH,
    )
    trust_loopback: bool = _setting(
        False,
        parsers.flag,
        "true, false",
        "`true` opens the monitoring endpoints to whoever asks from this machine itself, without a proxy in between.",
    )
    gate: str = _setting(
        "",
        parsers.choice("all", "own", "report"),
        "all, own, report",
        "What is cleared before it leaves. `all`: everything that the process exports. `own`: what otel-ws records "
        "itself. `report`: the same, and a report of what `all` would remove. Not set: `all` where "
        "`otel_ws.configure()` made the providers, else `own`.",
    )
    policy: Declarations = _setting(  # noqa: RUF009 - a dataclass field
        Declarations(),
        load,
        "the path of a .json or .toml file that can be read, or in Python the words of declare() as a mapping",
        "What may leave beside what otel-ws and the conventions know: a file with the words of `declare()`.",
        forms.PATH,
    )
    pseudonym_key_file: str = _setting(
        "",
        parsers.key_file,
        f"the path of a file of {pseudonyms.SHORTEST_KEY} to {pseudonyms.LONGEST_KEY} bytes that can be read and "
        "that not everybody can write",
        "A secret key: with it ids that are no numbers, UUIDs or ULIDs leave as pseudonyms (`p_` and 32 hexadecimal "
        "digits), without it they are dropped.",
        forms.PATH,
    )
    user_id_resolver: Resolver | None = _setting(  # noqa: RUF009 - a dataclass field
        None,
        parsers.resolver,
        "module:function, or a callable that takes the scope",
        "Where the user's id comes from, instead of the `pk` of `scope['user']`.",
        forms.NAME,
    )
    role_resolver: Resolver | None = _setting(  # noqa: RUF009 - a dataclass field
        None,
        parsers.resolver,
        "module:function, or a callable that takes the scope",
        "Where the role comes from, instead of `scope['role']`.",
        forms.NAME,
    )

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        django: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Settings:
        """Read the settings: argument over environment over Django's ``OTEL_WS`` over default.

        Raises:
            SettingsError: a value or a name is wrong; the text lists every one.
        """
        values, problems = _read(os.environ if environ is None else environ, django or {}, arguments)
        if values.get("enabled") is False:
            # The way back works whatever else is wrong.
            return cls(enabled=False)
        if problems:
            raise SettingsError("otel-ws cannot start:\n" + "\n".join(f"  {problem}" for problem in problems))
        return cls(**values)

    @classmethod
    def load_or_exit(cls, django: Mapping[str, Any] | None = None, **arguments: Any) -> Settings:
        """The same, for a start-up that the operator watches: a wrong value ends it with a plain text.

        Raises:
            SystemExit: a value or a name is wrong; Python prints the text and no traceback.
        """
        try:
            return cls.load(None, django, **arguments)
        except SettingsError as exc:
            raise SystemExit(str(exc)) from None


def problems(
    environ: Mapping[str, str] | None = None,
    django: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> list[Problem]:
    """Every wrong setting, for those who want to report instead of stop."""
    return _read(os.environ if environ is None else environ, django or {}, arguments)[1]


def sdk_disabled(environ: Mapping[str, str] | None = None) -> bool:
    """Whether ``OTEL_SDK_DISABLED`` is true, as the OpenTelemetry specification reads it."""
    return (os.environ if environ is None else environ).get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _read(
    environ: Mapping[str, str], django: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    fields = {one.name: one for one in dataclasses.fields(Settings)}
    sources = (
        ("argument {}", {name: value for name, value in arguments.items() if value is not None}),
        (
            "OTEL_WS_{}",
            {_own(key): value for key, value in environ.items() if key.startswith(PREFIX) and value != ""},
        ),
        ("OTEL_WS['{}'] in Django's settings", {str(key).lower(): value for key, value in django.items()}),
    )
    values: dict[str, Any] = {}
    wrong: list[Problem] = []
    for where, given in sources:
        for name, raw in given.items():
            shown = where.format(name.upper() if where.startswith("OTEL_WS_") else name)
            if name not in fields and where.startswith("OTEL_WS_"):
                # A warning, and the name alone: Kubernetes puts a variable of this form into every pod for a Service
                # called otel-ws-something, and what stands in a stranger's variable is not ours to print.
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else "."
                warn_once(f"setting.{name}", f"otel-ws: {shown} is not one of its settings and is ignored{hint}")
                continue
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"there is no such setting{f', did you mean {near[0]}' if near else ''}"
                wrong.append(Problem(shown, None, hint))
                continue
            try:
                parsed = fields[name].metadata["parse"](raw)
            except DeclarationError as exc:
                wrong.extend(Problem(shown, None, reason) for reason in exc.reasons)
                continue
            except (ValueError, TypeError, OverflowError):
                wrong.append(_problem(shown, raw, fields[name].metadata))
                continue
            values.setdefault(name, parsed)
    return values, wrong


def _own(key: str) -> str:
    return key[len(PREFIX) :].lower()


def _problem(shown: str, raw: Any, metadata: Mapping[str, Any]) -> Problem:
    form = metadata["form"]
    text = os.fspath(raw) if isinstance(raw, (str, os.PathLike)) else None
    if form is not None and not (isinstance(text, str) and form.fullmatch(text)):
        return Problem(
            shown, None, f"this is none, and is not shown as it may be a secret; allowed: {metadata['allowed']}"
        )
    return Problem(shown, _show(raw), metadata["allowed"])


def _show(raw: Any) -> str:
    return raw[:60] if isinstance(raw, str) else type(raw).__name__ if callable(raw) else repr(raw)[:60]


def table() -> list[tuple[str, str, str, str]]:
    """Rows for the documentation: variable, default, allowed values, what it does."""
    return [
        (PREFIX + one.name.upper(), _default(one.default), one.metadata["allowed"], one.metadata["doc"])
        for one in dataclasses.fields(Settings)
    ]


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in ((), None, Declarations(), Thresholds()) else str(value)
