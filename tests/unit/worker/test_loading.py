"""Finding an application: what works, and one clear line for what does not."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shmchan.exceptions import AppError, AppNotFound, RoutingNotFound
from shmchan.http import WsgiConsumer
from shmchan.message import Message
from shmchan.testing import Client, apply_routes
from shmchan.worker import load_app

ROUTES = "from shmchan import route, Router\ndef consumer(message): pass\n"
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module that can be imported during the test."""
    # Not syspath_prepend: that asks pkg_resources, of which the Autobahn suite leaves a stand-in without what it asks for.
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    before = set(sys.modules)

    def write(name: str, text: str) -> str:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "routing", ["[route('job', consumer)]", "(route('job', consumer),)", "{'job': consumer}", "Router([route('job', consumer)])"]
)
@pytest.mark.parametrize("attribute", ["routing", "channel_routing", "mine"])
def test_every_kind_of_routing_is_found(write: Write, routing: str, attribute: str) -> None:
    app = write("app_found", f"{ROUTES}{attribute} = {routing}\n")
    assert load_app(f"{app}:mine" if attribute == "mine" else app).channels == {"job"}


def test_routing_is_looked_for_before_channel_routing(write: Write) -> None:
    app = write("app_both", f"{ROUTES}channel_routing = {{'b': consumer}}\nrouting = {{'a': consumer}}\n")
    assert load_app(app).channels == {"a"}


def test_an_attribute_may_be_dotted(write: Write) -> None:
    app = write("app_dotted", f"{ROUTES}class Settings:\n    routes = {{'a': consumer}}\n")
    assert load_app(f"{app}:Settings.routes").channels == {"a"}


@pytest.mark.parametrize("app", ["", ":routing", "module:"])
def test_what_names_nothing_is_refused(app: str) -> None:
    with pytest.raises(AppNotFound, match="names no application"):
        load_app(app)


def test_a_missing_module_is_named_with_where_it_was_looked_for() -> None:
    with pytest.raises(AppNotFound, match=r"no module 'no_such_app_here' in .*--app-dir"):
        load_app("no_such_app_here.routing")


def test_a_file_is_turned_into_a_module_in_the_advice() -> None:
    with pytest.raises(AppNotFound, match=r"name its module instead: site\.routing"):
        load_app("site/routing.py")


def test_a_module_that_the_application_misses_is_named(write: Write) -> None:
    app = write("app_imports", "import no_such_library_here\n")
    with pytest.raises(
        AppError, match=r"app_imports imports 'no_such_library_here', which is not installed here, at .*app_imports\.py:1"
    ):
        load_app(app)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("class Chat(WebsocketConsumer):\n    async def receive(self, **kwargs): ...", r"Chat\.receive is `async def`"),
        ("routing = [route('job', consumer, path='(')]", "no regular expression"),
    ],
)
def test_a_mistake_that_we_find_is_placed_where_it_was_made(write: Write, line: str, said: str) -> None:
    app = write("app_wrong", f"{ROUTES}from shmchan.generic.websockets import WebsocketConsumer\n{line}\n")
    with pytest.raises(AppError, match=rf"^importing app_wrong failed: \S*app_wrong\.py:4: .*{said}"):
        load_app(app)


def test_a_syntax_error_is_placed(write: Write) -> None:
    app = write("app_syntax", "x = 1\ndef (:\n")
    with pytest.raises(AppError, match=r"app_syntax cannot be imported: .*app_syntax\.py:2: "):
        load_app(app)


@pytest.mark.parametrize("statement", ["raise RuntimeError('on\\npurpose')", "import sys; sys.exit(1)", "undefined"])
def test_a_module_that_fails_is_one_line(write: Write, statement: str) -> None:
    app = write("app_fails", f"\n{statement}\n")
    with pytest.raises(AppError, match=r"importing app_fails failed: .*app_fails\.py:2: ") as caught:
        load_app(app)
    assert "\n" not in str(caught.value)


def test_a_missing_attribute_is_named(write: Write) -> None:
    app = write("app_without", "x = 1\n")
    with pytest.raises(AppNotFound, match=r"neither routing nor channel_routing, and no WSGI .* write app_without:NAME"):
        load_app(app)
    with pytest.raises(AppNotFound, match="no attribute 'y'"):
        load_app(f"{app}:y")


ASGI = """
async def asgi(scope, receive, send): ...
class Starlet:
    async def __call__(self, scope, receive, send): ...
"""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("5", "app_wrong is no routing"),
        ("[1]", "a routing holds"),
        ("consumer", "is a function"),
        ("Router", "is a class"),
        ("asgi", "app_wrong is an ASGI application .* not served; served are a WSGI application, and a routing"),
        ("Starlet()", "app_wrong is an ASGI application"),
        ("{'a b': consumer}", "a channel name is"),
        ("{'a': 'no.such.consumer'}", "cannot be imported"),
    ],
)
def test_what_is_no_routing_says_why(write: Write, value: str, said: str) -> None:
    app = write("app_wrong", f"{ROUTES}{ASGI}routing = {value}\n")
    with pytest.raises(RoutingNotFound, match=said):
        load_app(app)


@pytest.mark.parametrize("name", ["app", "application"])
def test_an_asgi_application_that_is_found_by_its_name_is_told(write: Write, name: str) -> None:
    app = write("app_asgi", f"{ASGI}{name} = Starlet()\n")
    with pytest.raises(RoutingNotFound, match="app_asgi is an ASGI application"):
        load_app(app)


WSGI = """
def simple(environ, start_response):
    start_response("200 OK", [])
    return []

class Instance:
    def __call__(self, environ, start_response):
        return simple(environ, start_response)

class Class:
    def __init__(self, environ, start_response):
        pass
"""


@pytest.mark.parametrize("name", ["application", "app", "mine"])
@pytest.mark.parametrize("value", ["simple", "Instance()", "Class", "lambda *given: simple(*given)"])
def test_a_wsgi_application_becomes_the_routing_of_one(write: Write, name: str, value: str) -> None:
    app = write("app_wsgi", f"{WSGI}{name} = {value}\n")
    router = load_app(f"{app}:mine" if name == "mine" else app)
    found = router.match(Message({"path": "/anything"}, "http.request"))
    assert found is not None
    assert isinstance(found[0], WsgiConsumer)


def test_a_wsgi_application_accepts_no_websockets(write: Write) -> None:
    with apply_routes(load_app(write("app_wsgi", f"{WSGI}app = simple\n"))):
        client = Client()
        client.send_and_consume("websocket.connect", {"path": "/"})
        answer = client.receive()
    assert (answer["accept"], answer["status"]) == (False, 404)


def test_a_routing_comes_before_a_wsgi_application(write: Write) -> None:
    app = write("app_wsgi", f"{ROUTES}{WSGI}app = simple\nrouting = {{'job': consumer}}\n")
    assert load_app(app).channels == {"job"}


@pytest.mark.parametrize(
    "value", ["consumer", "lambda scope, receive, send: None", "[].append", "type('A', (), {'__call__': lambda self: 1})()"]
)
def test_what_is_called_otherwise_is_no_wsgi_application(write: Write, value: str) -> None:
    app = write("app_other", f"{ROUTES}application = {value}\n")
    with pytest.raises(AppNotFound, match="neither routing nor channel_routing"):
        load_app(app)
    with pytest.raises(RoutingNotFound, match="or a WSGI application"):
        load_app(f"{app}:application")


def test_a_coroutine_function_is_no_wsgi_application(write: Write) -> None:
    with pytest.raises(RoutingNotFound):
        load_app(write("app_other", "async def app(environ, start_response):\n    return []\n") + ":app")
