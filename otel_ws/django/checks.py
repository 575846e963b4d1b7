"""Django's system checks: every wrong setting and every set-up that will be missed, each with an id and a way out.

They read settings; they start nothing and connect to nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Final

from django.apps import apps
from django.conf import settings as project
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's words for them

from otel_ws import recorder, settings
from otel_ws.settings import Settings, SettingsError

TAG: Final = "otel_ws"
DOCS: Final = "docs/configuration.md lists every setting."


def wrong_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """``otel_ws.E001`` and ``E002``, ``W001`` and ``W002``: what stands in ``OTEL_WS`` and in ``OTEL_WS_*``."""
    return list(_wrong_settings())


def missed(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """``otel_ws.W003`` to ``W006``, ``W008``, ``W009``: what of the endpoints nobody could reach, or would not see."""
    return list(_missed())


def layers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """``otel_ws.W007``: channel layers that lose messages in silence."""
    from otel_ws.cli import traps

    found = getattr(project, "CHANNEL_LAYERS", None)
    configured = found if isinstance(found, Mapping) else {}
    return [
        Warning(text, hint=way_out, id="otel_ws.W007") for text, way_out in traps.found(configured, dict(os.environ))
    ]


CHECKS: Final = (wrong_settings, missed, layers)


def _is_silent(module: str) -> bool:
    """Whether a module that can be read does not name us; it is not imported."""
    try:
        loader: Any = getattr(find_spec(module), "loader", None)
        source = loader.get_source(module)
    except Exception:
        # It may be no Python, or not be there: whoever starts the server hears of that.
        return False
    return source is not None and re.search(r"\botel_ws\b", source) is None


def _wrong_settings() -> Iterator[CheckMessage]:
    given = getattr(project, "OTEL_WS", {})
    if not isinstance(given, Mapping):
        yield Error("OTEL_WS is no dictionary.", hint='OTEL_WS = {"NAME": value, …}. ' + DOCS, id="otel_ws.E002")
        given = {}
    for problem in settings.problems(None, given):
        yield Error(str(problem), hint=DOCS, id="otel_ws.E001")
    known = {row[0] for row in settings.table()}
    for name in sorted(one for one in os.environ if one.startswith(settings.PREFIX) and one not in known):
        yield Warning(f"{name} is not a setting of otel-ws and is ignored.", hint=DOCS, id="otel_ws.W001")
    if settings.sdk_disabled():
        yield Warning("OTEL_SDK_DISABLED=true: nothing is told.", hint="Unset it.", id="otel_ws.W002")


def _missed() -> Iterator[CheckMessage]:
    try:
        given = getattr(project, "OTEL_WS", {})
        loaded = Settings.load(None, given if isinstance(given, Mapping) else {})
    except SettingsError:
        return
    if not loaded.enabled:
        yield Warning("otel-ws is switched off: nothing is told.", hint='OTEL_WS["ENABLED"] = True', id="otel_ws.W003")
    has_staff = apps.is_installed("django.contrib.auth") and any(
        one.endswith("AuthenticationMiddleware") for one in project.MIDDLEWARE
    )
    if not has_staff and not loaded.token_file and not loaded.trust_loopback:
        yield Warning(
            "Nobody can look at the monitoring endpoints: there is no authentication middleware and no token.",
            hint="Add django.contrib.auth with its middleware, or set OTEL_WS_TOKEN_FILE.",
            id="otel_ws.W004",
        )
    if loaded.trust_loopback and not project.DEBUG:
        yield Warning(
            "OTEL_WS_TRUST_LOOPBACK opens the monitoring endpoints to every program of this machine, and to whoever "
            "comes by a proxy on it that adds no forwarding header.",
            hint="Use OTEL_WS_TOKEN_FILE.",
            id="otel_ws.W005",
        )
    if find_spec("channels") is None:
        yield Warning(
            "Channels is not installed: only plain ASGI applications are seen.",
            hint="pip install 'otel-ws[channels]'",
            id="otel_ws.W006",
        )
    if loaded.runtime_dir and not os.access(loaded.runtime_dir, os.W_OK | os.X_OK):
        yield Warning(
            "OTEL_WS_RUNTIME_DIR is no folder that this user can write: every worker will answer for itself alone.",
            hint="Make it, for the user of the server. " + DOCS,
            id="otel_ws.W009",
        )
    named = str(getattr(project, "ASGI_APPLICATION", None) or "").rpartition(".")[0]
    if loaded.enabled and not settings.sdk_disabled() and recorder.active() is None and _is_silent(named):
        yield Warning(
            f"Nothing in {named}, the module of ASGI_APPLICATION, starts otel-ws: the endpoints say telemetry is off.",
            hint="otel_ws.configure() above get_asgi_application(), and otel_ws.WebSocketMiddleware(…). Where "
            'opentelemetry-instrument or another module starts it: SILENCED_SYSTEM_CHECKS = ["otel_ws.W008"].',
            id="otel_ws.W008",
        )
