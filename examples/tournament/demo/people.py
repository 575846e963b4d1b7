"""The people of the demo, with everything about them that telemetry must never show."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass
from urllib.parse import quote

import jwt

TOURNAMENTS = (7, 8)
FEE = 10
COINS = 15
# Documentation addresses (RFC 5737), sent as a proxy would send the clients'.
FORWARDED_FOR = "203.0.113."

_FIRST = ("Zephyrine", "Ottokar", "Briseïs", "Thaddäus", "Wilhelmina", "Casimir", "Leocadia", "Evander")
_LAST = ("Quillfeather", "Hohenstaufer", "Marchbanks", "Oyelaran", "Szczepański", "Vandersloot")
_STREETS = ("Larkspur Crescent", "Tanglewood Mews", "Kirschblütenweg", "Gallowglass Lane")
_NUMBERS = {"spectator": 6, "player": 18, "organizer": 6, "admin": 4}


@dataclass(frozen=True)
class Person:
    """A seeded user. Only ``user_id`` and ``role`` may leave the server."""

    user_id: int
    role: str
    first_name: str
    last_name: str
    address: str

    @property
    def display_name(self) -> str:
        """The name in the game."""
        return f"{self.first_name} the {self.last_name[:6]}-{self.user_id}"

    @property
    def email(self) -> str:
        """Where he gets his mail."""
        return f"{self.first_name}.{self.last_name}@mail.example".lower()

    @property
    def client_address(self) -> str:
        """Where he sits, as the proxy says."""
        return f"{FORWARDED_FOR}{self.user_id % 250}"

    @property
    def user_agent(self) -> str:
        """What his browser calls itself."""
        return f"DemoBrowser/9 (on the laptop of {self.first_name})".encode("ascii", "replace").decode()


class People:
    """Everybody who takes part, the key that signs their tokens, and the list of what must stay secret."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(48)
        self._secrets: set[str] = {self.key}
        names = itertools.product(_LAST, _FIRST)
        ids = itertools.count(1001)
        self.everybody = [
            Person(user_id, role, first, last, f"{user_id % 97} {_STREETS[user_id % len(_STREETS)]}")
            for role, number in _NUMBERS.items()
            for user_id, (last, first) in itertools.islice(zip(ids, names, strict=False), number)
        ]
        self._waiting: defaultdict[str, list[Person]] = defaultdict(list)
        for person in self.everybody:
            self._waiting[person.role].append(person)
            self._secrets |= {
                person.first_name, person.last_name, person.display_name, person.email, person.email.split("@")[0],
                person.address, person.client_address, person.user_agent,
            }  # fmt: skip
        self._secrets |= {"mail.example", "no bank account", *_STREETS}
        self._tokens: dict[Person, str] = {}

    def next(self, role: str) -> Person:
        """Somebody with this role, whose turn was longest ago."""
        waiting = self._waiting[role]
        waiting.append(waiting.pop(0))
        return waiting[-1]

    # --- tokens -----------------------------------------------------------------------------------------
    def token(self, person: Person) -> str:
        """A valid token, the same each time."""
        if person not in self._tokens:
            self._tokens[person] = self.mint(person)
        return self._tokens[person]

    def mint(self, person: Person, *, lifetime: int = 3600, key: str | None = None, **claims: object) -> str:
        """A new token; a negative ``lifetime``, another ``key`` or other claims make it a bad one."""
        said = {
            "sub": str(person.user_id),
            "role": person.role,
            "name": person.display_name,
            "email": person.email,
            "exp": int(time.time()) + lifetime,
        }
        token = jwt.encode({**said, **claims}, key or self.key, algorithm="HS256")
        _, payload, signature = token.split(".")
        self._secrets |= {payload, signature}
        return token

    def keep_secret(self, text: str) -> str:
        """Another text that must not leave; returned as it is."""
        self._secrets.add(text)
        return text

    def secrets(self) -> list[str]:
        """Every form in which a secret could turn up, in lower case."""
        forms = {
            form
            for secret in self._secrets
            for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1])
        }
        return sorted({form.lower() for form in forms})

    # --- the database -----------------------------------------------------------------------------------
    def fixture(self) -> str:
        """Everybody and the tournaments, for Django's ``loaddata``."""
        rows: list[dict[str, object]] = []
        for person in self.everybody:
            user = {
                "username": person.email,
                "email": person.email,
                "first_name": person.first_name,
                "last_name": person.last_name,
                "password": "!",
                "is_staff": person.role == "admin",
                "user_permissions": [["view_profile", "tournament", "profile"]] if person.role == "admin" else [],
            }
            profile = {
                "user": person.user_id,
                "display_name": person.display_name,
                "address": person.address,
                "coins": COINS,
            }
            rows.append({"model": "auth.user", "pk": person.user_id, "fields": user})
            rows.append({"model": "tournament.profile", "pk": person.user_id, "fields": profile})
        for tournament_id in TOURNAMENTS:
            fields = {"name": f"Cup {tournament_id}", "fee": FEE}
            rows.append({"model": "tournament.tournament", "pk": tournament_id, "fields": fields})
        return json.dumps(rows)
