"""Alerts by the real Alertmanager to a stand-in of each receiver: what it is told, and what nobody is ever told."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.collector.stack import build
from tests.collector.stack.desk import (
    ALWAYS,
    GRAFANA,
    HOSTILE,
    KEY,
    MARK,
    NEVER,
    NOW,
    PASSWORD,
    RECEIVERS,
    RULES,
    USER,
    WIKI,
    Desk,
    alert,
    ended,
    fire,
    hostile,
    prepared,
    started,
)
from tests.collector.stack.places import RUNBOOKS
from tests.collector.stack.programs import Stack, call, eventually
from tests.collector.stack.receivers import Message

# What the end of an alert has, and its beginning has not.
OVER = {"pagerduty": '"event_action":"resolve"', "webhook": '"status":"resolved"'}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Everybody at work."""
    yield from started(tmp_path_factory.mktemp("delivery"), NEVER)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Out of business hours, and links lead nowhere else than the rules say."""
    yield from started(tmp_path_factory.mktemp("night"), ALWAYS, GRAFANA_URL="", RUNBOOKS_URL="")


@dataclass
class Read:
    """What somebody reads of a message: its title, its text, and the two links."""

    title: str
    text: str
    runbook: str
    dashboard: str


def read(message: Message) -> Read:
    """A message as its receiver shows it."""
    body = message.body
    if message.receiver == "pagerduty":
        links = {link["text"]: link["href"] for link in body["links"]}
        return Read(
            body["payload"]["summary"],
            json.dumps(body["payload"]["custom_details"]),
            links["Runbook"],
            links["Dashboard"],
        )
    if message.receiver == "webhook":
        (one,) = body["alerts"]
        texts = one["annotations"]
        title = f"[{one['status'].upper()}:1] {one['labels']['severity']}: {texts['summary']}"
        return Read(title, json.dumps(one), texts["runbook_url"], texts["dashboard_url"])
    if message.receiver == "slack":
        (part,) = body["attachments"]
        title, text = part["title"], part["text"]
    elif message.receiver == "discord":
        (part,) = body["embeds"]
        title, text = part["title"], part["description"]
    else:
        assert message.mail
        content = message.mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        title, text = message.mail["Subject"], content.replace("\r\n", "\n")
    links = dict(re.findall(r"^(Runbook|Dashboard): (\S+)$", text, re.MULTILINE))
    return Read(title, text, links["Runbook"], links["Dashboard"])


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_a_page_and_its_end_are_told(receiver: str, desk: Desk) -> None:
    """Title, severity, service, environment, the rule's words, two links; then that it is over."""
    service = f"page-{receiver}"
    one = alert("ErrorRateHigh", service)

    desk.fire(one)
    begun = desk.wait(service, receiver)
    desk.fire(ended(one))
    over = desk.wait(service, receiver, OVER.get(receiver, "RESOLVED"))

    shown = read(begun)
    assert shown.title == f"[FIRING:1] page: {service}: messages fail"
    for text in (service, "test", "ErrorRateHigh", "page", "errors", "7 of the messages end in an error."):
        assert text in shown.text, text
    assert shown.runbook == f"{WIKI}/ErrorRateHigh.md"
    assert shown.dashboard == RULES["ErrorRateHigh"]["annotations"]["dashboard_url"].replace(
        "http://localhost:3000", GRAFANA
    )
    assert read(over).title.startswith("[RESOLVED")
    assert "RESOLVED" in read(over).text or '"resolved"' in read(over).text


def test_every_alert_reaches_whom_it_should(desk: Desk) -> None:
    """Each of the rules' alerts, to each receiver of its severity, with its own page; to nobody else."""
    # While the collector is away others are held back, so it is not among them: see below.
    services = {name: f"of-{name}-alone" for name in RULES if name != "CollectorDown"}
    desk.fire(*(alert(name, service) for name, service in services.items()))

    for name, service in services.items():
        called = {"page": RECEIVERS, "ticket": RECEIVERS[1:], "none": ("webhook",)}[RULES[name]["labels"]["severity"]]
        for receiver in RECEIVERS:
            if receiver in called:
                assert f"{WIKI}/{name}.md" in desk.wait(service, receiver).text
            else:
                assert not desk.about(service, receiver)


