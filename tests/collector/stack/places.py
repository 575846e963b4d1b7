"""The bundle's files as one machine can run them without containers: other addresses and folders, shorter waits.

What is changed is listed here and nothing else is: a name and port of the compose network becomes a port on loopback, a
folder of a container one of the test's. It knows texts, and refuses to know what they configure.
"""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[3]
BUNDLE: Final = ROOT / "collector"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
HERE: Final = Path(__file__).resolve().parent

# Folder of the bundle, and the program whose addresses in it are its own.
OWNERS: Final = {
    "otelcol": "collector",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "loki": "loki",
    "tempo": "tempo",
    "jaeger": "jaeger",
}
# Folders of the containers that are no mounts of the bundle's.
FOLDERS: Final = ("/var/lib/otelcol", "/var/log/otel-ws", "/var/tempo", "/loki", "/prometheus", "/alertmanager")
SECRETS: Final = "/run/secrets"
NAMED = re.compile(r"(?<![\w.-])(0\.0\.0\.0|127\.0\.0\.1|localhost|" + "|".join(OWNERS.values()) + r"):(\d{2,5})\b")
NUMBERED = re.compile(r"\b((?:[a-z_]*_)?port): (\d+)\b")
MOUNTED = re.compile(r"(?<![\w./-])(" + "|".join((*FOLDERS, SECRETS, "/etc/[a-z]+")) + r")(?=[/\s\],}\"']|$)")

# What only makes a test wait: file, what it says, what a test says. Each must be there.
SHORTER: Final = (
    ("otelcol/collector.yaml", "metrics_flush_interval: 15s", "metrics_flush_interval: 1s"),
    ("otelcol/collector.yaml", "collection_interval: 30s", "collection_interval: 1s"),
    ("otelcol/collector.yaml", "flush_timeout: 1s", "flush_timeout: 200ms"),
    ("otelcol/collector.yaml", "max_interval: 15s", "max_interval: 2s"),
    ("otelcol/traces-jaeger.yaml", "flush_timeout: 1s", "flush_timeout: 200ms"),
    ("otelcol/traces-jaeger.yaml", "max_interval: 15s", "max_interval: 2s"),
    ("otelcol/traces-tempo.yaml", "decision_wait: 10s", "decision_wait: 1s"),
    ("prometheus/prometheus.yml", "scrape_interval: 15s", "scrape_interval: 1s"),
    ("prometheus/prometheus.yml", "evaluation_interval: 15s", "evaluation_interval: 1s"),
    ("alertmanager/alertmanager.yml", "group_wait: 30s", "group_wait: 0s"),
    ("alertmanager/alertmanager.yml", "group_interval: 5m", "group_interval: 1s"),
)
# What is no wait: the disk that is watched, because the test's folder is no disk of its own.
OTHERWISE: Final = (("otelcol/collector.yaml", "mount_points: [/var/lib/otelcol]", "mount_points: [/]"),)
# Tempo 3 has other parts than 2.8, the newest that can be built: these go, and tempo-2.8.yaml has what comes instead.
ONLY_TEMPO_3: Final = ("live_store", "block_builder", "backend_scheduler")


class Places:
    """One port on loopback for each address of the bundle, and one folder for each of the containers'."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.files = data / "bundle"
        self._ports: dict[tuple[str, int], int] = {}
        self._held: list[socket.socket] = []

    def port(self, program: str, number: int) -> int:
        """The port on loopback for a program's port in its container; the same each time."""
        if (program, number) not in self._ports:
            # Held until everything has one, so that none is given twice.
            held = socket.create_server(("127.0.0.1", 0))
            self._held.append(held)
            self._ports[program, number] = held.getsockname()[1]
        return self._ports[program, number]

    def release(self) -> None:
        """Let go of the ports, for the programs to take."""
        while self._held:
            self._held.pop().close()

    def url(self, program: str, number: int, path: str = "") -> str:
        """The address of a program's port."""
        return f"http://127.0.0.1:{self.port(program, number)}{path}"

    def folder(self, path: str) -> Path:
        """The folder that stands for one of a container."""
        if path.startswith("/etc/"):
            return RUNBOOKS if path == "/etc/runbooks" else self.files / path.removeprefix("/etc/")
        return self.data / path.strip("/").replace("/", "-")

    def text(self, owner: str, text: str) -> str:
        """A text of a program's configuration, or of its command, with addresses and folders of here."""

        def address(found: re.Match[str]) -> str:
            program = found[1] if found[1] in OWNERS.values() else owner
            return f"127.0.0.1:{self.port(program, int(found[2]))}"

        text = NAMED.sub(address, text)
        text = NUMBERED.sub(lambda found: f"{found[1]}: {self.port(owner, int(found[2]))}", text)
        text = MOUNTED.sub(lambda found: str(self.folder(found[1])), text)
        return text.replace("0.0.0.0", "127.0.0.1")

    def write(self, *, keep_every_trace: bool = True) -> None:
        """Write every file of the bundle; an earlier writing goes."""
        shutil.rmtree(self.files, ignore_errors=True)
        changes = [*OTHERWISE, *SHORTER]
        if keep_every_trace:
            changes.append(("otelcol/traces-tempo.yaml", "sampling_percentage: 10}", "sampling_percentage: 100}"))
        for folder, owner in OWNERS.items():
            for path in sorted((BUNDLE / folder).rglob("*")):
                if not path.is_file():
                    continue
                name = path.relative_to(BUNDLE).as_posix()
                text = path.read_text(encoding="utf-8")
                for file, old, new in changes:
                    if file == name:
                        if old not in text:
                            raise LookupError(f"{name} does not say {old!r} any more")
                        text = text.replace(old, new)
                if path.suffix in (".yml", ".yaml", ".sh") and "/rules/" not in name:
                    text = self.text(owner, text)
                target = self.files / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
        self._write_tempo()
        for one in (*FOLDERS, SECRETS):
            self.folder(one).mkdir(parents=True, exist_ok=True)

    def _write_tempo(self) -> None:
        path = self.files / "tempo" / "tempo.yaml"
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        older = yaml.safe_load(self.text("tempo", (HERE / "tempo-2.8.yaml").read_text(encoding="utf-8")))
        for key in ONLY_TEMPO_3:
            del settings[key]
        path.write_text(yaml.safe_dump(merged(settings, older)), encoding="utf-8")


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both, mappings merged, the second winning."""
    result = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result
