"""Builds the programs that the stack's tests run, from the Go module proxy. Needs Go 1.26 and nothing else.

    python build.py [name...]           build all, or the named ones, into the cache; what is there is left alone
    python build.py --lock [name...]    refresh the committed go.mod and go.sum after a version was edited

Each name is a folder beside this file: a module that names one program and pins everything that it is made of. What is
built lies in ``$XDG_CACHE_HOME/otel-ws/stack``, by the hash of its inputs, so that no second checkout builds it again.
It does not know what the programs are for, nor how they are run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLCHAIN = ("GOVERSION", "GOOS", "GOARCH")
# What a compiler says when it fails, and what to do about it.
REASONS = {
    "403 Forbidden": "The module proxy refuses a version; choose one that it serves: go list -m -versions MODULE",
    "requires go >=": "This Go is too old; https://go.dev/dl/ has newer ones",
    "missing go.sum entry": "go.sum is incomplete: python build.py --lock",
    "signal: killed": "A compiler was killed for memory: 3 GiB must be free (GOFLAGS=-p=1 lowers that)",
}


@dataclass(frozen=True)
class Recipe:
    """How one folder becomes programs."""

    programs: tuple[str, ...]
    packages: tuple[str, ...]
    tags: str = ""
    flags: str = "-s -w"


VERSION = "-s -w -X github.com/prometheus/common/version.Version="
RECIPES = {
    "collector": Recipe(("otelcol",), (".",), tags="grpcnotrace"),
    "compose": Recipe(("compose",), (".",)),
    "prometheus": Recipe(
        ("prometheus", "promtool"),
        ("github.com/prometheus/prometheus/cmd/prometheus", "github.com/prometheus/prometheus/cmd/promtool"),
        # Service discovery of every cloud is half of its dependencies, and none of it is used here.
        tags="netgo,remove_all_sd",
        flags=f"{VERSION}3.14.0",
    ),
    "alertmanager": Recipe(
        ("alertmanager", "amtool"),
        ("github.com/prometheus/alertmanager/cmd/alertmanager", "github.com/prometheus/alertmanager/cmd/amtool"),
        tags="netgo",
        flags=f"{VERSION}0.34.0",
    ),
    "loki": Recipe(("loki",), ("github.com/grafana/loki/v3/cmd/loki",), tags="netgo"),
    "tempo": Recipe(("tempo",), ("github.com/grafana/tempo/cmd/tempo",)),
    "jaeger": Recipe(("jaeger",), ("github.com/jaegertracing/jaeger/cmd/jaeger",)),
}
# A module that embeds what its release lacks, a page that is compiled by other means: the file is made, and empty.
LACKING = {"alertmanager": ("github.com/prometheus/alertmanager", "ui/app/dist/index.html")}
PROGRAMS = {program: name for name, recipe in RECIPES.items() for program in recipe.programs}


class BuildError(Exception):
    """A program could not be built; the text says why and where the log is."""


def cache() -> Path:
    """The folder for everything that is built, outside every checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-ws" / "stack"


