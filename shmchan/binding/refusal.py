"""
`Refused`: why what a client wanted was not done.

Owns the reason, which that client alone is told. Workers run it.
"""

from collections.abc import Mapping

from shmchan.exceptions import ShmchanError


class Refused(ShmchanError):
    """
    A client's change is not made, and nothing was stored. Raise it in `create`, `update`, `delete` or `has_permission`, too.

    Attributes:
        reason: for the client, a phrase.
        errors: reasons by field, where it is a field's.
    """

    def __init__(self, reason: str, errors: Mapping[str, str] | None = None) -> None:
        self.reason = reason
        self.errors = dict(errors or {})
        super().__init__(reason)
