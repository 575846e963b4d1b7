"""``otel-ws check``: what in a set-up is wrong, will be missed, or leaks by design, each with the way out.

It reads the environment, the packages, the application and what the wiring tells of itself; it starts no exporter
and opens no connection.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from typing import Any, Final

import otel_ws
from otel_ws import parsers, processes, recorder, semconv, settings
from otel_ws.cli import groups, load, traps
from otel_ws.cli.routes import Route, hidden_among, is_told_apart, routes_of
from otel_ws.ledger import Snapshot
from otel_ws.semconv import OTHER

OK, WARNING, FAILURE = "ok", "warning", "failure"
_WORKERS: Final = ("WEB_CONCURRENCY", "UVICORN_WORKERS")
# So many places of undeclared names are told.
_SHOWN: Final = 5
_DECLARE_TEMPLATE: Final = "otel_ws.declare(template='room_{room_id}'), with a name in braces for each part that varies"
_SHOW: Final = "a class instead, which keeps the application behind it as app, or as inner"
_PROTOCOLS: Final = ("http/protobuf", "grpc")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and the way out where it is not right."""

    level: str
    subject: str
    text: str
    way_out: str = ""


def findings(named: str | None) -> list[Finding]:
    """Everything, in the order in which a person would look; the application is imported if it is named."""
    # Read before anything is imported: a project's module may set some of it.
    was_named = bool(os.environ.get("DJANGO_SETTINGS_MODULE"))
    found = [*_packages(), *_settings(), *_exporters(dict(os.environ))]
    load.exporters()
    if named is None:
        found.append(
            Finding(
                WARNING,
                "application",
                "none was named, so what it sets up was not looked at",
                "otel-ws check project.asgi:application",
            )
        )
        return found
    try:
        application = load.application(named)
    except load.LoadError as exc:
        return [
            *found,
            Finding(FAILURE, "application", str(exc), "start it once with your server to see the whole error"),
        ]
    found += [*_application(named, application), *_resolvers()]
    conf = sys.modules.get("django.conf")
    if conf is not None and conf.settings.configured and not was_named:
        found.append(
            Finding(
                WARNING,
                "django",
                "DJANGO_SETTINGS_MODULE is not in the environment: opentelemetry-instrument needs it there, before "
                "asgi.py could set it",
                "export it, or use --settings here",
            )
        )
    found += [Finding(WARNING, "channel layers", *trap) for trap in traps.found(_channel_layers(), dict(os.environ))]
    own = named.partition(":")[0].partition(".")[0]
    routes = routes_of(application)
    if not any(route.scope_type == "websocket" for route in routes) and is_told_apart(application):
        found.append(
            Finding(
                WARNING,
                "undeclared",
                "no route of a WebSocket was found, so nothing of theirs was looked at: a function stands before them",
                _SHOW,
            )
        )
    return [*found, *_vocabulary(routes, own), *gate_findings()]


def _channel_layers() -> Mapping[str, Any]:
    conf = sys.modules.get("django.conf")
    configured = getattr(conf.settings, "CHANNEL_LAYERS", None) if conf and conf.settings.configured else None
    return configured if isinstance(configured, Mapping) else {}


# --- the environment ----------------------------------------------------------------------------------------
def _packages() -> Iterator[Finding]:
    if find_spec("opentelemetry.sdk") is None:
        yield Finding(
            WARNING,
            "packages",
            "the OpenTelemetry SDK is not installed: JSON lines and get_metrics_snapshot() are all there is",
            "pip install 'otel-ws[sdk]'",
        )
    else:
        yield Finding(
            OK, "packages", f"otel-ws {otel_ws.__version__}, OpenTelemetry SDK {_version('opentelemetry-sdk')}"
        )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _settings() -> Iterator[Finding]:
    try:
        django = load.django_settings()
    except load.LoadError as exc:
        yield Finding(FAILURE, "settings", str(exc), "set DJANGO_SETTINGS_MODULE, or use --settings")
        return
    problems = settings.problems(None, django)
    for problem in problems:
        yield Finding(FAILURE, "settings", str(problem), "docs/configuration.md lists every setting")
    known = {row[0] for row in settings.table()}
    for name in sorted(one for one in os.environ if one.startswith(settings.PREFIX) and one not in known):
        yield Finding(
            WARNING, "settings", f"{name} is not a setting of otel-ws and is ignored", "unset it, or correct it"
        )
    if not problems:
        given = sorted(one for one in os.environ if one in known)
        yield Finding(OK, "settings", f"{len(given) + len(django)} given, every value is valid")
    if settings.sdk_disabled():
        yield Finding(WARNING, "settings", "OTEL_SDK_DISABLED=true: nothing is told", "unset it")
    if not problems and not settings.Settings.load(None, django).enabled:
        yield Finding(WARNING, "settings", "otel-ws is switched off: nothing is told", "OTEL_WS_ENABLED=true")


