"""
`Response`: an answer to an ``http.request``, as an object that a consumer can return.

Owns how it becomes a message. It never touches a socket. Workers run it.
"""

from collections.abc import Iterable
from typing import Any

TEXT = [[b"content-type", b"text/plain; charset=utf-8"]]


class Response:
    """
    A whole response.

    Args:
        content: its body; str is sent as UTF-8.
        status: its status code.
        headers: names and values, str (latin-1) or bytes.

    Raises:
        TypeError: one of them is of another type.
    """

    def __init__(self, content: bytes | str = b"", status: int = 200, headers: Iterable[tuple[Any, Any]] = ()) -> None:
        if not isinstance(content, (bytes, str)):
            raise TypeError(f"the content of a Response is bytes or str, not {type(content).__name__}")
        if type(status) is not int or not 100 <= status <= 999:
            raise TypeError(f"the status of a Response is an int of three digits, not {status!r}")
        self.content = content.encode() if isinstance(content, str) else content
        self.status = status
        self.headers = [[_latin(name), _latin(value)] for name, value in headers]

    def message(self) -> dict[str, Any]:
        """What is sent to the reply channel."""
        return {"status": self.status, "headers": self.headers, "content": self.content, "more_content": False}


def _latin(text: object) -> bytes:
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("latin-1")
    raise TypeError(f"a header's name and value are str or bytes, not {text!r}")
