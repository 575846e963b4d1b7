"""What of others' telemetry may leave: the keys, names and units of OpenTelemetry's semantic conventions.

Pure data: for each key the kind and the closed choices, range or form that its value must have. A key that is not
here does not leave, unless the application declares it. Refuses to know who asks and what was found.

Sources: semantic conventions 1.44 and, for the older spelling, what the contrib instrumentations 0.60b0 to 0.66b2
emit (aiohttp-client, asgi, celery, dbapi, django, httpx, logging, psycopg, redis, requests, sqlite3, system-metrics,
urllib3, wsgi) and the SDK's measurements of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from otel_ws.semconv.model import Kind
from otel_ws.semconv.words import (
    BROKERS,
    DATABASES,
    ERRORS,
    HTTP_METHODS,
    MESSAGING_OPERATIONS,
    REDIS_COMMANDS,
    SQL_VERBS,
    STATES,
    words,
)

INT64: Final = (-(2**63), 2**63 - 1)
FINITE: Final = (-1.7976931348623157e308, 1.7976931348623157e308)


@dataclass(frozen=True, slots=True, eq=False)
class Convention:
    """What one key may carry. ``choices`` stand beside what the kind itself lets pass."""

    kind: Kind
    choices: frozenset[str] = frozenset()
    low: float = FINITE[0]
    high: float = FINITE[1]
    form: re.Pattern[str] | None = None


def _choice(words: Iterable[str]) -> Convention:
    return Convention(Kind.CHOICE, frozenset(words))


def _number(low: float, high: float) -> Convention:
    return Convention(Kind.NUMBER, low=low, high=high)


_SCHEME: Final = _choice(words("http https ws wss"))
_VERSION: Final = _choice(words("0.9 1.0 1.1 1.2 1.3 2 2.0 3 3.0 HTTP/1.0 HTTP/1.1 HTTP/2 HTTP/2.0 HTTP/3 QUIC SPDY"))
_METHOD: Final = _choice(HTTP_METHODS | {"HTTP"})
_STATUS: Final = _number(100, 599)
_PORT: Final = _number(0, 65535)
# Where the instrumentation does not say whose port it is: one that a server listens on, none that a client was lent.
_SERVICE_PORT: Final = _number(0, 32767)
_SIZE: Final = _number(0, 2**53)
_COUNT: Final = _number(0, 2**31)
_OPERATION: Final = _choice(SQL_VERBS | REDIS_COMMANDS | {verb.lower() for verb in SQL_VERBS})
_TRUTH: Final = Convention(Kind.FLAG, words("True False true false"))
_ID: Final = Convention(Kind.ID)
_CODE_NAME: Final = Convention(Kind.CODE_NAME)
_ERROR: Final = Convention(Kind.CODE_NAME, ERRORS)
_TEMPLATE: Final = Convention(Kind.TEMPLATE)
_MESSAGING: Final = _choice(MESSAGING_OPERATIONS)
_KIND: Final = _choice(("queue", "topic"))
_COMPONENTS: Final = words(
    "batching_span_processor simple_span_processor batching_log_processor simple_log_processor "
    "otlp_grpc_span_exporter otlp_http_span_exporter otlp_http_json_span_exporter otlp_grpc_log_exporter "
    "otlp_http_log_exporter otlp_http_json_log_exporter otlp_grpc_metric_exporter otlp_http_metric_exporter "
    "otlp_http_json_metric_exporter periodic_metric_reader prometheus_http_text_metric_exporter "
    "zipkin_http_span_exporter"
)

# --- attributes, on every signal --------------------------------------------------------------------------------
ATTRIBUTE_CONVENTIONS: Final[dict[str, Convention]] = {
    # HTTP, the stable names and those before them.
    "http.request.method": _METHOD,
    "http.method": _METHOD,
    "http.response.status_code": _STATUS,
    "http.status_code": _STATUS,
    # What Django's loggers say beside their text.
    "status_code": _STATUS,
    "http.route": _TEMPLATE,
    "http.scheme": _SCHEME,
    "url.scheme": _SCHEME,
    "url.template": _TEMPLATE,
    "http.flavor": _VERSION,
    "network.protocol.version": _VERSION,
    "network.protocol.name": _choice(words("http ws websocket amqp mqtt redis postgresql mysql grpc dns tls")),
    "http.request.body.size": _SIZE,
    "http.response.body.size": _SIZE,
    "http.request.size": _SIZE,
    "http.response.size": _SIZE,
    "http.request_content_length": _SIZE,
    "http.response_content_length": _SIZE,
    "http.request.resend_count": _COUNT,
    "http.resend_count": _COUNT,
    "asgi.event.type": _choice(
        words(
            "http.request http.disconnect http.response.start http.response.body http.response.trailers "
            "http.response.push http.response.pathsend http.response.zerocopysend http.response.debug "
            "websocket.connect websocket.accept websocket.receive websocket.send websocket.disconnect websocket.close "
            "websocket.http.response.start websocket.http.response.body lifespan.startup lifespan.startup.complete "
            "lifespan.startup.failed lifespan.shutdown lifespan.shutdown.complete lifespan.shutdown.failed"
        )
    ),
    # Network: how, never with whom.
    "server.port": _PORT,
    "net.host.port": _PORT,
    "net.peer.port": _SERVICE_PORT,
    "network.peer.port": _SERVICE_PORT,
    "net.transport": _choice(words("ip_tcp ip_udp ip unix pipe inproc other")),
    "network.transport": _choice(words("tcp udp pipe unix quic")),
    "network.type": _choice(words("ipv4 ipv6")),
    "network.io.direction": _choice(words("receive transmit")),
    # Databases.
    "db.system": _choice(DATABASES),
    "db.system.name": _choice(DATABASES),
    "db.operation": _OPERATION,
    "db.operation.name": _OPERATION,
    "db.operation.batch.size": _COUNT,
    "db.response.returned_rows": _COUNT,
    "db.redis.database_index": _number(0, 100_000),
    "db.redis.args_length": _COUNT,
    "db.redis.pipeline_length": _COUNT,
    "redis.search.total": _COUNT,
    # Messaging and tasks.
    "messaging.system": _choice(BROKERS),
    "messaging.operation": _MESSAGING,
    "messaging.operation.name": _MESSAGING,
    "messaging.operation.type": _MESSAGING,
    "messaging.destination_kind": _KIND,
    "messaging.destination.kind": _KIND,
    "messaging.destination.template": _TEMPLATE,
    "messaging.message.id": _ID,
    "messaging.message.conversation_id": _ID,
    "messaging.conversation_id": _ID,
    "messaging.message.body.size": _SIZE,
    "messaging.message.envelope.size": _SIZE,
    "messaging.batch.message_count": _COUNT,
    "celery.action": _choice(words("run apply_async")),
    "celery.task_name": _CODE_NAME,
    "celery.retries": _COUNT,
    "celery.priority": _number(-255, 255),
    "celery.countdown": _COUNT,
    "celery.timelimit": _COUNT,
    "celery.serializer": _choice(words("json pickle yaml msgpack")),
    "celery.compression": _choice(words("gzip bzip2 lzma brotli zstd zlib application/x-gzip application/x-bz2")),
    "celery.state": _choice(words("PENDING RECEIVED STARTED SUCCESS FAILURE REVOKED REJECTED RETRY IGNORED")),
    "celery.terminated.signal": _choice(words("SIGTERM SIGKILL SIGINT SIGUSR1 SIGQUIT SIGHUP")),
    # Errors: the class, never the text.
    "error.type": _ERROR,
    "exception.type": _ERROR,
    "exception.escaped": _TRUTH,
    # Code and threads.
    "code.function.name": _CODE_NAME,
    "code.function": _CODE_NAME,
    "code.namespace": _CODE_NAME,
    "code.line.number": _number(0, 10_000_000),
    "code.lineno": _number(0, 10_000_000),
    "thread.id": _number(0, 2**63 - 1),
    "process.pid": _number(0, 2**32),
    # People, by id alone.
    "enduser.id": _ID,
    # The SDK about itself.
    "otel.status_code": _choice(words("OK ERROR UNSET")),
    "otel.span.sampling_result": _choice(words("DROP RECORD_ONLY RECORD_AND_SAMPLE")),
    "otel.span.parent.origin": _choice(words("none local remote")),
    "otel.component.type": _choice(_COMPONENTS),
    "otel.component.name": Convention(
        Kind.CODE_NAME, form=re.compile(rf"(?:{'|'.join(sorted(_COMPONENTS))})/[0-9]{{1,4}}")
    ),
    "otel.metric.overflow": _TRUTH,
    "rpc.system": _choice(words("grpc jsonrpc connect_rpc")),
    "rpc.grpc.status_code": _number(0, 16),
}

# --- attributes, on metrics alone: words too common to trust elsewhere (system-metrics, celery) -----------------
LABEL_CONVENTIONS: Final[dict[str, Convention]] = {
    # There it is the route, not the path.
    "http.target": _TEMPLATE,
    "task": _CODE_NAME,
    "type": _choice(words("rss vms user system shared text lib data dirty involuntary voluntary read write")),
    "state": _choice(STATES),
    "direction": _choice(words("read write receive transmit in out")),
    # A number of the address family; the kind of socket is told by the protocol.
    "family": _number(0, 64),
    "protocol": _choice(words("tcp udp")),
    "device": Convention(
        Kind.CHOICE,
        words("lo docker0"),
        form=re.compile(
            r"(?:eth|wlan|bond|br|virbr|ifb|tun|tap|dummy|zram|nbd|sd[a-z]|vd[a-z]|xvd[a-z]|md|dm-|loop|sr|disk)[0-9]{0,3}"
            r"|en[opsx][0-9]{1,3}(?:[sf][0-9]{1,3}){0,2}|nvme[0-9]{1,2}(?:n[0-9]{1,2}(?:p[0-9]{1,2})?)?"
        ),
    ),
    "cpu": _number(0, 4096),
    "count": _choice("012"),
    "generation": _choice("012"),
    "cpython.gc.generation": _number(0, 2),
    "cpu.mode": _choice(STATES),
    "cpu.logical_number": _number(0, 4096),
    "system.memory.state": _choice(STATES),
    "system.cpu.state": _choice(STATES),
    "system.paging.state": _choice(STATES),
    "disk.io.direction": _choice(words("read write")),
    "process.cpu.state": _choice(STATES),
    "process.context_switch.type": _choice(words("involuntary voluntary")),
    "process.context_switch_type": _choice(words("involuntary voluntary")),
    "db.client.connection.state": _choice(words("idle used")),
    "http.connection.state": _choice(words("active idle")),
}

# --- the resource, beside what is the service's own -------------------------------------------------------------
RESOURCE_CONVENTIONS: Final[dict[str, Convention]] = {
    "process.pid": _number(0, 2**32),
    "process.runtime.name": _choice(words("cpython pypy graalpy")),
    "process.runtime.version": Convention(Kind.CODE_NAME, form=re.compile(r"[0-9]{1,2}\.[0-9]{1,3}\.[0-9]{1,3}")),
    "os.type": _choice(words("linux darwin windows freebsd netbsd openbsd solaris aix")),
    "host.arch": _choice(words("amd64 arm64 arm32 ia64 ppc32 ppc64 s390x x86 x86_64 aarch64")),
    "cloud.provider": _choice(words("alibaba_cloud aws azure gcp heroku ibm_cloud oracle_cloud tencent_cloud")),
}

# --- metrics: the name and its unit -----------------------------------------------------------------------------
METRIC_CONVENTIONS: Final[dict[str, str]] = {
    "http.server.request.duration": "s",
    "http.server.active_requests": "{request}",
    "http.server.request.body.size": "By",
    "http.server.response.body.size": "By",
    "http.server.duration": "ms",
    "http.server.request.size": "By",
    "http.server.response.size": "By",
    "http.client.request.duration": "s",
    "http.client.active_requests": "{request}",
    "http.client.request.body.size": "By",
    "http.client.response.body.size": "By",
    "http.client.connection.duration": "s",
    "http.client.open_connections": "{connection}",
    "http.client.duration": "ms",
    "http.client.request.size": "By",
    "http.client.response.size": "By",
    "db.client.operation.duration": "s",
    "db.client.response.returned_rows": "{row}",
    "db.client.connection.count": "{connection}",
    "db.client.connection.create_time": "s",
    "db.client.connection.idle.max": "{connection}",
    "db.client.connection.idle.min": "{connection}",
    "db.client.connection.max": "{connection}",
    "db.client.connection.pending_requests": "{request}",
    "db.client.connection.timeouts": "{timeout}",
    "db.client.connection.use_time": "s",
    "db.client.connection.wait_time": "s",
    "db.client.connections.usage": "{connection}",
    "messaging.client.consumed.messages": "{message}",
    "messaging.client.sent.messages": "{message}",
    "messaging.client.published.messages": "{message}",
    "messaging.client.operation.duration": "s",
    "messaging.process.duration": "s",
    "messaging.publish.duration": "s",
    "messaging.receive.duration": "s",
    "flower.task.runtime.seconds": "seconds",
    "process.cpu.time": "s",
    "process.cpu.utilization": "1",
    "process.memory.usage": "By",
    "process.memory.virtual": "By",
    "process.disk.io": "By",
    "process.network.io": "By",
    "process.thread.count": "{thread}",
    "process.open_file_descriptor.count": "{file_descriptor}",
    "process.unix.file_descriptor.count": "{file_descriptor}",
    "process.context_switches": "{context_switch}",
    "process.paging.faults": "{fault}",
    "process.uptime": "s",
    "process.runtime.cpython.memory": "By",
    "process.runtime.cpython.cpu_time": "s",
    "process.runtime.cpython.gc_count": "By",
    "process.runtime.cpython.thread_count": "",
    "process.runtime.cpython.cpu.utilization": "1",
    "process.runtime.cpython.context_switches": "switches",
    "cpython.gc.collections": "{collection}",
    "cpython.gc.collected_objects": "{object}",
    "cpython.gc.uncollectable_objects": "{object}",
    "system.cpu.time": "s",
    "system.cpu.utilization": "1",
    "system.memory.usage": "By",
    "system.memory.utilization": "1",
    "system.swap.usage": "pages",
    "system.swap.utilization": "1",
    "system.paging.usage": "By",
    "system.paging.utilization": "1",
    "system.disk.io": "By",
    "system.disk.operations": "operations",
    "system.disk.time": "s",
    "system.disk.io_time": "s",
    "system.disk.operation_time": "s",
    "system.network.io": "By",
    "system.network.dropped_packets": "packets",
    "system.network.packets": "packets",
    "system.network.errors": "errors",
    "system.network.connections": "connections",
    "system.thread_count": "",
    "system.uptime": "s",
    "otel.sdk.span.started": "{span}",
    "otel.sdk.span.live": "{span}",
    "otel.sdk.span.ended": "{span}",
    "otel.sdk.processor.span.processed": "{span}",
    "otel.sdk.processor.span.queue.size": "{span}",
    "otel.sdk.processor.span.queue.capacity": "{span}",
    "otel.sdk.processor.log.processed": "{log_record}",
    "otel.sdk.processor.log.queue.size": "{log}",
    "otel.sdk.processor.log.queue.capacity": "{log_record}",
    "otel.sdk.exporter.span.exported": "{span}",
    "otel.sdk.exporter.span.inflight": "{span}",
    "otel.sdk.exporter.log.exported": "{log_record}",
    "otel.sdk.exporter.log.inflight": "{log_record}",
    "otel.sdk.exporter.metric_data_point.exported": "{data_point}",
    "otel.sdk.exporter.metric_data_point.inflight": "{data_point}",
    "otel.sdk.exporter.operation.duration": "s",
    "otel.sdk.log.created": "{log_record}",
    "otel.sdk.metric_reader.collection.duration": "s",
}
