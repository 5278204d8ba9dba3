"""Users: from sessions to consumers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmchan import Message, auth
from shmchan.auth import (
    AnonymousUser,
    channel_and_http_session_user_from_http,
    channel_session_user,
    channel_session_user_from_http,
    get_user,
    http_session_user,
    login,
    logout,
    set_user_loader,
    transfer_user,
)
from shmchan.exceptions import AppError
from shmchan.layers import InMemoryChannelLayer
from shmchan.sessions import ChannelSession, SessionStore, use_sessions
from shmchan.sessions.sqlite import SqliteEngine
from shmchan.sessions.store import settings

REPLY = "websocket.send.a!x"


def load_user(user_id: Any) -> str | None:
    return None if user_id == "nobody" else f"user {user_id}"


@pytest.fixture(autouse=True)
def layer(tmp_path: Path) -> Iterator[InMemoryChannelLayer]:
    use_sessions(path=tmp_path / "sessions.db")
    engine = settings.engine
    set_user_loader(load_user)
    with InMemoryChannelLayer() as layer:
        yield layer
    set_user_loader(None)
    assert isinstance(engine, SqliteEngine)
    engine.close()
    settings.engine = None


def message(layer: InMemoryChannelLayer, key: str | None = None, channel: str = "websocket.connect") -> Any:
    headers = [] if key is None else [[b"cookie", f"sessionid={key}".encode()]]
    content: dict[str, Any] = {"reply_channel": REPLY}
    return Message(content | ({"headers": headers} if channel == "websocket.connect" else {}), channel, layer)


def browser(user_id: str | int) -> str | None:
    """The key of a browser's session after its login."""
    session = SessionStore.create()
    login(session, user_id)
    return session.session_key


def user_of(message: Any) -> Any:
    return message.user


def test_the_user_of_a_handshake_is_the_connections_from_then_on(layer: InMemoryChannelLayer) -> None:
    assert channel_session_user_from_http(user_of)(message(layer, browser(7))) == "user 7"
    assert channel_session_user(user_of)(message(layer, channel="websocket.receive")) == "user 7"
    assert channel_session_user_from_http(user_of)(message(layer, channel="websocket.receive")) == "user 7"


def test_without_a_session_everybody_is_anonymous(layer: InMemoryChannelLayer) -> None:
    for decorator in (http_session_user, channel_session_user, channel_session_user_from_http):
        assert decorator(user_of)(message(layer)) == AnonymousUser()
    assert channel_and_http_session_user_from_http(user_of)(message(layer, "planted")) == AnonymousUser()


def test_an_http_session_has_its_user(layer: InMemoryChannelLayer) -> None:
    assert http_session_user(user_of)(message(layer, browser("ada"))) == "user ada"
    assert http_session_user(user_of)(message(layer, browser("nobody"))) == AnonymousUser()


def test_both_sessions_and_the_user_are_there_in_receive(layer: InMemoryChannelLayer) -> None:
    @channel_and_http_session_user_from_http
    def consumer(message: Any) -> Any:
        return message.user, message.http_session["_auth_user_id"]

    assert consumer(message(layer, browser(7))) == ("user 7", 7)
    assert consumer(message(layer, channel="websocket.receive")) == ("user 7", 7)


def test_a_logout_on_the_connection_is_not_undone_by_the_browsers_session(layer: InMemoryChannelLayer) -> None:
    @channel_and_http_session_user_from_http
    def leave(message: Any) -> None:
        logout(message.channel_session)

    decorated = channel_and_http_session_user_from_http(user_of)
    assert decorated(message(layer, browser(7))) == "user 7"
    leave(message(layer, channel="websocket.receive"))
    assert decorated(message(layer, channel="websocket.receive")) == AnonymousUser()


def test_a_login_on_the_connection_is_remembered_and_drops_what_another_left(layer: InMemoryChannelLayer) -> None:
    session = ChannelSession(layer, REPLY)
    session["draft"] = "x"
    login(session, 1)
    assert session["draft"] == "x"
    login(session, "2")
    assert "draft" not in session
    session.save()
    assert channel_session_user(user_of)(message(layer, channel="websocket.receive")) == "user 2"
    wrong: Any = object()
    with pytest.raises(TypeError, match="a user's id"):
        login(session, wrong)


def test_only_a_user_that_is_there_is_transferred(layer: InMemoryChannelLayer) -> None:
    one, two = SessionStore(), ChannelSession(layer, REPLY)
    transfer_user(one, two)
    assert two == {}
    login(one, 3)
    transfer_user(one, two)
    assert two == {"_auth_user_id": 3}


def test_an_anonymous_user_is_nobody() -> None:
    user = AnonymousUser()
    assert (user.id, user.pk, user.username, user.is_authenticated, user.is_anonymous) == (None, None, "", False, True)
    assert user == AnonymousUser()
    assert len({user, AnonymousUser()}) == 1
    assert str(user) == "AnonymousUser"


def test_a_loader_is_found_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    assert get_user(None) == AnonymousUser()
    set_user_loader("os.path:basename")
    assert get_user("/a/b") == "b"
    for wrong in ("os.path", "os.path:", ":x", "no_such_module_:x", "os.path:nothing", "os.path:sep"):
        with pytest.raises(AppError, match="user loader"):
            set_user_loader(wrong)
    set_user_loader(None)
    assert get_user(7) == AnonymousUser()
    assert "--user-loader" in caplog.text


def test_async_consumers_have_a_user(layer: InMemoryChannelLayer) -> None:
    import asyncio

    @channel_session_user_from_http
    async def consumer(message: Any) -> Any:
        return message.user

    assert asyncio.run(consumer(message(layer, browser(7)))) == "user 7"
    assert auth.USER_ID in ChannelSession(layer, REPLY)
