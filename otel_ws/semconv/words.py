"""The closed lists of words that others' telemetry may carry as values and names, and the keys that leak.

Pure data, read by ``conventions`` and by the decision over others' telemetry. Refuses to know where a word stood.
"""

from __future__ import annotations

from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# --- words ------------------------------------------------------------------------------------------------------
HTTP_METHODS: Final = words("GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT QUERY")
SQL_VERBS: Final = words(
    "ALTER ANALYZE ATTACH BEGIN CALL CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE DESCRIBE "
    "DETACH DISCARD DO DROP END EXECUTE EXPLAIN FETCH GRANT INSERT KILL LISTEN LOAD LOCK MERGE MOVE NOTIFY "
    "OPTIMIZE PRAGMA PREPARE REFRESH REINDEX RELEASE RENAME REPLACE RESET REVOKE ROLLBACK SAVEPOINT SELECT SET "
    "SHOW START TABLE TRUNCATE UNLISTEN UNLOCK UPDATE UPSERT USE VACUUM VALUES WITH"
)
REDIS_COMMANDS: Final = words(
    "ACL APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP "
    "BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT CLUSTER COMMAND CONFIG COPY DBSIZE DEBUG DECR DECRBY DEL "
    "DISCARD DUMP ECHO EVAL EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL "
    "FCALL_RO FLUSHALL FLUSHDB FUNCTION GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEOSEARCH "
    "GEOSEARCHSTORE GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HELLO HEXISTS HEXPIRE HGET HGETALL HGETDEL "
    "HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPTTL HRANDFIELD HSCAN HSET HSETEX "
    "HSETNX HSTRLEN HTTL HVALS INCR INCRBY INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS LINDEX LINSERT LLEN LMOVE "
    "LMPOP LOLWUT LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM MEMORY MGET MIGRATE MODULE MONITOR MOVE MSET "
    "MSETNX MULTI OBJECT PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFMERGE PING PSETEX PSUBSCRIBE PTTL "
    "PUBLISH PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY READWRITE RENAME RENAMENX REPLICAOF RESET RESTORE ROLE "
    "RPOP RPOPLPUSH RPUSH RPUSHX SADD SAVE SCAN SCARD SCRIPT SDIFF SDIFFSTORE SELECT SET SETBIT SETEX SETNX "
    "SETRANGE SHUTDOWN SINTER SINTERCARD SINTERSTORE SISMEMBER SLOWLOG SMEMBERS SMISMEMBER SMOVE SORT SORT_RO "
    "SPOP SPUBLISH SRANDMEMBER SREM SSCAN SSUBSCRIBE STRLEN SUBSCRIBE SUNION SUNIONSTORE SUNSUBSCRIBE SWAPDB TIME "
    "TOUCH TTL TYPE UNLINK UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO "
    "XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XTRIM ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER "
    "ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE "
    "ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX "
    "ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE FT.SEARCH FT.CREATE FT.AGGREGATE FT.INFO JSON.GET "
    "JSON.SET JSON.DEL JSON.MGET"
)
MESSAGING_OPERATIONS: Final = words("ack consume create deliver nack poll process publish receive send settle")
DATABASES: Final = words(
    "aws.dynamodb cassandra clickhouse cockroachdb couchbase couchdb db2 dynamodb elasticsearch firebirdsql "
    "h2database hbase hsqldb ibm.db2 influxdb instantdb mariadb memcached microsoft.sql_server mongodb mssql "
    "mysql neo4j opensearch oracle oracle.db oracledb other_sql postgresql redis redshift snowflake sqlite "
    "teradata trino valkey"
)
BROKERS: Final = words(
    "activemq aws.sns aws_sqs celery django_channels eventgrid eventhubs gcp_pubsub jms kafka nats pulsar "
    "rabbitmq redis rocketmq servicebus"
)
STATES: Final = words(
    "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING NONE "
    "idle user system irq nice iowait softirq steal interrupt guest used free cached buffers shared available "
    "active inactive wired slab total"
)
STATUS_CODES: Final = frozenset(str(code) for code in range(100, 600))
# Words that instrumentations put under error.type where no exception was raised.
ERRORS: Final = STATUS_CODES | words("timeout queue_full already_shutdown cancelled rejected shutdown unknown")

UNITS: Final = words(
    "1 % s ms us ns min h d bit By KiBy MiBy GiBy kBy MBy GBy Hz Cel W J {event} {error} {user} {item} {value} "
    "{task} {job}"
)

