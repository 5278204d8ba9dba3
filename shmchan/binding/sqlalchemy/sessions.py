"""
Sessions whose commits are heard: which rows a transaction touches, and when what it has to tell goes out.

Owns the events of the sessions that were attached, and what each of them has touched, by savepoint. A row is read from the
database when it is first touched and once more when the transaction is about to be committed, through a session of our own on the
same connection: what is compared is what other transactions saw before and will see after, whatever the objects in memory say. It
never commits anything. Every process whose changes are sent runs it.

    first touch        read the row → who sees it                  (before the flush, or before a bulk statement)
    savepoint ends     released: its rows count for the one below; rolled back: they are forgotten
    before the commit  flush, read the rows → who is told what     (what a binding raises keeps the transaction from committing)
    after the commit   send
"""

import itertools
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, TextClause, event, inspect, select, tuple_
from sqlalchemy.orm import (
    Mapper,
    ORMExecuteState,
    Session,
    SessionTransaction,
    lazyload,
    object_session,
    scoped_session,
    sessionmaker,
)

from shmchan.binding import backends
from shmchan.binding.base import Binding
from shmchan.binding.changes import Key, Outgoing, Rows, log, seen
from shmchan.exceptions import ShmchanError

UNSEEN = "shmchan_unseen"
"""The execution option of a statement that nobody needs to hear of: ``session.execute(…, execution_options={UNSEEN: True})``."""

AT_ONCE = 500  # rows that are read by one SELECT
_INFO = "shmchan.binding"
_OF_ASYNCIO = "_shmchan_of_asyncio"
_WRITES = re.compile(
    r"""\s*(?:insert\s+(?:or\s+\w+\s+)?into|replace\s+into|merge\s+into|update(?:\s+or\s+\w+)?|delete\s+from|truncate(?:\s+table)?)
    \s+(?:only\s+)?(?:["`\[]?\w+["`\]]?\.)?["`\[]?(?P<table>\w+)""",
    re.IGNORECASE | re.VERBOSE,
)
Factory = Callable[[], Session]


class UnseenChange(ShmchanError):
    """
    A statement would change rows of a model with bindings in a way that shows not which, so that browsers would not hear of it.

    Attributes:
        table: the table's name.
    """

    def __init__(self, table: str, instead: str) -> None:
        self.table = table
        super().__init__(
            f"this statement changes rows of {table!r}, which bindings show to browsers, without telling which; {instead}, or "
            f"give the statement execution_options(shmchan_unseen=True) if nobody needs to hear of it"
        )


def attach(target: Any) -> None:
    """
    Send the changes of these sessions when they commit; a second time it changes nothing.

    Args:
        target: a `sessionmaker`, a `scoped_session` of one, a subclass of `Session`, or one session. The first that is no single
            session also makes the changes of clients, for bindings without an attribute ``sessions`` that is another. Or an
            `async_sessionmaker`, which makes none of these.

    Raises:
        sqlalchemy.exc.ArgumentError, InvalidRequestError: it is none of them.
    """
    if isinstance(getattr(target, "kw", None), dict) and not isinstance(target, sessionmaker):
        attach(_sync_class_of(target))
        return
    for name, listener in _LISTENERS.items():
        if not event.contains(target, name, listener):
            event.listen(target, name, listener)
    for name, listener in _ROW_LISTENERS.items():
        if not event.contains(Mapper, name, listener):
            event.listen(Mapper, name, listener)
    if isinstance(target, (sessionmaker, scoped_session, type)) and not _is_of_asyncio(target) and target not in _factories:
        _factories.append(target)


def _sync_class_of(maker: Any) -> type[Session]:
    """The class of the sessions within an `async_sessionmaker`; one of its own, as the usual one is everybody's."""
    used: type[Session] = maker.kw.get("sync_session_class", Session)
    if not _is_of_asyncio(used):
        used = type("AttachedSession", (used,), {_OF_ASYNCIO: True})
        maker.configure(sync_session_class=used)
    return used


def _is_of_asyncio(target: Any) -> bool:
    return _OF_ASYNCIO in getattr(target, "__dict__", ())


