"""Wiring, nothing else: the OpenTelemetry instrumentor for Channels and the hook that runs before it."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from otel_ws import recorder
from otel_ws.loaded import django_settings as django_settings
from otel_ws.settings import Settings, SettingsError, problems

_FOREIGN = {"skip_dep_check", "raise_exception_on_conflict"}

try:
    from opentelemetry.instrumentation import instrumentor as _installed

    BaseInstrumentor: Any = _installed.BaseInstrumentor  # type: ignore[attr-defined]
except ImportError:

    class _BaseInstrumentor:
        """The same verbs, for an install without ``opentelemetry-instrumentation``: one instance, on or off."""

        _instance: _BaseInstrumentor | None = None
        _is_on = False

        def __new__(cls) -> Any:
            if cls._instance is None:
                cls._instance = super().__new__(cls)
            return cls._instance

        @property
        def is_instrumented_by_opentelemetry(self) -> bool:
            """Whether ``instrument`` was called last."""
            return self._is_on

        def instrument(self, **kwargs: Any) -> None:
            """Instrument, once."""
            if not self._is_on:
                self._instrument(**kwargs)
                self._is_on = True

        def uninstrument(self, **kwargs: Any) -> None:
            """Put everything back."""
            if self._is_on:
                self._uninstrument(**kwargs)
                self._is_on = False

        def _instrument(self, **kwargs: Any) -> None:
            raise NotImplementedError

        def _uninstrument(self, **kwargs: Any) -> None:
            raise NotImplementedError

    BaseInstrumentor = _BaseInstrumentor


class ChannelsInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments Django Channels: ``ChannelsInstrumentor().instrument()``.

    ``instrument`` takes ``tracer_provider``, ``meter_provider`` and ``logger_provider`` (the global ones if not
    given) and every setting of otel-ws by its name. ``uninstrument`` restores every seam.
    """

    _refused = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """The packages that must be there."""
        return ("channels >= 4.2",)

    def instrument(self, **kwargs: Any) -> None:
        """Instrument; a call that was refused leaves the way free for the next one."""
        self._refused = False
        super().instrument(**kwargs)
        if self._refused:
            super().uninstrument()

    def _instrument(self, **kwargs: Any) -> None:
        providers: dict[str, Any] = {
            name: kwargs.pop(name)
            for name in ("tracer_provider", "meter_provider", "logger_provider")
            if name in kwargs
        }
        # What `opentelemetry-instrument` passes to every instrumentor is not a setting of ours.
        settings = {name: value for name, value in kwargs.items() if name not in _FOREIGN}
        try:
            loaded = Settings.load(None, django_settings(), **settings)
        except SettingsError as exc:
            tell(str(exc) + "\notel-ws stays off; the application runs without it.")
            # A setting that is wrong is no reason to let out what the gate was asked to clear.
            _open_gate(settings.get("gate"))
            self._refused = True
            return
        try:
            from otel_ws.channels import patches
        except ImportError as exc:
            tell(f"otel-ws: ChannelsInstrumentor needs {exc.name}, which is not installed; nothing is instrumented.")
            self._refused = True
            return
        if recorder.install(loaded, **providers) is not None:
            global _given
            _given = settings, providers
            patches.apply()

    def _uninstrument(self, **kwargs: Any) -> None:
        if self._refused:
            return
        from otel_ws.channels import patches

        patches.revert()
        recorder.uninstall()


def prepare() -> None:
    """Run by ``opentelemetry-instrument`` before anything is instrumented: says what is wrong with the settings.

    Where ``OTEL_WS_GATE`` asks for a gate, it opens before the first span.

    It never raises, because an exception here would switch off all other instrumentation too.
    """
    for problem in problems():
        tell(f"otel-ws: {problem}")
        if problem.name == "OTEL_WS_GATE":
            tell("otel-ws: until it is right the gate takes it for 'all', and everything is cleared.")
    _open_gate()


def _open_gate(asked: object = None) -> None:
    try:
        from otel_ws import gate
    except ImportError:  # no SDK: nothing is exported
        return
    gate.early(asked)


def tell(text: str) -> None:
    """Say something on standard error, where logging may not be configured yet."""
    print(text, file=sys.stderr, flush=True)


def django_is_ready() -> None:
    """Django's settings can be read by now: where they say something else, recording starts anew with them.

    Whoever started first (``opentelemetry-instrument``, ``configure()`` above ``get_asgi_application()``) could not
    know them. Called by the Django application ``otel_ws.django``; nothing has been recorded by then.

    Raises:
        SettingsError: Django's ``OTEL_WS`` is wrong; recording goes on as it was.
    """
    active = recorder.active()
    if active is None:
        return
    arguments, providers = _given
    found = Settings.load(None, django_settings(), **arguments)
    if found != active.settings:
        recorder.uninstall()
        recorder.install(found, **providers)


# What ``instrument`` was given last: settings, and providers.
_given: tuple[dict[str, Any], dict[str, Any]] = {}, {}
