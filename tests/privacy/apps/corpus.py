"""Hostile values: everything that is somebody's, in every dress that it may come in; each holds a canary.

A canary is a word or a number that is nowhere else, so that whatever is left of a value can be found again.
"""

from __future__ import annotations

import base64
import codecs
import random
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from hypothesis import strategies as st

from otel_ws.cli.marks import Marks, forms

MARKS: Final = Marks("hostile")
WORD: Final = MARKS.word("a word")
HALVES: Final = MARKS.split("two keys")
DIGITS: Final = MARKS.number("digits")
GROUPS: Final = "7c3b:9e41"
OCTETS: Final = "203.0.113"

_FULL_WIDTH: Final = "".join(chr(ord(letter) + 0xFEE0) for letter in WORD)
_JOINED: Final = "\u200d".join(WORD)
_ACCENTED: Final = "\u0301".join(WORD)
_SPACED: Final = " ".join(WORD)
_TAGS: Final = "".join(chr(0xE0000 + ord(letter)) for letter in WORD)
_HOMOGLYPHS: Final = WORD.translate(str.maketrans("chkmpstvwxz", "сһкмрѕтѵԝхᴢ"))
_PERCENT: Final = "".join(f"%{ord(letter):02X}" for letter in WORD)
_ESCAPED: Final = "".join(f"\\u{ord(letter):04x}" for letter in WORD)
_ENTITIES: Final = "".join(f"&#{ord(letter)};" for letter in WORD)
_CARD: Final = " ".join((DIGITS + "7")[place : place + 4] for place in range(0, 16, 4))
_DASHED: Final = _CARD.replace(" ", "-")
_PAIRS: Final = " ".join(DIGITS[place : place + 2] for place in range(0, 14, 2))
_ROT13: Final = codecs.encode(WORD, "rot13")
_UUID: Final = f"{WORD.encode().hex()[:8]}-9e41-4c3b-8c3b-{DIGITS[:12]}"

DISGUISES: Final = (
    WORD, *HALVES, DIGITS, GROUPS, OCTETS, _FULL_WIDTH, _JOINED, _ACCENTED, _SPACED, _TAGS, _HOMOGLYPHS, _PERCENT,
    _ESCAPED, _ENTITIES, _CARD, _DASHED, _PAIRS, _ROT13, WORD[::-1], _UUID,
)  # fmt: skip


def needles() -> list[bytes]:
    """Every form in which a canary may be found in bytes, in small letters."""
    found = {form for one in DISGUISES for form in forms(one)}
    found |= {one.encode("utf-8").lower() for one in DISGUISES}
    return sorted(found, key=len, reverse=True)