def session_factory(binding: Binding) -> Factory:
    """
    What makes the session for a client's change.

    Raises:
        RuntimeError: nothing was attached that could.
    """
    found = getattr(binding, "sessions", None) or next(iter(_factories), None)
    if found is None:
        raise RuntimeError(
            f"{type(binding).__qualname__} has no session to change rows in; call attach(sessionmaker) where the models are made"
        )
    factory: Factory = found.session_factory if isinstance(found, scoped_session) else found
    return factory


_factories: list[Any] = []


class _Reader(Session):
    """A session of our own on somebody's connection."""


class _Frame:
    """The rows that a transaction or savepoint touched first."""

    def __init__(self, transaction: SessionTransaction) -> None:
        self.transaction = transaction
        self.rows: Rows = {}
        self.committed = False


class _Watch:
    """
    What one session has touched.

    Attributes:
        frames: the transaction, then its savepoints.
        outgoing: what the transaction has to tell, when it is about to be committed.
        writing: whether statements that come now are accounted for.
    """

    def __init__(self, session: Session) -> None:
        self.session: Callable[[], Session | None] = weakref.ref(session)
        self.frames: list[_Frame] = []
        self.outgoing: Outgoing | None = None
        self.writing = False
        self.connections: list[Connection] = []

    def is_known(self, key: Key) -> bool:
        return any(key in frame.rows for frame in self.frames)

    def touch(self, model: type[Any], keys: Iterable[Any]) -> None:
        """These rows are going to be changed."""
        new = [key for key in dict.fromkeys(keys) if not self.is_known((model, key))]
        with self._reader(model) as reader:
            for some in _pieces(new):
                found = _read(reader, model, some)
                for key in some:
                    self.note((model, key), found.get(key))

    def touch_matching(self, model: type[Any], statement: Any) -> None:
        """The rows that a SELECT finds are going to be changed."""
        with self._reader(model) as reader:
            for instance in reader.scalars(statement.options(lazyload("*"))):
                key = (model, inspect(instance).identity)
                if not self.is_known(key):
                    self.note(key, instance)

    def note(self, key: Key, instance: Any) -> None:
        self.frames[-1].rows[key] = {} if instance is None else seen(instance)

    def prepare(self) -> None:
        """The transaction is about to be committed: find out who is told what."""
        rows = self.frames[0].rows
        if not rows:
            return

        def read(model: type[Any], keys: Sequence[Any]) -> dict[Any, Any]:
            reader = stack.enter_context(self._reader(model))
            return {key: row for some in _pieces(keys) for key, row in _read(reader, model, some).items()}

        with ExitStack() as stack:
            self.outgoing = Outgoing(rows, read)

    def _reader(self, model: type[Any]) -> _Reader:
        session = self.session()
        assert session is not None
        connection = session.connection(bind_arguments={"mapper": inspect(model)})
        return _Reader(connection, autoflush=False, join_transaction_mode="rollback_only")

    @contextmanager
    def accounted(self) -> Iterator[None]:
        """Statements within change rows that were touched."""
        before, self.writing = self.writing, True
        try:
            yield
        finally:
            self.writing = before


def _watch(session: Session) -> _Watch:
    found = session.info.get(_INFO)
    if found is None:
        found = session.info[_INFO] = _Watch(session)
        transaction = session.get_transaction()
        if transaction is not None:  # attached in the middle of it
            found.frames.append(_Frame(transaction))
    watch: _Watch = found
    return watch


def _read(reader: Session, model: type[Any], keys: Sequence[Any]) -> dict[Any, Any]:
    """Rows by key. They are locked, where a database can, as they are about to be changed anyway."""
    columns = inspect(model).primary_key
    statement = select(model).options(lazyload("*")).with_for_update()
    wanted = columns[0].in_([key[0] for key in keys]) if len(columns) == 1 else tuple_(*columns).in_(keys)
    found = {inspect(row).identity: row for row in reader.scalars(statement.where(wanted))}
    missing = [key for key in keys if key not in found]
    if len(found) + len(missing) > len(keys):  # a row whose key the database writes otherwise, as 5 for "5"
        for key in missing:
            row = reader.scalar(statement.where(*(column == part for column, part in zip(columns, key, strict=True))))
            if row is not None:
                found[key] = row
    return found


