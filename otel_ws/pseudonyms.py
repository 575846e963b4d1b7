"""Pseudonyms: the same key makes the same stand-in for the same id, and nobody without the key can go back.

A pseudonym is ``p_`` and 32 hexadecimal digits: 20 of an HMAC-SHA-256 of the id, and 12 that prove the other 20 to be
made with this key. So one that comes by again is known and stays as it is, and a text that only looks like one is
hashed like any other. It refuses to know whose id it is.
"""

from __future__ import annotations

import hmac
import re
import stat
from pathlib import Path
from typing import Final

SHORTEST_KEY: Final = 32
LONGEST_KEY: Final = 4096
LONGEST_ID: Final = 1024
_FORM = re.compile(r"p_([0-9a-f]{20})([0-9a-f]{12})")


class Pseudonyms:
    """Pseudonyms of one key. The key appears in no text about this object."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            raise ValueError(f"a key has {SHORTEST_KEY} to {LONGEST_KEY} bytes")
        self._key = key

    def of(self, text: str) -> str | None:
        """The pseudonym of an id; itself if it is one of this key's; ``None`` for what is empty or too long."""
        if not text or len(text) > LONGEST_ID:
            return None
        if self.is_ours(text):
            return text
        digits = self._digest(b"id", text.encode("utf-8", "surrogatepass"))[:20]
        return f"p_{digits}{self._proof(digits)}"

    def is_ours(self, text: str) -> bool:
        """Whether the text is a pseudonym that this key made."""
        form = _FORM.fullmatch(text)
        return form is not None and hmac.compare_digest(form[2], self._proof(form[1]))

    def _proof(self, digits: str) -> str:
        return self._digest(b"proof", digits.encode())[:12]

    def _digest(self, use: bytes, content: bytes) -> str:
        return hmac.digest(self._key, use + b"\0" + content, "sha256").hex()


def read(path: str) -> Pseudonyms:
    """The pseudonyms of the key in a file: 32 to 4096 bytes, taken as they are.

    Readable by all is accepted, as container platforms mount secrets so; writable by all is not, as whoever chooses
    the key can reverse what it made.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no file, may be written by anybody, or the key is too short or too long.
    """
    # Looked at before it is opened: opening a pipe waits for whoever writes to it.
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) or mode & stat.S_IWOTH:
        raise ValueError("not a file that others cannot write")
    with Path(path).open("rb") as file:
        return Pseudonyms(file.read(LONGEST_KEY + 1))
