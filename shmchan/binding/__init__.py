"""Data binding: what changes in a database is shown by every browser that may see it, and browsers change it."""

from shmchan.binding.base import CREATE, DELETE, UPDATE, Binding
from shmchan.binding.refusal import Refused

__all__ = ["CREATE", "DELETE", "UPDATE", "Binding", "Refused"]
