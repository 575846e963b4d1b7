"""Everybody whom alerts call: the real Alertmanager, the stand-ins behind it, and alerts as the rules make them.

It knows how an alert is sent and where to look for what was told, and refuses to know what should have been.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.collector.stack.certificate import certificate
from tests.collector.stack.places import BUNDLE, SECRETS
from tests.collector.stack.programs import Stack, call, eventually
from tests.collector.stack.receivers import Mail, Message, Web

RULES = {
    rule["alert"]: rule
    for path in sorted((BUNDLE / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
RECEIVERS = ("pagerduty", "slack", "discord", "email", "webhook")
KEY = "0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse battery staple"
USER = "alerts@example.org"
GRAFANA = "https://grafana.example.org/here"
WIKI = "https://wiki.example.org/runbooks"
# Years that are all, and that are none: the clock cannot be set.
HOURS = re.compile(r"(?<=    time_intervals:\n)(      - .*\n)+")
ALWAYS, NEVER = "      - years: ['1999:2999']\n", "      - years: ['1999']\n"
NOW = dt.datetime.now(dt.UTC)
MARK = "mark0of0a0person"


# Annotations with a mark, each in a text or an address that no rule has.
HOSTILE = {
    "words": {
        "note": MARK,
        "summary": f"<{MARK}@example.org> was here",
        "description": f"of {MARK}\nand of another",
        "runbook_url": f"see {MARK}",
        "dashboard_url": f'http://localhost:3000/"><{MARK}>',
    },
    "addresses": {
        "summary": f"see https://example.org/{MARK}",
        "description": f"see www.{MARK}.example.org",
        "runbook_url": f"https://{MARK}:word@wiki.example.org/page",
        "dashboard_url": f"http://localhost:3000/d/otel-ws-errors?user={MARK}",
    },
    "signs": {
        "summary": f'{MARK}", "x": "',
        "description": f"{MARK}\u0007",
        "runbook_url": f"https://wiki.example.org/\u0001{MARK}",
        "dashboard_url": f"https://grafana.example.org/d#{MARK}",
    },
}


@dataclass
class Desk:
    """A running Alertmanager, and everybody whom it calls."""

    stack: Stack
    web: Web
    mail: Mail

    def told(self) -> list[Message]:
        """Everything that anybody was told so far."""
        return [*self.web.told, *self.mail.told]

    def about(self, service: str, receiver: str = "", text: str = "") -> list[Message]:
        """What was told of a service, to one receiver or to any, with a text in it."""
        return [
            one for one in self.told() if service in one.text and text in one.text and receiver in ("", one.receiver)
        ]

    def wait(self, service: str, receiver: str, text: str = "") -> Message:
        """The last message of a service to a receiver."""
        found = eventually(lambda: self.about(service, receiver, text), 20)
        assert found, (receiver, self.stack.log("alertmanager")[-2000:])
        return found[-1]

    def fire(self, *alerts: dict[str, Any]) -> None:
        """Tell Alertmanager of alerts, as Prometheus would."""
        fire(self.stack, *alerts)

    def state(self, service: str) -> dict[str, dict[str, Any]]:
        """What Alertmanager does with the alerts of a service, by name."""
        _, answer = call(self.stack.url("alertmanager", f'/api/v2/alerts?filter=service_name="{service}"'))
        return {one["labels"]["alertname"]: one["status"] for one in json.loads(answer)}


def alert(name: str, service: str, **more: str) -> dict[str, Any]:
    """An alert of the rules about a service, as Prometheus sends it; ``more`` are labels."""
    rule = RULES[name]
    texts = {
        key: re.sub(r"\{\{ \$labels.service_name \}\}", service, text) for key, text in rule["annotations"].items()
    }
    texts = {key: re.sub(r"\{\{.*?\}\}", "7", text) for key, text in texts.items()}
    labels = {"service_name": service, "deployment_environment_name": "test", **rule["labels"], **more}
    return {"labels": {"alertname": name, **labels}, "annotations": texts, "startsAt": NOW.isoformat()}


def hostile(service: str, how: str = "words") -> dict[str, Any]:
    """An alert of the rules with a mark wherever none of the rules has anything."""
    one = alert(
        "HttpErrors",
        service,
        user_email=MARK,
        subject=f"of {MARK}@example.org",
        reason=f"said {MARK}, and more",
        slo=f"http://{MARK}",
    )
    one["annotations"] |= HOSTILE[how]
    return {**one, "generatorURL": f"http://prometheus.example.org/graph?{MARK}"}


def fire(stack: Stack, *alerts: dict[str, Any]) -> None:
    """Tell Alertmanager of alerts, as Prometheus would."""
    url = stack.url("alertmanager", "/api/v2/alerts")
    status, answer = call(url, json.dumps(alerts).encode(), {"Content-Type": "application/json"})
    assert status == 200, answer


def ended(one: dict[str, Any]) -> dict[str, Any]:
    """The same alert, over."""
    return {**one, "endsAt": dt.datetime.now(dt.UTC).isoformat()}


def prepared(data: Path, hours: str, **settings: str) -> tuple[Stack, int, int]:
    """Alertmanager with all receivers, in or out of business hours, and the ports of a web and of a mail server."""
    stack = Stack(data, profile="")
    places, secrets = stack.places, stack.places.folder(SECRETS)
    web, smtp = places.port("web", 80), places.port("smtp", 587)
    places.release()
    for name in ("slack", "discord", "webhook"):
        (secrets / f"alert_{name}_url").write_text(f"http://127.0.0.1:{web}/{name}/{KEY}\n")
    (secrets / "alert_pagerduty_key").write_text(f"{KEY}\n")
    (secrets / "alert_email_password").write_text(f"{PASSWORD}\n")
    file = places.files / "alertmanager" / "alertmanager.yml"
    text = HOURS.sub(hours, file.read_text())
    theirs = "https://events.pagerduty.com/v2/enqueue"
    assert hours in text
    assert theirs in text
    file.write_text(text.replace(theirs, f"http://127.0.0.1:{web}/pagerduty"))
    stack.settings["alertmanager"] = {
        "ALERT_EMAIL_SERVER": f"127.0.0.1:{smtp}",
        "ALERT_EMAIL_USER": USER,
        "ALERT_EMAIL_TO": "one@example.org, two@example.org",
        "GRAFANA_URL": GRAFANA,
        "RUNBOOKS_URL": WIKI,
        "SSL_CERT_FILE": str(certificate(data)),
        **settings,
    }
    return stack, web, smtp


def started(data: Path, hours: str, **settings: str) -> Iterator[Desk]:
    """Alertmanager, running, and everybody whom it calls."""
    stack, web, smtp = prepared(data, hours, **settings)
    mail = Mail(smtp, data / "tls_certificate", data / "tls_key", USER, PASSWORD)
    with stack, Web(web) as posted, mail:
        stack.start("alertmanager")
        yield Desk(stack, posted, mail)
    shutil.rmtree(data, ignore_errors=True)