def stamp(name: str) -> str:
    """One hash over everything that decides what the programs of a folder are."""
    folder = HERE / name
    digest = hashlib.sha256(repr((RECIPES[name], toolchain())).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def toolchain() -> list[str]:
    """The compiler and the machine it compiles for."""
    if shutil.which("go") is None:
        raise BuildError("there is no 'go' on PATH; Go 1.26.5 or later is needed")
    return subprocess.run(["go", "env", *TOOLCHAIN], check=True, capture_output=True, text=True).stdout.split()


def built(name: str) -> Path:
    """The folder that holds the programs of a name, once they are built."""
    return cache() / f"{name}-{stamp(name)}"


def program(name: str) -> Path:
    """The path of one program.

    Raises:
        BuildError: It has not been built.
    """
    path = built(PROGRAMS[name]) / name
    if not path.exists():
        raise BuildError(f"{name} is not built; python {HERE / 'build.py'} builds it")
    return path


def environment(*flags: str) -> dict[str, str]:
    """What Go is told: no C, no other toolchain, no workspace, nothing of this machine in the result."""
    wanted = " ".join([os.environ.get("GOFLAGS", ""), "-trimpath", "-buildvcs=false", *flags])
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": wanted.strip()}


def run(command: list[str], folder: Path, log: Path, *flags: str) -> None:
    """Run one step with its output in the log."""
    with log.open("ab") as stream:
        done = subprocess.run(command, cwd=folder, env=environment(*flags), stdout=stream, stderr=stream, check=False)
    if done.returncode:
        text = log.read_text(errors="replace")
        hints = [hint for sign, hint in REASONS.items() if sign in text]
        last = "\n".join(f"    {line}" for line in text.splitlines()[-15:])
        raise BuildError("\n".join([f"{command[0]} {command[1]} failed; the end of {log}:", last, *hints]))


def generate(work: Path, log: Path, *options: str, flags: tuple[str, ...] = ()) -> Path:
    """Have the collector's builder write the sources that its list of components asks for."""
    source, sources = HERE / "collector", work / "sources"
    sources.mkdir()
    # It floats what it is not told: with the committed sums at hand, it asks for nothing that they know.
    shutil.copy(source / "lock" / "go.sum", sources)
    run(["go", "build", "-o", str(work / "builder"), "go.opentelemetry.io/collector/cmd/builder"], source, log, *flags)
    text = (source / "components.yaml").read_text().replace("output_path: ./dist", f"output_path: {sources}")
    (work / "components.yaml").write_text(text)
    run([str(work / "builder"), "--config", str(work / "components.yaml"), *options], work, log)
    return sources


def complete(name: str, module: str, file: str, work: Path, log: Path) -> Path:
    """A name's module, over a copy of another that has the file which the release of it lacks."""
    run(["go", "mod", "download", module], HERE / name, log, "-mod=readonly")
    asked = ["go", "list", "-m", "-f", "{{.Dir}}", module]
    found = subprocess.run(asked, cwd=HERE / name, env=environment(), check=True, capture_output=True, text=True)
    sources, wrapper = work / "sources", work / "wrapper"
    # What Go keeps cannot be written to; contents alone are copied.
    shutil.copytree(found.stdout.strip(), sources, copy_function=shutil.copyfile)
    for folder in (sources, *(path for path in sources.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    (sources / file).parent.mkdir(parents=True)
    (sources / file).touch()
    shutil.copytree(HERE / name, wrapper)
    run(["go", "mod", "edit", f"-replace={module}={sources}"], wrapper, log)
    return wrapper


def build(name: str) -> bool:
    """Build the programs of one name, unless they are there; true when it had to."""
    there = built(name)
    if there.exists():
        return False
    cache().mkdir(parents=True, exist_ok=True)
    log = cache() / f"{name}.log"
    log.write_bytes(b"")
    recipe = RECIPES[name]
    with tempfile.TemporaryDirectory(dir=cache(), prefix=f".{name}-") as folder:
        work = Path(folder)
        made = work / "programs"
        made.mkdir()
        source = HERE / name
        if name == "collector":
            source = generate(work, log, "--skip-get-modules", "--skip-compilation", flags=("-mod=readonly",))
            for file in ("go.mod", "go.sum"):
                shutil.copy(HERE / "collector" / "lock" / file, source)
        if name in LACKING:
            source = complete(name, *LACKING[name], work, log)
        target = str(made / recipe.programs[0]) if len(recipe.packages) == 1 else f"{made}/"
        options = ["-tags", recipe.tags, "-ldflags", recipe.flags, "-o", target]
        run(["go", "build", *options, *recipe.packages], source, log, "-mod=readonly")
        # The folder appears whole or not at all, whoever builds beside us.
        try:
            made.rename(there)
        except OSError:
            if not there.exists():
                raise
    return True


def lock(name: str) -> None:
    """Refresh what pins a name: its own go.mod and go.sum, and those of the collector that is generated."""
    cache().mkdir(parents=True, exist_ok=True)
    log = cache() / f"{name}.log"
    log.write_bytes(b"")
    run(["go", "mod", "tidy"], HERE / name, log)
    if name == "collector":
        with tempfile.TemporaryDirectory(dir=cache(), prefix=f".{name}-") as folder:
            sources = generate(Path(folder), log, "--skip-compilation")
            for file in ("go.mod", "go.sum"):
                shutil.copy(sources / file, HERE / "collector" / "lock")


def main() -> int:
    """Build or lock what the command line names."""
    parser = argparse.ArgumentParser(description="Build the programs that the stack's tests run.")
    parser.add_argument("--lock", action="store_true", help="refresh go.mod and go.sum instead")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of: {', '.join(RECIPES)} (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in RECIPES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(RECIPES)}")
    failed = False
    for name in options.names or RECIPES:
        print(f"{name:13}", end=" ", flush=True)
        start = time.monotonic()
        try:
            if options.lock:
                lock(name)
                word = "locked"
            else:
                word = "built" if build(name) else "there"
        except BuildError as error:
            print(f"FAILED\n{error}", flush=True)
            failed = True
            continue
        print(f"{word} after {time.monotonic() - start:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
