"""Who is called for what, before anybody is: receivers by their secrets, routes by ``amtool``, wrong settings."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.collector.stack import build
from tests.collector.stack.desk import RULES
from tests.collector.stack.places import BUNDLE, SECRETS
from tests.collector.stack.programs import Stack

SECRET_OF = {
    "pagerduty": "alert_pagerduty_key",
    "slack": "alert_slack_url",
    "discord": "alert_discord_url",
    "email": "alert_email_password",
    "webhook": "alert_webhook_url",
}
VALUES = {
    "pagerduty": "0123456789abcdef0123456789ABCDEF",
    "slack": "https://hooks.example.org/services/hidden",
    "discord": "https://discord.example.org/api/webhooks/1/hidden",
    "email": "it is hidden",
    "webhook": "http://127.0.0.1:9/hidden",
}
MAIL = {
    "ALERT_EMAIL_SERVER": "mail.example.org:587",
    "ALERT_EMAIL_USER": "alerts@example.org",
    "ALERT_EMAIL_FROM": "",
    "ALERT_EMAIL_TO": "one@example.org, two@example.org",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The bundle's files, written for this machine; nothing runs."""
    return Stack(tmp_path_factory.mktemp("receivers"), profile="")


@pytest.fixture
def written(stack: Stack) -> Path:
    """The file that Alertmanager would read."""
    return stack.places.folder("/alertmanager") / "alertmanager.yml"


def write(
    stack: Stack, secrets: Mapping[str, str], settings: Mapping[str, str] = MAIL
) -> subprocess.CompletedProcess[str]:
    """Run the script that Alertmanager is started by, with these secrets alone, and nothing behind it."""
    for name, file in SECRET_OF.items():
        stack.places.folder(SECRETS).joinpath(file).write_text(secrets.get(name, ""))
    command = stack.command("alertmanager")[:2]
    stack.settings["alertmanager"] = dict(settings)
    environment = stack.environment("alertmanager")
    return subprocess.run([*command, "true"], env=environment, capture_output=True, text=True, check=False, timeout=20)


