"""Django's routes, spelled as its resolver's match spells them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("django")

from django.conf.urls.i18n import i18n_patterns
from django.test import override_settings
from django.urls import clear_url_caches, include, path, re_path, resolve, set_urlconf
from django.utils import translation

from otel_ws import routes


def view(request: Any) -> Any:
    """Answer nothing."""


def inner() -> list[Any]:
    """A list of routes within another."""
    return [path("b/<str:name>/", view), re_path(r"^c/(?P<year>\d+)/$", view), path("", include([path("d/", view)]))]


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An application's URL configuration, as a module."""
    module: Any = ModuleType("urls_of_a_test")
    monkeypatch.setitem(sys.modules, "urls_of_a_test", module)
    module.urlpatterns = [
        path("a/<int:pk>/", view),
        path("n/", include(inner())),
        re_path(r"^r/", include(inner())),
        *i18n_patterns(path("hello/", view)),
    ]
    languages = [("en", "English"), ("de", "Deutsch")]
    with override_settings(ROOT_URLCONF="urls_of_a_test", LANGUAGES=languages, LANGUAGE_CODE="en", USE_I18N=True):
        clear_url_caches()
        yield module
    clear_url_caches()
    set_urlconf(None)


PATHS = ["/a/7/", "/n/b/alice/", "/n/c/2026/", "/n/d/", "/r/b/alice/", "/r/c/2026/", "/en/hello/", "/de/hello/"]


@pytest.mark.usefixtures("urls")
@pytest.mark.parametrize("url", PATHS)
def test_a_route_is_spelled_as_a_match_spells_it(url: str) -> None:
    """What Django's instrumentation puts under ``http.route`` is among them."""
    with translation.override(url[1:3] if "hello" in url else "en"):
        match = resolve(url)

    assert match.route in set(routes.django())


@pytest.mark.usefixtures("urls")
def test_no_path_is_among_them() -> None:
    """They are templates: nothing that a client sent is among them."""
    resolve("/n/b/alice/")

    assert not any("alice" in route for route in routes.django())


@pytest.mark.usefixtures("urls")
def test_nothing_is_loaded() -> None:
    """A URL configuration that no request has loaded yet is not loaded by us."""
    assert [] == list(routes.django())


def test_the_configuration_of_the_request_counts(urls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may have a URL configuration of its own."""
    other: Any = ModuleType("other_urls_of_a_test")
    other.urlpatterns = [path("x/<int:pk>/", view)]
    monkeypatch.setitem(sys.modules, "other_urls_of_a_test", other)
    set_urlconf("other_urls_of_a_test")
    resolve("/x/7/")

    assert ["x/<int:pk>/"] == list(routes.django())


@pytest.mark.usefixtures("urls")
def test_a_configuration_within_itself_ends() -> None:
    """Routes that include themselves are read so deep and no deeper."""
    found: Any = sys.modules["urls_of_a_test"]
    found.urlpatterns[:] = [path("a/", view)]
    found.urlpatterns.append(path("s/", include("urls_of_a_test")))
    clear_url_caches()
    resolve("/s/s/a/")

    assert [f"{'s/' * depth}a/" for depth in range(len(list(routes.django())))] == list(routes.django())
