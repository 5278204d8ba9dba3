"""
Which consumer gets a message.

Owns routes, includes, the router that is compiled from them, and the defaults at its end. It never runs a consumer or sees a
layer. Workers, test clients and the command line run it, the last to find out whether an application has a routing at all.

A router is compiled into one tuple of candidates for each channel, so that matching a message looks only at those that could
have it.
"""

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from shmchan import names
from shmchan.layers.base import FRONT_CHANNELS, POLICIES, Policy
from shmchan.message import Message
from shmchan.parallel import is_parallel

LONGEST_TIMEOUT = 86400
"""Seconds that a route's ``timeout`` may be."""

Consumer = Callable[..., Any]
Pattern = str | re.Pattern[str]


class Options(NamedTuple):
    """
    What a route says besides its filters.

    Attributes:
        on_crash: what becomes of a message whose worker was killed; None: the channel's default.
        on_error: "close" closes the WebSocket with 1011 when the consumer raised; None: it lives.
        discard_on_error: whether what was buffered is dropped when the consumer raised.
        timeout: seconds after which ConsumerTimeout is raised in the consumer; None: it may take as long as it likes.
    """

    on_crash: Policy | None = None
    on_error: str | None = None
    discard_on_error: bool = False
    timeout: float | None = None


DEFAULTS = Options()
Found = tuple[Consumer, dict[str, Any], Options]


class RouteLike(Protocol):
    """Anything that can stand in a routing."""

    def match(self, message: Message) -> tuple[Consumer, dict[str, Any]] | None:
        """The consumer of a message and its keyword arguments, or None."""

    def channel_names(self) -> Iterable[str]:
        """The channels whose messages it may match."""


class Route:
    """
    A consumer for the messages of some channels.

    Args:
        channels: a channel's name, or a list of them.
        consumer: a callable ``consumer(message, **groups)``, plain or ``async def``, or "dotted.path" to one.
        filters: regular expressions by the key whose value they must match from its start; their named groups become keyword
            arguments. Not filters, but options: ``on_crash``, ``on_error``, ``discard_on_error``, ``timeout``.

    Raises:
        TypeError: one of these is of another type.
        ValueError: a filter has positional groups or is no regular expression; an option does not go with these channels.
        ImportError: the dotted path leads nowhere.
    """

    def __init__(self, channels: str | Iterable[str], consumer: Consumer | str, **filters: Any) -> None:
        given = [channels] if isinstance(channels, str) else list(channels)
        self.channels = names.check_receivables(given)
        self.consumer: Consumer = _resolve(consumer) if isinstance(consumer, str) else consumer
        if not callable(self.consumer):
            raise TypeError(f"a consumer is a callable or a dotted path to one, not {self.consumer!r}")
        self.options = _take_options(self.channels, filters)
        self.filters = {key: _compile(key, pattern) for key, pattern in filters.items()}
        self._tests = tuple((key, pattern.match) for key, pattern in self.filters.items())

    def match(self, message: Message) -> tuple[Consumer, dict[str, Any]] | None:
        """The consumer and its keyword arguments, or None."""
        return _public(self, message)

    def channel_names(self) -> set[str]:
        """The channels whose messages it may match."""
        return set(self.channels)

    def candidates(self, channel: str) -> "tuple[_Candidate, ...]":
        """What a router compiles it to."""
        return (self,) if channel in self.channels else ()

    def find(self, content: Mapping[str, Any], message: Message) -> Found | None:
        """The same as `match`, for a content that an include may have cut, and with the options."""
        groups: dict[str, Any] = {}
        for key, test in self._tests:
            text = _text(content.get(key))
            found = None if text is None else test(text)
            if found is None:
                return None
            groups.update(found.groupdict())
        return self.consumer, groups, self.options

    def __repr__(self) -> str:
        return f"<Route {', '.join(self.channels)} -> {describe(self.consumer)}>"


class RouteClass(Route):
    """
    A class-based consumer for the channels that it names itself by ``channel_names()``.

    Raises:
        ValueError: the class has no such method.
    """

    def __init__(self, consumer: Any, **filters: Any) -> None:
        if isinstance(consumer, str):
            consumer = _resolve(consumer)
        if not callable(getattr(consumer, "channel_names", None)):
            raise ValueError(f"route_class takes a class with channel_names(), like WebsocketConsumer's; {consumer!r} has none")
        super().__init__(consumer.channel_names(), consumer, **filters)