def amtool(*options: str | Path) -> str:
    """What amtool says of a file that it accepts."""
    command = [str(build.program("amtool")), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def called(file: Path) -> dict[str, set[str]]:
    """The kinds of receivers behind each name."""
    receivers: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["receivers"]
    return {one["name"]: {key.removesuffix("_configs") for key in one.keys() - {"name"}} for one in receivers}


def test_without_any_secret_alerts_call_nobody_and_it_is_said(stack: Stack, written: Path) -> None:
    """Whoever sets nothing gets an Alertmanager that starts, and a line that says what it will not do."""
    done = write(stack, {}, {})

    assert (done.returncode, done.stdout) == (0, "")
    assert "CALL NOBODY" in done.stderr
    assert called(written) == {"page": set(), "ticket": set(), "webhook": set()}
    assert "SUCCESS" in amtool("check-config", written)


@pytest.mark.parametrize("name", SECRET_OF)
def test_one_file_switches_one_receiver_on(name: str, stack: Stack, written: Path) -> None:
    """Its secret is in no text of the script's, nor in what it writes."""
    done = write(stack, {name: VALUES[name] + "\n"})

    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == f"alerts: they go to {name}"
    assert {kind for kinds in called(written).values() for kind in kinds} == {name}
    assert "SUCCESS" in amtool("check-config", written)
    assert VALUES[name] not in written.read_text() + done.stderr


def test_who_is_called_for_what(stack: Stack, written: Path) -> None:
    """A pager for what cannot wait, chat and mail for both, a program for everything."""
    done = write(stack, VALUES)

    assert done.stderr.strip() == "alerts: they go to pagerduty, slack, discord, email, webhook"
    assert called(written) == {
        "page": {"pagerduty", "slack", "discord", "email"},
        "ticket": {"slack", "discord", "email"},
        "webhook": {"webhook"},
    }


def test_every_alert_has_its_receivers(stack: Stack, written: Path) -> None:
    """Each alert goes where its severity says, the watchdog to a program alone; one that says nothing is a ticket."""
    write(stack, VALUES)
    expected = {"page": "webhook,page", "ticket": "webhook,ticket", "none": "webhook"}

    for rule in RULES.values():
        labels = {"alertname": rule["alert"], **rule["labels"]}
        said = amtool(
            "config", "routes", "test", f"--config.file={written}", *(f"{key}={value}" for key, value in labels.items())
        )
        assert said == expected[labels["severity"]], rule["alert"]
    for label in ("severity=critical", "alertname=Unheard"):
        assert amtool("config", "routes", "test", f"--config.file={written}", label) == "webhook,ticket"


def test_tickets_alone_wait_for_business_hours(stack: Stack, written: Path) -> None:
    """Saturday and Sunday whole, before eight and after six on the others; nothing else is ever mute."""
    write(stack, VALUES)
    settings = yaml.safe_load(written.read_text(encoding="utf-8"))
    (hours,) = settings["time_intervals"]

    mute = {one["receiver"]: one.get("mute_time_intervals") for one in settings["route"]["routes"]}
    assert mute == {"webhook": None, "page": None, "ticket": [hours["name"]]}
    assert hours["time_intervals"] == [
        {"weekdays": ["saturday", "sunday"]},
        {"times": [{"start_time": "00:00", "end_time": "08:00"}, {"start_time": "18:00", "end_time": "24:00"}]},
    ]


def test_labels_that_rules_tell_are_told(stack: Stack) -> None:
    """What a text of a rule takes from its series is in the list of labels that pass, and so is what routes it."""
    template = (BUNDLE / "alertmanager" / "templates" / "ids-only.tmpl").read_text(encoding="utf-8")
    (names,) = re.findall(r"match `\^\(([a-z_|]+)\)\$` \.Name", template)
    grouped = re.findall(r"group_by: \[(.+)\]", (BUNDLE / "alertmanager" / "alertmanager.yml").read_text())
    wanted = {"alertname", "severity", "subject", *(name for names in grouped for name in names.split(", "))}
    for rule in RULES.values():
        wanted |= set(re.findall(r"\$labels\.([a-z_]+)", str(rule["annotations"])))

    assert wanted <= set(names.split("|"))


def test_a_folder_in_place_of_a_file_is_named(stack: Stack) -> None:
    """In one line, as everything that is wrong."""
    write(stack, {})
    path = stack.places.folder(SECRETS) / SECRET_OF["slack"]
    path.unlink()
    path.mkdir()
    command = stack.command("alertmanager")[:2]
    environment = stack.environment("alertmanager")
    done = subprocess.run([*command, "true"], env=environment, capture_output=True, text=True, check=False, timeout=20)
    path.rmdir()

    assert (done.returncode, done.stderr) == (2, "alerts: ALERT_SLACK_URL_FILE must name a file\n")


@pytest.mark.parametrize(
    ("secrets", "settings", "named"),
    [
        ({"slack": "hidden"}, {}, "ALERT_SLACK_URL_FILE"),
        ({"slack": "https://example.org/hidden\nhttps://example.org/hidden\n"}, {}, "ALERT_SLACK_URL_FILE"),
        ({"discord": "\n"}, {}, "ALERT_DISCORD_URL_FILE"),
        ({"webhook": "ftp://hidden"}, {}, "ALERT_WEBHOOK_URL_FILE"),
        ({"pagerduty": "hidden"}, {}, "ALERT_PAGERDUTY_KEY_FILE"),
        ({"email": "hidden"}, {"ALERT_EMAIL_SERVER": "hidden"}, "ALERT_EMAIL_SERVER"),
        ({"email": "hidden"}, {"ALERT_EMAIL_USER": ""}, "ALERT_EMAIL_USER"),
        ({"email": "hidden"}, {"ALERT_EMAIL_USER": "hidden"}, "ALERT_EMAIL_FROM"),
        ({"email": "hidden"}, {"ALERT_EMAIL_TO": "hidden"}, "ALERT_EMAIL_TO"),
        ({"email": "hidden"}, {"ALERT_EMAIL_TO": 'one@example.org"\nhidden: "x'}, "ALERT_EMAIL_TO"),
        ({}, {"GRAFANA_URL": "javascript:hidden"}, "GRAFANA_URL"),
        ({}, {"RUNBOOKS_URL": "http://hidden/"}, "RUNBOOKS_URL"),
    ],
)
def test_a_wrong_setting_is_named(
    secrets: dict[str, str], settings: dict[str, str], named: str, stack: Stack, written: Path
) -> None:
    """Alertmanager does not start; the one line names the setting and what it must be, and holds no value."""
    written.unlink(missing_ok=True)

    done = write(stack, secrets, {**MAIL, **settings})

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr
    assert " must " in done.stderr
    assert "hidden" not in done.stderr
    assert not written.exists()