def _exporters(environ: Mapping[str, str]) -> Iterator[Finding]:
    if find_spec("opentelemetry.sdk") is None:
        return
    for signal in load.SIGNALS:
        variable = f"OTEL_{signal}_EXPORTER"
        for name in filter(None, (part.strip() for part in environ.get(variable, "otlp").split(","))):
            yield from _exporter(environ, signal, variable, name)
    if environ.get("OTEL_CONFIG_FILE"):
        yield Finding(
            OK, "exporters", "OTEL_CONFIG_FILE is read by opentelemetry-instrument, and wins over OTEL_*_EXPORTER"
        )


def _exporter(environ: Mapping[str, str], signal: str, variable: str, name: str) -> Iterator[Finding]:
    if name == "none":
        yield Finding(WARNING, "exporters", f"{variable}=none: nothing is exported there", f"{variable}=otlp")
        return
    if name == "otlp":
        protocol = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        if protocol and protocol.strip() not in _PROTOCOLS:
            yield Finding(
                FAILURE,
                "exporters",
                f"{protocol!r} is no protocol of OTLP",
                f"OTEL_EXPORTER_OTLP_PROTOCOL is one of {', '.join(_PROTOCOLS)}",
            )
            return
        entry = "otlp_proto_grpc" if protocol and protocol.strip() == "grpc" else "otlp_proto_http"
    else:
        entry = name
    if not entry_points(group=f"opentelemetry_{signal.lower()}_exporter", name=entry):
        yield Finding(
            FAILURE,
            "exporters",
            f"{variable}={name}: there is no such exporter installed",
            "pip install 'otel-ws[sdk]' brings OTLP and Prometheus",
        )
    elif name == "prometheus":
        yield _stock_prometheus(environ)
    else:
        yield Finding(OK, "exporters", f"{variable}={name}")


def _stock_prometheus(environ: Mapping[str, str]) -> Finding:
    workers = next((environ[one] for one in _WORKERS if environ.get(one, "1").strip() not in {"", "1"}), None)
    way_out = "OTEL_METRICS_EXPORTER=ws_prometheus: one port that all workers share"
    if workers is not None:
        return Finding(
            FAILURE,
            "exporters",
            f"OTEL_METRICS_EXPORTER=prometheus with {workers} workers: "
            "the stock exporter takes its port in the first process alone",
            way_out,
        )
    return Finding(
        WARNING,
        "exporters",
        "OTEL_METRICS_EXPORTER=prometheus works with one worker alone: "
        "the stock exporter takes its port when it is made, in a supervisor or in one worker of many",
        way_out,
    )


# --- the application ----------------------------------------------------------------------------------------
def _application(named: str, application: Any) -> Iterator[Finding]:
    if recorder.active() is None:
        yield Finding(
            WARNING,
            "application",
            f"importing {named} does not start otel-ws",
            "call otel_ws.configure() in it, or start it with opentelemetry-instrument",
        )
    else:
        yield Finding(OK, "application", f"{named} starts otel-ws")
    if isinstance(application, otel_ws.WebSocketMiddleware):
        yield Finding(OK, "middleware", "WebSocketMiddleware stands around everything")
    elif _is_somewhere(application):
        yield Finding(
            WARNING,
            "middleware",
            "WebSocketMiddleware does not stand around everything: "
            "what other middleware refuses outside of it is not seen",
            "make it the outermost: application = otel_ws.WebSocketMiddleware(application)",
        )
    else:
        yield Finding(
            WARNING,
            "middleware",
            "the middleware line is missing: what middleware outside of the router "
            "refuses is not seen, and a plain ASGI application is not seen at all",
            "application = otel_ws.WebSocketMiddleware(application)",
        )


def _resolvers() -> Iterator[Finding]:
    """Functions that settings name and that are imported at the first connection: the application is ready by now."""
    active = recorder.active()
    if active is None:
        return
    for one in dataclasses.fields(active.settings):
        named = getattr(active.settings, one.name)
        if not isinstance(named, parsers.Lazy):
            continue
        try:
            named.found()
        except parsers.UnimportableError as exc:
            # The value is not shown: whatever has a colon in it has the form of one.
            yield Finding(
                FAILURE,
                "settings",
                f"{settings.PREFIX}{one.name.upper()}: the function that it names cannot be imported "
                f"({type(exc.__cause__).__name__})",
                "module:function, both as they are written in the project; the module is to import without an error",
            )


def _is_somewhere(application: Any) -> bool:
    for _ in range(30):
        if isinstance(application, otel_ws.WebSocketMiddleware):
            return True
        inner = [getattr(application, name, None) for name in ("app", "inner", "application")]
        application = next((one for one in inner if callable(one)), None)
    return False


