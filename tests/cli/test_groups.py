"""Names of groups are found in code, as far as the code says them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws.cli import groups


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('await self.channel_layer.group_add("lobby", self.channel_name)', ["lobby"]),
        ('await self.channel_layer.group_add(f"room_{pk}", name)', ["room_0"]),
        ('self.channel_layer.group_send(group=f"a_{x}_b_{y:>9}", message={})', ["a_0_b_0"]),
        ('layer.group_discard("chat_%s" % room, name)', ["chat_0"]),
        ('layer.group_discard("chat_%(room)05d_%s" % both, name)', ["chat_0_0"]),
        ('layer.group_add("chat_{}_{room}".format(1, room=2), name)', ["chat_0_0"]),
        ('layer.group_add("chat_" + room + "_all", name)', ["chat_0_all"]),
        ('async_to_sync(self.channel_layer.group_send)("news", {})', ["news"]),
        ('get_channel_layer().send("payments", {})', ["payments"]),
        ('channel_layer.send(channel="payments", message={})', ["payments"]),
        ('self.group = f"team_{x}"\nlayer.group_add(self.group, name)', ["team_0"]),
        ('group: str = f"team_{x}"\nlayer.group_add(group, name)', ["team_0"]),
        ('layer.group_add(group := f"team_{x}", name)', ["team_0"]),
        ('def name(pk):\n    return f"user_{pk}"\nlayer.group_add(name(7), channel)', ["user_0"]),
        ('layer.group_add("staff" if x else f"user_{x}", name)', ["staff", "user_0"]),
        ('A = "all"\nlayer.group_add(A, name)\nlayer.group_send(A, {})', ["all", "all"]),
    ],
)  # fmt: skip
def test_names_that_are_in_the_code(code: str, expected: list[str]) -> None:
    """Literals, formatted texts, what a name was given and what a function returns."""
    assert expected == [sample for sample, _ in groups.names_in(code)]


@pytest.mark.parametrize(
    "code",
    [
        "layer.group_add(name, channel)",
        'layer.group_add(f"{name}", channel)',
        "layer.group_add(a + b, channel)",
        'self.send("text")',
        'socket.send("text")',
        'layer.send(event["reply_to"], {})',
        'layer.send(f"specific!{x}", {})',
        "layer.group_add()",
        "a = b\nb = a\nlayer.group_add(a, channel)",
        "a = a + a\nlayer.group_add(a, channel)",
    ],
)
def test_names_that_only_the_running_application_knows(code: str) -> None:
    """Of those, and of what is no channel layer, nothing is said; what turns in a circle ends."""
    assert [] == list(groups.names_in(code))


@given(st.text("ab_{}%0s:.!()", max_size=30), st.sampled_from(["{0!r}", "f{0!r}", "{0!r} % x", "{0!r}.format(x)"]))
def test_whatever_the_code_says_is_no_trouble(text: str, form: str) -> None:
    """Samples, or that it is not Python."""
    try:
        assert all(isinstance(sample, str) for sample, _ in groups.names_in(f"layer.group_add({form.format(text)}, c)"))
    except SyntaxError:
        pass


def test_only_the_project_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    """Not what is installed, unless it is the application's own package; a file that is no Python is passed over."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    for folder, name, source in (
        (tmp_path, "own", 'layer.group_add("own", c)'),
        (tmp_path, "broken", 'layer.group_add("broken", c'),
        (installed, "library", 'layer.group_add("library", c)'),
        (installed, "shop", 'x = 1\nlayer.group_add("shop", c)'),
    ):
        module = ModuleType(f"{name}.groups")
        module.__file__ = str(folder / f"{name}.py")
        (folder / f"{name}.py").write_text(source)
        monkeypatch.setitem(sys.modules, f"{name}.groups", module)

    found = [one for one in groups.in_code("shop") if one.sample in {"own", "broken", "library", "shop"}]

    assert [("own", "own.py, line 1"), ("shop", "shop.py, line 2")] == sorted(found)
