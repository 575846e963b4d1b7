"""What one client did and saw, written down while it happened: the source of every expected count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Place:
    """Where a client connects to: a route of the example, with its ids filled in."""

    route: str
    scope_type: str = "global"
    tournament_id: int | None = None
    match_id: int | None = None

    @property
    def path(self) -> str:
        """The path of the URL."""
        return self.route.format(tournament_id=self.tournament_id, match_id=self.match_id)


LOBBY = Place("/ws/global/")
NOWHERE = Place("/ws/nowhere/")
UNROUTED = OTHER = "_OTHER"


def cup(tournament_id: int) -> Place:
    """The room of a tournament."""
    return Place("/ws/tournament/{tournament_id}/", "tournament", tournament_id)


def ticker(tournament_id: int) -> Place:
    """The live scores of a tournament."""
    return Place("/ws/match/{tournament_id}/live/", "tournament", tournament_id)


def board(tournament_id: int) -> Place:
    """The scoreboard of a tournament, a stream."""
    return Place("/scoreboard/{tournament_id}/", "tournament", tournament_id)


def match(tournament_id: int, match_id: int) -> Place:
    """The room of a match."""
    return Place("/ws/match/{tournament_id}/{match_id}/", "match", tournament_id, match_id)


@dataclass(frozen=True)
class Sent:
    """A message to the server, and what became of it there."""

    type: str
    status: str
    size: int


@dataclass(frozen=True)
class Failure:
    """An error that the server met."""

    type: str
    category: str
    severity: str


@dataclass(frozen=True)
class Rejection:
    """The handshake was refused, for a reason and with the close code that the application gave (if any)."""

    reason: str
    close_code: int | None
    # Refusals by a middleware in front of the routers know neither route nor ids, those before the user no user.
    is_routed: bool = False
    by: str = ""


@dataclass(frozen=True)
class Published:
    """A message that the application gave to the channel layer, for a group or one channel, and who got it."""

    template: str
    # How many WebSockets, streams and workers.
    sockets: int = 0
    streams: int = 0
    workers: int = 0
    is_group: bool = True
    # What the application said itself: that it is a broadcast, and of how many recipients.
    is_told: bool = False
    recipients: int | None = None


@dataclass(frozen=True)
class Task:
    """A message that a worker handled, and what became of it."""

    channel: str
    handler: str
    status: str = "success"
    error_type: str = ""


@dataclass
class Conversation:
    """One attempt to connect, and all that followed."""

    role: str
    user_id: int
    place: Place
    transport: str = "websocket"
    subprotocol: str = ""
    accepted: bool = False
    rejection: Rejection | None = None
    sent: list[Sent] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    pings: int = 0
    limits: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    # What the server gave to the channel layer because of what was said here, and what a worker did then.
    published: list[Published] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    close_code: int = 0
    initiator: str = ""


@dataclass
class Records:
    """All conversations, the application's own counts, and what clients saw that they should not have seen."""

    conversations: list[Conversation] = field(default_factory=list)
    business: Counter[tuple[str, Labels]] = field(default_factory=Counter)
    # Matches that an organizer tried to settle, and look-ups of users by who asked.
    settlements: int = 0
    audited: Counter[int] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """The application counted something of its own."""
        self.business[name, tuple(sorted(labels.items()))] += amount