def _vocabulary(routes: Sequence[Route], own: str) -> Iterator[Finding]:
    conversations = [route for route in routes if route.scope_type == "websocket"]
    known = recorder.vocabulary.ids
    undeclared = sorted(
        {name for route in conversations for name in route.parameters if name.endswith("_id") and name not in known}
    )
    for name in undeclared:
        key = f"{name.removesuffix('_id')}.id"
        yield Finding(
            WARNING,
            "undeclared",
            f"the route parameter {name} does not leave: its id is not declared",
            f"otel_ws.declare(id={key!r}), if it is a number, a UUID or a ULID",
        )
    other = sum(OTHER in route.template for route in conversations)
    if other:
        yield Finding(
            WARNING,
            "undeclared",
            f"{other} routes are told as {OTHER}: their regular expression is more than text and named groups",
            "use path(), or named groups",
        )
    silent = sum(route.is_consumer and not route.message_types for route in conversations)
    if silent:
        yield Finding(
            WARNING,
            "undeclared",
            f"{silent} consumers declare no message types: "
            "theirs are told as unknown unless a setting or declare() names them",
            "message_types = (…) on the consumer's class",
        )
    if hidden := hidden_among(conversations):
        yield Finding(WARNING, "undeclared", hidden, _SHOW)
    nameless = [
        Finding(WARNING, "undeclared", f"{text}: their names were made from no declared template", _DECLARE_TEMPLATE)
        for text in _undeclared_groups(conversations, own)
    ]
    yield from nameless
    if conversations and not undeclared and not other and not silent and not hidden and not nameless:
        yield Finding(OK, "undeclared", f"nothing: {len(conversations)} routes of WebSockets, all told apart")


def _undeclared_groups(conversations: Sequence[Route], own: str) -> Iterator[str]:
    """How many groups and channels have no template: of this application's, and of those that its workers have now.

    Of the application's: those that consumers join by themselves, that its code names, and that this process has met.
    """
    active = recorder.active()
    if active is None:
        return
    deliveries = active.deliveries
    for name in {name for route in conversations for name in route.groups}:
        deliveries.of_name(name)
    places = [one.place for one in groups.in_code(own) if deliveries.of_name(one.sample).template == OTHER]
    if count := deliveries.undeclared():
        shown = "; ".join(list(dict.fromkeys(places))[:_SHOWN])
        where = f" ({shown}{'; …' if len(set(places)) > _SHOWN else ''})" if places else ""
        yield f"{count} groups or channels of the channel layer are told as {OTHER}{where}"
    running = processes.of_group(active.settings)
    if running is not None and (count := _told_as_other(running.snapshot)):
        yield f"{count} groups that the running workers of this service have members of are told as {OTHER}"


def _told_as_other(now: Snapshot) -> int:
    return int(now.total(semconv.LAYER_GROUPS, messaging_destination_template=OTHER))


# --- the gate -----------------------------------------------------------------------------------------------
def gate_findings() -> Iterator[Finding]:
    """What the gate tells of itself: its mode, what it proved, and what it cannot reach."""
    if find_spec("opentelemetry.sdk") is None:
        return
    from otel_ws import gate

    now: Mapping[str, Any] = gate.status()
    mode = now["mode"]
    if mode == "all":
        but = ", but for what is named below" if now.get("own") else ""
        yield Finding(OK, "gate", f"all: whatever the process exports is cleared{but}")
    elif mode == "off":
        yield Finding(WARNING, "gate", "there is none: otel-ws is not started", "otel_ws.configure()")
    else:
        said = (
            "counts what others' telemetry would lose, and removes nothing"
            if mode == "report"
            else ("telemetry of otel-ws is cleared, what others in the process export leaves as it is")
        )
        yield Finding(WARNING, "gate", f"{mode}: {said}", "OTEL_WS_GATE=all")
    level = FAILURE if mode == "all" else WARNING
    if now.get("own"):
        yield Finding(
            level,
            "gate",
            f"{', '.join(now['own'])}: the application made the provider itself, so what leaves by it is not cleared",
            "OTEL_WS_GATE=all",
        )
    if mode == "all" and gate.sends_baggage():
        yield Finding(
            WARNING,
            "baggage",
            "OpenTelemetry's baggage propagator is active: what the application puts into baggage goes, in a header, "
            "to whomever it calls",
            "OTEL_PROPAGATORS=tracecontext",
        )
    for name in now.get("ungated", ()):
        yield Finding(
            level,
            "gate",
            f"{name} ships telemetry by itself, where no gate can stand",
            "give its exporter to a BatchSpanProcessor, BatchLogRecordProcessor or metric reader",
        )
    for name in now.get("blocked", ()):
        yield Finding(
            level,
            "gate",
            f"{name} did not pass the canary, so nothing leaves by it",
            "report it to the maintainers of otel-ws, with the version of the SDK",
        )
    if now.get("would_remove"):
        removed = ", ".join(f"{one} ({times})" for one, times in sorted(now["would_remove"].items()))
        yield Finding(
            WARNING,
            "gate",
            f"OTEL_WS_GATE=all would remove {removed}",
            "otel_ws.declare() keeps what holds no personal data",
        )
