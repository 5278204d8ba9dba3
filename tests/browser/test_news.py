"""The example news in a real browser: one group, two ways, and a server that goes away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.browser.windows import Window, open_window, require_chromium
from tests.servers import ROOT, Server, StartServer

OPTIONS = ("--workers", "1", "--static", f"/news={ROOT / 'examples' / 'news' / 'page'}", "--js-path", "/shmchan.js")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    with open_window(tmp_path_factory.mktemp("news")) as opened:
        yield opened


def start(server: StartServer, *more: str, name: str | None = None) -> Server:
    return server(*OPTIONS, *more, app="examples.news", name=name)


def wait_for_states(window: Window, state: str) -> None:
    window.wait_for(
        f"both to be {state}",
        "[...document.querySelectorAll('.state')].every((element) => element.dataset.state === arguments[0])",
        state,
    )


def publish(window: Window, headline: str) -> None:
    window.driver.find_element(By.ID, "headline").send_keys(headline + "\n")


def wait_for_lists(window: Window, *headlines: str) -> None:
    window.wait_for(
        f"both lists to have {headlines}",
        "['events', 'socket'].every((id) => JSON.stringify([...document.getElementById(id).children].map((item) =>"
        " item.textContent)) === JSON.stringify([...arguments]))",
        *headlines,
    )


def test_a_headline_arrives_both_ways_and_both_come_back(window: Window, server: StartServer, tmp_path: Path) -> None:
    require_chromium()
    running = start(server)
    window.driver.get(f"{running.url}/news/")
    wait_for_states(window, "open")
    publish(window, "It rains.")
    wait_for_lists(window, "It rains.")
    publish(window, "<b>Sun</b> & clouds")
    wait_for_lists(window, "<b>Sun</b> & clouds", "It rains.")
    assert window.picture(tmp_path / "open.png").startswith(PNG)
    running.stop()
    wait_for_states(window, "waiting")
    publish(window, "Written meanwhile")
    assert "waits for it" in window.run("return document.getElementById('hint').textContent")
    window.look(390, 844, dark=True)
    assert window.picture(tmp_path / "away.png").startswith(PNG)
    start(server, "--bind", f"127.0.0.1:{running.port}", name=running.name)
    wait_for_states(window, "open")
    # What waited goes out as soon as the WebSocket is back, so the stream may have missed it: nothing is stored.
    window.wait_for("what waited", "document.getElementById('socket').firstElementChild.textContent === 'Written meanwhile'")
    publish(window, "All back")
    window.wait_for("the next", "document.getElementById('events').firstElementChild.textContent === 'All back'")


def test_what_is_no_headline_turns_the_page_away(window: Window, server: StartServer) -> None:
    require_chromium()
    running = start(server)
    window.driver.get(f"{running.url}/news/")
    wait_for_states(window, "open")
    talk = """
        const [frame, done] = arguments;
        const socket = new WebSocket(`ws://${location.host}/ws`);
        socket.onopen = () => socket.send(frame);
        socket.onclose = (event) => done(event.code);
    """
    for frame in ("no JSON", "[]", '{"headline": 1}', '{"headline": " "}', '{"headline": "' + "x" * 201 + '"}', "[" * 5000):
        assert window.driver.execute_async_script(talk, frame) == 4003
    assert window.driver.execute_async_script(talk.replace("/ws`", "/other`"), "x") == 1006
