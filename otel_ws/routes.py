"""The templates of the routes that the web framework in this process has: read from its resolvers, none imported.

Django's instrumentation names a route as the resolver's match does (`accounts/<int:pk>/`); a text that no resolver
holds is no route. It refuses to load what is not loaded yet: a URL configuration is the application's code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

_DEEPEST = 20


def django() -> Iterator[str]:
    """Every route of Django's URL configuration (and of the current request's own), as a match spells it."""
    conf, urls = sys.modules.get("django.conf"), sys.modules.get("django.urls")
    if conf is None or urls is None or not conf.settings.configured or not hasattr(conf.settings, "ROOT_URLCONF"):
        return
    for name in {None, urls.get_urlconf()}:
        resolver = urls.get_resolver(name)
        # Loaded by the first request; before that nothing can have matched.
        if "url_patterns" in vars(resolver):
            languages = [code for code, _ in conf.settings.LANGUAGES]
            yield from _below(resolver, languages, 0)


def _below(resolver: Any, languages: list[str], depth: int) -> Iterator[str]:
    for one in resolver.url_patterns:
        text = str(one.pattern)
        if not hasattr(type(one), "url_patterns"):
            yield text
        elif depth < _DEEPEST:
            # Its text is the prefix of the current request's language alone.
            is_language = type(one.pattern).__name__ == "LocalePrefixPattern"
            prefixes = {"", text, *(f"{code}/" for code in languages)} if is_language else {text}
            for route in _below(one, languages, depth + 1):
                for prefix in prefixes:
                    yield prefix + route.removeprefix("^") if prefix else route
