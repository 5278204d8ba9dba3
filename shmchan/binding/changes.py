"""
The rows that one transaction changed, and who is told what of them.

Owns the comparison of who saw a row before with who sees it after, for all rows of a transaction at once: each is told of once,
all deletes first, then all updates, then all creates. It knows no database: a back end hands rows in, and says when the
transaction is committed. Every process whose changes are sent runs it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from shmchan.binding.backends import Model, bindings_of
from shmchan.binding.base import CREATE, DELETE, UPDATE, Binding, Payload
from shmchan.channel import Group
from shmchan.exceptions import NoInstance

log = logging.getLogger("shmchan.worker")
Key = tuple[Model, Any]
"""A model and a primary key, which is hashable."""

Read = Callable[[Model, Sequence[Any]], Mapping[Any, Any]]
"""Reads rows as the transaction sees them now: ``read(model, keys) -> {key: instance}``, without those that are not there."""


class Seen(NamedTuple):
    """
    Who saw a row before the transaction.

    Attributes:
        groups: their groups.
        farewell: what those are told who see it no more: as it was when they saw it, since what it is now is not theirs to know.
    """

    groups: tuple[str, ...] = ()
    farewell: Payload | None = None


NOBODY = Seen()
Rows = dict[Key, dict[type[Binding], Seen]]
"""Rows by key, each with who saw it by binding; a row that was not there has no bindings in it. In the order of their change."""


def seen(instance: Any) -> dict[type[Binding], Seen]:
    """Who sees an instance, by binding."""
    found = {}
    for kind in bindings_of(type(instance)):
        binding = kind()
        groups = binding.groups_of(instance)
        found[kind] = Seen(groups, binding.serialize(instance, DELETE) if groups else None)
    return found


class Outgoing:
    """
    What a transaction has to tell, ready to be sent.

    Args:
        rows: those that it changed.
        read: how they are now.

    Raises:
        Exception: whatever a binding's `group_names` or `serialize` raises; the transaction should not be committed then.
    """

    def __init__(self, rows: Rows, read: Read) -> None:
        self._payloads: dict[str, dict[tuple[str, type[Binding]], list[Payload]]] = {DELETE: {}, UPDATE: {}, CREATE: {}}
        now: dict[Model, Mapping[Any, Any]] = {}
        for model, keys in _by_model(rows).items():
            now[model] = read(model, keys)
        for (model, key), before in rows.items():
            instance = now[model].get(key)
            kinds = dict.fromkeys((*before, *(() if instance is None else bindings_of(type(instance)))))
            for kind in kinds:
                self._compare(kind, before.get(kind, NOBODY), instance)
        self._messages = [
            (Group(group, history=kind.history), message)
            for action in (DELETE, UPDATE, CREATE)
            for (group, kind), payloads in self._payloads[action].items()
            for message in kind().messages(payloads)
        ]

    def __len__(self) -> int:
        return len(self._messages)

    def _compare(self, kind: type[Binding], before: Seen, instance: Any) -> None:
        binding = kind()
        after = () if instance is None else binding.groups_of(instance)
        if before.farewell:
            self._tell(DELETE, kind, [group for group in before.groups if group not in after], before.farewell)
        kept = [group for group in after if group in before.groups]
        if kept:
            self._tell(UPDATE, kind, kept, binding.serialize(instance, UPDATE))
        new = [group for group in after if group not in before.groups]
        if new:
            self._tell(CREATE, kind, new, binding.serialize(instance, CREATE))

    def _tell(self, action: str, kind: type[Binding], groups: Iterable[str], payload: Payload) -> None:
        if payload:
            for group in groups:
                self._payloads[action].setdefault((group, kind), []).append(payload)

    def send(self) -> None:
        """
        Send all of it: at once, or in a consumer when that is done. The transaction is committed, so nothing is raised: what
        cannot be sent is logged.
        """
        for place, (group, message) in enumerate(self._messages):
            try:
                group.send(message)
            except NoInstance as error:
                log.warning("%d messages on changed rows are not sent: %s", len(self._messages) - place, error)
                return
            except Exception:
                log.exception("a message on changed rows to the group %r is not sent", group.name)


def _by_model(rows: Rows) -> dict[Model, list[Any]]:
    found: dict[Model, list[Any]] = {}
    for model, key in rows:
        found.setdefault(model, []).append(key)
    return found
