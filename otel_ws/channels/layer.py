"""Door: channel layers. The methods of each layer are wrapped on the instance, and hand on what they are given.

It counts what was sent, what arrived and what was lost, and lets a carrier travel beside a message. What a known layer
loses in silence is found by its ``Losses``; of a layer that nobody knows it tells what the layer's methods say.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from otel_ws import recorder, semconv
from otel_ws.channels import backlog, handed, losses
from otel_ws.channels.carrier import Carried, carried
from otel_ws.channels.inbox import Gone, Inbox, arriving
from otel_ws.channels.publishing import Publishing, publishing
from otel_ws.faults import fault
from otel_ws.recorder import Recorder
from otel_ws.semconv import OTHER
from otel_ws.signals import spans as span_tools
from otel_ws.types import Labels

_ABSENT: Final = object()
_VERBS: Final = ("send", "receive", "new_channel", "group_send", "group_add", "group_discard")

# By the layer's id, which is nobody else's as long as what observes it lives. One that stays under somebody's wrapper
# is kept, for the layer to be observed by it again.
_observed: Final[weakref.WeakValueDictionary[int, Observed]] = weakref.WeakValueDictionary()


def observed_backends(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """``ChannelLayerManager.__getitem__`` that hands out the same layers, observed."""

    @functools.wraps(original)
    def backend(self: Any, key: str) -> Any:
        layer = original(self, key)
        try:
            observe(layer)
        except Exception as exc:
            fault("layer", exc)
        return layer

    return backend


def observe(layer: Any) -> None:
    """Wrap the layer's methods on the instance, once."""
    active = recorder.active()
    if active is None:
        return
    if semconv.LAYER_GROUPS not in active.sources:
        for metric in (semconv.LAYER_GROUPS, semconv.LAYER_MEMBERSHIPS, semconv.LAYER_ORPHANS):
            active.sources[metric] = functools.partial(_members, active, metric)
        for metric in backlog.METRICS:
            active.sources[metric] = functools.partial(_waiting, active, metric)
    observed = _observed.get(id(layer))
    if observed is not None:
        observed.join()
    elif hasattr(layer, "__dict__") and type(getattr(getattr(layer, "send", None), "__self__", None)) is not Observed:
        # Not one that stands in front of a layer that is observed.
        observed = _observed[id(layer)] = Observed(layer)
        observed.join()


def unobserve() -> None:
    """Give every layer its own methods back; one that somebody wrapped after us keeps their wrapper."""
    for key, observed in list(_observed.items()):
        _safe(observed.leave)
        if not observed.is_wrapped():
            del _observed[key]


