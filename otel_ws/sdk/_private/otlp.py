"""The OTLP encoder of log records.

Its module has the underscore of the days when logs were not stable; those of spans and metrics lost theirs. Without it
there is no capture of log records, and ``ImportError`` says so where an exporter is chosen by name.
"""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

__all__ = ["encode_logs"]