def _pieces(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]


# --- which models and tables


_bound: tuple[tuple[type[Binding], ...], set[Mapper[Any]], dict[str, set[Table]]] | None = None


def _bound_now() -> tuple[set[Mapper[Any]], dict[str, set[Table]]]:
    """The base mappers of models with bindings, and their tables by name."""
    global _bound
    registered = backends.registered()
    if _bound is None or _bound[0] != registered:
        mappers = {
            inspect(binding.resolved_model()).base_mapper
            for binding in registered
            if hasattr(binding.resolved_model(), "__mapper__")
        }
        tables: dict[str, set[Table]] = {}
        for mapper in mappers:
            for one in mapper.self_and_descendants:
                for table in one.tables:
                    if isinstance(table, Table):
                        tables.setdefault(table.name.lower(), set()).add(table)
        _bound = registered, mappers, tables
    return _bound[1], _bound[2]


def _model_of(instance: Any) -> type[Any] | None:
    """The class that an instance's row is known by; None if no binding asks for it."""
    mapper = inspect(instance).mapper.base_mapper
    model: type[Any] = mapper.class_
    return model if mapper in _bound_now()[0] else None


# --- flushes


def _before_flush(session: Session, context: Any, instances: Any) -> None:
    watch = _watch(session)
    touched: dict[type[Any], list[Any]] = {}
    changed = [instance for instance in session.dirty if session.is_modified(instance)]
    for instance in itertools.chain(changed, session.deleted):
        model = _model_of(instance)
        identity = inspect(instance).identity
        if model is not None and identity is not None:
            touched.setdefault(model, []).append(identity)
    for model, keys in touched.items():
        watch.touch(model, _sorted(keys))
    watch.writing = True


def _sorted(keys: list[Any]) -> list[Any]:
    """In the order in which a flush writes them; the session itself keeps its changed objects in none."""
    try:
        return sorted(keys)
    except TypeError:  # keys that have no order
        return keys


def _before_update(mapper: Mapper[Any], connection: Connection, instance: Any) -> None:
    """A row that only the flush itself found out it must change: one whose foreign key is another's to set."""
    session = object_session(instance)
    if session is not None and session.is_modified(instance, include_collections=False):
        _touch(session, instance)


def _before_delete(mapper: Mapper[Any], connection: Connection, instance: Any) -> None:
    """A row that only the flush itself found out it must remove: an orphan."""
    session = object_session(instance)
    if session is not None:
        _touch(session, instance)


def _touch(session: Session, instance: Any) -> None:
    watch = session.info.get(_INFO)
    model = None if watch is None else _model_of(instance)
    if watch is not None and model is not None:
        watch.touch(model, [inspect(instance).identity])


def _after_flush(session: Session, context: Any) -> None:
    watch = _watch(session)
    for instance in itertools.chain(session.new, session.dirty):
        model = _model_of(instance)
        if model is None:
            continue
        key = model, tuple(inspect(instance).mapper.primary_key_from_instance(instance))
        if not watch.is_known(key):
            state = inspect(instance)
            if state.key is None or state.identity != key[1]:  # new, or under a new key
                watch.note(key, None)
    watch.writing = False
    if watch.outgoing is not None:  # the commit is on its way, and flushed more
        watch.prepare()


# --- bulk statements


def _do_orm_execute(state: ORMExecuteState) -> Any:
    mapper = state.bind_mapper
    if not (state.is_update or state.is_delete or state.is_insert) or state.execution_options.get(UNSEEN) or mapper is None:
        return None
    if mapper.base_mapper not in _bound_now()[0]:
        return None
    if state.is_insert:
        raise UnseenChange(str(mapper.local_table), "add the new objects to the session (session.add_all)")
    session, statement, model = state.session, state.statement, mapper.base_mapper.class_
    watch = _watch(session)
    if session.autoflush:
        session.flush()
    if isinstance(state.parameters, list):  # by primary key
        names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        watch.touch(model, [tuple(row[name] for name in names) for row in state.parameters])
    else:
        matching = select(mapper.class_)
        clause = statement.whereclause  # type: ignore[attr-defined]
        if clause is not None:
            matching = matching.where(clause)
        if isinstance(state.parameters, Mapping):
            matching = matching.params(**state.parameters)
        watch.touch_matching(model, matching)
    with watch.accounted():
        return state.invoke_statement()


