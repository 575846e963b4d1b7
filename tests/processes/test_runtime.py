"""Where the processes of a service meet, and when they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import otel_ws
from otel_ws.processes.runtime import RefusedError, place, replace, supervisor

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this platform has no users of that kind")


def at(base: Path, group: str = "", **environ: str) -> Path:
    """The folder for these words."""
    return place(str(base), group, environ)


def test_nobody_else_may_look_into_it(tmp_path: Path) -> None:
    """The folder, and the one that it is in, are its user's alone."""
    folder = at(tmp_path)

    assert [0o700, 0o700] == [one.stat().st_mode & 0o777 for one in (folder, folder.parent)]
    assert tmp_path == folder.parent.parent


def test_the_same_words_are_the_same_folder(tmp_path: Path) -> None:
    """Workers that were started apart meet."""
    assert at(tmp_path, "a", OTEL_SERVICE_NAME="shop") == at(tmp_path, "a", OTEL_SERVICE_NAME="shop")


@pytest.mark.parametrize(
    ("group", "environ"),
    [
        ("blue", {"OTEL_SERVICE_NAME": "shop"}),
        ("", {"OTEL_SERVICE_NAME": "chat"}),
        ("", {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=eu"}),
        ("", {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=stage"}),
        ("", {}),
    ],
)
def test_other_words_are_another_folder(tmp_path: Path, group: str, environ: dict[str, str]) -> None:
    """Group, service, namespace and environment tell services apart."""
    assert at(tmp_path, OTEL_SERVICE_NAME="shop") != place(str(tmp_path), group, environ)


def test_a_name_among_the_resource_attributes_counts(tmp_path: Path) -> None:
    """``service.name`` may be told either way, and percent-encoded as the specification says."""
    told = at(tmp_path, OTEL_RESOURCE_ATTRIBUTES="a=b, service.name=my%20shop")

    assert at(tmp_path, OTEL_SERVICE_NAME="my shop") == told


def test_without_a_name_services_of_two_folders_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two projects of one user on one host do not add up."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    first = at(tmp_path)
    monkeypatch.chdir(tmp_path / "two")

    assert first != at(tmp_path)


def test_the_folder_tells_no_name(tmp_path: Path) -> None:
    """Folder names are listed everywhere, so a service's or a person's name is in none."""
    assert "ada" not in str(at(tmp_path, "ada", OTEL_SERVICE_NAME="ada").relative_to(tmp_path))


def test_a_folder_that_others_may_look_into_is_refused(tmp_path: Path) -> None:
    """Somebody may have made it before, to see what is put there."""
    at(tmp_path).parent.chmod(0o755)

    with pytest.raises(RefusedError, match="others may look into it"):
        at(tmp_path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    """A link would lead the counts to a place of somebody else's choice."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"otel-ws-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RefusedError):
        at(tmp_path)


def test_another_users_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could read and write what is in it."""
    at(tmp_path)
    name = f"otel-ws-{os.geteuid()}"
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    (tmp_path / name).rename(tmp_path / "otel-ws-4242")

    with pytest.raises(RefusedError, match="another user"):
        at(tmp_path)


def test_a_runtime_directory_that_is_not_there_is_named_by_its_setting_only(tmp_path: Path) -> None:
    """The text says what to do, and no path."""
    with pytest.raises(RefusedError) as refused:
        at(tmp_path / "missing")

    assert "OTEL_WS_RUNTIME_DIR" in str(refused.value)
    assert "missing" not in str(refused.value)


def test_a_file_is_replaced_all_at_once(tmp_path: Path) -> None:
    """Its readers see what was there, or all that is there now; nobody else sees anything."""
    path = tmp_path / "totals"
    replace(path, b"one")
    with path.open("rb") as before:
        replace(path, b"two")
        old = before.read()

    assert (b"one", b"two", 0o600) == (old, path.read_bytes(), path.stat().st_mode & 0o777)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
def test_a_parent_of_the_same_python_is_a_supervisor() -> None:
    """A worker knows the process that will start the next one; started by a shell it knows none."""
    command = [sys.executable, "-c", "from otel_ws.processes import runtime; print(*runtime.supervisor())"]
    environ = {**os.environ, "PYTHONPATH": str(Path(otel_ws.__file__).parents[1])}

    by_us = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.split()
    shell = ["/bin/sh", "-c", '"$@"; true', "sh", *command]
    by_shell = subprocess.run(shell, env=environ, capture_output=True, text=True, check=True).stdout.split()

    assert str(os.getpid()) == by_us[0]
    assert int(by_us[1]) > 0
    assert ["0", "0"] == by_shell


def test_where_nothing_tells_there_is_no_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that is gone, or hidden, is none."""
    monkeypatch.setattr(os, "getppid", lambda: 999_999_999)

    assert (0, 0) == supervisor()
