"""Pseudonyms: the same for the same, nothing without the key, and none that was not made."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws.pseudonyms import LONGEST_ID, LONGEST_KEY, Pseudonyms, read

KEY = b"k" * 32
FORM = re.compile(r"p_[0-9a-f]{32}")
EMAIL = "alice@example.com"
texts = st.text(st.characters(exclude_categories=()), min_size=1, max_size=100)


@given(texts)
def test_a_pseudonym_has_its_form(text: str) -> None:
    """Whatever the id, its pseudonym is ``p_`` and 32 hexadecimal digits."""
    made = Pseudonyms(KEY).of(text)

    assert made is not None
    assert FORM.fullmatch(made)


@given(texts)
def test_a_pseudonym_stays_as_it_is(text: str) -> None:
    """One that comes by again, at another wall or in another process with the key, is known."""
    made = Pseudonyms(KEY).of(text)

    assert made is not None
    assert made == Pseudonyms(KEY).of(made)


def test_another_key_makes_another_one() -> None:
    """Without the key nobody can tell whose it is, nor take it for one of theirs."""
    one, other = Pseudonyms(KEY), Pseudonyms(b"o" * 32)
    made = one.of(EMAIL)

    assert made is not None
    assert made != other.of(EMAIL)
    assert not other.is_ours(made)
    assert made != other.of(made)


def test_the_same_id_is_always_the_same() -> None:
    """The published form: dashboards of last year still find the same people."""
    assert "p_1928b6ddb072c1748153b406953ecbb8" == Pseudonyms(KEY).of(EMAIL)


@given(st.from_regex(FORM, fullmatch=True))
def test_a_text_that_only_looks_like_one_is_hashed(text: str) -> None:
    """The form alone lets nothing through."""
    assert text != Pseudonyms(KEY).of(text)


@pytest.mark.parametrize("place", range(2, 34))
def test_a_changed_pseudonym_is_not_ours(place: int) -> None:
    """Each digit counts."""
    made = Pseudonyms(KEY).of(EMAIL) or ""
    changed = made[:place] + ("0" if made[place] != "0" else "1") + made[place + 1 :]

    assert not Pseudonyms(KEY).is_ours(changed)


@pytest.mark.parametrize("text", ["", "x" * (LONGEST_ID + 1)], ids=["empty", "long"])
def test_what_is_no_id_has_no_pseudonym(text: str) -> None:
    """Nothing, and a text longer than any id, is dropped."""
    assert Pseudonyms(KEY).of(text) is None


def test_the_key_is_in_no_text() -> None:
    """Neither the object nor its refusal shows the key."""
    shown = repr(Pseudonyms(KEY)) + str(Pseudonyms(KEY))
    with pytest.raises(ValueError) as refused:
        Pseudonyms(b"alice")

    assert "kkk" not in shown
    assert "alice" not in str(refused.value)


# --- the key's file ---------------------------------------------------------------------------------------------
def written(path: Path, content: bytes, mode: int = 0o400) -> str:
    """A file with a key."""
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o644], ids=oct)
def test_a_key_is_read_as_it_is(tmp_path: Path, mode: int) -> None:
    """All bytes count, a line's end too; whoever may read it."""
    found = read(written(tmp_path / "key", b"k" * 31 + b"\n", mode))

    assert Pseudonyms(b"k" * 31 + b"\n").of(EMAIL) == found.of(EMAIL)


@pytest.mark.parametrize("mode", [0o666, 0o602], ids=oct)
def test_a_key_that_anybody_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Who chooses the key can reverse what it made."""
    with pytest.raises(ValueError):
        read(written(tmp_path / "key", KEY, mode))


@pytest.mark.parametrize("length", [0, 31, LONGEST_KEY + 1])
def test_a_key_of_a_wrong_length_is_refused(tmp_path: Path, length: int) -> None:
    """Short keys can be guessed; a long file is something else."""
    with pytest.raises(ValueError):
        read(written(tmp_path / "key", b"k" * length))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder has no key, and what is not there has none either."""
    with pytest.raises(ValueError):
        read(str(tmp_path))
    with pytest.raises(OSError):
        read(str(tmp_path / "missing"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to does not hang the start."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ValueError):
        read(str(tmp_path / "pipe"))
