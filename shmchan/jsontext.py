"""
JSON that comes from outside, and JSON that goes there.

Owns what counts as JSON: what RFC 8259 says, nested no deeper than Python follows. A text that is none is a ValueError, whatever
is wrong with it. Knows nothing of frames and requests. Workers run it.
"""

import json
from typing import Any


def decode_json(text: str | bytes) -> Any:
    """
    The value of a JSON text; bytes are one in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: it is none; NaN and Infinity, which Python takes for numbers, are none there. One that is nested too deep is
            none either.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def encode_json(content: Any) -> str:
    """
    The JSON text of a value.

    Raises:
        TypeError, ValueError: JSON cannot say it. So it is with one that is nested too deep.
    """
    try:
        return json.dumps(content, allow_nan=False)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
