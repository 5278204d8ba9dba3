"""What is remembered between the messages of a connection, and between the requests of a browser; and the order of messages."""

from shmchan.sessions.connection import ChannelSession, channel_session
from shmchan.sessions.middleware import SessionMiddleware
from shmchan.sessions.ordering import enforce_ordering
from shmchan.sessions.request import channel_and_http_session, http_session
from shmchan.sessions.session import Session
from shmchan.sessions.store import SessionStore, use_sessions

__all__ = [
    "ChannelSession",
    "Session",
    "SessionMiddleware",
    "SessionStore",
    "channel_and_http_session",
    "channel_session",
    "enforce_ordering",
    "http_session",
    "use_sessions",
]
