"""An admin and somebody who is none at the example board, each in a Chromium window of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.windows import Window, require_chromium
from tests.servers import Server, StartServer, environment

PNG = b"\x89PNG\r\n\x1a\n"
COUNTING = """
    const { Cards } = await import("/cards.js");
    const cards = new Cards();
    const card = (action, pk, version) => ({ action, pk, data: { version, column: "todo", place: pk } });
    cards.begin();
    cards.apply(card("create", 9, 1));                      // overtook the list it is not in
    cards.replace([card("create", 1, 5), card("create", 2, 1)]);
    const drawn = [cards.apply(card("update", 1, 4)).length, cards.apply(card("update", 1, 6)).length];
    cards.apply(card("delete", 2, 1));
    drawn.push(cards.apply(card("create", 2, 1)).length);   // as old as what we saw go
    drawn.push(cards.apply(card("create", 2, 2)).length);
    cards.begin();
    cards.replace([card("create", 9, 1)]);
    return [drawn, [...cards.byKey.keys()]];
"""


@pytest.fixture
def board(server: StartServer, tmp_path: Path) -> Server:
    require_chromium()
    return server("--workers", "2", app="examples.board", env={"BOARD_DB": str(tmp_path / "board.db")})


@pytest.fixture
def elsewhere(board: Server, tmp_path: Path) -> Callable[[str], None]:
    """Runs lines of Python in a process that is none of the server's, as a cron job would."""

    def run(lines: str) -> None:
        env = environment(BOARD_DB=str(tmp_path / "board.db"), SHMCHAN_NAME=board.name, PATH=os.environ["PATH"])
        subprocess.run([sys.executable, "-c", lines], env=env, check=True, timeout=60)

    return run


def enter(window: Window, board: Server, who: str) -> None:
    window.driver.get("about:blank")
    window.driver.get(f"{board.url}/#{who}")
    window.wait_for("the board", "document.body.dataset.state === 'open' && document.querySelectorAll('.card').length >= 3")


def wait_for_titles(window: Window, column: str, *titles: str) -> None:
    window.wait_for(
        f"{column} to have {titles}",
        "JSON.stringify([...document.querySelectorAll(`[data-column=${arguments[0]}] .title`)].map((it) => it.textContent))"
        " === JSON.stringify([...arguments].slice(1))",
        column,
        *titles,
    )


def wait_for_toast(window: Window, text: str) -> None:
    window.wait_for(f"the toast {text!r}", "document.getElementById('toasts').textContent.includes(arguments[0])", text)


def write(window: Window, title: str, *, card: str | None = None, column: str = "todo", secret: bool | None = None) -> None:
    """Write a card, or change the one of this title, in the editor."""
    window.run(
        "const [title, card, column, secret] = arguments;"
        "const find = (id) => document.getElementById(id);"
        "if (card) [...document.querySelectorAll('.card')].find((it) => it.textContent.includes(card)).click();"
        "else document.querySelector(`[data-column=${column}] .add`).click();"
        "find('title').value = title;"
        "if (secret !== null) find('secret').checked = secret;"
        "find('form').requestSubmit()",
        title,
        card,
        column,
        secret,
    )


WELCOME = "Drag me to another column", "Write a card"
SECRET, LAST = "Only admins see this one", "Open a second window"


