"""Names of code: only what is there passes, nothing is imported, and no stranger's method runs."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws.loaded import LONGEST, Exceptions, Rarely, is_code, is_module, is_version, known_part


class Trap(ModuleType):
    """A module that would load itself when it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError


class Meta(type):
    """A class of classes that runs when it is asked."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError


@pytest.mark.parametrize("name", ["json.loads", "json.decoder.JSONDecodeError", "collections.abc.Mapping.get"])
def test_what_stands_in_a_loaded_module_is_code(name: str) -> None:
    """A dotted name that leads from a loaded module to something in it is a name of code."""
    assert is_code(name)


@pytest.mark.parametrize(
    "name",
    [
        "alice",
        "json",
        "json.alice",
        "alice.loads",
        "json.loads.alice",
        "json.",
        ".loads",
        "json..loads",
        "json loads",
        "",
    ],
)
def test_what_leads_nowhere_is_no_code(name: str) -> None:
    """A name that leads to nothing, or is no dotted name, is none."""
    assert not is_code(name)


def test_a_module_that_nobody_loaded_stays_unloaded() -> None:
    """Asking for a name imports nothing."""
    sys.modules.pop("this", None)

    assert not is_code("this.s")
    assert "this" not in sys.modules


def test_a_lazy_module_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with methods of its own is looked into, and none of them runs."""
    trap = Trap("trap")
    ModuleType.__getattribute__(trap, "__dict__")["found"] = 1
    monkeypatch.setitem(sys.modules, "trap", trap)

    assert is_code("trap.found")
    assert not is_code("trap.other")


def test_a_strange_class_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class whose class has methods of its own is looked into, and none of them runs."""
    module = ModuleType("strange")
    module.One = Meta("One", (), {"method": 1})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "strange", module)

    assert is_code("strange.One.method")


def test_what_is_no_module_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another object among the modules has no contents."""
    monkeypatch.setitem(sys.modules, "thing", object())

    assert not is_code("thing.__class__")


@pytest.mark.parametrize(
    ("name", "part"), [("json.decoder.x.y", "json.decoder"), ("json", "json"), ("alice.x", ""), ("x" * 300, "")]
)
def test_the_loaded_part_of_a_name(name: str, part: str) -> None:
    """From the beginning, as far as modules are loaded."""
    assert part == known_part(name)


@given(st.text(st.characters(exclude_categories=()), max_size=30) | st.from_regex(r"[a-z.]{1,400}", fullmatch=True))
def test_a_text_of_any_kind_gets_an_answer(text: str) -> None:
    """Nothing raises, and what passes is a name of something loaded."""
    passed = [is_code(text), is_module(text), text in Exceptions(), is_version(text)]

    assert not any(passed) or len(text) <= LONGEST


# --- exceptions -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["ValueError", "JSONDecodeError", "json.decoder.JSONDecodeError", "builtins.OSError"])
def test_a_loaded_exception_is_known_by_each_of_its_names(name: str) -> None:
    """By its name, and by its module and name."""
    assert name in Exceptions()


def test_a_local_exception_is_known() -> None:
    """A class made in a function is known by its qualified name."""

    class SeatTakenError(Exception):
        """Nobody else has one."""

    assert SeatTakenError.__qualname__ in Exceptions()


@pytest.mark.parametrize("name", ["AliceError", "alice@example.com", "Value Error", "", "object"])
def test_another_word_is_no_exception(name: str) -> None:
    """A name of no loaded exception is none, whatever its form."""
    assert name not in Exceptions()


def test_an_exception_with_a_persons_name_in_it_is_none() -> None:
    """A class can be made with any text as its name: only a name in code's form counts."""
    made = type("alice@example.com", (Exception,), {})
    known = Exceptions()

    assert "ValueError" in known
    assert made.__name__ not in known


def test_an_exception_with_a_class_of_its_own_is_not_asked() -> None:
    """The classes are read past what they would say."""
    made = Meta("StrangeError", (Exception,), {})

    assert "StrangeError" in Exceptions()
    assert type.__getattribute__(made, "__name__") == "StrangeError"


class Ticks:
    """A clock that goes on by one second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the next second."""
        self.now += 1.0
        return self.now


def test_reading_again_takes_a_hundredth_of_the_time() -> None:
    """After what took a second nothing is done for a hundred seconds, however often it is asked for."""
    clock, done = Ticks(), []
    rarely = Rarely(clock)

    for _ in range(100):
        rarely.do(lambda: done.append(clock.now))

    assert 1 == len(done)
    clock.now += 3.0
    rarely.do(lambda: done.append(clock.now))
    assert 2 == len(done)


# --- versions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["1", "1.2", "1.45.2", "0.66b2", "1.0rc1", "1.0.post1.dev2", "2026.7.22"])
def test_a_release_is_a_version(text: str) -> None:
    """What packages call their releases."""
    assert is_version(text)


@pytest.mark.parametrize("text", ["192.0.2.7", "1.2.3.4", "555.0100", "4930.5550.100", "01", "v1", "1.2 ", "1" * 33])
def test_an_address_or_a_number_is_no_version(text: str) -> None:
    """Four parts, leading zeros and long numbers are not a release's."""
    assert not is_version(text)
