"""The developer loop: plain ``nox`` runs what CI runs; ``nox -l`` lists the sessions.

Tests run against the built wheel in environments of their own, so they see what a user installs.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import nox

nox.needs_version = ">=2026.4.10"
nox.options.sessions = ["lint", "tests", "base", "system", "privacy", "demo", "ways", "stack", "budget", "docs"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
# A missing Python is skipped with a line that says so, in CI too; the one that runs nox is always in the matrix.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

ROOT = Path(__file__).parent
PRIVACY = ROOT / "tests" / "privacy"
# Takes minutes, and says nothing of a set of versions: `privacy` runs it once.
WALLS = PRIVACY / "test_walls.py"
HOSTILE_VALUES = "1000000"
EXAMPLE = ROOT / "examples" / "tournament"
STACK = ROOT / "tests" / "collector"
WHEELS = ROOT / ".nox" / "wheels"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
# For tests that measure nothing and share nothing; those of `system` have the machine to themselves.
SIDE_BY_SIDE = ("-n", "auto")
# Keeps the current folder, and with it the source tree, off sys.path: in child processes that tests start, too.
SAFE = {"PYTHONSAFEPATH": "1"}
WHERE = """
import pathlib, sys, otel_ws
found = pathlib.Path(otel_ws.__file__).parent
print(f"testing otel-ws {otel_ws.__version__} in {found.parent.name}, Python {sys.version.split()[0]}")
sys.exit(0 if found.parent.name == "site-packages" else f"not the installed wheel: {found}")
"""


@dataclass(frozen=True)
class Combination:
    """One set of versions that the tests run against; an empty one means the newest."""

    python: str
    django: str = ""
    channels: str = ""
    opentelemetry: str = ""
    extra: str = "all"

    def requirements(self) -> list[str]:
        """The versions as pip understands them."""
        wanted = {"Django": self.django, "channels": self.channels, "opentelemetry-sdk": self.opentelemetry}
        return [f"{name}=={version}.*" for name, version in wanted.items() if version]

    def __str__(self) -> str:
        known = {"django": self.django, "channels": self.channels, "otel": self.opentelemetry}
        named = [f"{name}{version}" for name, version in known.items() if version]
        return "-".join([f"python{self.python}", *(named or ["newest"])])


# The oldest of everything first, the newest last; between them each Python, Django and Channels.
COMBINATIONS = [
    Combination("3.11", django="5.2", channels="4.2", opentelemetry="1.39"),
    Combination("3.11", django="5.2", channels="4.3"),
    Combination("3.12", django="6.0", channels="4.2"),
    Combination("3.13", django="6.0", channels="4.3"),
    # The distro holds the SDK back; whoever sets the SDK up alone gets the newest, and no instrumentation package.
    Combination("3.13", extra="channels,django,redis,sdk"),
]
if RUNNING not in {combination.python for combination in COMBINATIONS}:
    COMBINATIONS.append(Combination(RUNNING))


def group(name: str) -> list[str]:
    """The requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def install(session: nox.Session, *requirements: str) -> None:
    """Make the environment hold exactly these requirements, whatever an earlier run left in it."""
    if session.venv_backend == "uv":
        session.install("--exact", "--reinstall-package", "otel-ws", *requirements)
    else:
        # pip takes two files of the same version for the same thing.
        session.run_install("python", "-m", "pip", "uninstall", "--quiet", "--yes", "otel-ws", silent=True)
        session.install(*requirements)


def install_wheel(session: nox.Session, extra: str, *requirements: str) -> None:
    """Install the built wheel with one of its extras, and make sure that it is what gets imported."""
    (wheel,) = WHEELS.glob("*.whl")
    install(session, f"{wheel}[{extra}]" if extra else str(wheel), *requirements)
    session.run("python", "-c", WHERE, env=SAFE)