def _before_execute(connection: Connection, statement: Any, many: Any, one: Any, options: Any) -> None:
    """The guard: no statement changes rows of a bound table unless they were touched."""
    watch = _watches.get(connection)
    if watch is None or watch.writing or options.get(UNSEEN):
        return
    if getattr(statement, "is_dml", False):
        table = statement.table
        if table in _bound_now()[1].get(str(getattr(table, "name", "")).lower(), ()):
            raise UnseenChange(
                table.name, "change objects in the session, or use update(Model) or delete(Model) with session.execute"
            )
    elif isinstance(statement, TextClause):
        found = _WRITES.match(statement.text)
        if found is not None and found["table"].lower() in _bound_now()[1]:
            raise UnseenChange(found["table"], "change objects in the session")


_watches: "weakref.WeakKeyDictionary[Connection, _Watch]" = weakref.WeakKeyDictionary()


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if isinstance(session, _Reader):
        return
    watch = _watch(session)
    _watches[connection] = watch
    watch.connections.append(connection)
    engine: Engine = connection.engine
    if not event.contains(engine, "before_execute", _before_execute):
        event.listen(engine, "before_execute", _before_execute)


# --- transactions


def _after_transaction_create(session: Session, transaction: SessionTransaction) -> None:
    if isinstance(session, _Reader):
        return
    if transaction.nested or transaction.parent is None:
        watch = _watch(session)
        if not any(frame.transaction is transaction for frame in watch.frames):
            watch.frames.append(_Frame(transaction))


def _before_commit(session: Session) -> None:
    if isinstance(session, _Reader) or session.in_nested_transaction():
        return
    session.flush()
    _watch(session).prepare()


def _after_commit(session: Session) -> None:
    if isinstance(session, _Reader):
        return
    watch = _watch(session)
    transaction = session.get_nested_transaction() or session.get_transaction()
    for frame in watch.frames:
        if frame.transaction is transaction:
            frame.committed = True
    if transaction is None or transaction.nested:
        return
    if watch.outgoing is not None:
        watch.outgoing.send()
    elif any(frame.rows for frame in watch.frames):
        log.error("a session was committed with a savepoint still open: nobody hears of its changes; end savepoints before")
    watch.outgoing = None


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    watch = session.info.get(_INFO)
    if watch is None or not any(frame.transaction is transaction for frame in watch.frames):
        return
    while watch.frames:
        frame = watch.frames.pop()
        if frame.committed and watch.frames:
            for key, before in frame.rows.items():
                watch.frames[-1].rows.setdefault(key, before)
        if frame.transaction is transaction:
            break
    if not watch.frames:
        watch.writing, watch.outgoing = False, None
        for connection in watch.connections:
            _watches.pop(connection, None)
        watch.connections.clear()


def _after_soft_rollback(session: Session, previous: SessionTransaction) -> None:
    watch = session.info.get(_INFO)
    if watch is not None:
        watch.writing = False  # a flush that failed never comes to its end
        watch.outgoing = None


_ROW_LISTENERS: dict[str, Callable[..., Any]] = {"before_update": _before_update, "before_delete": _before_delete}
_LISTENERS: dict[str, Callable[..., Any]] = {
    "before_flush": _before_flush,
    "after_flush": _after_flush,
    "do_orm_execute": _do_orm_execute,
    "after_begin": _after_begin,
    "after_transaction_create": _after_transaction_create,
    "before_commit": _before_commit,
    "after_commit": _after_commit,
    "after_transaction_end": _after_transaction_end,
    "after_soft_rollback": _after_soft_rollback,
}