def test_a_card_is_written_moved_and_deleted_in_one_window_and_the_other_follows(
    windows: tuple[Window, Window], board: Server
) -> None:
    ada, grace = windows
    enter(ada, board, "ada")
    enter(grace, board, "grace")
    wait_for_titles(ada, "doing", SECRET)
    wait_for_titles(grace, "doing")
    write(grace, "  <b>From</b> Grace ")
    for window in windows:
        wait_for_titles(window, "todo", *WELCOME, "<b>From</b> Grace")
    write(ada, "From both", card="From</b> Grace")
    wait_for_titles(grace, "todo", *WELCOME, "From both")
    # What dragging ends with: a drop in the upper half of the first card of a column. The mouse of a driver does not drag.
    ada.run(
        "const cards = [...document.querySelectorAll('.card')];"
        "const moved = cards.find((it) => it.textContent.includes('From both'));"
        "const target = cards.find((it) => it.textContent.includes('Open a second window'));"
        "moved.dispatchEvent(new DragEvent('dragstart'));"
        "target.parentNode.dispatchEvent(new DragEvent('drop',"
        " { bubbles: true, cancelable: true, clientY: target.getBoundingClientRect().top + 1 }));"
        "moved.dispatchEvent(new DragEvent('dragend'))"
    )
    for window in windows:
        wait_for_titles(window, "done", "From both", LAST)
        wait_for_titles(window, "todo", *WELCOME)
    grace.run("[...document.querySelectorAll('.card')].find((it) => it.textContent.includes('From both')).click();"
              "document.getElementById('delete').click()")  # fmt: skip
    for window in windows:
        wait_for_titles(window, "done", LAST)


def test_a_card_that_is_hidden_goes_for_one_and_changes_for_the_other(windows: tuple[Window, Window], board: Server) -> None:
    ada, grace = windows
    enter(ada, board, "ada")
    enter(grace, board, "grace")
    for window in windows:
        window.run(
            "window.heard = [];"
            "const Socket = WebSocket;"
            "window.watch = new Socket(`ws://${location.host}/board/@${location.hash.slice(1)}`);"
            "watch.onmessage = ({ data }) => heard.push(JSON.parse(data).payload)"
        )
        window.wait_for("the second connection", "heard.length === 1")
    write(ada, "Now it is a secret", card="Write a card", secret=True)
    wait_for_titles(ada, "todo", WELCOME[0], "Now it is a secret")
    wait_for_titles(grace, "todo", WELCOME[0])
    for window in windows:
        window.wait_for("the second connection to hear of it", "heard.length === 2")
    told = [
        window.run("return heard.slice(1).map(({ action, data }) => [action, data.title, data.admin_only])") for window in windows
    ]
    assert told == [[["update", "Now it is a secret", True]], [["delete", "Write a card", False]]]
    write(ada, "And shown again", card="Now it is a secret", secret=False)
    wait_for_titles(grace, "todo", WELCOME[0], "And shown again")
    for window in windows:
        window.wait_for("the second connection to hear of that, too", "heard.length === 3")
    assert grace.run("return heard.slice(2).map(({ action }) => action)") == ["create"]
    assert ada.run("return heard.slice(2).map(({ action }) => action)") == ["update"]


def test_what_one_may_not_do_is_refused_to_that_window_alone(windows: tuple[Window, Window], board: Server) -> None:
    ada, grace = windows
    enter(ada, board, "ada")
    enter(grace, board, "grace")
    secret = ada.run(
        "return Number([...document.querySelectorAll('.card')].find((it) => it.textContent.includes(arguments[0])).dataset.pk)",
        SECRET,
    )
    script = """
        const [payload, done] = arguments;
        const socket = new WebSocket(`ws://${location.host}/board/@grace`);
        socket.onmessage = ({ data }) => {
            const { action, reason, errors } = JSON.parse(data).payload;
            if (action === "all") socket.send(JSON.stringify({ stream: "cards", payload }));
            else { done([action, reason, errors]); socket.close(); }
        };
        socket.onclose = ({ code }) => done(code);
    """
    unacceptable = ["refused", "the values are not accepted"]
    for payload, expected in (
        ({"action": "update", "pk": secret, "data": {"title": "x"}}, ["refused", "you may not update this", {}]),
        ({"action": "delete", "pk": 12345}, ["refused", "you may not delete this", {}]),
        ({"action": "create", "data": {"title": " ", "column": "todo"}}, [*unacceptable, {"title": "is never empty"}]),
        (
            {"action": "create", "data": {"title": "x", "admin_only": True}},
            [*unacceptable, {"admin_only": "is no field that can be set"}],
        ),
        (
            {"action": "create", "data": {"title": "x", "column": "never"}},
            [*unacceptable, {"column": "is one of todo, doing, done"}],
        ),
    ):
        assert grace.driver.execute_async_script(script, payload) == expected
    write(grace, "x" * 121)
    wait_for_toast(grace, "title is a text of at most 120 characters")
    assert ada.run("return document.getElementById('toasts').textContent") == ""
    wait_for_titles(ada, "doing", SECRET)


