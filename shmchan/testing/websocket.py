"""
A client that behaves like a WebSocket behind the front.

Owns the headers, cookies and session of its handshake, and the order of its messages. Test processes run it.
"""

import copy
import json
from typing import Any

from shmchan import auth
from shmchan.asgi import DEFAULT_CHANNEL_LAYER
from shmchan.sessions.store import SessionStore, settings
from shmchan.testing.client import Client


class WSClient(Client):
    """
    One WebSocket.

    Args:
        alias: the layer it is on.
        ordered: whether its messages get the front's ``order``: 0, 1, 2, …
    """

    prefix = "websocket.send"

    def __init__(self, alias: str = DEFAULT_CHANNEL_LAYER, ordered: bool = False) -> None:
        super().__init__(alias)
        self._ordered = ordered
        self._order = 0
        self._headers: dict[str, str] = {}
        self._cookies: dict[str, str] = {}
        self._session: SessionStore | None = None
        self._early: dict[str, Any] | None = None  # a frame that came with the acceptance

    # --- the handshake

    def set_header(self, key: str, value: str) -> None:
        """A header of the handshake."""
        if key.lower() == "cookie":
            raise ValueError("set cookies by set_cookie(key, value)")
        self._headers[key.lower()] = value

    def set_cookie(self, key: str, value: str) -> None:
        """A cookie of the handshake."""
        self._cookies[key] = value

    @property
    def headers(self) -> list[list[bytes]]:
        """The headers as the front would send them."""
        cookies = dict(self._cookies)
        if self._session is not None and self._session.session_key is not None:
            cookies[settings.cookie_name] = self._session.session_key
        found = [[key.encode("latin-1"), value.encode("latin-1")] for key, value in self._headers.items()]
        if cookies:
            found.append([b"cookie", "; ".join(f"{key}={value}" for key, value in cookies.items()).encode("latin-1")])
        return found

    @property
    def session(self) -> SessionStore:
        """The browser's session. Save it after a change; its cookie is sent from now on."""
        if self._session is None:
            key = self._cookies.get(settings.cookie_name)
            self._session = SessionStore(key) if key else SessionStore.create()
        return self._session

    def login(self, user_id: str | int) -> bool:
        """Note in the session who its user is, for the user loader; returns True."""
        auth.login(self.session, user_id)
        self.session.save()
        return True

    def force_login(self, user: Any) -> None:
        """As `login`, for a user object with ``pk`` or ``id``."""
        user_id = getattr(user, "pk", None)
        self.login(user.id if user_id is None else user_id)

    def logout(self) -> None:
        """Forget the user, and all else in the session."""
        auth.logout(self.session)

    # --- messages

    def send(
        self,
        to: str,
        content: dict[str, Any] = {},  # noqa: B006 - it is copied
        text: Any = None,
        path: str = "/",
    ) -> None:
        """
        Send what the front would send.

        Args:
            to: ``websocket.connect``, ``websocket.receive`` or ``websocket.disconnect``; any other channel gets it, too.
            content: more keys, or others.
            text: of a frame; what is no str is sent as JSON.
            path: with a query, if there is one.

        Raises:
            ValueError: content has an ``order``, and this client is ordered.
            TypeError: content is no dict.
        """
        if not isinstance(content, dict):
            raise TypeError(f"content is a dict of further keys, not {content!r}; a path is given as path={content!r}")
        path, _, query = path.partition("?")
        message: dict[str, Any] = {"reply_channel": self.reply_channel, "path": path}
        if to == "websocket.connect":
            message |= {"query_string": query.encode(), "headers": self.headers, "root_path": "", "scheme": "ws"}
        message |= copy.deepcopy(content)
        if text is None:
            text = message.get("text")
        if text is not None:
            message["text"] = text if isinstance(text, str) else json.dumps(text)
        if to == "websocket.disconnect":
            message.setdefault("code", 1000)
        if self._ordered:
            if "order" in content:
                raise ValueError("an ordered client gives its messages their order; leave `order` out, or ordered=True")
            message["order"] = self._order
            self._order += 1
        self.channel_layer.send(to, message)

    def receive(self, json: bool = True) -> Any:
        """
        The next answer: its ``text``, decoded if ``json``; the whole message if it has none; None if there is no answer.
        """
        content, self._early = (self._early, None) if self._early is not None else (super().receive(), None)
        if not isinstance(content, dict) or not isinstance(content.get("text"), str):
            return content
        return _loads(content["text"]) if json else content["text"]

    def consume(self, channel: str, fail_on_none: bool = True, check_accept: bool = True) -> Any:
        """
        Consume the next message of a channel; see `Client.consume`.

        Args:
            check_accept: whether a connection that is not accepted is an error; `receive` gives no acceptance then, but still the
                frame that came with it, or was it.

        Raises:
            AssertionError: there was nothing to consume, or the connection was not accepted.
        """
        result = super().consume(channel, fail_on_none=fail_on_none)
        if check_accept and channel == "websocket.connect":
            answer = super().receive()
            if not isinstance(answer, dict) or not (answer.get("accept") or answer.get("text") or answer.get("bytes")):
                raise AssertionError(
                    f"the connection was not accepted, by {{'accept': True}} or a frame; the answer is {answer!r}"
                )
            rest = {key: value for key, value in answer.items() if key not in ("accept", "subprotocol", "headers")}
            self._early = rest or None
        return result

    def send_and_consume(  # type: ignore[override]
        self,
        channel: str,
        content: dict[str, Any] = {},  # noqa: B006 - it is copied
        text: Any = None,
        path: str = "/",
        fail_on_none: bool = True,
        check_accept: bool = True,
    ) -> Any:
        """Send a message and consume it; returns what the consumer returned."""
        self.send(channel, content, text, path)
        return self.consume(channel, fail_on_none=fail_on_none, check_accept=check_accept)


HttpClient = WSClient
"""Its name before Channels 1.1."""


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the answer {text!r:.200} is no JSON; read it with receive(json=False)") from error