def test_pagerduty_opens_an_incident_and_closes_it(desk: Desk) -> None:
    """By the Events API v2: the key, trigger and resolve of one incident, critical, with source and class."""
    service = "incident"
    one = alert("HttpErrors", service)

    desk.fire(one)
    opened = desk.wait(service, "pagerduty").body
    desk.fire(ended(one))
    closed = desk.wait(service, "pagerduty", OVER["pagerduty"]).body

    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["routing_key"] == KEY
    assert opened["dedup_key"] == closed["dedup_key"]
    told = opened["payload"]
    assert (told["severity"], told["source"], told["class"]) == ("critical", service, "http")
    assert [one["labels"]["alertname"] for one in told["custom_details"]["firing"]] == ["HttpErrors"]
    assert told["custom_details"]["resolved"] == []
    assert [one["status"] for one in closed["payload"]["custom_details"]["resolved"]] == ["resolved"]


def test_mail_goes_to_everybody_over_tls(desk: Desk) -> None:
    """The server takes nothing without TLS and the password."""
    desk.fire(alert("HttpErrors", "mailed"))

    message = desk.wait("mailed", "email").mail

    assert message is not None
    assert message["From"] == USER
    assert message["To"] == "one@example.org, two@example.org"
    assert desk.mail.recipients[-2:] == ["TO:<one@example.org>", "TO:<two@example.org>"]
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain"]


def test_slack_shows_how_bad_it_is_and_where_to_look(desk: Desk) -> None:
    """Red for a page, yellow for a ticket, green when it is over; the title leads to the dashboard."""
    one = alert("HttpErrors", "red-shop")
    desk.fire(one, alert("HttpSlow", "yellow-shop"))
    page, ticket = desk.wait("red-shop", "slack"), desk.wait("yellow-shop", "slack")
    desk.fire(ended(one))
    over = desk.wait("red-shop", "slack", "RESOLVED")

    parts = [message.body["attachments"][0] for message in (page, ticket, over)]
    assert [part["color"] for part in parts] == ["danger", "warning", "good"]
    assert parts[0]["title_link"] == read(page).dashboard
    assert parts[0]["fallback"] == parts[0]["title"]


def test_an_alert_for_trial_is_told(desk: Desk) -> None:
    """As README has it: what has no text and no service comes through, too."""
    server = f"--alertmanager.url={desk.stack.url('alertmanager', '')}"
    command = [str(build.program("amtool")), server, "alert", "add", "Trial", "severity=page", "subject=trial"]
    subprocess.run(command, check=True, timeout=60)

    for receiver in RECEIVERS:
        assert "[FIRING:1] page" in desk.wait("Trial", receiver).text or receiver == "webhook"


def test_a_program_gets_the_fields_of_alertmanagers_own_webhook(desk: Desk) -> None:
    """Programs that are made for it find what they look for."""
    desk.fire(alert("LayerDrops", "program"))

    body = desk.wait("program", "webhook").body

    labels = {"service_name": "program", "deployment_environment_name": "test", "subject": "layer"}
    assert (body["version"], body["status"], body["receiver"], body["truncatedAlerts"]) == ("4", "firing", "webhook", 0)
    assert body["groupLabels"] == labels
    assert body["commonLabels"] == {**labels, "alertname": "LayerDrops", "severity": "ticket"}
    assert body["commonAnnotations"]["summary"] == "program: the channel layer loses messages"
    (one,) = body["alerts"]
    assert one["labels"] == body["commonLabels"]
    assert dt.datetime.fromisoformat(one["startsAt"]) == NOW
    assert one["fingerprint"]


def test_a_ticket_calls_no_pager(desk: Desk) -> None:
    """Chat, mail and program are told; a page of another service comes through meanwhile."""
    desk.fire(alert("HttpSlow", "slow-only"))
    for receiver in ("slack", "discord", "email", "webhook"):
        assert "] ticket: slow-only" in read(desk.wait("slow-only", receiver)).title
    desk.fire(alert("HttpErrors", "after-slow"))
    desk.wait("after-slow", "pagerduty")

    assert not desk.about("slow-only", "pagerduty")


