"""Routing: which consumer a message gets, with which arguments. Many cases are those of Channels 1.x."""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from shmchan import Include, Message, Route, RouteClass, Router, include, parallel, route, route_class
from shmchan.layers import InMemoryChannelLayer
from shmchan.routing import Options, connect_consumer, not_found, null_consumer


def one(message: Message, **kwargs: Any) -> None: ...
def two(message: Message, **kwargs: Any) -> None: ...
def three(message: Message, **kwargs: Any) -> None: ...


chat = [route("websocket.connect", two, path=r"^/room/(?P<room>\w+)/$"), route("websocket.receive", three)]
by_channel = {"websocket.receive": one, "websocket.connect": f"{__name__}.two"}


def matched(routing: Any, content: dict[str, Any], channel: str = "websocket.connect") -> Any:
    return Router(routing).match(Message(content, channel))


def test_a_route_matches_its_channels_only() -> None:
    assert matched([route("websocket.connect", one)], {}) == (one, {})
    assert matched([route("websocket.receive", one)], {}) is None
    assert matched([route(["a", "websocket.connect"], one)], {}) == (one, {})
    assert matched([], {}) is None


def test_the_first_route_that_matches_wins() -> None:
    routing = [route("websocket.connect", one, path="/a"), route("websocket.connect", two), route("websocket.connect", three)]
    assert matched(routing, {"path": "/a"}) == (one, {})
    assert matched(routing, {"path": "/b"}) == (two, {})


def test_filters_match_at_the_start_of_the_value() -> None:
    routing = [route("websocket.connect", one, path="/chat")]
    assert matched(routing, {"path": "/chat/room"}) == (one, {})
    assert matched(routing, {"path": "/x/chat"}) is None
    assert matched([route("websocket.connect", one, path=r"^/chat$")], {"path": "/chat/"}) is None


def test_all_filters_must_match() -> None:
    routing = [route("websocket.connect", one, path="/a", method="G")]
    assert matched(routing, {"path": "/a", "method": "GET"}) == (one, {})
    assert matched(routing, {"path": "/a", "method": "POST"}) is None
    assert matched(routing, {"path": "/a"}) is None


def test_named_groups_become_keyword_arguments() -> None:
    routing = [route("websocket.connect", one, path=r"/(?P<year>\d+)/(?P<rest>x)?", query_string=r"t=(?P<token>\w+)")]
    assert matched(routing, {"path": "/2017/", "query_string": b"t=abc"}) == (one, {"year": "2017", "rest": None, "token": "abc"})


def test_bytes_are_matched_as_latin_1() -> None:
    routing = [route("websocket.connect", one, query_string="(?P<q>\xe4+)")]
    assert matched(routing, {"query_string": b"\xe4\xe4"}) == (one, {"q": "ää"})


@pytest.mark.parametrize("value", [None, 5, 1.5, True, [], {}, ["/a"]])
def test_values_of_other_types_match_nothing(value: object) -> None:
    assert matched([route("websocket.connect", one, path=".*")], {"path": value}) is None
    assert matched([include([route("websocket.connect", one)], path=".*")], {"path": value}) is None


def test_filters_may_be_compiled_already() -> None:
    assert matched([route("websocket.connect", one, path=re.compile("/A", re.I))], {"path": "/a"}) == (one, {})


@pytest.mark.parametrize("pattern", [r"/(\d+)", r"/(?P<a>\d+)/(\d+)"])
def test_positional_groups_are_a_value_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="positional groups"):
        route("websocket.connect", one, path=pattern)
    with pytest.raises(ValueError, match="positional groups"):
        include([], path=pattern)


def test_a_broken_expression_is_a_value_error_that_quotes_it() -> None:
    with pytest.raises(ValueError, match=r"path='\(' is no regular expression"):
        route("websocket.connect", one, path="(")


@pytest.mark.parametrize("pattern", [5, None, b"/a", re.compile(b"/a")])
def test_a_filter_of_another_type_is_a_type_error(pattern: Any) -> None:
    with pytest.raises(TypeError, match="filter 'path'"):
        route("websocket.connect", one, path=pattern)


def test_consumers_may_be_dotted_paths() -> None:
    found = matched([route("websocket.connect", "shmchan.routing.null_consumer")], {})
    assert found == (null_consumer, {})


