"""Every attribute, metric, span and event that otel-ws emits, declared once, as data.

The writers, the policy, the documentation and the tests all read these tables; none of them spells a name
itself. They know names, kinds and closed choices, and refuse to know where values come from.

Sources: OpenTelemetry semantic conventions 1.44 for what is marked ``adopted``; everything else is ours, under
``ws.``.
"""

from otel_ws.semconv.attributes import *  # noqa: F403 - this package is one vocabulary in several tables
from otel_ws.semconv.events import *  # noqa: F403
from otel_ws.semconv.metrics import *  # noqa: F403
from otel_ws.semconv.model import *  # noqa: F403
from otel_ws.semconv.spans import *  # noqa: F403
