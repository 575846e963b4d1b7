"""An example: live tournaments over WebSockets, with Django and Channels, instrumented by otel-ws."""