@pytest.mark.parametrize("path", ["nodots", "shmchan.routing.missing", "no_such_module_here.x"])
def test_a_dotted_path_that_leads_nowhere_is_an_import_error(path: str) -> None:
    with pytest.raises(ImportError):
        route("websocket.connect", path)


@pytest.mark.parametrize("consumer", [None, 5, ["x"]])
def test_a_consumer_that_cannot_be_called_is_a_type_error(consumer: Any) -> None:
    with pytest.raises(TypeError, match="a consumer is a callable"):
        route("websocket.connect", consumer)


def test_an_async_consumer_is_as_good_as_any() -> None:
    async def later(message: Message) -> None: ...

    assert route("websocket.connect", later).consumer is later


@pytest.mark.parametrize("channels", ["a b", [], ["a", 5], "reply!x", None])
def test_wrong_channels_are_a_type_error(channels: Any) -> None:
    with pytest.raises(TypeError):
        route(channels, one)


def test_a_local_prefix_can_be_routed() -> None:
    assert matched([route("reply!", one)], {}, "reply!x") == (one, {})


def test_an_include_strips_what_it_matched_for_matching_only() -> None:
    message = Message({"path": "/chat/room/blue/"}, "websocket.connect")
    assert Router([include(chat, path="^/chat")]).match(message) == (two, {"room": "blue"})
    assert message.content == {"path": "/chat/room/blue/"}
    assert Router([include(chat, path="^/other")]).match(message) is None
    assert Router([include(chat)]).match(message) is None


def test_includes_nest_and_routes_groups_beat_theirs() -> None:
    inner = [route("websocket.connect", one, path=r"/(?P<c>\w+)$"), route("websocket.connect", two, path=r"/(?P<a>\w+)/x$")]
    routing = [include([include(inner, path=r"/(?P<b>\w+)")], path=r"/(?P<a>\w+)")]
    assert matched(routing, {"path": "/A/B/C"}) == (one, {"a": "A", "b": "B", "c": "C"})
    assert matched(routing, {"path": "/A/B/C/x"}) == (two, {"a": "C", "b": "B"})


def test_an_include_that_matches_nothing_inside_lets_others_try() -> None:
    routing = [include([route("websocket.connect", one, path="/never")], path="/a"), route("websocket.connect", two)]
    assert matched(routing, {"path": "/a"}) == (two, {})


def test_an_include_cuts_bytes_too() -> None:
    routing = [include([route("websocket.connect", one, query_string="b=(?P<b>.)")], query_string="a=.&")]
    assert matched(routing, {"query_string": b"a=1&b=2"}) == (one, {"b": "2"})


def test_includes_take_dotted_paths_dicts_and_routers() -> None:
    for routing in (by_channel, Router(by_channel)):
        assert matched([include(routing)], {}, "websocket.receive") == (one, {})
    assert include([]).channel_names() == set()


def test_a_dict_works_as_routing() -> None:
    assert matched({"websocket.connect": one}, {}) == (one, {})
    assert matched({"websocket.connect": "shmchan.routing.null_consumer"}, {}) == (null_consumer, {})


@pytest.mark.parametrize("routing", [None, 5, one, [one], [("websocket.connect", one)], [Route], "shmchan.routing.null_consumer"])
def test_what_is_no_routing_is_a_type_error(routing: Any) -> None:
    with pytest.raises(TypeError, match="routing"):
        Router(routing)


class Consumer:
    """A class-based consumer, as far as routing sees it."""

    def __init__(self, message: Message, **kwargs: Any) -> None: ...

    @classmethod
    def channel_names(cls) -> set[str]:
        return {"websocket.connect", "websocket.receive"}


def test_a_class_names_its_channels() -> None:
    made = route_class(Consumer, path="/(?P<a>.)")
    assert isinstance(made, RouteClass)
    assert made.channel_names() == {"websocket.connect", "websocket.receive"}
    assert matched([made], {"path": "/x"}, "websocket.receive") == (Consumer, {"a": "x"})
    assert matched([made], {"path": "/x"}, "websocket.disconnect") is None


def test_a_class_without_channel_names_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="channel_names"):
        route_class(one)


class ByHand:
    """A route of an application's own."""

    def channel_names(self) -> Iterable[str]:
        return ["websocket.connect"]

    def match(self, message: Message) -> Any:
        return (one, {"path": message["path"]}) if message["path"].startswith("/mine") else None


