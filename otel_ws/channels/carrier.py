"""What travels with a message of a channel layer: when it was sent, its template, and the sender's trace context.

It never becomes a key of the message. In one process it rides on a dict that equals the message. In serialised bytes
it is the first value of a key that comes twice: the layers' own decoders keep the second, so a process without otel-ws
reads exactly the message that was sent. A serialiser of which that is not true carries nothing.

It refuses to know layers, groups and channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final, TypeAlias

from opentelemetry.trace import Span, SpanContext, TraceFlags, get_current_span

from otel_ws.semconv import OTHER

# Bytes of one message with the carrier's text put in; ``None`` where they have no place for it.
Enclose: TypeAlias = Callable[[bytes, str], bytes | None]
# The carrier's text in such bytes.
Disclose: TypeAlias = Callable[[bytes], str | None]

_MARK: Final = "otel-ws;1;"
_BYTES_MARK: Final = _MARK.encode()
_LONGEST: Final = 255
_TEXT: Final = re.compile(
    r"otel-ws;1;([0-9]{1,12}\.[0-9]{6});(?:00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01]))?;([^;\"\\]{0,200})"
)
_ATOMS: Final = frozenset({str, int, float, bool, bytes, type(None)})


class Carrier:
    """One message's way: Unix seconds of its sending, its template, the ids of its sender's span."""

    __slots__ = ("context", "sent_at", "template")

    def __init__(self, sent_at: float, template: str, context: SpanContext | None) -> None:
        self.sent_at = sent_at
        self.template = template
        self.context = context

    def text(self) -> str:
        """The carrier as it is serialised: ASCII without quotes and backslashes."""
        context, parent = self.context, ""
        if context is not None:
            parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags.sampled):02x}"
        template = "" if self.template == OTHER or "\\" in self.template else self.template
        text = f"{_MARK}{self.sent_at:.6f};{parent};{template}"
        return text if len(text) <= _LONGEST else f"{_MARK}{self.sent_at:.6f};{parent};"


def read(text: str | None) -> Carrier | None:
    """The carrier in a text that came from elsewhere; anything in another form is none."""
    found = _TEXT.fullmatch(text) if text is not None else None
    if found is None:
        return None
    sent_at, trace_id, span_id, flags, template = found.groups()
    context = None
    if trace_id is not None:
        ids = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
        context = ids if ids.is_valid else None
    return Carrier(float(sent_at), template or OTHER, context)


def context_of(span: Span | None) -> SpanContext | None:
    """The ids of a span, or of the current one, without its tracestate; ``None`` where there is none."""
    found = (get_current_span() if span is None else span).get_span_context()
    return SpanContext(found.trace_id, found.span_id, True, found.trace_flags) if found.is_valid else None


class Carried(dict[Any, Any]):
    """A message that equals the one that was sent, and its carrier beside it. Copied and pickled, it is a dict."""

    __slots__ = ("carrier", "is_flat")
    carrier: Carrier
    # Nothing in it needs a copy of its own.
    is_flat: bool

    def __deepcopy__(self, memo: dict[int, Any]) -> Carried:
        """For the layer that copies a message for each receiver: what is deep is copied, the carrier is shared."""
        copied = Carried(self)
        copied.carrier = self.carrier
        copied.is_flat = self.is_flat
        if not self.is_flat:
            memo[id(self)] = copied
            for key, value in self.items():
                copied[key] = deepcopy(value, memo)
        return copied

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        """As the plain dict that it stands for: whoever unpickles it may not have this class."""
        return dict, (dict(self),)


def carried(message: dict[Any, Any], carrier: Carrier) -> Carried:
    """A message on its way, as it was sent."""
    found = Carried(message)
    found.carrier = carrier
    found.is_flat = _ATOMS.issuperset(map(type, message.values()))
    return found


def carrier_of(message: object) -> Carrier | None:
    """What came with a message, if anything did."""
    return message.carrier if type(message) is Carried else None


# --- in serialised bytes ------------------------------------------------------------------------------------------
def enclosed_in_msgpack(body: bytes, text: str) -> bytes | None:
    """The map with one more pair in front, whose key is the first one's: MessagePack specification, "map format"."""
    head = _map(body)
    key = None if head is None else _key(body, head[1])
    if head is None or key is None:
        return None
    pairs, start = head[0] + 1, head[1]
    if pairs < 16:
        header = bytes((0x80 | pairs,))
    else:
        header = b"\xdf" + pairs.to_bytes(4) if pairs > 0xFFFF else b"\xde" + pairs.to_bytes(2)
    return b"".join((header, body[start:key], b"\xd9", bytes((len(text),)), text.encode(), body[start:]))


