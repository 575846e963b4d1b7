"""Marks: made for one run, found in every form that software gives a text, told by where they came from alone."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws.cli.marks import Marks

MARKS = Marks("a test")
TEXTS = {
    "e-mail": MARKS.email("e-mail"), "name": MARKS.person("name"), "word": MARKS.word("word"),
    "token": MARKS.token("token"), "phone (a number)": MARKS.phone("phone"),
    "address (an address)": MARKS.address("address"),
}  # fmt: skip


@pytest.mark.parametrize("origin", TEXTS)
def test_a_mark_is_found_as_it_is(origin: str) -> None:
    """Each kind of mark is found in the text that it was put into."""
    assert origin in MARKS.found_in(f"GET /{TEXTS[origin]}/x")


@pytest.mark.parametrize("change", [str.upper, str.lower, quote, json.dumps, repr, lambda text: text.encode().hex()])
@pytest.mark.parametrize("origin", ["e-mail", "name", "word"])
def test_a_mark_is_found_changed(origin: str, change: object) -> None:
    """Capitals, quoting and hexadecimal hide nothing."""
    assert origin in MARKS.found_in(change(TEXTS[origin]))  # type: ignore[operator]


@given(before=st.binary(max_size=9), after=st.binary(max_size=9), origin=st.sampled_from(["e-mail", "word"]))
def test_a_mark_is_found_within_base64(before: bytes, after: bytes, origin: str) -> None:
    """Wherever in a longer text it stood when the whole was encoded."""
    whole = before + TEXTS[origin].encode() + after

    assert origin in MARKS.found_in(base64.b64encode(whole))
    assert origin in MARKS.found_in(base64.urlsafe_b64encode(whole))


def test_a_mark_is_found_in_utf_16() -> None:
    """Two bytes a letter hide nothing."""
    assert "word" in MARKS.found_in(TEXTS["word"].encode("utf-16"))


@given(st.text())
def test_nothing_else_is_found(text: str) -> None:
    """A text without a mark holds none."""
    assert set() == MARKS.found_in(text)


def test_halves_are_marks_of_their_own() -> None:
    """What was split over two places is found in each."""
    first, second = MARKS.split("a name")

    assert {"a name, first half"} == MARKS.found_in(first)
    assert {"a name, second half"} == MARKS.found_in(second)


def test_two_runs_have_nothing_in_common() -> None:
    """Another run's marks are other ones; the same secret's are the same."""
    assert Marks("one").word("x") != Marks("two").word("x")
    assert Marks("one").word("x") == Marks("one").word("x")
