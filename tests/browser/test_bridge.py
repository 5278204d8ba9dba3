"""shmchan.js in a real browser, against a real server: streams, and every way in which a connection is lost and comes back."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.windows import Window, open_window, require_chromium
from tests.servers import Server, StartServer, is_gone, wait_for
from tests.tools import need

APP = """
import json, os

from shmchan import Group, route, route_class
from shmchan.generic.websockets import JsonWebsocketConsumer, WebsocketDemultiplexer


class Echo(JsonWebsocketConsumer):
    def connect(self, message, multiplexer, **kwargs):
        message.reply_channel.send({"accept": True})
        multiplexer.send({"welcome": multiplexer.stream})

    def receive(self, content, multiplexer, **kwargs):
        multiplexer.send({"echo": content})


class Shout(JsonWebsocketConsumer):
    def receive(self, content, multiplexer, **kwargs):
        multiplexer.send({"shout": content["text"].upper()})


class Streams(WebsocketDemultiplexer):
    consumers = {"echo": Echo, "shout": Shout}


class Plain(JsonWebsocketConsumer):
    groups = ["everybody"]

    def receive(self, content, **kwargs):
        if "close" in content:
            self.close(content["close"])
        elif "raw" in content:
            self.message.reply_channel.send({"text": content["raw"]})
        else:
            self.send({"echo": content, "pid": os.getpid(), "protocol": self.path})


def events(message):
    last = dict((bytes(name), bytes(value)) for name, value in message["headers"]).get(b"last-event-id", b"none")
    head = {"status": 200, "headers": [[b"content-type", b"text/event-stream"]], "more_content": True}
    message.reply_channel.send({**head, "content": b"retry: 100\\n\\n"})
    Group("everybody").add(message.reply_channel)
    message.reply_channel.send({"event": "welcome", "data": last.decode()})


def news(message):
    Group("everybody").send({"id": 7, "event": "news", "data": "two\\nlines", "text": '"news"'})
    message.reply_channel.send({"status": 204})


