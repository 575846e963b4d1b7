"""Secrets that nobody else knows, and the search for them in what left the process.

Each mark belongs to the place where it was put in, so that a find tells from where something leaked. It refuses to
know what was searched, and a find never tells the mark itself.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from random import Random
from typing import Final

# No vowels, so that no mark is a word by chance; no hexadecimal digits alone.
LETTERS: Final = "bcdfghjklmnpqrstvwxz"
WORD_LENGTH: Final = 12
SMALLEST: Final = 10**14


class Marks:
    """The marks of one run, by the place where each was put in."""

    def __init__(self, secret: str) -> None:
        # What a mark is follows from the run's secret and its place alone: two processes can agree on it.
        self._secret = secret
        self._marks: dict[str, str] = {}
        self._search: re.Pattern[bytes] | None = None
        self._by_form: dict[bytes, str] = {}

    def word(self, origin: str) -> str:
        """The word that is put in at ``origin``, the same at each call: small letters."""
        return self._mark(origin, lambda random: "".join(random.choices(LETTERS, k=WORD_LENGTH)))

    def number(self, origin: str) -> str:
        """The same as digits, as a telephone or a card has them."""
        return self._mark(f"{origin} (a number)", lambda random: str(random.randrange(SMALLEST, 10 * SMALLEST)))

    def email(self, origin: str) -> str:
        """An e-mail address around the word."""
        word = self.word(origin)
        return f"{word[:4].title()}.{word}+{word[4:]}@{word}.example"

    def person(self, origin: str) -> str:
        """A name around the word, with more than ASCII in it."""
        return f"Zoë {self.word(origin).title()}-Ångström"

    def token(self, origin: str) -> str:
        """A JSON Web Token whose payload and signature hold the word: base64, as it would be sent."""
        word = self.word(origin)
        parts = ('{"alg":"HS256","typ":"JWT"}', f'{{"sub":"{word}"}}', word * 2)
        head, payload, signature = (base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
        return f"{head}.{self._mark(f'{origin} (a token)', lambda _: payload)}.{signature}"

    def phone(self, origin: str) -> str:
        """A telephone number."""
        return f"+{self.number(origin)}"

    def address(self, origin: str) -> str:
        """An IPv6 address of the range for documentation, RFC 3849."""
        tail = self._mark(
            f"{origin} (an address)", lambda random: ":".join(f"{random.randrange(4096, 65536):x}" for _ in range(4))
        )
        return f"2001:db8:{tail}::1"

    def split(self, origin: str) -> tuple[str, str]:
        """Two halves, each of which is told as a leak by itself."""
        return self.word(f"{origin}, first half"), self.word(f"{origin}, second half")

    def origins(self) -> list[str]:
        """Every place where a mark was put in, so far."""
        return sorted(self._marks)

    def found_in(self, data: bytes | str) -> set[str]:
        """The origins of all marks that are in ``data``: plain, in capitals, base64, hexadecimal or UTF-16."""
        if self._search is None:
            self._by_form = {form: origin for origin, mark in self._marks.items() for form in forms(mark)}
            # The longest first: a form that begins like another one must not hide it.
            ordered = sorted(self._by_form, key=len, reverse=True)
            self._search = re.compile(b"|".join(map(re.escape, ordered)) or b"(?!)")
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        return {self._by_form[found] for found in set(self._search.findall(raw.lower()))}

    def _mark(self, origin: str, make: Callable[[Random], str]) -> str:
        if origin not in self._marks:
            self._marks[origin] = make(Random(f"{self._secret} {origin}"))
            self._search = None
        return self._marks[origin]


def forms(mark: str) -> set[bytes]:
    """What a mark looks like, in small letters, after the encodings that software applies by itself."""
    raw = mark.encode()
    found = {raw.lower(), mark.encode("utf-16-le")[:-1].lower()}
    for spelled in (raw, raw.upper(), raw.title()):
        found.add(spelled.hex().encode())
        found |= {part.lower() for part in _inside_base64(spelled)}
    return found


def _inside_base64(raw: bytes) -> set[bytes]:
    """The characters that are there wherever in a longer text the mark stood when the whole was encoded."""
    found = set()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + raw)
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        found |= {whole[first:last], whole[first:last].replace(b"+", b"-").replace(b"/", b"_")}
    return found