def test_any_object_with_match_and_channel_names_is_a_route() -> None:
    routing = [ByHand(), route("websocket.connect", two)]
    assert matched(routing, {"path": "/mine"}) == (one, {"path": "/mine"})
    assert matched(routing, {"path": "/other"}) == (two, {})
    assert matched([include([ByHand()], path="/a")], {"path": "/a/mine"}) == (one, {"path": "/mine"})


def test_a_router_knows_its_channels() -> None:
    assert Router([*chat, ByHand(), route("job", one)]).channels == {"websocket.connect", "websocket.receive", "job"}
    assert include(chat).channel_names() == {"websocket.connect", "websocket.receive"}


def test_the_defaults_come_last() -> None:
    router = Router([route("http.request", one, path="/a")])
    router.check_default()
    router.add_route(route("http.request", two, path="/b"))
    assert router.channels == {"http.request", "websocket.connect", "websocket.receive", "websocket.disconnect"}
    found = {path: router.match(Message({"path": path}, "http.request")) for path in ("/a", "/b", "/c")}
    assert found == {"/a": (one, {}), "/b": (two, {}), "/c": (not_found, {})}
    assert router.match(Message({}, "websocket.connect")) == (connect_consumer, {})
    assert (
        router.match(Message({}, "websocket.receive")) == router.match(Message({}, "websocket.disconnect")) == (null_consumer, {})
    )
    router.check_default(http_consumer=three)
    assert router.match(Message({}, "http.request")) == (three, {})


def test_the_end_of_a_request_is_ignored_where_only_another_path_listens_for_it() -> None:
    router = Router([route("http.disconnect", one, path="/a")])
    router.check_default()
    found = {path: router.match(Message({"path": path}, "http.disconnect")) for path in ("/a", "/b")}
    assert found == {"/a": (one, {}), "/b": (null_consumer, {})}


def test_the_default_consumers_accept_ignore_and_answer_404() -> None:
    with InMemoryChannelLayer() as layer:
        connect_consumer(Message({"reply_channel": "r!a"}, "websocket.connect", layer))
        null_consumer(Message({"reply_channel": "r!a"}, "websocket.receive", layer))
        not_found(Message({"reply_channel": "r!b"}, "http.request", layer))
        assert layer.receive(["r!"]) == ("r!a", {"accept": True})
        _, answer = layer.receive(["r!"])
        assert answer is not None
        assert answer["status"] == 404
        for consumer in (connect_consumer, not_found):
            consumer(Message({}, "http.request", layer))


def test_options_are_no_filters() -> None:
    router = Router(
        [
            route("job", one, on_crash="redeliver", discard_on_error=True),
            route("websocket.receive", two, on_error="close", on_crash="drop"),
        ]
    )
    assert router.find("job", Message({}, "job")) == (one, {}, Options("redeliver", None, True))
    assert router.find("websocket.receive", Message({}, "websocket.receive")) == (two, {}, Options("drop", "close", False))


@pytest.mark.parametrize(
    ("channel", "options", "said"),
    [
        ("job", {"on_crash": "explode"}, "notify"),
        ("job", {"on_crash": "notify"}, "channels of the front"),
        ("http.request", {"on_crash": "redeliver"}, "other channels"),
        ("job", {"on_error": "close"}, "websocket.receive"),
        ("websocket.receive", {"on_error": "ignore"}, "'close'"),
        ("job", {"timeout": 0}, "timeout"),
        ("job", {"timeout": True}, "timeout"),
        ("job", {"timeout": "5"}, "timeout"),
        ("job", {"timeout": float("nan")}, "timeout"),
    ],
)
def test_options_that_do_not_go_with_a_channel_are_a_value_error(channel: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        route(channel, one, **options)


def test_discard_on_error_is_a_bool() -> None:
    with pytest.raises(TypeError, match="discard_on_error"):
        route("job", one, discard_on_error="yes")


def test_a_parallel_consumer_makes_its_channel_parallel() -> None:
    @parallel
    def free(message: Message) -> None: ...

    routing = [route("websocket.connect", one), include([route("websocket.receive", free)], path="/a"), ByHand()]
    assert Router(routing).parallel_channels() == {"websocket.receive"}
    wrong: Any = None
    with pytest.raises(TypeError, match="@parallel"):
        parallel(wrong)


def test_routes_match_by_themselves_too() -> None:
    message = Message({"path": "/room/a/"}, "websocket.connect")
    assert chat[0].match(message) == (two, {"room": "a"})
    assert chat[1].match(message) is None
    assert Include(chat).match(message) == (two, {"room": "a"})
