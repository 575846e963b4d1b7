"""Doors into Channels: consumers and routers. Nothing below this package knows Channels or Django."""