def test_a_script_that_rolls_back_is_not_seen_and_one_that_commits_is(
    windows: tuple[Window, Window], board: Server, elsewhere: Callable[[str], None]
) -> None:
    ada, grace = windows
    enter(ada, board, "ada")
    enter(grace, board, "grace")
    elsewhere(
        "from examples.board.models import *\n"
        "with sessions() as session:\n"
        "    session.add(Card(title='never')); session.flush(); session.rollback()\n"
        "    session.add(Card(title='first', column='doing', place=-2.0)); session.commit()\n"
        "with sessions.begin() as session:\n"
        "    for number in range(40): session.add(Card(title=f'{number}', column='done', place=5000.0 + number))\n"
        "    with session.begin_nested() as inner: session.add(Card(title='nor this')); session.flush(); inner.rollback()\n"
    )
    numbers = [str(number) for number in range(40)]
    for window in windows:
        wait_for_titles(window, "done", LAST, *numbers)
        wait_for_titles(window, "todo", *WELCOME)
    wait_for_titles(ada, "doing", "first", SECRET)
    wait_for_titles(grace, "doing", "first")


def test_a_window_that_was_cut_off_shows_what_it_missed(
    windows: tuple[Window, Window], board: Server, elsewhere: Callable[[str], None]
) -> None:
    _, grace = windows
    enter(grace, board, "grace")
    grace.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    for child in board.children("front").values():
        child.kill()
    grace.wait_for("the loss to be noticed", "document.body.dataset.state !== 'open'")
    grace.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **offline})
    elsewhere(
        "from sqlalchemy import delete, update\n"
        "from examples.board.models import *\n"
        "with sessions.begin() as session:\n"
        "    session.execute(delete(Card).where(Card.title == 'Write a card'))\n"
        "    session.execute(update(Card).where(Card.title == 'Open a second window').values(column='todo', version=2))\n"
    )  # fmt: skip
    grace.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **offline})
    grace.wait_for("the connection", "document.body.dataset.state === 'open'")
    wait_for_titles(grace, "todo", WELCOME[0], LAST)
    wait_for_titles(grace, "done")


def test_messages_that_cross_do_not_bring_back_what_is_old(windows: tuple[Window, Window], board: Server) -> None:
    window, _ = windows
    enter(window, board, "grace")
    script = f"const done = arguments[0]; (async () => {{ {COUNTING} }})().then(done, (error) => done(String(error)))"
    drawn, keys = window.driver.execute_async_script(script)
    assert drawn == [0, 1, 0, 1]
    assert keys == [9]


def test_the_board_fits_a_desk_and_a_phone_by_day_and_by_night(
    windows: tuple[Window, Window], board: Server, tmp_path: Path
) -> None:
    ada, _ = windows
    enter(ada, board, "ada")
    write(ada, "A card with a rather long title, which has to be broken where it does not fit any more", column="done")
    ada.wait_for("the new card", "document.querySelectorAll('.card').length === 5 && !document.querySelector('.fresh.pending')")
    for width, height, dark in ((1280, 800, False), (1280, 800, True), (390, 780, False)):
        ada.look(width, height, dark=dark)
        ada.wait_for("nothing to stick out", "document.documentElement.scrollWidth <= arguments[0]", width)
        assert ada.picture(tmp_path / f"board-{width}-{'night' if dark else 'day'}.png").startswith(PNG)
    ada.look(1280, 800)
    ada.run("document.querySelector('.card').click()")
    ada.wait_for("the editor", "document.getElementById('editor').open")
    ada.picture(tmp_path / "board-editor.png")
    ada.run("document.getElementById('cancel').click()")
