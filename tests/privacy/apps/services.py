"""Real servers from the machine's packages, each for the length of a block: Redis and PostgreSQL."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def program(name: str) -> str | None:
    """Where a server's program is; Debian keeps those of PostgreSQL off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def missing() -> list[str]:
    """The Debian packages that are not there."""
    packages = {"redis-server": "redis-server", "initdb": "postgresql", "postgres": "postgresql"}
    return sorted({package for name, package in packages.items() if program(name) is None})


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """The address of a Redis that keeps nothing."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder)
        with _running([program("redis-server") or "redis-server", *options], port):
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The connection string of an empty PostgreSQL cluster."""
    port = free_port()
    # PostgreSQL refuses to run as root; its package brings a user for it.
    user = "postgres" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "data"
        folder.mkdir(mode=0o700)
        if user:
            shutil.chown(folder, user)
        initdb = [program("initdb") or "initdb", "-D", str(folder), "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(initdb, user=user, cwd="/", env=_environment(user), check=True, stdout=subprocess.DEVNULL)
        options = ("-D", str(folder), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F")
        with _running([program("postgres") or "postgres", *options], port, user):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def _running(command: list[str], port: int, user: str | None = None) -> Iterator[None]:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, user=user, cwd="/", env=_environment(user), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait(port, process)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]!r} ended with {process.returncode}")  # type: ignore[index]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError("the server did not come up within 30 s")


def _environment(user: str | None) -> dict[str, str]:
    home = pwd.getpwnam(user).pw_dir if user else str(Path.home())
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": home, "USER": user or getpass.getuser()}
