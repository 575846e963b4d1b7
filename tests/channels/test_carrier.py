"""What travels with a message: nobody but otel-ws sees it, in whatever form the message travels."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

pytest.importorskip("channels")
msgpack = pytest.importorskip("msgpack")

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags

from otel_ws.channels import carrier
from otel_ws.semconv import OTHER

SENDER = SpanContext(0x1234567890ABCDEF1234567890ABCDEF, 0x1234567890ABCDEF, True, TraceFlags(1))
WAY = carrier.Carrier(1_700_000_000.25, "match_{match_id}", SENDER)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.dictionaries(st.text(max_size=300), PLAIN, min_size=1, max_size=20)


def seen(message: dict[str, Any], encode: Any, decode: Any, form: Any) -> tuple[Any, Any]:
    """What a plain decoder reads in bytes that carry something, and what ours finds in them."""
    body = form[0](encode(message), WAY.text())
    assert body is not None
    return list(decode(body).items()), form[1](body)


@given(message=MESSAGES)
def test_a_plain_msgpack_decoder_reads_the_message_that_was_sent(message: dict[str, Any]) -> None:
    """Content and order are equal, and ours finds the text."""
    body = carrier.enclosed_in_msgpack(msgpack.packb(message), WAY.text())
    if body is None:
        # Only a first key of more than 255 bytes has no place for it.
        assert len(next(iter(message)).encode()) > 255
        return

    found = list(msgpack.unpackb(body).items()), carrier.disclosed_by_msgpack(body)

    assert (list(message.items()), WAY.text()) == found


@given(message=MESSAGES)
def test_a_plain_json_decoder_reads_the_message_that_was_sent(message: dict[str, Any]) -> None:
    """Content and order are equal, and ours finds the text."""
    body = carrier.enclosed_in_json(json.dumps(message).encode(), WAY.text())
    if body is None:
        # Only a first name of more than 255 characters has no place for it.
        assert len(json.dumps(next(iter(message)))) > 257
        return

    found = list(json.loads(body).items()), carrier.disclosed_by_json(body)

    assert (list(message.items()), WAY.text()) == found


@pytest.mark.parametrize("pairs", [1, 14, 15, 16, 17, 65534, 65535, 65536])
def test_a_map_of_any_size_has_room(pairs: int) -> None:
    """Also where one pair more needs another header."""
    message = {str(number): number for number in range(pairs)}

    assert (list(message.items()), WAY.text()) == seen(message, msgpack.packb, msgpack.unpackb, carrier.FORMS[0])


@given(body=st.binary(max_size=200))
def test_whatever_bytes_come_nothing_is_raised(body: bytes) -> None:
    """Bytes of somebody else carry nothing."""
    assert (None, None) == (carrier.disclosed_by_msgpack(body), carrier.disclosed_by_json(body))


@given(text=st.text(max_size=120))
def test_a_text_in_another_form_is_no_carrier(text: str) -> None:
    """What somebody wrote is never taken for one of ours."""
    assert carrier.read(text) is None


@pytest.mark.parametrize("message", [{"text": WAY.text()}, {"text": WAY.text(), "type": "chat.said"}])
@pytest.mark.parametrize(
    ("encode", "disclose"),
    [(msgpack.packb, carrier.disclosed_by_msgpack), (lambda one: json.dumps(one).encode(), carrier.disclosed_by_json)],
)
def test_what_a_client_wrote_is_no_carrier(message: dict[str, str], encode: Any, disclose: Any) -> None:
    """A text in the right form that comes first, in a message whose keys come once."""
    assert disclose(encode(message)) is None


@pytest.mark.parametrize("length", [255, 256, 1_000_000])
def test_a_key_without_an_end_is_not_looked_at(length: int) -> None:
    """A first name of JSON that is longer than any of MessagePack's carries nothing."""
    found = carrier.enclosed_in_json(json.dumps({"k" * length: 1}).encode(), WAY.text())

    assert (found is not None) == (length == 255)


@pytest.mark.parametrize("context", [SENDER, None])
@pytest.mark.parametrize("template", ["match_{match_id}", OTHER])
def test_a_carrier_comes_back_as_it_went(context: SpanContext | None, template: str) -> None:
    """Time, template and ids survive their text."""
    way = carrier.read(carrier.Carrier(1_700_000_000.25, template, context).text())

    assert way is not None
    assert (1_700_000_000.25, template, context) == (way.sent_at, way.template, way.context)


@pytest.mark.parametrize("template", ['quoted"', "back\\slash", "x" * 200])
def test_a_template_that_has_no_place_stays_behind(template: str) -> None:
    """The text stays one that any serialiser carries, and the rest of it arrives."""
    way = carrier.read(carrier.Carrier(1.0, template.replace('"', "\\"), SENDER).text())

    assert way is not None
    assert (SENDER, True) == (way.context, way.template in (OTHER, "x" * 200))


def test_a_serialiser_that_shows_the_carrier_carries_nothing() -> None:
    """A decoder that keeps the first of two values is found out before the first message."""

    def first_wins(body: bytes) -> Any:
        return json.loads(body, object_pairs_hook=lambda pairs: dict(reversed(pairs)))

    assert carrier.form_of(lambda message: json.dumps(message).encode(), first_wins) is None


def test_a_serialiser_of_another_kind_carries_nothing() -> None:
    """Pickled messages go as they are."""
    assert carrier.form_of(pickle.dumps, pickle.loads) is None


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), lambda one: one.copy()],
    ids=["copy", "deepcopy", "pickle", "method"],
)
@pytest.mark.parametrize("message", [{"type": "a.b", "n": 1}, {"type": "a.b", "deep": [1, {"x": []}]}])
def test_a_message_on_its_way_equals_the_one_that_was_sent(message: dict[str, Any], copied: Any) -> None:
    """However it is copied."""
    found = copied(carrier.carried(message, WAY))

    assert (message, repr(message), json.dumps(message)) == (found, repr(found), json.dumps(found))


def test_a_deep_copy_shares_nothing_that_can_change() -> None:
    """Each receiver of a layer in memory has its own."""
    sent = carrier.carried({"type": "a", "deep": [1]}, WAY)

    received = copy.deepcopy(sent)
    received["deep"].append(2)

    assert ([1], WAY) == (sent["deep"], received.carrier)


def test_a_pickled_message_needs_no_otel_ws() -> None:
    """It is a plain dict for whoever reads it."""
    assert type(pickle.loads(pickle.dumps(carrier.carried({"type": "a"}, WAY)))) is dict
