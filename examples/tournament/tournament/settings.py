"""Django's settings: SQLite, the channel layer that the environment asks for, and the limits of the game."""

import os
import secrets
from pathlib import Path

from otel_ws.layers import channel_layers, max_connections

BASE_DIR = Path(__file__).resolve().parent.parent

# Signs the tokens too, so it must be the same in whoever mints them.
SECRET_KEY = os.environ.get("TOURNAMENT_SECRET_KEY") or secrets.token_urlsafe(48)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    # For `manage.py runworker`.
    "channels",
    "otel_ws.django",
    "tournament.apps.TournamentConfig",
]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tournament.urls"
# What `runworker` loads: with it, a worker is instrumented as the server is.
ASGI_APPLICATION = os.environ.get("TOURNAMENT_ASGI", "tournament.asgi.application")

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TOURNAMENT_DB", str(BASE_DIR / "tournament.sqlite3")),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
    }
}
# REDIS_URL, WS_CHANNEL_CAPACITY and WS_MESSAGE_EXPIRY; in memory without the first.
CHANNEL_LAYERS = channel_layers()
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"tournament": {"handlers": ["console"], "level": "INFO"}},
}

# The live page shows the last events and traces too.
OTEL_WS = {"recent": True}

# OTEL_WS_MAX_CONNECTIONS: refused above it here, and seen above 90 % of it by `otel_ws.health()`.
MAX_CONNECTIONS = max_connections()
MESSAGES_PER_SECOND = 10
CONNECTIONS_PER_USER = 3
ROOM_SIZE = 6
PAYLOAD_BYTES = 16 * 1024
