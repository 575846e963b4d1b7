"""Django's settings: SQLite, an in-memory channel layer, and the limits of the game."""

import os
import secrets
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# Signs the tokens too, so it must be the same in whoever mints them.
SECRET_KEY = os.environ.get("TOURNAMENT_SECRET_KEY") or secrets.token_urlsafe(48)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "otel_ws.django",
    "tournament.apps.TournamentConfig",
]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tournament.urls"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TOURNAMENT_DB", str(BASE_DIR / "tournament.sqlite3")),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
    }
}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
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

MESSAGES_PER_SECOND = 10
CONNECTIONS_PER_USER = 3
ROOM_SIZE = 6
PAYLOAD_BYTES = 16 * 1024