routing = [
    route_class(Streams, path=r"^/streams$"),
    route_class(Plain, path=r"^/plain$"),
    route("http.request", events, path=r"^/events$"),
    route("http.request", news, path=r"^/news$"),
]
"""
PAGE = "<!DOCTYPE html><title>bridge</title><script src='/shmchan.js'></script><p>bridge</p>"
MODULE = """<!DOCTYPE html><title>module</title><p>module</p><script type="module">
import "/shmchan.js";
const before = globalThis.shmchan;
const module = await import("/shmchan.mjs?v=1");
const exports = {};
new Function("module", "exports", await (await fetch("/shmchan.js")).text())({exports}, exports);
const required = Object.keys(exports).sort();
document.body.dataset.result = [
  typeof before.WebSocketBridge, module.WebSocketBridge === before.WebSocketBridge, module.default === before, required,
].join();
</script>"""

# What a page does with a bridge, and notes of what it hears.
PRELUDE = """
window.notes = [];
window.note = (...what) => window.notes.push(what);
window.begin = (url, options) => {
  window.bridge?.close();
  window.notes.length = 0;
  window.bridge = new shmchan.WebSocketBridge({firstDelay: 50, longestDelay: 400, ...options});
  bridge.onstate = (state, detail) => note(state, detail);
  bridge.connect(url);
  bridge.listen((action, stream) => note("heard", action, stream));
};
window.heard = () => notes.filter(([what]) => what === "heard").map(([, action]) => action);
window.states = () => notes.map(([what]) => what).filter((what) => what !== "heard");
"""
OPTIONS = ("--workers", "1", "--static", "/page=page", "--js-path", "/shmchan.js", "--ws-protocol", "chat.v2")


class Site:
    """A server of the application and its page, which keeps its address over a stop and a start."""

    def __init__(self, start_server: StartServer, folder: Path, host: str = "127.0.0.1") -> None:
        (folder / "bridge_app.py").write_text(APP)
        (folder / "page").mkdir()
        (folder / "page" / "index.html").write_text(PAGE)
        (folder / "page" / "module.html").write_text(MODULE)
        self.start_server = start_server
        self.host = host
        self.running: Server = start_server(*OPTIONS, "--bind", f"{host}:0", app="bridge_app")
        self.port = self.running.port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def stop(self) -> None:
        self.running.stop()

    def kill(self) -> None:
        self.running.kill()

    def start(self) -> None:
        bind = f"{self.host}:{self.port}"
        self.running = self.start_server(*OPTIONS, "--bind", bind, name=self.running.name, app="bridge_app")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    with open_window(tmp_path_factory.mktemp("bridge")) as opened:
        yield opened


@pytest.fixture
def site(server: StartServer, tmp_path: Path) -> Site:
    require_chromium()
    return Site(server, tmp_path)


def visit(window: Window, site: Site, path: str = "/page/") -> None:
    window.driver.get(site.url + path)
    window.run(PRELUDE)


def begin(window: Window, url: str, options: str = "{}") -> None:
    """Make a bridge on the page, and wait until it is connected."""
    window.run(f"begin(arguments[0], {options})", url)
    wait_for_state(window, "open")


def wait_for_state(window: Window, state: str) -> None:
    window.wait_for(f"the state {state}", "bridge.state === arguments[0]", state)


def wait_until_heard(window: Window, *messages: object) -> None:
    window.wait_for(f"{messages} to be heard", "JSON.stringify(heard()) === JSON.stringify([...arguments])", *messages)


def states(window: Window) -> list[str]:
    found: list[str] = window.run("return states()")
    return found


# --- what is said


def test_streams_are_told_apart_by_a_real_demultiplexer(window: Window, site: Site) -> None:
    visit(window, site)
    window.run(
        "begin('/streams');"
        "bridge.demultiplex('echo', (action, stream) => note('echo', action, stream));"
        "bridge.demultiplex('shout', (action, stream) => note('shout', action, stream));"
    )
    wait_for_state(window, "open")
    assert window.run("return [bridge.stream('echo').send({a: [1, 'ü']}), bridge.stream('shout').send({text: 'loud'})]") == [
        True,
        True,
    ]
    window.wait_for("the answers", "notes.filter(([what]) => what === 'echo').length === 2 && states().includes('shout')")
    assert window.run("return notes.filter(([what]) => what === 'echo' || what === 'shout')") == [
        ["echo", {"welcome": "echo"}, "echo"],
        ["echo", {"echo": {"a": [1, "ü"]}}, "echo"],
        ["shout", {"shout": "LOUD"}, "shout"],
    ]


def test_messages_without_a_stream_go_to_the_one_who_listens(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain")
    window.run("bridge.onerror = (error, data) => note('error', error.name, data)")
    for raw in ('[1, "a"]', "null", '{"stream": "x"}', "no JSON", '{"stream": "s", "payload": 1}'):
        window.run("bridge.send({raw: arguments[0]})", raw)
    window.wait_for("the last", "heard().length === 4")
    assert window.run("return notes.filter(([what]) => what === 'heard' || what === 'error')") == [
        ["heard", [1, "a"], None],
        ["heard", None, None],
        ["heard", {"stream": "x"}, None],
        ["error", "SyntaxError", "no JSON"],
        ["heard", 1, "s"],
    ]


def test_it_is_a_module_too(window: Window, site: Site) -> None:
    visit(window, site, "/page/module.html")
    window.wait_for("the module", "document.body.dataset.result")
    assert window.run("return document.body.dataset.result") == "function,true,true,ReconnectingSocket,WebSocketBridge"


def test_urls_are_relative_to_the_page(window: Window, site: Site) -> None:
    visit(window, site)
    for url, where in (("/plain", "/plain"), ("../plain", "/plain"), (site.url + "/plain#x", "/plain"), (None, "/page/")):
        window.run("begin(arguments[0] ?? undefined)", url)
        assert window.run("return bridge.socket.url") == site.url.replace("http", "ws") + where
    window.run("begin('/plain'); bridge.connect('/plain', ['chat.v1', 'chat.v2'])")
    wait_for_state(window, "open")
    assert window.run("return bridge.socket.protocol") == "chat.v2"
    window.run("let tries = 0; begin(() => { note('asked', tries); return '/plain?try=' + tries++; })")
    wait_for_state(window, "open")
    window.run("bridge.send({close: 4000})")
    window.wait_for("it to be asked again", "notes.some(([what, tries]) => what === 'asked' && tries === 1)")
    with pytest.raises(Exception, match=r"(?i)invalid|syntax"):
        window.run("begin('http://[')")
    assert window.run("return new shmchan.WebSocketBridge().state") == "idle"


# --- how it comes back


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_it_comes_back_when_the_server_does_and_what_waited_is_sent_in_order(window: Window, site: Site, end: str) -> None:
    visit(window, site)
    begin(window, "/plain")
    site.stop() if end == "stopped" else site.kill()
    wait_for_state(window, "waiting")
    assert window.run("return [1, 2, 3].map((number) => bridge.send({raw: `${number}`}))") == [True] * 3
    assert window.run("return bridge.socket.queued") == 3
    site.start()
    wait_until_heard(window, 1, 2, 3)
    found = states(window)
    assert found[:2] == ["connecting", "open"]
    assert found[2] == "waiting"
    assert set(found[2:-1]) == {"waiting", "connecting"}
    assert found[-1] == "open"
    code = window.run("return notes.find(([what]) => what === 'waiting')[1].code")
    assert code == (1012 if end == "stopped" else 1006)
    assert window.run("return notes.findLast(([what]) => what === 'open')[1].again") is True


def test_a_worker_that_is_killed_or_swapped_is_not_noticed(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain")
    pids = set()
    for number, how in enumerate((signal.SIGKILL, signal.SIGTERM, None)):
        window.run("bridge.send({number: arguments[0]})", number)
        window.wait_for("the answer", "heard().length === arguments[0]", number + 1)
        pids.add(window.run("return heard().at(-1).pid"))
        if how is not None:
            (worker,) = site.running.children("worker").values()
            worker.send_signal(how)
            wait_for("the worker to go", lambda worker=worker: is_gone(worker), site.running.log)  # type: ignore[misc]
    assert len(pids) == 3
    assert states(window) == ["connecting", "open"]


@pytest.mark.parametrize(("queue", "answers"), [(0, [False] * 3), (2, [True, True, False])])
def test_what_cannot_be_sent_waits_or_is_refused_as_the_page_chooses(
    window: Window, site: Site, queue: int, answers: list[bool]
) -> None:
    visit(window, site)
    begin(window, "/plain", f"{{queue: {queue}, firstDelay: 1e6, longestDelay: 1e6}}")
    window.run("Math.random = () => 1; bridge.send({close: 4000})")
    wait_for_state(window, "waiting")
    assert window.run("return ['1', '2', '3'].map((raw) => bridge.send({raw}))") == answers
    window.run("bridge.socket.addEventListener('open', () => bridge.send({raw: '0'})); bridge.socket.reconnect()")
    wait_until_heard(window, 0, *[number for number, sent in zip((1, 2, 3), answers, strict=True) if sent])


def test_codes_that_mean_do_not_come_back(window: Window, site: Site) -> None:
    visit(window, site)
    for options, code, stays in (
        ("{}", 1000, True),
        ("{}", 4001, False),
        ("{final: [4001]}", 4001, True),
        ("{final: [4001]}", 1000, False),
        ("{final: (code) => code >= 4000}", 4999, True),
    ):
        begin(window, "/plain", options)
        window.run("bridge.send({close: arguments[0]})", code)
        window.wait_for("the end", "states().length > 2")
        assert states(window)[2] == ("closed" if stays else "waiting")
        assert window.run("return notes[2][1].code") == code
        if stays:
            assert window.run("return [bridge.send({a: 1}), bridge.socket.readyState]") == [False, 3]
        else:
            window.wait_for("it to come back", "states().length >= 5 && bridge.state === 'open'")


def test_the_page_can_close_it_and_have_it_again(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain")
    window.run("bridge.socket.onclose = (event) => note('close', event.code, event.wasClean); bridge.close(4005, 'bye')")
    window.wait_for("the close event", "states().includes('close')")
    assert window.run("return notes.slice(2)") == [
        ["closed", {"state": "closed", "code": 4005, "reason": "bye"}],
        ["close", 4005, True],
    ]
    window.run("bridge.socket.reconnect()")
    wait_for_state(window, "open")
    window.run("bridge.send({raw: '1'})")
    wait_until_heard(window, 1)
    window.run("bridge.socket.onclose = () => bridge.socket.reconnect(); notes.length = 0; bridge.socket.reconnect()")
    wait_for_state(window, "open")
    assert states(window) == ["connecting", "open"]


def test_delays_are_random_parts_of_a_time_that_doubles_up_to_the_longest(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain", "{maxTries: 6, firstDelay: 20, longestDelay: 100}")
    window.run("Math.random = () => 0.5")
    site.stop()
    wait_for_state(window, "closed")
    delays = window.run("return notes.filter(([what]) => what === 'waiting').map(([, {tries, delay}]) => [tries, delay])")
    assert delays == [[1, 10], [2, 20], [3, 40], [4, 50], [5, 50], [6, 50]]


def test_a_server_that_is_busy_is_given_more_time(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain", "{firstDelay: 10, longestDelay: 1e6}")
    window.run("Math.random = () => 0.5; bridge.socket.addEventListener('close', () => note('close'))")
    # As if the server had closed with 1013, which no consumer may.
    window.run("bridge.socket._lost(bridge.socket._socket, 1013, 'try again later', true)")
    assert window.run("return notes.at(-1)[1].delay") == 40


# --- what the page learns of its surroundings


FOREVER = "{firstDelay: 1e8, longestDelay: 1e8, settleTime: 1e9}"


def lose(window: Window) -> None:
    """Lose the connection; nothing but an event of the browser will bring it back in time."""
    window.run("Math.random = () => 1; bridge.send({close: 4000})")
    window.wait_for("the long wait", "bridge.state === 'waiting' && notes.at(-1)[1].delay === 1e8")


def emulate(window: Window, *, offline: bool) -> None:
    conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    window.driver.execute_cdp_cmd("Network.enable", {})
    window.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


def test_it_tries_at_once_when_the_browser_is_online_again(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain", FOREVER)
    lose(window)
    try:
        emulate(window, offline=True)
        window.wait_for("the browser to be offline", "!navigator.onLine")
        assert window.run("return bridge.state") == "waiting"
    finally:
        emulate(window, offline=False)
    wait_for_state(window, "open")


def test_a_connection_from_before_the_network_was_gone_is_replaced(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain", FOREVER)
    window.run("dispatchEvent(new Event('online'))")
    assert states(window) == ["connecting", "open"]
    window.run("dispatchEvent(new Event('offline')); dispatchEvent(new Event('online'))")
    window.wait_for("it to be replaced", "states().length >= 4 && bridge.state === 'open'")
    assert states(window) == ["connecting", "open", "connecting", "open"]


def test_it_tries_at_once_when_the_page_is_looked_at_again(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain", FOREVER)
    window.driver.minimize_window()
    try:
        window.wait_for("the page to be hidden", "document.visibilityState === 'hidden'")
        lose(window)
        assert window.run("return bridge.state") == "waiting"
    finally:
        window.driver.maximize_window()
    wait_for_state(window, "open")


def test_a_page_that_is_kept_for_the_way_back_lets_go_and_returns(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain", FOREVER)
    window.run("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    assert window.run("return bridge.state") == "waiting"
    window.run("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    wait_for_state(window, "open")
    window.run("bridge.send({raw: '1'})")
    wait_until_heard(window, 1)


# --- server-sent events


def test_events_reach_a_browser_which_comes_back_with_the_last_one(window: Window, site: Site) -> None:
    visit(window, site)
    begin(window, "/plain")
    window.run(
        "window.events = [];"
        "window.source = new EventSource('/events');"
        "for (const type of ['welcome', 'news', 'message'])"
        "  source.addEventListener(type, (event) => events.push([type, event.data, event.lastEventId]))"
    )
    window.wait_for("the welcome", "events.length === 1")
    window.run("return fetch('/news')")
    window.wait_for("the news", "events.length === 2")
    wait_until_heard(window, "news")
    site.stop()
    site.start()
    window.wait_for("it to come back", "events.length === 3")
    assert window.run("return events") == [["welcome", "none", ""], ["news", "two\nlines", "7"], ["welcome", "7", "7"]]
    window.run("source.close()")


# --- a network that is really gone


def run(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


class Namespace:
    """A network namespace, and a thread that lives in it: what the thread starts, and its sockets, live there too."""

    def __init__(self, stack: ExitStack, name: str) -> None:
        self.name = name
        run("netns", "add", name)
        stack.callback(run, "netns", "del", name)
        run("-n", name, "link", "set", "lo", "up")
        self._thread = stack.enter_context(ThreadPoolExecutor(1))
        self.call(self._enter)

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(descriptor, 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)

    def call(self, function: Callable[..., Any], *arguments: Any, **given: Any) -> Any:
        """Call a function there."""
        return self._thread.submit(function, *arguments, **given).result(timeout=100)


@contextmanager
def two_hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a cable between them, and no other way in or out; 192.0.2.1 and 192.0.2.2."""
    with ExitStack() as stack:
        try:
            names = [f"shmchan-{os.getpid()}-{number}" for number in (1, 2)]
            one, two = (Namespace(stack, name) for name in names)
            run("-n", one.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", two.name)
            for number, host in enumerate((one, two), start=1):
                run("-n", host.name, "addr", "add", f"192.0.2.{number}/30", "dev", "eth0")
                run("-n", host.name, "link", "set", "eth0", "up")
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        yield one, two


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make network namespaces")
def test_it_comes_back_when_the_cable_does(server: StartServer, tmp_path: Path) -> None:
    require_chromium()
    need("ip")
    with two_hosts() as (here, there):
        site: Site = here.call(Site, server, tmp_path, "192.0.2.1")

        def in_browser() -> None:
            with open_window(tmp_path / "profile") as window:
                visit(window, site)
                begin(window, "/plain", "{silence: 1500, handshakeTimeout: 500}")
                window.run("window.ticks = setInterval(() => bridge.send({raw: '\"tick\"'}), 200)")
                window.wait_for("a tick", "heard().length > 0")
                # The cable is cut: the browser sees it.
                run("-n", here.name, "link", "set", "eth0", "down")
                window.wait_for("the browser to be offline", "!navigator.onLine")
                run("-n", here.name, "link", "set", "eth0", "up")
                window.wait_for("a new connection", "states().length > 2 && bridge.state === 'open'")
                window.run("notes.length = 0")
                window.wait_for("a tick", "heard().length > 0")
                # The other end is gone behind a switch: nobody tells, but for the silence.
                run("-n", here.name, "addr", "del", "192.0.2.1/30", "dev", "eth0")
                window.wait_for(
                    "the silence to be noticed", "notes.some(([what, detail]) => what === 'waiting' && detail.reason)"
                )
                assert window.run("return navigator.onLine") is True
                assert "silence" in window.run(
                    "return notes.filter(([what]) => what === 'waiting').map(([, {reason}]) => reason)"
                )
                run("-n", here.name, "addr", "add", "192.0.2.1/30", "dev", "eth0")
                window.wait_for("a new connection", "bridge.state === 'open'")
                window.run("notes.length = 0")
                window.wait_for("a tick", "heard().length > 0")

        there.call(in_browser)
        here.call(site.stop)