def run_pytest(session: nox.Session, folder: str, *options: str) -> None:
    """Run the tests in a folder, or those that the command line names after ``--``."""
    named = any((ROOT / argument.partition("::")[0]).exists() for argument in session.posargs)
    session.run("pytest", *options, *([] if named else [folder]), *session.posargs, env=SAFE)


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel that the other sessions test."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    if session.venv_backend == "uv":
        session.run("uv", "build", "--quiet", "--wheel", "--out-dir", str(WHEELS), external=True)
    else:
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(WHEELS), ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and the floors of the house."""
    install(session, "--editable", ".[all,demo]", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")


@nox.session(requires=["wheel"])
@nox.parametrize(
    ("python", "combination"),
    [nox.param(combination.python, combination, id=str(combination)) for combination in COMBINATIONS],
)
def tests(session: nox.Session, combination: Combination) -> None:
    """Unit and integration tests, on each supported set of versions."""
    install_wheel(session, combination.extra, *combination.requirements(), *group("test"))
    elsewhere = ("tests/system", "tests/collector", WALLS.relative_to(ROOT))
    run_pytest(session, "tests", *SIDE_BY_SIDE, *(f"--ignore={path}" for path in elsewhere))


@nox.session(requires=["wheel"])
def base(session: nox.Session) -> None:
    """What a base install can do: no SDK, no Django, no Channels."""
    install_wheel(session, "", *group("base"))
    run_pytest(session, "tests/base")


@nox.session(requires=["wheel"])
def system(session: nox.Session) -> None:
    """Real uvicorn, daphne and hypercorn as processes on loopback; with redis-server (Debian) Redis and workers."""
    install_wheel(session, "all", *group("system"))
    run_pytest(session, "tests/system")


@nox.session(requires=["wheel"])
def privacy(session: nox.Session) -> None:
    """Nothing of anybody leaves: all producers in one application, 1,000,000 hostile values, each wall switched off."""
    # Debian keeps PostgreSQL's programs off the path.
    has_postgresql = shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    servers = {"redis-server": shutil.which("redis-server"), "postgresql": has_postgresql}
    missing = [package for package, found in servers.items() if not found]
    if missing:
        text = f"real servers are needed that this machine lacks; on Debian: apt-get install {' '.join(missing)}"
        session.error(text) if os.environ.get("CI") else session.skip(text)
    install_wheel(session, "all", *group("privacy"))
    run_pytest(session, "tests/privacy", *SIDE_BY_SIDE)
    if not session.posargs:
        environment = {**SAFE, "PYTHONPATH": str(PRIVACY / "apps")}
        session.run("python", str(PRIVACY / "apps" / "hostile.py"), "--values", HOSTILE_VALUES, env=environment)


@nox.session(requires=["wheel"])
def demo(session: nox.Session) -> None:
    """Drive the example with real clients and compare every count: ``nox -s demo -- --seconds 5 --server daphne``."""
    install_wheel(session, "demo")
    session.run("python", "-m", "demo", *session.posargs, env={**SAFE, "PYTHONPATH": str(EXAMPLE)})


@nox.session(default=False, requires=["wheel"])
def screenshots(session: nox.Session) -> None:
    """The pictures of the live page in docs/, taken anew from the demo; needs Debian's Chromium."""
    install_wheel(session, "demo", *group("system"))
    session.run("python", "docs/screenshots.py", env={**SAFE, "PYTHONPATH": str(EXAMPLE)})


@nox.session(requires=["wheel"])
def ways(session: nox.Session) -> None:
    """The demo on each server by each way in: one set of counts, eight times."""
    install_wheel(session, "demo")
    for server in ("uvicorn", "daphne"):
        for way in ("configure", "auto", "sdk", "together"):
            drive = ("python", "-m", "demo", "--seconds", "6", "--server", server, "--way", way)
            session.run(*drive, env={**SAFE, "PYTHONPATH": str(EXAMPLE)})


@nox.session(requires=["wheel"])
def docs(session: nox.Session) -> None:
    """The generated tables in docs/ say what the code says, and what is generated in collector/ does."""
    install_wheel(session, "all", *group("dashboards"))
    session.run("python", "docs/generate.py", "--check")
    session.run("python", "collector/generate.py", "--check")


@nox.session(requires=["wheel"])
def stack(session: nox.Session) -> None:
    """The bundle in collector/ with the real programs, built once for all checkouts: ``nox -s stack -- -k rules``."""
    install_stack(session)
    run_pytest(session, "tests/collector", "-m", "not incident")


@nox.session(default=False, requires=["wheel"])
def incidents(session: nox.Session) -> None:
    """Alerts that fire because the example really failed, and reach whoever is called."""
    install_stack(session)
    run_pytest(session, "tests/collector", "-m", "incident")


def install_stack(session: nox.Session) -> None:
    """The backends, which take 15 minutes the first time, and what drives and asks them."""
    if shutil.which("go") is None:
        text = "the stack's programs are built by Go 1.26.5 or later, which this machine lacks: https://go.dev/dl/"
        session.error(text) if os.environ.get("CI") else session.skip(text)
    install_wheel(session, "demo", *group("stack"))
    session.run("python", str(STACK / "stack" / "build.py"))


@nox.session(default=False, requires=["wheel"])
def bench(session: nox.Session) -> None:
    """What otel-ws costs: ``-- --report`` in interleaved pairs, on an idle machine; ``-- --gate`` in instructions."""
    install_wheel(session, "channels,django,redis,sdk", *group("bench"))
    if "--gate" not in session.posargs:
        session.run("python", "tests/benchmarks/bench.py", *session.posargs, env=SAFE)
        return
    counted(session, [argument for argument in session.posargs if argument != "--gate"])


@nox.session(requires=["wheel"])
def budget(session: nox.Session) -> None:
    """No message and no connection costs more instructions than its limit: ``nox -s bench -- --gate``."""
    install_wheel(session, "channels,django,sdk", *group("bench"))
    counted(session, session.posargs)


def counted(session: nox.Session, options: list[str]) -> None:
    """Count instructions, where valgrind is."""
    if shutil.which("valgrind") is None:
        text = "instructions are counted by valgrind, which this machine lacks; on Debian: apt-get install valgrind"
        session.error(text) if os.environ.get("CI") else session.skip(text)
    session.run("python", "tests/benchmarks/instructions.py", *options, env=SAFE)


@nox.session(default=False, requires=["wheel"])
def coverage(session: nox.Session) -> None:
    """Which lines and branches the tests reach, child processes included."""
    install_wheel(session, "all", *group("coverage"))
    session.run("coverage", "erase")
    session.run(
        "coverage",
        "run",
        "-m",
        "pytest",
        "--ignore=tests/system",
        "--ignore=tests/collector",
        f"--ignore={WALLS}",
        *session.posargs,
        env=SAFE,
    )
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
