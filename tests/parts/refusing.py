"""Values that fail whoever looks at them: what an application may hand over, and nothing of ours may stumble over.

On the path of every test; it knows nothing of what is tested.
"""

from __future__ import annotations

from typing import Any


def refuse(*_: object) -> Any:
    """Stand for any method that must not be called, or may fail."""
    raise RuntimeError


class HostileStr(str):
    """A text whose every method fails."""

    __slots__ = ()
    __str__ = __eq__ = __ne__ = __len__ = __format__ = __iter__ = refuse
    __hash__ = refuse


class HostileInt(int):
    """A number whose every method fails."""

    __str__ = __eq__ = __ne__ = __int__ = __index__ = __float__ = __lt__ = __le__ = __gt__ = refuse
    __hash__ = refuse


class HostileFloat(float):
    """A floating-point number whose every method fails."""

    __slots__ = ()
    __str__ = __eq__ = __ne__ = __float__ = __int__ = __lt__ = __le__ = is_integer = refuse
    __hash__ = refuse


class Hostile:
    """An object that cannot be compared, hashed, shown or counted."""

    __str__ = __eq__ = __ne__ = __len__ = __bool__ = __iter__ = __int__ = __float__ = refuse
    __hash__ = refuse


class Nameless:
    """An object that does not tell its class."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError

    @__class__.setter
    def __class__(self, value: object) -> None:
        raise RuntimeError
