"""
Values of a database as JSON says them, and back.

Owns both directions for the types that columns have; it knows no database mapper. Pure. Workers run it, and every process whose
changes are sent.
"""

import base64
import binascii
import datetime
import decimal
import enum
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any


class BadValue(ValueError):
    """What a client sent is no value of this type; the text is for that client."""


def jsonable(value: Any, name: str) -> Any:
    """
    A value as JSON says it: times in ISO 8601, Decimal and UUID as str, enums by their value (by their name if JSON cannot say
    that), bytes in base64, timedelta in seconds, NaN and Infinity as None.

    Args:
        name: the field's, for the error.

    Raises:
        TypeError: there is no way to say it.
    """
    if value is None or isinstance(value, bool) or (isinstance(value, (str, int)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, (str, int)) else value.name
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item, name) for item in value]
    raise TypeError(f"JSON cannot say what is in {name!r}: {value!r:.100}; leave it out, or override serialize_data")


def from_json(value: Any, kind: type) -> Any:
    """
    The value of a type that JSON says so; the other direction of `jsonable`.

    Args:
        value: not None.
        kind: a type; of one that is unknown here the value is returned as it is.

    Raises:
        BadValue: it is none.
    """
    if issubclass(kind, enum.Enum):
        return _member(value, kind)
    for base, convert in _CONVERT.items():
        if issubclass(kind, base):
            return convert(value)
    return value


def _member(value: Any, kind: type[enum.Enum]) -> enum.Enum:
    for member in kind:
        if value in (member.value, member.name) and type(value) in (str, int):
            return member
    raise BadValue(f"is one of {', '.join(str(jsonable(member, '')) for member in kind)}")


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadValue("is true or false")
    return value


def _int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadValue("is a whole number")
    if not -(1 << 63) <= value < 1 << 63:
        raise BadValue("is a number of at most 64 bits")
    return value


def _float(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BadValue("is a number")
    try:
        return float(value)
    except OverflowError:
        raise BadValue("is a number that is too large") from None


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise BadValue("is a text")
    if "\0" in value:
        raise BadValue("is a text without NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue("is a text of whole characters") from None
    return value


def _decimal(value: Any) -> decimal.Decimal:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise BadValue("is a number")
    try:
        found = decimal.Decimal(str(value))
    except decimal.InvalidOperation:
        raise BadValue("is a number") from None
    if not found.is_finite():
        raise BadValue("is a number")
    return found


def _uuid(value: Any) -> uuid.UUID:
    try:
        return uuid.UUID(_str(value))
    except ValueError:
        raise BadValue("is a UUID") from None


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_str(value), validate=True)
    except binascii.Error:
        raise BadValue("is base64") from None


def _iso(what: str, parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        try:
            return parse(_str(value))
        except ValueError:
            raise BadValue(f"is {what} in ISO 8601") from None

    return convert


def _timedelta(value: Any) -> datetime.timedelta:
    try:
        return datetime.timedelta(seconds=_float(value))
    except (OverflowError, ValueError):
        raise BadValue("is a number of seconds") from None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadValue("is a list")
    return value


_CONVERT: dict[type, Callable[[Any], Any]] = {
    # bool before int and datetime before date, whose subclasses they are
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    decimal.Decimal: _decimal,
    uuid.UUID: _uuid,
    bytes: _bytes,
    datetime.datetime: _iso("a date and time", datetime.datetime.fromisoformat),
    datetime.date: _iso("a date", datetime.date.fromisoformat),
    datetime.time: _iso("a time", datetime.time.fromisoformat),
    datetime.timedelta: _timedelta,
    list: _list,
}
