"""
Names of channels and groups: which are allowed, and what their ``?`` and ``!`` mean.

Owns the rules and the texts of their TypeErrors. Pure; every process that sends, receives or routes runs it.
"""

import re

MAX_LENGTH = 100
_RULE = f"ASCII letters, digits, '-', '_' and '.', at most {MAX_LENGTH} characters"
_channel = re.compile(r"[A-Za-z0-9_.-]+(?:[?!][A-Za-z0-9_.-]*)?").fullmatch
_group = re.compile(r"[A-Za-z0-9_.-]+").fullmatch


def check_channel(name: object) -> str:
    """
    The name, if it is one that can be sent to.

    Raises:
        TypeError: it is not; the text says what is allowed.
    """
    if isinstance(name, str) and len(name) <= MAX_LENGTH and _channel(name):
        return name
    raise TypeError(_refusal("a channel name", name, f"a str of {_RULE}, with at most one '?' or '!' after the first of them"))


def check_receivable(name: object) -> str:
    """
    The name, if it is one that can be received on: a process-local channel only by its prefix, which ends in ``!``.

    Raises:
        TypeError: it is not; the text says what is allowed.
    """
    name = check_channel(name)
    if "!" in name and not name.endswith("!"):
        raise TypeError(f"{name!r} is process-local: receive {local_prefix(name)!r}, which gets every channel of this prefix")
    return name


def check_receivables(names: object) -> list[str]:
    """
    A list of names that can be received on.

    Raises:
        TypeError: it is no list or tuple, it is empty, or one of its names is not allowed.
    """
    if not isinstance(names, (list, tuple)):
        raise TypeError(f"channels is a non-empty list of channel names, not {_shown(names)}")
    if not names:
        raise TypeError("channels is a non-empty list of channel names, this one is empty")
    return [check_receivable(name) for name in names]


def check_group(name: object) -> str:
    """
    The name, if it is one that a group can have.

    Raises:
        TypeError: it is not; the text says what is allowed.
    """
    if isinstance(name, str) and len(name) <= MAX_LENGTH and _group(name):
        return name
    raise TypeError(_refusal("a group name", name, f"a str of {_RULE}, without '?' or '!'"))


def check_instance(name: object) -> str:
    """
    The name, if it is one that an instance can have: the same as of a group.

    Raises:
        TypeError: it is not; the text says what is allowed.
    """
    if isinstance(name, str) and len(name) <= MAX_LENGTH and _group(name):
        return name
    raise TypeError(_refusal("the name of an instance", name, f"a str of {_RULE}"))


def check_pattern(pattern: object) -> str:
    """
    The pattern, if :meth:`new_channel` can complete it: it ends in ``?`` or ``!``.

    Raises:
        TypeError: it does not; the text says what is allowed.
    """
    if isinstance(pattern, str) and pattern.endswith(("?", "!")) and len(pattern) <= MAX_LENGTH - 20 and _channel(pattern):
        return pattern
    allowed = f"a channel name that ends in '?' or '!', at most {MAX_LENGTH - 20} characters, the rest of which is made up"
    raise TypeError(_refusal("a pattern of a new channel", pattern, allowed))


def is_local(channel: str) -> bool:
    """Whether it is process-local: read only by the process that has its prefix."""
    return "!" in channel


def local_prefix(channel: str) -> str:
    """The queue of a process-local channel: ``websocket.send.a!`` of ``websocket.send.a!x``; another name is its own queue."""
    cut = channel.find("!")
    return channel if cut < 0 else channel[: cut + 1]


def _refusal(what: str, name: object, allowed: str) -> str:
    return f"{what} is {allowed}; this is {_shown(name)}"


def _shown(value: object) -> str:
    text = repr(value)
    if len(text) > 120:
        text = f"{text[:117]}..."
    return text if isinstance(value, str) else f"{text}, of type {type(value).__name__}"
