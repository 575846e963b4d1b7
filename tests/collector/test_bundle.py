"""The bundle's files as they stand, before anything runs: made from one source, complete, closed to the outside."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector import generate
from otel_ws.semconv import METRICS, Instrument
from otel_ws.semconv.conventions import METRIC_CONVENTIONS
from tests.collector.stack import compose
from tests.collector.stack.places import BUNDLE, RUNBOOKS

RULES = sorted((BUNDLE / "prometheus" / "rules").glob("*.yml"))
# Of the programs themselves, of the host, and of the example.
FOREIGN = re.compile(
    r"up|process_start_time_seconds|(otelcol|prometheus|alertmanager|loki|tempo)_[a-z_]+"
    r"|system_(memory|filesystem)_utilization_ratio|tournament_payments_total"
)


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES]
    return [rule for content in files for group in content["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for rule in rules() if "alert" in rule]


def prometheus_names() -> set[str]:
    """Every name that the library's metrics, and those of the conventions, have in Prometheus."""
    names = {metric.prometheus_name for metric in METRICS}
    histograms = {one.prometheus_name for one in METRICS if one.instrument is Instrument.HISTOGRAM}
    for name, unit in METRIC_CONVENTIONS.items():
        base = name.replace(".", "_") + {"s": "_seconds", "By": "_bytes"}.get(unit, "")
        names.add(base)
        histograms.add(base)
    return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}


def test_what_may_pass_is_what_the_library_declares() -> None:
    """The generated files are those that the declarations of today make."""
    for path, text in generate.made(BUNDLE / "policy.toml").items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old; run python collector/generate.py"


