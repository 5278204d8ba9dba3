"""
`Request`: an ``http.request`` as an object.

Owns no parsing: headers, cookies, forms and files are read by Werkzeug, from the environ that the message becomes, and JSON as
everywhere in shmchan. Workers run it.
"""

from collections.abc import Mapping
from typing import Any

import werkzeug.wrappers

from shmchan.http.body import BODY_TIMEOUT, open_body
from shmchan.http.environ import make_environ
from shmchan.jsontext import decode_json
from shmchan.message import Message


class _Json:
    """What Werkzeug decodes JSON by: whatever is none is a ValueError, which it answers by 400."""

    loads = staticmethod(decode_json)


class Request(werkzeug.wrappers.Request):
    """
    A request, with everything that Werkzeug's has: ``method``, ``path`` (below ``root_path``), ``headers``, ``cookies``, ``args``
    (of the query), ``form``, ``files``, ``json``, ``data`` (the whole body), ``stream`` (the body as a file).

    Nothing of a long body is read before it is asked for, and then as it is asked for: the front leaves the client's socket
    unread meanwhile.

    Args:
        message: of the channel ``http.request``; or its content, if the body is whole.
        body_timeout: seconds that the client may be silent in its body.

    Attributes:
        message: the message.

    Raises:
        RequestAborted: whenever the body is read: the client has left. A consumer lets it pass.
        RequestTimeout: whenever the body is read: the client was silent for too long. If a consumer lets it pass the client
            gets 408.
    """

    json_module = _Json  # type: ignore[assignment]

    def __init__(self, message: Message | Mapping[str, Any], body_timeout: float = BODY_TIMEOUT) -> None:
        if not isinstance(message, Message):
            message = Message(dict(message), "http.request")
        self.message = message
        body, _ = open_body(message, body_timeout)
        super().__init__(make_environ(message.content, body))