def disclosed_by_msgpack(body: bytes) -> str | None:
    """The text that ``enclosed_in_msgpack`` put in: its key comes again behind it, which no message can say itself."""
    head = _map(body)
    key = None if head is None else _key(body, head[1])
    if head is None or key is None or body[key : key + 1] != b"\xd9" or not body.startswith(_BYTES_MARK, key + 2):
        return None
    end = key + 2 + body[key + 1]
    return body[key + 2 : end].decode("ascii", "replace") if body.startswith(body[head[1] : key], end) else None


def _map(body: bytes) -> tuple[int, int] | None:
    """How many pairs a map has that is not empty, and where the first begins."""
    first = body[0] if body else 0
    if 0x80 < first <= 0x8F:
        return first & 0x0F, 1
    if first in (0xDE, 0xDF):
        end = 3 if first == 0xDE else 5
        return int.from_bytes(body[1:end]), end
    return None


def _key(body: bytes, start: int) -> int | None:
    """Where the text that begins at ``start`` ends."""
    first = body[start] if start < len(body) else 0
    if 0xA0 <= first <= 0xBF:
        return start + 1 + (first & 0x1F)
    return start + 2 + body[start + 1] if first == 0xD9 else None


# A longer key carries nothing: whoever sends it would have every receiver look at all of it.
_FIRST_KEY: Final = re.compile(rb'\{\s*("[^"\\]{0,255}(?:\\.[^"\\]{0,255}){0,255}")\s*:')
_FIRST_VALUE: Final = re.compile(rb'\s*"(' + re.escape(_BYTES_MARK) + rb'[^"\\]{0,255})"\s*,\s*')


def enclosed_in_json(body: bytes, text: str) -> bytes | None:
    """The object with one more member in front, whose name is the first one's (RFC 8259, section 4)."""
    first = _FIRST_KEY.match(body)
    return None if first is None else b'{%b: "%b", %b' % (first[1], text.encode(), body[first.start(1) :])


def disclosed_by_json(body: bytes) -> str | None:
    """The text that ``enclosed_in_json`` put in: its name comes again behind it, which no message can say itself."""
    first = _FIRST_KEY.match(body)
    value = None if first is None else _FIRST_VALUE.match(body, first.end())
    if first is None or value is None or not body.startswith(first[1], value.end()):
        return None
    return value[1].decode("ascii", "replace")


FORMS: Final[tuple[tuple[Enclose, Disclose], ...]] = (
    (enclosed_in_msgpack, disclosed_by_msgpack),
    (enclosed_in_json, disclosed_by_json),
)


def form_of(as_bytes: Callable[[Any], bytes], from_bytes: Callable[[bytes], Any]) -> tuple[Enclose, Disclose] | None:
    """How a serialiser's bytes can carry a text that its own decoder does not see; tried on it, ``None`` if not."""
    probe = {"type": "probe", "nested": {"type": [1, None]}, "": ""}
    text = Carrier(1.0, "probe_{id}", None).text()
    for enclose, disclose in FORMS:
        try:
            carried = enclose(as_bytes(probe), text)
            if carried is not None and disclose(carried) == text:
                seen = from_bytes(carried)
                if type(seen) is dict and list(seen.items()) == list(probe.items()):
                    return enclose, disclose
        except Exception:
            continue
    return None
