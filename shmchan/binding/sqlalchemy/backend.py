"""
What bindings ask of models that SQLAlchemy maps; see `shmchan.binding.backends.Backend`.

Owns fields, keys and values, and the changes that clients make. Watching sessions is `shmchan.binding.sqlalchemy.sessions`.
Workers run it, and every process whose changes are sent.
"""

import datetime
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Enum, String, inspect
from sqlalchemy.exc import DataError, IntegrityError, StatementError
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty, Session
from sqlalchemy.orm.exc import StaleDataError

from shmchan.binding.backends import Model
from shmchan.binding.base import Binding
from shmchan.binding.refusal import Refused
from shmchan.binding.sqlalchemy.sessions import session_factory
from shmchan.binding.values import BadValue, from_json, jsonable

log = logging.getLogger("shmchan.worker")
GONE = "there is no such row (any more)"


class SQLAlchemyBackend:
    """The `Backend` of mapped classes; it has no state."""

    def label(self, model: Model) -> str:
        return model.__name__.lower()

    def field_names(self, model: Model) -> Sequence[str]:
        mapper = _mapper(model)
        keys = _key_names(mapper)
        return tuple(attribute.key for attribute in mapper.column_attrs if attribute.key not in keys)

    def check_fields(self, model: Model, names: Collection[str]) -> None:
        for path in names:
            _check_path(model, path)

    def pk(self, instance: Any) -> Any:
        key = [jsonable(value, "pk") for value in _mapper(type(instance)).primary_key_from_instance(instance)]
        return key[0] if len(key) == 1 else key

    def data(self, instance: Any, names: Sequence[str]) -> dict[str, Any]:
        return {name: self._value(_follow(instance, name), name) for name in names}

    def _value(self, value: Any, name: str) -> Any:
        """A related row is said by its key."""
        if isinstance(value, (list, set)) and value and all(_is_mapped(item) for item in value):
            return [self.pk(item) for item in value]
        return self.pk(value) if _is_mapped(value) else jsonable(value, name)

    def key(self, model: Model, pk: object) -> Any:
        columns = _mapper(model).primary_key
        parts = pk if isinstance(pk, list) and len(columns) > 1 else [pk]
        if len(parts) != len(columns) or any(part is None for part in parts):
            raise Refused("pk is the key of a row")
        try:
            found = tuple(_from_json(part, column) for part, column in zip(parts, columns, strict=True))
        except BadValue as error:
            raise Refused(f"pk {error}") from None
        return found[0] if len(found) == 1 else found

    def clean(self, model: Model, data: Mapping[str, object], names: Collection[str], whole: bool) -> dict[str, Any]:
        mapper = _mapper(model)
        columns = {
            attribute.key: attribute.columns[0]
            for attribute in mapper.column_attrs
            if attribute.key in names and (whole or attribute.key not in _key_names(mapper))
        }
        errors, values = {}, {}
        for name, given in data.items():
            column = columns.get(name)
            if not isinstance(column, Column):
                errors[name] = "is no field that can be set"
                continue
            try:
                values[name] = _checked(given, column)
            except BadValue as error:
                errors[name] = str(error)
        if whole:
            for name, column in columns.items():
                if name not in data and isinstance(column, Column) and _is_required(column):
                    errors[name] = "is required"
        if errors:
            raise Refused("the values are not accepted", errors)
        return values

    def create(self, binding: Binding, data: Mapping[str, Any]) -> None:
        with _session_of(binding) as session:
            instance = binding.resolved_model()()
            for name, value in data.items():
                setattr(instance, name, value)
            session.add(instance)

    def update(self, binding: Binding, pk: Any, data: Mapping[str, Any]) -> None:
        with _session_of(binding) as session:
            instance = session.get(binding.resolved_model(), pk)
            if instance is None:
                raise Refused(GONE)
            for name, value in data.items():
                setattr(instance, name, value)

    def delete(self, binding: Binding, pk: Any) -> None:
        with _session_of(binding) as session:
            instance = session.get(binding.resolved_model(), pk)
            if instance is None:
                raise Refused(GONE)
            session.delete(instance)