class Include:
    """
    Another routing, for the messages that match its prefixes.

    Args:
        routing: a list, a dict, a Router, or "dotted.path" to one.
        prefixes: regular expressions by the key whose value they must match from its start; what they matched is cut off for the
            filters inside, and for them only.
    """

    def __init__(self, routing: Any, **prefixes: Pattern) -> None:
        self.routing = resolve_routing(routing)
        self.prefixes = {key: _compile(key, pattern) for key, pattern in prefixes.items()}
        self._tests = tuple((key, pattern.match) for key, pattern in self.prefixes.items())

    def match(self, message: Message) -> tuple[Consumer, dict[str, Any]] | None:
        """The consumer and its keyword arguments, or None."""
        return _public(self, message)

    def channel_names(self) -> set[str]:
        """The channels whose messages it may match."""
        return {name for route in self.routing for name in route.channel_names()}

    def candidates(self, channel: str) -> "tuple[_Candidate, ...]":
        """What a router compiles it to: without prefixes, what is in it."""
        inside = _compiled(self.routing, channel)
        if not self._tests or not inside:
            return inside
        return (_Prefixed(self._tests, inside),)

    def __repr__(self) -> str:
        return f"<Include of {len(self.routing)} routes>"


class _Candidate(Protocol):
    def find(self, content: Mapping[str, Any], message: Message) -> Found | None: ...


class _Prefixed:
    """An include, compiled for one channel."""

    def __init__(self, tests: tuple[tuple[str, Any], ...], inside: tuple[_Candidate, ...]) -> None:
        self.tests = tests
        self.inside = inside

    def find(self, content: Mapping[str, Any], message: Message) -> Found | None:
        groups: dict[str, Any] = {}
        cut = dict(content)
        for key, test in self.tests:
            text = _text(content.get(key))
            found = None if text is None else test(text)
            if found is None:
                return None
            cut[key] = content[key][found.end() :]
            groups.update(found.groupdict())
        for candidate in self.inside:
            match = candidate.find(cut, message)
            if match is not None:
                return (match[0], {**groups, **match[1]}, match[2]) if groups else match
        return None


class _Foreign:
    """An object of the application's own that has ``match`` and ``channel_names``."""

    def __init__(self, route: RouteLike) -> None:
        self.route = route

    def find(self, content: Mapping[str, Any], message: Message) -> Found | None:
        if content is not message.content:
            message = Message(dict(content), message.channel_name, message.channel_layer)
        match = self.route.match(message)
        if match is None:
            return None
        consumer, groups = match
        return consumer, dict(groups), DEFAULTS


class Router:
    """
    A whole routing, compiled.

    Args:
        routing: a list of routes, a dict of consumers by channel, a Router, or "dotted.path" to one.

    Raises:
        TypeError, ValueError, ImportError: it is none; the text says what of it.
    """

    def __init__(self, routing: Any) -> None:
        self.routes = resolve_routing(routing)
        self.defaults: list[RouteLike] = []
        self._table: dict[str, tuple[_Candidate, ...]] = {}
        self._compile()

    @property
    def channels(self) -> set[str]:
        """The channels whose messages it may match."""
        return set(self._table)

    def parallel_channels(self) -> set[str]:
        """The channels that gave up their order, because one of their consumers is `parallel`."""
        return {
            channel
            for channel in self._table
            for candidate in _leaves(self._table[channel])
            if is_parallel(getattr(candidate, "consumer", None))
        }

    def add_route(self, route: RouteLike) -> None:
        """Add a route after those there are, before the defaults."""
        self.routes.append(_check_route(route))
        self._compile()

    def check_default(self, http_consumer: Consumer | None = None) -> None:
        """
        Put the defaults at the end: accept WebSockets, ignore what they say, answer HTTP by 404.

        Args:
            http_consumer: gets the requests that nothing else matched, instead of the 404.
        """
        self.defaults = [
            Route("http.request", http_consumer or not_found),
            Route("websocket.connect", connect_consumer),
            Route(["websocket.receive", "websocket.disconnect"], null_consumer),
        ]
        if any("http.disconnect" in one.channel_names() for one in self.routes):
            # It comes for every request once one route listens, and for none else: no default of its own for those without.
            self.defaults.append(Route("http.disconnect", null_consumer))
        self._compile()

    def match(self, message: Message) -> tuple[Consumer, dict[str, Any]] | None:
        """The consumer of a message and its keyword arguments; the first route that matches wins."""
        found = self.find(message.channel_name, message)
        return None if found is None else found[:2]

    def find(self, channel: str, message: Message) -> Found | None:
        """The same as `match`, with the route's options."""
        content = message.content
        for candidate in self._table.get(names.local_prefix(channel), ()):
            found = candidate.find(content, message)
            if found is not None:
                return found
        return None

    def _compile(self) -> None:
        routes = [*self.routes, *self.defaults]
        channels = {name for route in routes for name in route.channel_names()}
        self._table = {channel: _compiled(routes, channel) for channel in channels}


def resolve_routing(routing: Any) -> list[RouteLike]:
    """
    The routes of anything that works as a routing.

    Raises:
        TypeError: it does not.
    """
    if isinstance(routing, str):
        routing = _resolve(routing)
    if isinstance(routing, Router):
        return list(routing.routes)
    if isinstance(routing, Mapping):
        return [Route(channel, consumer) for channel, consumer in routing.items()]
    if not isinstance(routing, (list, tuple)):
        raise TypeError(f"a routing is a list of routes, a dict of consumers by channel, or a Router, not {routing!r}")
    return [_check_route(route) for route in routing]