def test_alerts_of_one_subject_come_as_one_message(desk: Desk) -> None:
    """Two broken promises of a service are one call; each is in it, with its own link."""
    desk.fire(*(alert(name, "grouped", slo="latency") for name in ("ErrorBudgetBurn1h", "ErrorBudgetBurn6h")))

    last = desk.wait("grouped", "slack", "[FIRING:2]").body["attachments"][0]

    for name in ("ErrorBudgetBurn1h", "ErrorBudgetBurn6h"):
        assert f"FIRING {name} (page)" in last["text"]
        assert f"{WIKI}/{name}.md" in last["text"]


def test_a_message_is_named_for_what_still_fires(desk: Desk) -> None:
    """Title and links are those of the alert that is left; the one that ended is in the text."""
    over, left = (alert(name, "half", slo="latency") for name in ("ErrorBudgetBurn1h", "ErrorBudgetBurn6h"))
    desk.fire(over, left)
    desk.wait("half", "pagerduty", "[FIRING:2]")
    desk.fire(ended(over))

    body = desk.wait("half", "pagerduty", OVER["webhook"]).body

    details = body["payload"]["custom_details"]
    assert body["links"][0]["href"] == f"{WIKI}/ErrorBudgetBurn6h.md"
    assert [one["labels"]["alertname"] for one in details["firing"]] == ["ErrorBudgetBurn6h"]
    assert [one["labels"]["alertname"] for one in details["resolved"]] == ["ErrorBudgetBurn1h"]


def test_a_ticket_for_what_somebody_is_called_for_is_held_back(desk: Desk) -> None:
    """Of the same service, subject and promise: another promise's, and another service's, are told."""
    desk.fire(alert("ErrorBudgetBurn1h", "burning", slo="latency"))
    desk.wait("burning", "pagerduty")
    desk.fire(
        alert("ErrorBudgetBurn3d", "burning", slo="latency"),
        alert("ErrorBudgetBurn1d", "burning", slo="connect"),
        alert("ErrorBudgetBurn3d", "simmering", slo="latency"),
    )
    desk.wait("burning", "slack", "ErrorBudgetBurn1d")
    desk.wait("simmering", "slack", "ErrorBudgetBurn3d")

    assert desk.state("burning")["ErrorBudgetBurn3d"]["inhibitedBy"]
    assert not desk.about("burning", text="ErrorBudgetBurn3d")


def test_a_full_disk_holds_no_other_ticket_back(desk: Desk) -> None:
    """Somebody is called for the disk; that memory is short, too, is told."""
    desk.fire(alert("DiskLow", "short-host"), alert("MemoryHigh", "short-host"))

    desk.wait("short-host", "pagerduty", "DiskLow")
    desk.wait("short-host", "slack", "MemoryHigh")
    assert not desk.state("short-host")["MemoryHigh"]["inhibitedBy"]


def test_nobody_is_called_for_silence_while_the_collector_is_away(desk: Desk) -> None:
    """Its absence is told, once; what it hides is not."""
    down = alert("CollectorDown", "unused")
    del down["labels"]["service_name"], down["labels"]["deployment_environment_name"]
    desk.fire(down)
    desk.wait("CollectorDown", "pagerduty")
    desk.fire(alert("TelemetryAbsent", "hidden"), alert("NotReady", "seen"))
    desk.wait("seen", "pagerduty")
    state = desk.state("hidden")
    desk.fire(ended(down))

    assert state["TelemetryAbsent"]["inhibitedBy"]
    assert not desk.about("hidden")


def test_tickets_wait_until_somebody_is_at_work(night: Desk) -> None:
    """Out of hours a page comes through, a program is told of both, and no person of the ticket."""
    night.fire(alert("HttpSlow", "asleep"))
    night.wait("asleep", "webhook")
    night.fire(alert("HttpErrors", "awake"))
    for receiver in RECEIVERS:
        night.wait("awake", receiver)

    assert {message.receiver for message in night.about("asleep")} == {"webhook"}
    _, groups = call(night.stack.url("alertmanager", "/api/v2/alerts/groups?filter=service_name=asleep"))
    muted = {
        group["receiver"]["name"]: one["status"]["mutedBy"] for group in json.loads(groups) for one in group["alerts"]
    }
    assert muted == {"webhook": [], "ticket": ["outside business hours"]}


