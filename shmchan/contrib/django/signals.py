"""
Signals of Django's models, and what a transaction tells when it is committed.

Owns the receivers, and what each database connection has touched. A row is read when its transaction first touches it and once
more when that is committed. Every process of a project runs it.

Django says only of its own callbacks which savepoints they outlive: those of one that was rolled back are dropped. So what was
touched is kept by these callbacks, and nowhere else; what is still there at the commit is what was committed.
"""

import logging
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connections, transaction
from django.db.models import QuerySet, signals

from shmchan.binding import backends
from shmchan.binding.base import Binding
from shmchan.binding.changes import Key, Outgoing, Rows, seen

log = logging.getLogger("shmchan.worker")
AT_ONCE = 500  # rows that are read by one SELECT


class _Touched:
    """The callback of a commit: the rows that were touched first within the same savepoints."""

    def __init__(self, ledger: "_Ledger", savepoints: list[Any]) -> None:
        self.ledger = ledger
        self.savepoints = savepoints
        self.rows: Rows = {}

    def __call__(self) -> None:
        self.ledger.committed()


class _Ledger:
    """What one connection has touched since its last commit."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._touched: list[weakref.ref[_Touched]] = []
        self._before: Rows = {}

    def is_known(self, key: Key) -> bool:
        return any(key in touched.rows for touched in self._live())

    def look(self, key: Key) -> None:
        """This row is going to be changed, if nothing comes between."""
        if not self.is_known(key):
            instance = _read(self.alias, *key[:1], [key[1]]).get(key[1])
            self._before[key] = {} if instance is None else seen(instance)

    def note(self, key: Key) -> None:
        """This row was changed. Outside of a transaction it is told of now."""
        before = self._before.pop(key, {})
        if not self.is_known(key):
            self._open(key, before)

    def _open(self, key: Key, before: Any) -> None:
        savepoints = list(connections[self.alias].savepoint_ids)
        last = self._touched[-1]() if self._touched else None
        if last is not None and last.savepoints == savepoints:
            last.rows[key] = before
            return
        touched = _Touched(self, savepoints)
        touched.rows[key] = before
        self._touched.append(weakref.ref(touched))
        transaction.on_commit(touched, using=self.alias)

    def committed(self) -> None:
        """The first callback of a commit tells for all; for the others nothing is left."""
        rows: Rows = {}
        for touched in self._live():
            for key, before in touched.rows.items():
                rows.setdefault(key, before)
        self._touched.clear()
        if not rows:
            return
        try:
            outgoing = Outgoing(rows, lambda model, keys: _read(self.alias, model, keys))
        except Exception:
            log.exception("what was committed cannot be told: a binding failed on %d changed rows", len(rows))
        else:
            outgoing.send()

    def _live(self) -> list[_Touched]:
        found = [touched for reference in self._touched if (touched := reference()) is not None]
        if len(found) != len(self._touched):
            self._touched = [weakref.ref(touched) for touched in found]
        return found


_ledgers: "weakref.WeakKeyDictionary[Any, _Ledger]" = weakref.WeakKeyDictionary()


def _ledger(alias: str) -> _Ledger:
    connection = connections[alias]
    found = _ledgers.get(connection)
    if found is None:
        found = _ledgers[connection] = _Ledger(alias)
    return found


def _read(alias: str, model: Any, keys: Sequence[Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for start in range(0, len(keys), AT_ONCE):
        for instance in model._base_manager.using(alias).filter(pk__in=keys[start : start + AT_ONCE]):
            found[instance.pk] = instance
    return found


def _key(instance: Any) -> Key:
    return instance._meta.concrete_model, instance._meta.concrete_model._meta.pk.to_python(instance.pk)


def _before_change(instance: Any, using: str, **given: Any) -> None:
    if instance.pk is not None:
        _ledger(using).look(_key(instance))


def _after_change(instance: Any, using: str, **given: Any) -> None:
    _ledger(using).note(_key(instance))


@contextmanager
def watching(queryset: "QuerySet[Any]") -> Iterator[None]:
    """
    Hear of changes that send no signals: ``update()``, ``bulk_create()``, ``bulk_update()``, SQL.

    Use it around them, with a queryset that finds the rows before they are changed or, for new ones, afterwards. It is a
    transaction of its own, or a part of the one that is open.
    """
    model, alias = queryset.model._meta.concrete_model, queryset.db
    with transaction.atomic(using=alias):
        ledger = _ledger(alias)
        before = list(queryset.all())
        for instance in before:
            key = _key(instance)
            if not ledger.is_known(key):
                ledger._before[key] = seen(instance)
                ledger.note(key)
        yield
        for pk in _new_keys(queryset, before):
            ledger.note((model, pk))


def _new_keys(queryset: "QuerySet[Any]", before: Iterable[Any]) -> list[Any]:
    known = {instance.pk for instance in before}
    return [pk for pk in queryset.all().values_list("pk", flat=True) if pk not in known]


def connect(binding: type[Binding]) -> None:
    """Hear of the rows of a binding's model, and of those that inherit from it; only of these: receivers make deleting slower."""
    bound = binding.resolved_model()
    if not hasattr(bound, "_meta"):
        return  # another mapper's
    for model in apps.get_models(include_auto_created=True):
        if issubclass(model, bound):
            for signal, receiver in (
                (signals.pre_save, _before_change),
                (signals.post_save, _after_change),
                (signals.pre_delete, _before_change),
                (signals.post_delete, _after_change),
            ):
                signal.connect(receiver, sender=model, dispatch_uid=f"shmchan.binding.{receiver.__name__}")


def connect_all() -> None:
    """Hear of the rows of all bindings, those that are written later included."""
    backends.when_registered(connect)
