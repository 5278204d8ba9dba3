"""
One HTTP request on its way through the application: from the parsed request to ``http.request``, from the answers to a response.

Owns the life of one exchange: its reply channel, its body channel, its time limit, its ``http.disconnect`` and its line in the
access log. Never touches a socket; the connection does. Runs in the front.
"""

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from shmchan.exceptions import ChannelFull, MessageTooLarge
from shmchan.front.answers import RESPONSE_KEYS, ResponsePart, read_response
from shmchan.front.events import KEEP_ALIVE, Event, EventStream, is_event, is_event_stream, read_event, with_defaults
from shmchan.protocol.http import BadResponse, BodyReceived, HTTPConnection, RequestReceived
from shmchan.protocol.response import check_headers, phrase

if TYPE_CHECKING:
    from shmchan.front.connection import Connection

logger = logging.getLogger("shmchan.front")

WAITING, STREAMING, DONE = "WAITING", "STREAMING", "DONE"

TRANSITIONS = {
    (WAITING, "begun"): STREAMING,
    (WAITING, "done"): DONE,  # we answered ourselves, or the client left
    (STREAMING, "done"): DONE,
}


class HTTPExchange:
    """
    A request that was handed on, until it is answered or nobody waits for the answer.

    Attributes:
        stalled: a piece of the body found no room yet, so the socket should not be read.
        deadline: when `handle_timeout` has something to do.
    """

    __slots__ = (
        "_backlog",
        "_body_channel",
        "_body_open",
        "_bridge",
        "_closed_channel",
        "_connection",
        "_events",
        "_head",
        "_held",
        "_path",
        "_sent",
        "_stalled_since",
        "_started",
        "_state",
        "deadline",
        "reply_channel",
    )

    def __init__(self, connection: "Connection", http: HTTPConnection, request: RequestReceived, now: float) -> None:
        self._connection = connection
        self._bridge = connection.bridge
        self._head = request.head
        self._path = connection.path_of(request.head)
        self._state = WAITING
        self._started = now
        self._body_channel: str | None = None
        self._body_open = False
        self._closed_channel: str | None = None
        self._sent = False
        self._backlog: deque[BodyReceived] = deque()
        self._stalled_since = 0.0
        self._held: list[dict[str, Any]] = []
        self._events: EventStream | None = None
        self.deadline: float | None = now + self._bridge.config.http_timeout
        self.reply_channel = self._bridge.port.new_reply_channel("http")
        message: dict[str, Any] = {
            "reply_channel": self.reply_channel,
            "http_version": request.head.http_version,
            "method": request.head.method,
            "scheme": "http",
            "path": self._path,
            "query_string": request.head.query_string,
            "root_path": self._bridge.config.root_path,
            "headers": request.head.headers,
            "body": request.body,
            "client": connection.client,
            "server": connection.server,
        }
        if request.more_body:
            self._body_channel = self._bridge.layer.new_channel("http.request.body?")
            message["body_channel"] = self._body_channel
        counters = self._bridge.counters
        counters.add("requests")
        try:
            self._bridge.port.send("http.request", message)
        except ChannelFull:
            counters.add("refused.full")
            self._bridge.port.dropped("http.request")
            self._refuse(http, 503)
            return
        except MessageTooLarge as error:
            logger.warning("a request for %s is refused: %s", request.head.target.decode("ascii"), error)
            counters.add("refused.malformed")
            self._refuse(http, 413)
            return
        self._sent = True
        self._body_open = request.more_body
        if self._body_open:
            self.deadline = None  # it may take hours; its silence, and that nobody takes it, have limits of their own
        self._bridge.register(self.reply_channel, self)

    @property
    def connection(self) -> "Connection":
        return self._connection

    @property
    def stalled(self) -> bool:
        return bool(self._backlog)

    @property
    def waits(self) -> bool:
        """Whether the application owes something to the client."""
        return self._state is not DONE

    @property
    def holding(self) -> bool:
        """Whether messages of groups wait for the response to begin."""
        return bool(self._held)

    @property
    def streams_events(self) -> bool:
        """Whether its response is a stream of events that has begun."""
        return self._events is not None and self._state is STREAMING

    # From the application ---------------------------------------------------------------------------------------------------

    def deliver(self, message: dict[str, Any], group: bool) -> None:
        """Take one message that was sent to the reply channel."""
        if group and self._state is WAITING and message.get("status") is None:
            self._held.append(message)  # its consumer joined the group at once, its response goes out when it is over
            return
        if self.streams_events and (group or (message and RESPONSE_KEYS.isdisjoint(message)) or is_event(message)):
            event = read_event(message, group)
            for counter, text in event.problems:
                self._bridge.problem(counter, self._where(), text)
            self.deliver_event(event)
            return
        if group and RESPONSE_KEYS.isdisjoint(message):
            self._bridge.problem("ignored.key", self._where(), "a message of a group has nothing for a response, it is left out")
            return
        http = self._connection.http
        try:
            part = read_response(message)
            for counter, text in part.problems:
                self._bridge.problem(counter, self._where(), text)
            self._closed_channel = part.closed_channel or self._closed_channel
            if self._state is WAITING:
                self._begin(http, part)
            else:
                self._go_on(http, part)
        except BadResponse as error:
            logger.error("the response to %s is a 500: %s", self._where(), error)
            self._bridge.counters.add("bad.response")
            self._refuse(http, 500)

    def _begin(self, http: HTTPConnection, part: ResponsePart) -> None:
        if part.status is None:
            raise BadResponse("its first message has no status")
        now = self._bridge.now()
        headers = part.headers
        if part.more_content and is_event_stream(checked := check_headers(headers)):
            headers = with_defaults(checked)
            config = self._bridge.config
            limit = config.websocket_timeout
            ends_at = self._started + (self._bridge.layer.group_expiry if limit is None else limit)
            self._events = EventStream(now, config.ping_interval, ends_at)
            self._events.sent(part.content, now)
        http.send_response(part.status, headers, part.content, part.more_content, now=now)
        self._bridge.counters.add("sent")
        self.deadline = None if self._events is None else self._events.next_deadline(now)
        self._move("begun")
        if self._events is not None and self._head.method == "HEAD":
            http.send_body(b"", now=now)
            self._finish(http, whole=True)
        elif not part.more_content:
            self._finish(http, whole=True)
        held, self._held = self._held, []
        for message in held:
            if self._state is STREAMING:
                self.deliver(message, True)
            else:
                self._bridge.counters.add("dropped.gone")

    def deliver_event(self, event: Event) -> None:
        """Send one event on a stream that has begun; there may be nothing in it for us."""
        if event.content and self._events is not None:
            now = self._bridge.now()
            self._connection.http.send_body(event.content, True, now=now)
            self._events.sent(event.content, now)
            self._bridge.counters.add("sent")

    def _go_on(self, http: HTTPConnection, part: ResponsePart) -> None:
        if part.status is not None:
            # Whoever streamed it has failed or was killed. A good end would pass for the whole, so it gets none.
            self._bridge.problem(
                "cut.response", self._where(), f"cut off, its response had begun and then failed ({part.status})"
            )
            self._refuse(http, 500)
            return
        now = self._bridge.now()
        cut = http.send_body(part.content, part.more_content, now=now)
        self._bridge.counters.add("sent")
        if self._events is not None:
            self._events.sent(part.content, now)
        if cut:
            self._bridge.problem("bad.response", self._where(), f"{cut} bytes exceed its content-length and are cut off")
        if not part.more_content:
            self._finish(http, whole=True)

    # From the client --------------------------------------------------------------------------------------------------------

    def body(self, event: BodyReceived, now: float) -> None:
        """Pass on a later piece of the body, or keep it until there is room."""
        if not self._body_open:
            return
        if not self._backlog:
            if self._send_body(event):
                return
            self._stalled_since = now
            self._connection.http.pause_body()
            self._bridge.retry_later(self)
        self._backlog.append(event)

    def retry(self, now: float) -> bool:
        """Try again to pass on the body. Returns whether that is settled."""
        while self._backlog and self._body_open:
            if not self._send_body(self._backlog[0]):
                if now - self._stalled_since < self._bridge.config.body_timeout:
                    return False
                logger.warning("nobody reads the body of %s; it is given up", self._where())
                self._bridge.counters.add("timeout.receive")
                self._refuse(self._connection.http, 503)
                break
            self._backlog.popleft()
            self._stalled_since = now
        self._backlog.clear()
        self._connection.http.resume_body(now)
        self._connection.update(now)
        return True

    def shut_down(self) -> None:
        """The front stops. A stream of events would have no end; its client comes back by itself."""
        if self.streams_events:
            self._end_events()

    @property
    def is_waiting(self) -> bool:
        """Whether its message was sent, and nothing of an answer has come."""
        return self._sent and self._state is WAITING

    def refuse_put_back(self) -> None:
        """The front stops, and its message was put back for later."""
        self._bridge.counters.add("refused.stopping")
        self._refuse(self._connection.http, 503)

    def abandoned(self) -> None:
        """The client left, or broke a rule so that it was answered already."""
        if self._state is not DONE:
            http = self._connection.http
            self._log(http, 499 if http.refusal is None else http.refusal.status)
            self._end(whole=False)

    def handle_timeout(self, now: float) -> None:
        """Nobody answered in time."""
        if self.deadline is None or now < self.deadline:
            return
        if self._events is not None:
            self._care_for_events(self._events, now)
            return
        self.deadline = None
        logger.warning("no answer to %s within %g s: 503", self._where(), self._bridge.config.http_timeout)
        self._bridge.counters.add("timeout.http")
        self._refuse(self._connection.http, 503)

    # ------------------------------------------------------------------------------------------------------------------------

    def _care_for_events(self, events: EventStream, now: float) -> None:
        """The stream was silent for a while, or is old."""
        if events.is_old(now):
            self._bridge.counters.add("timeout.events")
            self._end_events()
            return
        if events.needs_comment(now):
            self._connection.http.send_body(KEEP_ALIVE, True, now=now)
            events.sent(KEEP_ALIVE, now)
        self.deadline = events.next_deadline(now)

    def _end_events(self) -> None:
        """A good end; the application may not have come to its own."""
        http = self._connection.http
        http.send_body(b"", now=self._bridge.now())
        self._finish(http, whole=False)

    def _send_body(self, event: BodyReceived) -> bool:
        assert self._body_channel is not None
        message = {"content": event.content, "more_content": event.more_content, "closed": False}
        try:
            self._bridge.port.send(self._body_channel, message)
        except ChannelFull:
            return False
        except MessageTooLarge as error:
            logger.warning("the body of %s is given up: %s", self._where(), error)
            self._bridge.counters.add("dropped.receive")
            self._refuse(self._connection.http, 413)
            return True
        if not event.more_content:
            self._body_open = False
            if self._state is WAITING:
                self.deadline = self._bridge.now() + self._bridge.config.http_timeout
        return True

    def _refuse(self, http: HTTPConnection, status: int) -> None:
        if self._state is WAITING and http.writing == "OWED":
            text = f"{status} {phrase(status)}\n".encode()
            http.send_response(status, [(b"content-type", b"text/plain; charset=utf-8")], text, now=self._bridge.now())
        else:
            http.send_error(status, now=self._bridge.now())
        self._finish(http, whole=False)

    def _finish(self, http: HTTPConnection, whole: bool) -> None:
        if self._state is DONE:
            return
        self._log(http, http.status)
        self._drop_body()  # it was answered, so nobody needs the rest
        self._end(whole)

    def _log(self, http: HTTPConnection, status: int) -> None:
        what = f"{self._head.method} {self._head.target.decode('ascii')}"
        self._bridge.access(self._connection.client, what, status, http.sent_bytes, self._started)

    def _end(self, whole: bool) -> None:
        """Nothing more goes out. ``whole``: the application sent all of its response."""
        self._move("done")
        self.deadline = None
        bridge = self._bridge
        bridge.forget(self.reply_channel)
        if self._held:
            bridge.counters.add("dropped.gone", len(self._held))
            self._held.clear()
            bridge.touch(self._connection)  # their credit
        if self._body_open:
            self._drop_body()
        if self._closed_channel is not None and not whole:
            bridge.tell_closed(self._closed_channel)
        if self._sent and bridge.port.listens("http.disconnect"):
            try:
                bridge.port.send("http.disconnect", {"reply_channel": self.reply_channel, "path": self._path})
            except ChannelFull:
                bridge.problem("dropped.disconnect", self._where(), "http.disconnect is full, it is dropped")
        self._connection.exchange_over(self)

    def _drop_body(self) -> None:
        """
        Take back what waits of the body, and tell whoever still reads it.

        Unread, a few megabytes of it would lie there until they expire: some uploads that nobody reads would fill the segment.
        """
        channel, self._body_channel = self._body_channel, None
        if channel is None:
            return
        layer, left = self._bridge.layer, 0
        while layer.receive([channel])[0] is not None:
            left += 1
        layer.forget(channel)
        if left or self._body_open:
            self._bridge.tell_closed(channel)
        self._body_open = False

    def _move(self, event: str) -> None:
        try:
            self._state = TRANSITIONS[self._state, event]
        except KeyError:
            raise RuntimeError(f"{event!r} cannot happen while it is {self._state}") from None

    def _where(self) -> str:
        return f"{self._head.method} {self._head.target.decode('ascii'):.200}"
