"""Data binding for SQLAlchemy 2 (``pip install shmchan[sqlalchemy]``): `attach` a session maker, and its commits are heard."""

from shmchan.binding.sqlalchemy.sessions import UNSEEN, UnseenChange, attach

__all__ = ["UNSEEN", "UnseenChange", "attach"]