def test_rules_read_metrics_that_exist() -> None:
    """Each metric of each rule is declared, recorded by another rule, or somebody else's by name."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = prometheus_names() | recorded
    for rule in rules():
        text = re.sub(r"#.*|\"[^\"]*\"|\[[^\]]*\]|\b(by|without|on|group_left)\s*\([^)]*\)", " ", rule["expr"])
        text = re.sub(r"\{[^}]*\}", " ", text)
        words = set(re.findall(r"[a-z_][a-z0-9_:]*(?=\b)(?!\s*\()", text)) - {
            "and", "or", "unless", "offset", "by", "on", "without", "sum", "max", "min", "count",
        }  # fmt: skip
        words = {word for word in words if not re.fullmatch(r"[smhd]|e|x", word)}
        strange = {word for word in words - known if not FOREIGN.fullmatch(word)}
        assert not strange, rule.get("alert") or rule.get("record")


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Severity, subject, texts, a runbook of the same name that is there, and a dashboard."""
    assert rule["labels"]["severity"] in (("none",) if rule["alert"] == "Watchdog" else ("page", "ticket"))
    assert rule["labels"]["subject"]
    texts = rule["annotations"]
    assert texts["summary"]
    assert texts["description"].endswith((".", ")."))
    assert texts["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert (RUNBOOKS / f"{rule['alert']}.md").is_file()
    assert re.fullmatch(r"http://localhost:3000/d/otel-ws-[a-z]+", texts["dashboard_url"])


def test_every_runbook_is_of_an_alert() -> None:
    """No page is left behind when an alert goes."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == {rule["alert"] for rule in alerts()}


def test_alert_texts_hold_no_label_of_a_person() -> None:
    """What a text takes from a series is a service, a reason or a program: never an id."""
    allowed = {
        "service_name", "component", "job", "exporter", "receiver", "integration", "mountpoint", "slo", "reason",
    }  # fmt: skip
    for rule in alerts():
        for text in rule["annotations"].values():
            assert set(re.findall(r"\$labels\.([a-z_]+)", text)) <= allowed


# --- compose --------------------------------------------------------------------------------------------------
OVERLAYS = {"compose.yaml": {}, "compose.prod.yaml": {"BIND_ADDRESS": "192.0.2.1"}, "compose.dev.yaml": {}}


def with_overlay(name: str) -> dict[str, Any]:
    """The bundle with an overlay, as compose's own loader has it."""
    return compose.load(*dict.fromkeys(("compose.yaml", name)), environment=OVERLAYS[name])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_are_hardened(overlay: str) -> None:
    """A version, no root, no capability, nothing to write to but volumes, a limit; ports on loopback alone."""
    for name, service in with_overlay(overlay)["services"].items():
        if "build" not in service:
            assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", service["image"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["mem_limit"]), name
        assert not service.get("privileged"), name
        if name == "prepare":
            assert service["network_mode"] == "none"
        else:
            assert not str(service["user"]).startswith("0"), name
            assert "cap_add" not in service, name
        for port in service.get("ports", []):
            assert port["host_ip"] == ("192.0.2.1" if overlay == "compose.prod.yaml" else "127.0.0.1"), name


def test_production_publishes_what_asks_for_a_token_alone() -> None:
    """Of all ports, those of OTLP and Grafana are left; both speak TLS."""
    services = with_overlay("compose.prod.yaml")["services"]

    published = {name: {port["target"] for port in service.get("ports", [])} for name, service in services.items()}

    assert {name: ports for name, ports in published.items() if ports} == {"collector": {4317, 4318}, "grafana": {3000}}
    assert "--config=/etc/otelcol/secure.yaml" in services["collector"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_PROTOCOL"] == "https"
    # The links of alerts lead to what is published, and to nothing that is not.
    settings = services["alertmanager"]["environment"]
    assert (settings["GRAFANA_URL"], settings["RUNBOOKS_URL"]) == ("https://192.0.2.1:3000", "")


def test_production_needs_an_address() -> None:
    """Nothing is published to the world by an oversight."""
    with pytest.raises(compose.ComposeError, match="BIND_ADDRESS"):
        compose.load("compose.yaml", "compose.prod.yaml")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_mounted_is_there(overlay: str) -> None:
    """Each folder that a service is given is the bundle's or the runbooks', for reading alone; secrets are declared."""
    made = with_overlay(overlay)
    for name, service in made["services"].items():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                source = Path(mount["source"])
                assert source == RUNBOOKS or source.is_relative_to(BUNDLE), name
                assert source.exists(), source
                assert mount["read_only"] is True, mount["source"]
            else:
                assert mount["source"] in made["volumes"]
        for secret in service.get("secrets", []):
            assert secret["source"] in made["secrets"]


# The programs that health checks run; each is in its image.
ASKED_BY = {
    "prometheus": "promtool",
    "alertmanager": "wget",
    "loki": "/usr/bin/loki",
    "tempo": "/tempo",
    "grafana": "wget",
}
PROMETHEUS = [
    "--config.file=/etc/prometheus/prometheus.yml",
    "--storage.tsdb.path=/prometheus",
    "--web.listen-address=0.0.0.0:9090",
    "--web.enable-otlp-receiver",
    "--web.user-assets=/etc/runbooks",
    "--enable-feature=exemplar-storage,otlp-deltatocumulative",
    "--log.level=warn",
]
GRAFANA = {
    "GF_SECURITY_ADMIN_PASSWORD__FILE": "/run/password/grafana",
    "GF_SECURITY_DISABLE_GRAVATAR": "true",
    "GF_SECURITY_COOKIE_SAMESITE": "strict",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_USERS_ALLOW_SIGN_UP": "false",
    "GF_USERS_DEFAULT_THEME": "system",
    "GF_PATHS_PROVISIONING": "/etc/grafana/provisioning",
}
GRAFANA_OUTSIDE = {
    "GF_SERVER_PROTOCOL": "https",
    "GF_SERVER_CERT_FILE": "/run/secrets/tls_certificate",
    "GF_SERVER_CERT_KEY": "/run/secrets/tls_key",
    "GF_SECURITY_COOKIE_SECURE": "true",
    "GF_SECURITY_STRICT_TRANSPORT_SECURITY": "true",
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_may_do_what_is_written_down(overlay: str) -> None:
    """Grafana's settings and Prometheus' options are these: no guest, no known password, no API that deletes."""
    services = with_overlay(overlay)["services"]

    assert services["grafana"]["environment"] == GRAFANA | (GRAFANA_OUTSIDE if "prod" in overlay else {})
    assert services["prometheus"]["command"] == PROMETHEUS
    for name in ("grafana", "prometheus"):
        assert not services[name].get("entrypoint"), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_health_checks_run_what_is_in_the_image(overlay: str) -> None:
    """Without a shell, a program that the image has."""
    checks = {
        name: service["healthcheck"]["test"]
        for name, service in with_overlay(overlay)["services"].items()
        if "healthcheck" in service
    }

    assert {name: test[1] for name, test in checks.items()} == ASKED_BY
    assert {test[0] for test in checks.values()} == {"CMD"}


def owners() -> dict[str, str]:
    """Who writes to each volume of the bundle: user and group by its name."""
    found = {}
    for name, service in with_overlay("compose.yaml")["services"].items():
        for mount in service.get("volumes", []):
            if mount["type"] == "volume" and not mount.get("read_only") and name != "prepare":
                found[mount["source"]] = service["user"]
    return found


def prepare() -> str:
    """What the first service does."""
    return str(with_overlay("compose.yaml")["services"]["prepare"]["command"][-1]).replace("$$", "$")


def test_each_program_is_given_its_volume() -> None:
    """No program is root: whatever it writes to is made its own first."""
    given = {
        folder.removeprefix("/volumes/"): owner
        for owner, folders in re.findall(r"^chown (\d+:\d+) (.+)$", prepare(), re.MULTILINE)
        for folder in folders.split()
    }
    readers = {"password": "472:0", "password/grafana": "472:0", "lines": "0:10001"}

    assert given == owners() | readers
    # Looked at by root below.
    assert "\nchmod 3777 /volumes/lines\n" in prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_the_collector_reads_what_applications_write() -> None:
    """Twice prepared: lines of another user, whose files others cannot read, are the collector's group's to read."""
    service = with_overlay("compose.yaml")["services"]
    capabilities = ",".join(f"+{name.lower()}" for name in service["prepare"]["cap_add"])
    # Not pytest's own folder, which nobody but root may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        volumes = Path(folder) / "volumes"
        for mount in service["prepare"]["volumes"]:
            (volumes / Path(mount["target"]).name).mkdir(parents=True)
        script = prepare().replace("/volumes", str(volumes))
        for _ in range(2):
            subprocess.run(["setpriv", f"--bounding-set=-all,{capabilities}", "sh", "-euc", script], check=True)
        written = volumes / "lines" / "shop.jsonl"
        subprocess.run(
            ["sh", "-c", f"umask 027; echo line > {written}"], user=1000, group=1000, extra_groups=[], check=True
        )
        uid, gid = map(int, service["collector"]["user"].split(":"))
        read = subprocess.run(["cat", written], user=uid, group=gid, extra_groups=[], capture_output=True, check=False)

        assert read.stdout == b"line\n"
        assert {name: f"{(at := (volumes / name).stat()).st_uid}:{at.st_gid}" for name in owners()} == owners()


def test_jaeger_is_asked_for_by_its_own_setting() -> None:
    """Whatever other profiles there are; and each file that the collector is given is there."""
    for overlay, settings in OVERLAYS.items():
        for given, last in (({}, "tempo"), ({"TRACES": "jaeger"}, "jaeger")):
            environment = {**settings, "COMPOSE_PROFILES": "jaeger,debug", **given}
            services = compose.load(*dict.fromkeys(("compose.yaml", overlay)), environment=environment)["services"]
            files = [option.removeprefix("--config=/etc/otelcol/") for option in services["collector"]["command"]]
            assert f"traces-{last}.yaml" == [file for file in files if file.startswith("traces-")][-1]
            assert all((BUNDLE / "otelcol" / file).is_file() for file in files)


def test_health_checks_and_waiting_agree() -> None:
    """Whoever waits for another's health waits for one that has a check."""
    services = compose.load()["services"]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other]


def test_every_variable_is_explained() -> None:
    """What compose reads from its environment stands in .env.example, and nothing else does."""
    # Compose's own.
    used = {"COMPOSE_FILE", "COMPOSE_PROFILES"}
    for path in BUNDLE.glob("compose*.yaml"):
        used |= {found[1] for found in compose.VARIABLE.finditer(path.read_text(encoding="utf-8"))}
    explained = set(re.findall(r"^#?([A-Z_]+)=", (BUNDLE / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))

    assert used == explained


# --- grafana --------------------------------------------------------------------------------------------------
def test_data_sources_lead_to_each_other() -> None:
    """Each uid that a data source refers to is one of them, and none can be edited."""
    path = BUNDLE / "grafana" / "provisioning" / "datasources" / "stack.yaml"
    sources = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"]
    uids = {source["uid"] for source in sources}

    assert all(source["editable"] is False for source in sources)
    assert set(re.findall(r"datasourceUid: (\w+)", path.read_text(encoding="utf-8"))) <= uids
    # A single $ would be taken for a variable of Grafana's environment.
    assert not re.search(r"(?<!\$)\$\{", path.read_text(encoding="utf-8"))


def test_the_bundle_needs_no_file_that_is_not_kept() -> None:
    """No secret, no program and nobody else's source lies in the bundle or in the tests' modules."""
    configuration = {".yaml", ".yml", ".toml", ".example", ".json", ".tmpl", ".secret", ".gitignore", ".gitkeep"}
    kept = configuration | {".md", ".py", ".sh", ".go", ".mod", ".sum"}
    for folder in (BUNDLE, Path(__file__).parent):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and "secrets" not in path.parts:
                assert (path.suffix or path.name) in kept, path
                assert path.suffix != ".secret" or not path.read_bytes(), path