# --- what our own vocabulary begins with ---------------------------------------------------------------------------
REASONS: Final = (
    "MSG_RATE", "CONN_LIMIT", "ROOM_FULL", "PAYLOAD_TOO_BIG", "JWT_EXPIRED", "JWT_INVALID", "ROLE_NOT_ALLOWED",
    "REJECTED", "NO_ROUTE", "HANDLER_ERROR", "CLIENT_GONE", "NEVER_ACCEPTED", "CANCELLED", "CHANNEL_FULL", "EXPIRED",
    "BUFFER_OVERFLOW", "CONSUMER_GONE", "NO_SUBSCRIBER", "DISCONNECTED", "REFUSED",
)  # fmt: skip
# Of the IANA registry of WebSocket subprotocols, and of what Channels applications speak; others are declared.
SUBPROTOCOLS: Final = (
    "json", "xml", "mqtt", "mqttv3.1", "v10.stomp", "v11.stomp", "v12.stomp", "soap", "wamp", "wamp.2.json",
    "wamp.2.msgpack", "amqp", "sip", "xmpp", "graphql-ws", "graphql-transport-ws", "ocpp1.6", "ocpp2.0", "ocpp2.0.1",
    "ocpp2.1", "actioncable-v1-json", "protobuf", "msgpack", "cbor",
)  # fmt: skip

# --- names ------------------------------------------------------------------------------------------------------
SPAN_NAMES: Final = words("redis redis.search redis.create_index connect")
EVENT_NAMES: Final = words("exception message log")
# Loggers that are no modules; a log record's scope is its logger's name.
SCOPES: Final = words(
    "opentelemetry-sdk opentelemetry-instrumentation django.request django.server django.template django.security "
    "django.security.csrf django.security.DisallowedHost django.security.SuspiciousOperation "
    "django.db.backends.schema django.channels.server django.utils.autoreload daphne.server uvicorn uvicorn.error "
    "uvicorn.access uvicorn.asgi gunicorn.error gunicorn.access hypercorn.error hypercorn.access celery.task "
    "celery.worker celery.app.trace celery.beat asyncio py.warnings root"
)
SEVERITIES: Final = frozenset(
    {f"{word}{digit}" for word in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL") for digit in ("", 2, 3, 4)}
    | {"WARNING", "CRITICAL", "NOTSET"}
)

# --- keys that leak: a report names them ------------------------------------------------------------------------
# People, addresses, secrets and text: these are never declared.
RESERVED: Final = words(
    "user.email user.name user.full_name user.hash enduser.email enduser.username enduser.credential session.id "
    "session.previous_id client.address client.port client.socket.address source.address destination.address "
    "network.peer.address network.local.address net.peer.ip net.host.ip net.sock.peer.addr net.sock.host.addr "
    "peer.address peer.hostname url.full url.path url.query url.fragment url.original http.url http.target "
    "http.host http.client_ip http.user_agent user_agent.original http.request.method_original db.statement "
    "db.statement.parameters db.query.text db.query.summary db.query.parameter db.user db.connection_string "
    "messaging.client.id messaging.client_id messaging.kafka.message.key messaging.url exception.message "
    "exception.stacktrace error.message log.record.original log.file.name log.file.path code.filepath "
    "code.file.path code.stacktrace process.command process.command_line process.command_args process.owner "
    "process.executable.path process.executable.name host.ip host.mac host.id geo.postal_code geo.location.lat "
    "geo.location.lon geo.locality.name celery.delivery_info celery.retry.reason celery.revoked.reason "
    "celery.reply_to redis.search.query redis.create_index.fields gen_ai.prompt gen_ai.completion "
    "gen_ai.input.messages gen_ai.output.messages gen_ai.system_instructions graphql.document "
    "rpc.request.metadata otel.status_description"
)
# Parts of an installation, which may be called by anything: these may be declared, as a closed choice.
PLACES: Final = words(
    "user.roles enduser.role enduser.scope server.address server.socket.address net.peer.name net.host.name "
    "peer.service url.domain http.server_name user_agent.name db.name db.namespace db.sql.table "
    "db.collection.name messaging.destination messaging.destination.name thread.name host.name celery.hostname "
    "celery.routing_key site.domain redis.search.index redis.create_index.index worker"
)
WELL_KNOWN: Final = RESERVED | PLACES
# What follows is a stranger's: a header's name, a number.
WELL_KNOWN_PREFIXES: Final = (
    "http.request.header.",
    "http.response.header.",
    "rpc.request.metadata.",
    "rpc.response.metadata.",
    "db.query.parameter.",
    "messaging.header.",
    "process.environment_variable.",
    "redis.search.xdoc_",
)
# Last words of a key whose numbers and code names would be somebody's all the same.
PERSONAL: Final = words(
    "account address addr age birthday birthdate body card city comment contact content dob email fax firstname "
    "fullname hostname iban imei imsi ip ipv4 ipv6 lastname latitude lat lon longitude mail message mobile msisdn name "
    "nickname passport password passwd path payload phone pin postcode query secret ssn statement street subject tax "
    "tel telephone text title token url user username zip zipcode"
)