class Told:
    """An object of the application's: what `str()` makes of it is somebody's name."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        """The name."""
        return self.text

    __repr__ = __str__


class Text(str):
    """A text that is not exactly one."""

    __slots__ = ()


# --- texts ------------------------------------------------------------------------------------------------------
PLAIN: Final[tuple[str, ...]] = (
    f"{WORD}@{WORD}.example", f"{WORD}.{WORD}+tag@mail.example", f'"{WORD} {WORD}"@[203.0.113.7]',
    f"mailto:{WORD}@x.org", f"{WORD}@münchen.example", f"{WORD}%40example.org", f"{WORD} (at) example (dot) org",
    f"<{WORD}@example.org>", "203.0.113.7", "::ffff:203.0.113.9", f"2001:db8:{GROUPS}::1",
    f"[2001:db8:{GROUPS}::2]:443", "203.0.113.77:50000",
    f"+{DIGITS}", f"({DIGITS[:3]}) {_PAIRS}", f"tel:+{DIGITS}", f"00{DIGITS}", _CARD, _DASHED, DIGITS, f"-{DIGITS}",
    f"{DIGITS}.0", f"1e{DIGITS}", MARKS.token("a token"), f"Bearer {WORD}", f"sk_live_{WORD}", f"ghp_{WORD}{WORD}",
    f"AKIA{WORD.upper()}", f"Basic {base64.b64encode(f'{WORD}:{WORD}'.encode()).decode()}", _FULL_WIDTH, _JOINED,
    _ACCENTED, _SPACED, _TAGS, _HOMOGLYPHS, f"\u202e{WORD[::-1]}", f"{WORD}\x00", f"\ud83d{WORD}\udfff",
    f"{WORD}\r\nX: y",
    f"\ufeff{WORD}", WORD.upper(), WORD.title(), WORD, f"{WORD}_{WORD}", f"{WORD}.{WORD}", f"_{WORD}",
    _ROT13, WORD[::-1],
    base64.b64encode(f"x{WORD}".encode()).decode(), base64.urlsafe_b64encode(f"xy{WORD}".encode()).decode(),
    base64.b32encode(WORD.encode()).decode() + WORD, WORD.encode().hex(), WORD.encode("utf-16").hex(), _PERCENT,
    quote(_PERCENT), _ESCAPED, _ENTITIES, f"/users/{WORD}/", f"/{WORD}", f"/orders/{DIGITS}/{WORD}?next=/{WORD}",
    f"https://{WORD}:{WORD}@{WORD}.example/{WORD}?q={WORD}#{WORD}", f"file:///home/{WORD}/x", f"C:\\Users\\{WORD}",
    f"SELECT * FROM users WHERE email = '{WORD}@x.org'", f"SELECT {WORD}", f"GET /{WORD}", f"GET user:{WORD}",
    f"HTTP {WORD}", f"run/{WORD}", f"{WORD} publish", f"connect /{WORD}", f"{WORD} websocket receive",
    f"Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError: {WORD}", f"ValueError: {WORD}",
    f"{{'name': '{WORD}'}}", f'{{"email":"{WORD}@x.org"}}', f"user={WORD};phone={DIGITS}",
    f"Zoë {WORD.title()}-Ångström",
    f"th:{WORD}", f"ot=th:{WORD}", f"{{{WORD}}}", f"/{{{WORD}}}/", f"<{WORD}>", f"%({WORD})s", f"${{{WORD}}}",
    f"{WORD}%",
    f"1.{DIGITS}", f"1.2.3+{WORD}", f"v1.0-{WORD}", f"https://opentelemetry.io/schemas/{WORD}", _UUID,
    f"urn:uuid:{_UUID}",
)  # fmt: skip
# What has the very form of an id is a canary only under a key that is none.
FITS_AN_ID: Final = re.compile(
    r"[0-9]{1,19}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-7][0-9A-HJKMNP-TV-Z]{25}"
)

TEXTS: Final[st.SearchStrategy[str]] = st.one_of(
    st.sampled_from(PLAIN),
    st.builds(
        lambda text, before: text[:before] + WORD + text[before:],
        st.text(st.characters(codec=None), max_size=40),
        st.integers(0, 40),
    ),
    st.builds(lambda email: f"{WORD}.{email}", st.emails()),
    st.builds(lambda one, other: one + other, st.sampled_from(PLAIN), st.sampled_from(PLAIN)),
    st.from_regex(r"\A\+?[0-9 ()-]{6,14}\Z").map(lambda phone: f"{phone} {_PAIRS}"),
    st.ip_addresses(v=6).map(lambda one: f"{one} {WORD}"),
)


# --- values of every type ---------------------------------------------------------------------------------------
def dressed(text: str, which: int) -> Any:
    """The text as it is, or in one of the types in which it may come."""
    dress: tuple[Callable[[str], Any], ...] = (
        str, str, str, str, Text, Told, lambda one: one.encode("utf-8", "surrogatepass"), lambda one: [one, one],
        lambda one: (one,), lambda one: {"k": one}, lambda one: {one: one}, lambda one: [{"deep": [{"er": one}]}],
        lambda one: ["x", 1, one, None], lambda one: int(DIGITS), lambda one: float(DIGITS) + 0.5,
        lambda one: [int(DIGITS), 1], lambda one: one.encode("utf-16", "surrogatepass"),
    )  # fmt: skip
    return dress[which % len(dress)](text)


class Stream:
    """Texts and values without end: those that hypothesis drew, mixed by a generator of its own seed."""

    def __init__(self, texts: list[str], seed: int) -> None:
        self._texts = texts
        self._random = random.Random(seed)
        self.taken = 0

    def text(self) -> str:
        """The next text."""
        self.taken += 1
        return self._texts[self.pick(len(self._texts))]

    def value(self) -> Any:
        """The next value, of any type."""
        return dressed(self.text(), self.pick(1_000_000))

    def ascii(self) -> str:
        """The next text as a name that the API takes where it looks at form."""
        self.taken += 1
        return f"{WORD}{self.pick(1_000_000)}"

    def pick(self, below: int) -> int:
        """A number from 0, by chance."""
        return int(self._random.random() * below)