def connect_consumer(message: Message) -> None:
    """The default for ``websocket.connect``: accept."""
    if message.reply_channel is not None:
        message.reply_channel.send({"accept": True})


def null_consumer(message: Message) -> None:
    """The default for ``websocket.receive`` and ``websocket.disconnect``: nothing."""


def not_found(message: Message) -> None:
    """The default for ``http.request``: 404."""
    if message.reply_channel is not None:
        headers = [[b"content-type", b"text/plain; charset=utf-8"]]
        message.reply_channel.send({"status": 404, "headers": headers, "content": b"Not Found"})


def describe(consumer: object) -> str:
    """A consumer's name for logs: ``module.function``."""
    name = getattr(consumer, "__qualname__", None)
    return f"{getattr(consumer, '__module__', '?')}.{name}" if name else repr(consumer)


route = Route
route_class = RouteClass
include = Include


def _public(route: Route | Include, message: Message) -> tuple[Consumer, dict[str, Any]] | None:
    for candidate in route.candidates(names.local_prefix(message.channel_name)):
        found = candidate.find(message.content, message)
        if found is not None:
            return found[:2]
    return None


def _compiled(routes: Iterable[RouteLike], channel: str) -> tuple[_Candidate, ...]:
    compiled: list[_Candidate] = []
    for route in routes:
        if isinstance(route, (Route, Include)):
            compiled.extend(route.candidates(channel))
        elif channel in route.channel_names():
            compiled.append(_Foreign(route))
    return tuple(compiled)


def _leaves(candidates: Iterable[_Candidate]) -> Iterable[_Candidate]:
    for candidate in candidates:
        if isinstance(candidate, _Prefixed):
            yield from _leaves(candidate.inside)
        else:
            yield candidate


def _check_route(route: Any) -> RouteLike:
    if (
        callable(getattr(route, "match", None))
        and callable(getattr(route, "channel_names", None))
        and not isinstance(route, type)
    ):
        checked: RouteLike = route
        return checked
    raise TypeError(f"a routing holds route(...), route_class(...), include(...) and objects like them, not {route!r}")


def _resolve(path: str) -> Any:
    module_name, dot, attribute = path.rpartition(".")
    if not dot:
        raise ImportError(f"{path!r} is no dotted path; write 'module.attribute'")
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ImportError(f"the module {module_name!r} has no attribute {attribute!r} (from {path!r})") from None


def _compile(key: str, pattern: object) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        compiled = pattern
    elif isinstance(pattern, str):
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"the filter {key}={pattern!r} is no regular expression: {error}") from error
    else:
        raise TypeError(
            f"the filter {key!r} is a regular expression, str or compiled from str, not {pattern!r}; "
            f"options are {', '.join(Options._fields)}"
        )
    if compiled.groups != len(compiled.groupindex):
        raise ValueError(
            f"the filter {key}={compiled.pattern!r} has positional groups; name them, (?P<name>...), or do not capture, (?:...)"
        )
    return compiled


def _take_options(channels: list[str], filters: dict[str, Any]) -> Options:
    on_crash = filters.pop("on_crash", None)
    on_error = filters.pop("on_error", None)
    discard_on_error = filters.pop("discard_on_error", False)
    timeout = filters.pop("timeout", None)
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= LONGEST_TIMEOUT
    ):
        raise ValueError(f"timeout is a positive number of seconds, at most {LONGEST_TIMEOUT}, or None, not {timeout!r}")
    if on_crash is not None:
        if on_crash not in POLICIES:
            raise ValueError(f"on_crash is one of {', '.join(map(repr, POLICIES))}, not {on_crash!r}")
        for channel in channels:
            if on_crash == ("redeliver" if channel in FRONT_CHANNELS else "notify"):
                where = "other channels than the front's" if on_crash == "redeliver" else "channels of the front"
                raise ValueError(f"on_crash={on_crash!r} is for {where}, not for {channel!r}")
    if on_error not in (None, "close"):
        raise ValueError(f"on_error is None or 'close', not {on_error!r}")
    if on_error and "websocket.receive" not in channels:
        raise ValueError(f"on_error='close' is for websocket.receive, not for {', '.join(channels)}")
    if not isinstance(discard_on_error, bool):
        raise TypeError(f"discard_on_error is True or False, not {discard_on_error!r}")
    return Options(on_crash, on_error, discard_on_error, timeout)


def _text(value: object) -> str | None:
    """What filters look at: bytes as latin-1; None for another type, which matches nothing."""
    if isinstance(value, str):
        return value
    return value.decode("latin-1") if isinstance(value, bytes) else None