class Observed:
    """One channel layer, and what stands in for its methods."""

    def __init__(self, layer: Any) -> None:
        self.layer: Any = layer
        self.inboxes: dict[str, Inbox] = {}
        # Of consumers whose handlers nobody watches: those of HTTP, which may stream events.
        self.unwatched: dict[str, Inbox] = {}
        # What workers took from it.
        self.handed: weakref.WeakSet[handed.Handed] = weakref.WeakSet()
        self.gone = Gone()
        # Memberships of channels that are remembered no longer, by template.
        self.forgotten: Counter[str] = Counter()
        self.losses: losses.Losses | None = None
        # Whether what is sent here stays here: then it is known for whom it is.
        self._copies = self._carries = False
        self._watching: losses.Losses | None = None
        self._is_at_work = False
        own = vars(layer)
        found = {name: getattr(layer, name, None) for name in _VERBS}
        self._methods: dict[str, Any] = {name: method for name, method in found.items() if method is not None}
        self._before = {name: own.get(name, _ABSENT) for name in self._methods}
        self._send: Any = self._methods.get("send")
        self._receive: Any = self._methods.get("receive")

    def join(self) -> None:
        """Stand in for the layer's methods, once: one that somebody has wrapped since keeps their wrapper."""
        if self._is_at_work:
            return
        self._is_at_work = True
        try:
            self.losses = losses.of(self.layer, self)
        except Exception as exc:
            fault("layer.losses", exc)
        self._copies = self.losses is not None and self.losses.copies
        self._carries = self.losses is not None and self.losses.carries
        self._watching = self.losses if self.losses is not None and self.losses.watches else None
        own = vars(self.layer)
        for name, before in self._before.items():
            if own.get(name, _ABSENT) is before:
                setattr(self.layer, name, getattr(self, name))

    def leave(self) -> None:
        """Give the layer its methods back; one that somebody wrapped after us keeps their wrapper."""
        self._is_at_work = self._copies = self._carries = False
        self._watching = None
        own = vars(self.layer)
        for name, before in self._before.items():
            if getattr(getattr(self.layer, name), "__self__", None) is not self:
                continue
            if name not in own:
                # The layer keeps its attributes elsewhere.
                setattr(self.layer, name, self._methods[name])
            elif before is _ABSENT:
                del own[name]
            else:
                own[name] = before
        if self.losses is not None:
            self.losses.leave()
            self.losses = None

    def is_wrapped(self) -> bool:
        """Whether there is still something in the place of one of the layer's own methods, which may call us."""
        own = vars(self.layer)
        return any(own.get(name, _ABSENT) is not before for name, before in self._before.items())

    def lost(self, reason: str, deliveries: int = 1) -> None:
        """The layer lost so many deliveries."""
        try:
            active = recorder.active()
            if active is not None and deliveries:
                active.layer_dropped(reason, deliveries)
        except Exception as exc:
            # Called from within the layer's own queues.
            fault("layer.losses", exc)

    def being_published(self) -> Publishing | None:
        """What this layer is taking here, if it is."""
        about = publishing.get()
        return about if about is not None and about.layer is self and not about.is_over else None

    def text_to_carry(self) -> str | None:
        """What travels with the message that the layer serialises here, if anything does."""
        about = self.being_published()
        return None if about is None or about.is_silent else about.carrier.text()

    # --- in the place of the layer's methods --------------------------------------------------------------------
    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's ``send``, or one delivery of its ``group_send``."""
        about = publishing.get()
        if about is None or about.layer is not self:
            return await self._publish("send", self._send, args, kwargs, "channel")
        if about.is_over or about.operation == "send":
            return await self._send_again(about, args, kwargs)
        about.attempted += 1
        try:
            result = await self._send(*args, **kwargs)
        except Exception as exc:
            about.raised(exc)
            raise
        if self._copies and (args[0] if args else kwargs.get("channel")) in self.gone:
            about.found_unread()
        return result

    async def _send_again(self, about: Publishing, args: Any, kwargs: Any) -> Any:
        """A layer's ``send`` that calls itself, or a delivery after its ``group_send`` was cancelled."""
        if about.operation == "send" and not about.is_over:
            return await self._send(*args, **kwargs)
        if _second(args, kwargs) is not about.message:
            return await self._publish("send", self._send, args, kwargs, "channel")
        about.active.observe(semconv.BROADCAST_RECIPIENTS, (about.delivery.template,), 1)
        try:
            result = await self._send(*args, **kwargs)
        except Exception as exc:
            about.raised(exc)
            raise
        if self._is_unread(args, kwargs):
            about.found_unread()
        return result

    async def group_send(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's ``group_send``."""
        return await self._publish("group_send", self._methods["group_send"], args, kwargs, "group")

    async def _publish(self, operation: str, original: Any, args: Any, kwargs: Any, first: str) -> Any:
        active = recorder.active()
        about: Publishing | None = None
        token: Any = None
        attached: Any = None
        try:
            message = _second(args, kwargs)
            if active is not None and isinstance(message, dict):
                about = Publishing(active, self, operation, args[0] if args else kwargs.get(first), message)
                if self._carries and type(message) is dict and getattr(self.layer.send, "__self__", None) is self:
                    # The layer copies the message in memory, so the carrier rides on it. Where anybody else's code
                    # comes between, and for a dict of another class, it is the very object that has to get there.
                    about.message = message = carried(message, about.carrier)
                    if len(args) > 1:
                        args = (args[0], message, *args[2:])
                    else:
                        kwargs = {**kwargs, "message": message}
                token = publishing.set(about)
                if about.span is not None:
                    attached = span_tools.attach(about.span)
        except Exception as exc:
            fault("layer.send", exc)
        if about is None or token is None:
            return await original(*args, **kwargs)
        try:
            result = await original(*args, **kwargs)
        except BaseException as exc:
            self._published(about, token, attached, exc, args, kwargs)
            raise
        self._published(about, token, attached, None, args, kwargs)
        return result

    def _published(self, about: Publishing, token: Any, attached: Any, exc: Any, args: Any, kwargs: Any) -> None:
        try:
            if attached is not None:
                span_tools.detach(attached)
            publishing.reset(token)
        except ValueError:
            # Closed from another context, which is not ours.
            pass
        try:
            if about.operation == "send" and exc is None and self._is_unread(args, kwargs):
                about.unread = 1
            about.ended(exc)
        except Exception as failure:
            fault("layer.send", failure)

    def _is_unread(self, args: Any, kwargs: Any) -> bool:
        """Whether what a layer in memory took just now is for a consumer that is gone."""
        return self._copies and (args[0] if args else kwargs.get("channel")) in self.gone

    async def receive(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's ``receive``."""
        channel: Any = args[0] if args else kwargs.get("channel")
        watching = self._watching
        inbox = self.inboxes.get(channel) if type(channel) is str else None
        if inbox is not None:
            inbox.asked_ns = inbox.now_ns()
        if watching is None:
            message = await self._receive(*args, **kwargs)
        else:
            watched = _safe(watching.receiving, channel)
            try:
                message = await self._receive(*args, **kwargs)
            except BaseException:
                _safe(watching.interrupted, channel, watched)
                raise
            _safe(watching.received, channel)
        if inbox is None:
            return handed.consumed(self, channel, message)
        if type(message) is Carried:
            # Layers may hand one message to several consumers; each gets a plain dict of its own.
            inbox.carrier = message.carrier
            message = dict(message)
        else:
            inbox.received_ns = inbox.now_ns()
        inbox.message = message
        return message

    async def new_channel(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's ``new_channel``; the first that a consumer asks for is its own."""
        inbox = arriving.get()
        channel = await self._methods["new_channel"](*args, **kwargs)
        if inbox is not None and inbox.channel is None and type(channel) is str:
            inbox.channel = channel
            inbox.layer = self
            # A layer may give the same name again.
            self.gone.pop(channel, None)
            (self.inboxes if inbox.is_watched else self.unwatched)[channel] = inbox
        return channel

    async def group_add(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's ``group_add``."""
        result = await self._methods["group_add"](*args, **kwargs)
        group, channel = args if len(args) == 2 else (kwargs.get("group"), kwargs.get("channel"))
        inbox = self._inbox(channel)
        if inbox is not None and type(group) is str and group not in inbox.groups:
            inbox.groups = (*inbox.groups, group)
        return result

    async def group_discard(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's ``group_discard``."""
        result = await self._methods["group_discard"](*args, **kwargs)
        group, channel = args if len(args) == 2 else (kwargs.get("group"), kwargs.get("channel"))
        if (inbox := self._inbox(channel)) is not None:
            inbox.groups = tuple(one for one in inbox.groups if one != group)
        elif type(channel) is str and channel in self.gone:
            self.gone[channel] = tuple(one for one in self.gone[channel] if one != group)
        return result

    def _inbox(self, channel: Any) -> Inbox | None:
        return (self.inboxes.get(channel) or self.unwatched.get(channel)) if type(channel) is str else None

    # --- the end of a consumer --------------------------------------------------------------------------------------
    def left(self, inbox: Inbox) -> None:
        """A consumer is gone: what it was handed and did not handle is lost, and what waits for it."""
        channel = inbox.channel or ""
        self.inboxes.pop(channel, None)
        self.unwatched.pop(channel, None)
        unread = int(inbox.message is not None)
        inbox.message = inbox.carrier = None
        if self.losses is not None:
            unread += self.losses.waiting(channel)
        active = recorder.active()
        for group in self.gone.left(channel, inbox.groups, unread > 0):
            self.forgotten[OTHER if active is None else active.deliveries.of_name(group).template] += 1
        self.lost("CONSUMER_GONE", unread)


def _safe(told: Callable[..., Any], *about: Any) -> Any:
    try:
        return told(*about)
    except Exception as exc:
        fault("layer.losses", exc)
        return None


def _second(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[1] if len(args) > 1 else kwargs.get("message")


def _members(active: Recorder, metric: semconv.Metric) -> Iterator[tuple[Labels, float]]:
    """The groups, memberships and orphans of every layer, by template."""
    found: Counter[str] = Counter()
    for observed in list(_observed.values()):
        if metric is semconv.LAYER_ORPHANS:
            groups = [group for left in list(observed.gone.values()) for group in left]
            found.update(observed.forgotten)
        else:
            here = observed.inboxes | observed.unwatched
            groups = [group for inbox in here.values() for group in inbox.groups]
        if metric is semconv.LAYER_GROUPS:
            groups = list(set(groups))
        found.update(active.deliveries.of_name(group).template for group in groups)
    yield from active.live.lasting.fill(metric, {(template,): float(count) for template, count in found.items()})


def _waiting(active: Recorder, metric: semconv.Metric) -> Iterator[tuple[Labels, float]]:
    """What waits in every layer, by kind of queue and template."""
    queues: list[backlog.Queue] = []
    for one in list(_observed.values()):
        queues += [] if one.losses is None else one.losses.queues()
        queues += [taken.queue(active.now_ns()) for taken in list(one.handed)]
    yield from backlog.read(metric, queues, active.deliveries)


def _after_fork() -> None:
    # The parent's consumers are not here, and what waits for them is the parent's.
    for one in list(_observed.values()):
        one.gone.update(dict.fromkeys((*one.inboxes, *one.unwatched, *one.gone), ()))
        one.inboxes, one.unwatched, one.handed, one.forgotten = {}, {}, weakref.WeakSet(), Counter()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
