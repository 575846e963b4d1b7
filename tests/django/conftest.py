"""A Django project in a process of its own, because settings are read once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment

pytest.importorskip("django")
pytest.importorskip("channels")

TOKEN = "a-token-of-more-than-thirty-two-letters"
PROJECT = """
SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
    "django.contrib.sessions", "otel_ws.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {
    "context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages"]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.sqlite3"}}
CHANNEL_LAYERS = {"default": {
    "BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 9, "expiry": 9}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "urls"
"""
URLS = """
from django.contrib import admin
from django.urls import include, path
urlpatterns = [path("admin/", admin.site.urls), path("ops/", include("otel_ws.django.urls"))]
"""
Run = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Run]:
    """Make a project with more settings; what comes back runs a program in it."""

    def make(more: str = "", **environment: str) -> Run:
        (tmp_path / "project.py").write_text(PROJECT + textwrap.dedent(more))
        (tmp_path / "urls.py").write_text(URLS)
        (tmp_path / "token").write_text(TOKEN)
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH", "")])])
        environ = {**bare_environment(), "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "project", **environment}

        def run(program: str, code: int = 0, **more_environment: str) -> Any:
            """Run a program, or with a line that begins with ``manage`` a command; returns what it printed."""
            arguments = ["-c", textwrap.dedent(program)]
            if program.startswith("manage "):
                arguments = ["-m", "django", *program.split()[1:]]
            done = subprocess.run(
                [sys.executable, *arguments], env={**environ, **more_environment}, cwd=tmp_path, capture_output=True,
                text=True, timeout=60, check=False,
            )  # fmt: skip
            assert code == done.returncode, done.stdout + done.stderr
            return done.stdout + done.stderr

        return run

    return make


@pytest.fixture
def told() -> Callable[[str], Any]:
    """The last line of JSON that a program printed."""
    return lambda output: json.loads([line for line in output.splitlines() if line[:1] == "["][-1])