@pytest.mark.parametrize("how", HOSTILE)
def test_what_no_rule_says_is_told_to_nobody(how: str, desk: Desk) -> None:
    """Labels and annotations of no list, values, texts and links of no form, where it was made: the mark is nowhere."""
    service = f"marked-{how}"
    one = hostile(service, how)

    desk.fire(one)
    for receiver in RECEIVERS:
        assert "HttpErrors" in desk.wait(service, receiver).text
    desk.fire(ended(one))
    for receiver in RECEIVERS:
        desk.wait(service, receiver, OVER.get(receiver, "RESOLVED"))

    assert [message.receiver for message in desk.told() if MARK in message.text] == []
    assert MARK not in desk.stack.log("alertmanager")
    assert "subject=_OTHER" in desk.wait(service, "slack").text
    # A program is still told fields, and no text that holds them.
    (told,) = desk.wait(service, "webhook").body["alerts"]
    assert set(told["annotations"].values()) == {""}


def test_every_text_of_the_rules_is_told(desk: Desk) -> None:
    """Each summary and description has the form that is let through."""
    services = {name: f"words-{number:02}" for number, name in enumerate(RULES) if name != "CollectorDown"}
    made = {name: alert(name, service) for name, service in services.items()}
    desk.fire(*made.values())

    for name, service in services.items():
        (told,) = desk.wait(service, "webhook").body["alerts"]
        for key in ("summary", "description"):
            assert told["annotations"][key] == made[name]["annotations"][key], name


def shown_secrets(stack: Stack) -> list[str]:
    """Where Alertmanager shows a secret: of its log, its API and the file that was written for it."""
    _, status = call(stack.url("alertmanager", "/api/v2/status"))
    assert "/run-secrets/alert_slack_url" in status
    written = stack.places.folder("/alertmanager") / "alertmanager.yml"
    places = {"status": status, "log": stack.log("alertmanager"), "file": written.read_text()}
    return [place for place, text in places.items() for secret in (KEY, PASSWORD) if secret in text]


def test_secrets_are_shown_nowhere(desk: Desk) -> None:
    """Neither in the log nor in what the API tells of the configuration."""
    desk.fire(alert("HttpErrors", "secret"))
    for receiver in RECEIVERS:
        desk.wait("secret", receiver)

    assert shown_secrets(desk.stack) == []


def test_a_receiver_that_is_away_is_named_and_its_secret_is_not(tmp_path: Path) -> None:
    """Alertmanager says which receiver failed, for each of the five, and keeps the address to itself."""
    stack, _, _ = prepared(tmp_path, NEVER)

    def named() -> set[str]:
        return set(re.findall(r"integration=(\w+)\[", stack.log("alertmanager")))

    with stack:
        stack.start("alertmanager")
        one = hostile("away")
        # A group is named in the log by the labels that make it one; the rules give them.
        one["labels"]["subject"] = "http"
        fire(stack, one)
        eventually(lambda: len(named()) == len(RECEIVERS))

        assert named() == set(RECEIVERS)
        assert MARK not in stack.log("alertmanager")
        assert shown_secrets(stack) == []


def test_links_are_the_rules_own_where_nobody_says_otherwise(night: Desk) -> None:
    """A page's path in the project, and Grafana on this machine; an address in a rule of one's own stays as it is."""
    theirs = alert("HttpErrors", "theirs")
    theirs["annotations"] |= {
        "runbook_url": "https://wiki.example.net/a",
        "dashboard_url": "https://grafana.example.net/b",
    }
    night.fire(alert("HttpErrors", "ours"), theirs)
    ours = read(night.wait("ours", "slack"))
    other = read(night.wait("theirs", "slack"))

    assert ours.runbook == "docs/runbooks/HttpErrors.md"
    assert ours.dashboard == RULES["HttpErrors"]["annotations"]["dashboard_url"]
    assert (other.runbook, other.dashboard) == ("https://wiki.example.net/a", "https://grafana.example.net/b")


def test_a_link_to_a_runbook_leads_to_it(tmp_path: Path) -> None:
    """Until somebody says otherwise, Prometheus shows each alert's page, at the address that messages name."""
    with Stack(tmp_path, profile="") as stack:
        default = stack.environment("alertmanager")["RUNBOOKS_URL"]
        stack.start("prometheus")
        for name in RULES:
            status, text = call(stack.url("prometheus", f"{default.removeprefix('http://localhost:9090')}/{name}.md"))
            assert (status, text) == (200, (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")), name
