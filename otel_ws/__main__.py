"""``python -m otel_ws``: the same as ``otel-ws``."""

from __future__ import annotations

import sys

from otel_ws.cli import main

if __name__ == "__main__":
    sys.exit(main())
