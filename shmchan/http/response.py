"""
`Response`: an answer to an ``http.request``, as an object that a consumer can return.

Owns how it becomes a message. It never touches a socket, and how a cookie or a location is written is Werkzeug's to say, which
is loaded by the first that needs it. Workers run it.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from shmchan.message import Message

TEXT = [[b"content-type", b"text/plain; charset=utf-8"]]
"""The headers of plain text in UTF-8."""

Headers = Mapping[Any, Any] | Iterable[Sequence[Any]]
"""What may be given as headers: a mapping of names to values, or pairs of both."""


class Response:
    """
    A whole response.

    Args:
        content: its body; str is sent as UTF-8.
        status: its status code.
        headers: a mapping of names to values, or pairs of them where a name comes twice; str (latin-1) or bytes.

    Attributes:
        content: bytes.
        headers: a list of ``[name, value]``, both bytes; add to it what you like.

    Raises:
        TypeError: one of them is of another type.
    """

    def __init__(self, content: bytes | str = b"", status: int = 200, headers: Headers = ()) -> None:
        if not isinstance(content, (bytes, str)):
            raise TypeError(f"the content of a Response is bytes or str, not {type(content).__name__}")
        self.content = content.encode() if isinstance(content, str) else content
        self.status = checked_status(status)
        self.headers = checked_headers(headers)

    @classmethod
    def json(cls, data: Any, status: int = 200, headers: Headers = ()) -> Self:
        """
        A response of JSON.

        Raises:
            TypeError, ValueError: JSON has no way to write the data; NaN and Infinity are no JSON.
        """
        content = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return cls(content, status, [(b"content-type", b"application/json"), *_pairs(headers)])

    @classmethod
    def redirect(cls, location: str, status: int = 302, headers: Headers = ()) -> Self:
        """
        Send the client elsewhere.

        Args:
            location: a URL or a path; other characters than ASCII are encoded.
            status: 301, 302, 303, 307 or 308.

        Raises:
            ValueError: another status.
        """
        if status not in (301, 302, 303, 307, 308):
            raise ValueError(f"the status of a redirection is 301, 302, 303, 307 or 308, not {status!r}")
        from werkzeug.urls import iri_to_uri

        return cls(b"", status, [(b"location", iri_to_uri(location)), *_pairs(headers)])

    def set_cookie(
        self,
        name: str,
        value: str = "",
        *,
        max_age: timedelta | int | None = None,
        expires: datetime | int | float | str | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["Lax", "Strict", "None"] | None = None,
    ) -> None:
        """
        Have the client keep a cookie.

        Args:
            max_age: seconds, or a timedelta, after which the client forgets it.
            expires: the same as a moment; without either, it forgets it when it ends.
        """
        from werkzeug.http import dump_cookie

        cookie = dump_cookie(name, value, max_age, expires, path, domain, secure, httponly, samesite=samesite)
        self.headers.append([b"set-cookie", cookie.encode("latin-1")])

    def delete_cookie(self, name: str, *, path: str | None = "/", domain: str | None = None) -> None:
        """Have the client forget a cookie; path and domain are those that it was set with."""
        self.set_cookie(name, max_age=0, expires=0, path=path, domain=domain)

    def message(self) -> dict[str, Any]:
        """What is sent to the reply channel: ``status``, ``headers``, ``content`` and ``more_content``."""
        return {"status": self.status, "headers": self.headers, "content": self.content, "more_content": False}

    def answer(self, message: Message) -> None:
        """Send it to the reply channel of a message, which has one, when the consumer is done."""
        assert message.reply_channel is not None
        message.reply_channel.send(self.message())


def refusal(error: Exception) -> Response | None:
    """
    The response that an exception of Werkzeug's stands for: what `Request` raises for a form without the field that was asked for
    or for JSON that is none, and ``abort(404)``. None for any other exception.
    """
    werkzeug = sys.modules.get("werkzeug.exceptions")  # where it is not loaded, nobody has raised one
    if werkzeug is None or not isinstance(error, werkzeug.HTTPException) or error.code is None:
        return None
    return Response(error.get_body(), error.code, error.get_headers())


def checked_status(status: object) -> int:
    """A status code. Raises TypeError: it is none."""
    if type(status) is not int or not 100 <= status <= 999:
        raise TypeError(f"the status of a Response is an int of three digits, not {status!r}")
    return status


def checked_headers(headers: Headers) -> list[list[bytes]]:
    """Headers as messages have them. Raises TypeError: they are no names and values, or one of those is neither str nor bytes."""
    return [[_latin(name), _latin(value)] for name, value in _pairs(headers)]


def _pairs(headers: Headers) -> list[Sequence[Any]]:
    if isinstance(headers, Mapping):
        return [*headers.items()]
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise TypeError(f"headers are a dict of names and values, or pairs of them, not {headers!r}")
    pairs = [*headers]
    for pair in pairs:
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"a header is a pair of a name and a value, not {pair!r}; give a dict, or a list of such pairs")
    return pairs


def _latin(text: object) -> bytes:
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("latin-1")
    raise TypeError(f"a header's name and value are str or bytes, not {text!r}")