@contextmanager
def _session_of(binding: Binding) -> Iterator[Session]:
    """
    A session that commits at the end.

    Raises:
        Refused: what was done in it is not possible in this database; the log says why, as that may not be the client's to know.
    """
    try:
        with session_factory(binding)() as session, session.begin():
            yield session
    except StaleDataError:
        raise Refused(GONE) from None
    except (IntegrityError, DataError) as error:
        log.info("the database refuses a client's change: %s", error.orig)
        raise Refused("the database does not accept this: it breaks one of its rules") from None
    except StatementError as error:
        if not isinstance(error.orig, (TypeError, ValueError, OverflowError)):
            raise
        log.info("a client's value cannot be stored: %s", error.orig)
        raise Refused("a value cannot be stored in its field") from None


def _mapper(model: Model) -> Mapper[Any]:
    mapper: Mapper[Any] = inspect(model)
    return mapper


def _is_mapped(value: object) -> bool:
    return hasattr(type(value), "__mapper__")


def _key_names(mapper: Mapper[Any]) -> set[str]:
    return {mapper.get_property_by_column(column).key for column in mapper.primary_key}


def _check_path(model: Model, path: str) -> None:
    """Raises ValueError: there is no such attribute."""
    owner: Any = model
    for name in path.split("."):
        if owner is None:
            return  # behind an attribute that is not mapped; who knows what is there
        if not hasattr(owner, name):
            known = ", ".join(attribute.key for attribute in _mapper(owner).attrs)
            raise ValueError(f"{model.__name__} has no field {path!r}: {owner.__name__} has {known}")
        attribute = _mapper(owner).attrs.get(name)
        owner = attribute.mapper.class_ if isinstance(attribute, RelationshipProperty) else None
        if isinstance(attribute, ColumnProperty) and not path.endswith(name):
            raise ValueError(f"{model.__name__} has no field {path!r}: {name!r} is a column and refers to nothing")


def _follow(instance: Any, path: str) -> Any:
    """The value of ``a.b``; None where a refers to nothing."""
    value = instance
    for name in path.split("."):
        if value is None:
            return None
        value = getattr(value, name)
    return value


def _python_type(column: ColumnElement[Any]) -> type | None:
    """What a column's values are; None for types that do not say."""
    if isinstance(column.type, Enum) and column.type.enum_class is not None:
        return column.type.enum_class
    try:
        return column.type.python_type
    except NotImplementedError:
        return None


def _from_json(value: object, column: ColumnElement[Any]) -> Any:
    kind = _python_type(column)
    found = value if kind is None else from_json(value, kind)
    if isinstance(found, datetime.datetime) and found.tzinfo is not None and not getattr(column.type, "timezone", False):
        return found.astimezone(datetime.UTC).replace(tzinfo=None)  # which such a column would cut off
    return found


def _checked(value: object, column: Column[Any]) -> Any:
    """
    What a client means for this column.

    Raises:
        BadValue: it cannot be.
    """
    if value is None:
        if not column.nullable:
            raise BadValue("is never empty")
        return None
    found = _from_json(value, column)
    kind = column.type
    if isinstance(kind, Enum) and kind.enum_class is None and found not in kind.enums:
        raise BadValue(f"is one of {', '.join(kind.enums)}")
    if isinstance(kind, String) and kind.length is not None and isinstance(found, str) and len(found) > kind.length:
        raise BadValue(f"is a text of at most {kind.length} characters")
    return found


def _is_required(column: Column[Any]) -> bool:
    counts_itself = column.primary_key and column.table is not None and column is column.table.autoincrement_column
    return not (
        column.nullable
        or counts_itself
        or column.default is not None
        or column.server_default is not None
        or column.identity is not None
    )


backend = SQLAlchemyBackend()
