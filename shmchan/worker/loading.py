"""
Finding the application that a command names.

Owns the way from ``module[:attribute]`` to a router, and one clear line for each way that can fail. A WSGI application is found,
too, and becomes the routing of one. Workers run it, after the fork.
"""

import importlib
import inspect
import logging
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from shmchan.exceptions import AppError, AppNotFound, RoutingNotFound
from shmchan.http import WsgiConsumer
from shmchan.message import Message
from shmchan.routing import Router, route

DEFAULT_ATTRIBUTES = ("routing", "channel_routing")
WSGI_ATTRIBUTES = ("application", "app")  # what WSGI applications are called, where the module has no routing
OURS = tuple(f"{Path(__file__).parents[1]}/{part}" for part in ("binding/", "generic/", "http/", "routing.py", "worker/"))
"""Where what applications call stands; a mistake that is found there was made elsewhere."""

log = logging.getLogger("shmchan.worker")


def load_app(app: str) -> Router:
    """
    The router of an application.

    Args:
        app: ``module`` or ``module:attribute``; the default attribute is ``routing``, then ``channel_routing``, then that of a
            WSGI application, ``application`` or ``app``.

    Returns:
        A router over the list, dict or Router that was found there, or over the WSGI application.

    Raises:
        AppNotFound: there is no such module or attribute.
        RoutingNotFound: what is there is neither a routing nor a WSGI application; an ASGI application, say.
        AppError: importing the module failed; its traceback is logged at level debug.
    """
    name, colon, attribute = app.partition(":")
    if not name or (colon and not attribute):
        raise AppNotFound(f"{app!r} names no application; write module or module:attribute")
    return _router(app, _attribute(_module(name), attribute))


def _module(name: str) -> ModuleType:
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise AppNotFound(f"{name!r} is a file; name its module instead: {dotted}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            where = ", ".join(repr(folder) for folder in sys.path[:3])
            raise AppNotFound(
                f"there is no module {missing!r} in {where} …; go to its folder, or name that (--app-dir)"
            ) from None
        raise AppError(
            f"{name} imports {missing!r}, which is not installed here, at {_place(error, name)}; install it first"
        ) from error
    except SyntaxError as error:
        raise AppError(f"{name} cannot be imported: {error.filename}:{error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        log.debug("importing %s failed", name, exc_info=True)
        text = f"importing {name} failed: {_place(error, name)}: {_line(error)} (--log-level debug shows the traceback)"
        raise AppError(text) from error


def _attribute(module: ModuleType, attribute: str) -> Any:
    if not attribute:
        for default in DEFAULT_ATTRIBUTES:
            if hasattr(module, default):
                return getattr(module, default)
        for default in WSGI_ATTRIBUTES:
            application = getattr(module, default, None)
            if _is_wsgi(application) or _is_asgi(application):
                return getattr(module, default)
        raise AppNotFound(
            f"the module {module.__name__} has neither {' nor '.join(DEFAULT_ATTRIBUTES)}, and no WSGI application named "
            f"{' or '.join(WSGI_ATTRIBUTES)}; write {module.__name__}:NAME"
        )
    value: Any = module
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise AppNotFound(
                f"the module {module.__name__} has no attribute {attribute!r}; check the name after the colon"
            ) from None
    return value


def _router(app: str, value: Any) -> Router:
    if isinstance(value, Router):
        return value
    if _is_wsgi(value):
        return Router([route("http.request", WsgiConsumer(value)), route("websocket.connect", _no_websockets)])
    if _is_asgi(value):
        raise RoutingNotFound(
            f"{app} is an ASGI application or another async function, which is not served; served are a WSGI application, and a "
            "routing: a list of route(...), a dict or a Router, whose consumers may be async"
        )
    if callable(value) and not isinstance(value, (list, tuple, dict)):
        raise RoutingNotFound(
            f"{app} is {_kind(value)}, no routing; name a list of route(...), a dict, a Router, or a WSGI application"
        )
    try:
        return Router(value)
    except (TypeError, ValueError) as error:
        raise RoutingNotFound(f"{app} is no routing: {error}") from error
    except ImportError as error:
        raise RoutingNotFound(f"a consumer that {app} names cannot be imported: {error}") from error


def _is_wsgi(value: Any) -> bool:
    """Whether it is called with ``(environ, start_response)``, as far as its signature says."""
    if not callable(value) or isinstance(value, (list, tuple, dict)):
        return False
    try:
        inspect.signature(value).bind({}, None)
    except (TypeError, ValueError):
        return False
    return not _is_asgi(value)


def _is_asgi(value: Any) -> bool:
    """Whether calling it makes a coroutine."""
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(type(value), "__call__", None))  # noqa: B004


def _no_websockets(message: Message) -> None:
    """A WSGI application knows no WebSockets, and one that nobody answers is not accepted."""
    if message.reply_channel is not None:
        message.reply_channel.send({"accept": False, "status": 404, "content": b"Not Found"})


def _kind(value: Any) -> str:
    return "a class" if isinstance(value, type) else "a function" if hasattr(value, "__code__") else f"a {type(value).__name__}"


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _place(error: BaseException, name: str) -> str:
    """The deepest place of the traceback that is not in the import machinery; of what we raised, the application's call of us."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    if frames and frames[-1].filename.startswith(OURS):
        frames = [frame for frame in frames if not frame.filename.startswith(OURS)] or frames
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else name
