"""Django's settings of ``arena``, for servers and ``runworker``: the channel layer is what the environment says."""

from __future__ import annotations

import json
import os

SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "arena"
ASGI_APPLICATION = "arena.application"
_CONFIG = json.loads(os.environ.get("LAYER_CONFIG", "{}"))
_BACKEND = os.environ.get("LAYER", "channels.layers.InMemoryChannelLayer")
CHANNEL_LAYERS = {"default": {"BACKEND": _BACKEND, "CONFIG": _CONFIG}}
