"""Two people in the example chat, each in a Chromium window of their own."""

from pathlib import Path

import pytest

from shmchan import delay
from shmchan.layers.shm import ShmChannelLayer
from tests.browser.conftest import Chat
from tests.browser.windows import Window

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_line_typed_in_one_window_appears_in_the_other(windows: tuple[Window, Window], chat: Chat) -> None:
    ada, grace = windows
    ada.enter(chat.url, "Ada")
    grace.enter(chat.url, "Grace")
    ada.type_line("Is anybody there?")
    ada.wait_for_line("Is anybody there?", own=True)
    grace.wait_for_line("Is anybody there?")
    grace.type_line("Yes, I am.")
    ada.wait_for_line("Yes, I am.")


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_both_come_back_when_the_server_was_ended_and_started_again(windows: tuple[Window, Window], chat: Chat, end: str) -> None:
    ada, grace = windows
    ada.enter(chat.url, "Ada")
    grace.enter(chat.url, "Grace")
    ada.wait_for_people("Ada", "Grace")
    if end == "stopped":
        chat.stop()
    else:
        chat.kill()
    ada.wait_for_state("reconnecting")
    grace.wait_for_state("reconnecting")
    ada.type_line("Written while the server was away")
    chat.start()
    ada.wait_for_state("connected")
    grace.wait_for_state("connected")
    ada.wait_for_people("Ada", "Grace")
    grace.wait_for_people("Ada", "Grace")
    grace.type_line("Back again")
    ada.wait_for_line("Back again")
    ada.wait_for_line("Written while the server was away", own=True)
    # Whoever was away when it was sent does not get it: nothing is stored. It is never there twice.
    assert grace.lines().count("Written while the server was away") <= 1


def test_a_reminder_comes_to_the_room_and_outlives_a_server_that_is_killed(
    windows: tuple[Window, Window], chat: Chat, tmp_path: Path
) -> None:
    ada, grace = windows
    shown = "JSON.stringify([...document.querySelectorAll('.reminder .words')].map((one) => one.textContent)) === arguments[0]"
    ada.enter(chat.url, "Ada")
    grace.enter(chat.url, "Grace")
    ada.type_line("/remind 1s tea")
    for window in (ada, grace):
        window.wait_for("the reminder", shown, '["tea"]')
    ada.type_line("/remind 1h bread")
    ada.wait_for("word that it is noted", "document.querySelectorAll('.own:not(.pending) .aside').length === 2")
    chat.kill()
    ada.wait_for_state("reconnecting")
    grace.wait_for_state("reconnecting")
    chat.start()
    ada.wait_for_state("connected")
    grace.wait_for_state("connected")
    with ShmChannelLayer.attach(chat.running.name) as layer:
        [waits] = delay.pending(channel_layer=layer)
        assert waits.content is not None
        assert (waits.channel, waits.content["text"]) == ("chat.remind", "bread")
        delay.send(waits.channel, waits.content, delay=0, id=waits.id, channel_layer=layer)  # the hour is over
    for window in (ada, grace):
        window.wait_for("the second reminder", shown, '["tea","bread"]')
    assert not any(line.startswith("/remind") for line in grace.lines())
    assert ada.picture(tmp_path / "reminder.png").startswith(PNG)


def test_the_list_of_who_is_there_follows_those_who_come_and_go(windows: tuple[Window, Window], chat: Chat) -> None:
    ada, grace = windows
    ada.enter(chat.url, "Ada", "garden")
    ada.wait_for_people("Ada")
    grace.enter(chat.url, "Grace", "garden")
    ada.wait_for_people("Ada", "Grace")
    grace.wait_for_people("Ada", "Grace")
    grace.enter(chat.url, "Grace", "cellar")
    ada.wait_for_people("Ada")
    grace.wait_for_people("Grace")


def test_names_and_lines_with_html_are_shown_as_text(windows: tuple[Window, Window], chat: Chat) -> None:
    ada, mallory = windows
    name, line = "<b>M</b><img src=x>", "<script>document.title='taken'</script> & <i>more</i>"
    ada.enter(chat.url, "Ada")
    mallory.enter(chat.url, name)
    ada.wait_for_people("Ada", name)
    mallory.type_line(line)
    ada.wait_for_line(line)
    assert (
        ada.run(
            "return document.querySelectorAll('#lines b, #lines i, #lines img, #lines script, #people b, #people img').length"
        )
        == 0
    )
    assert ada.driver.title.endswith("#lobby")


def test_a_frame_that_is_no_chat_closes_the_connection_and_a_long_line_is_refused(
    windows: tuple[Window, Window], chat: Chat
) -> None:
    window, _ = windows
    window.enter(chat.url, "Ada")
    talk = """
        const [first, done] = arguments;
        const socket = new WebSocket(`ws://${location.host}/chat/lobby/@Raw`);
        const heard = [];
        socket.onopen = () => socket.send(first);
        socket.onmessage = (event) => {
            const frame = JSON.parse(event.data);
            if (frame.type === "refused") { done([frame.ref, frame.reason]); socket.close(); }
        };
        socket.onclose = (event) => done(event.code);
    """
    assert window.driver.execute_async_script(talk, "this is no JSON") == 1003
    assert window.driver.execute_async_script(talk, '{"type": "line", "text": 7, "ref": "r1"}') == 1003
    ref, reason = window.driver.execute_async_script(talk, '{"type": "line", "ref": "r1", "text": "%s"}' % ("x" * 501))
    assert ref == "r1"
    assert "501 characters" in reason


def test_the_page_fits_a_desk_and_a_phone_by_day_and_by_night(windows: tuple[Window, Window], chat: Chat, tmp_path: Path) -> None:
    ada, grace = windows
    ada.enter(chat.url, "Ada Lovelace")
    grace.enter(chat.url, "Grace Hopper")
    for window, text in (
        (ada, "Does it weave algebraical patterns?"),
        (grace, "As the Jacquard loom weaves flowers and leaves."),
    ):
        window.type_line(text)
        window.wait_for_line(text, own=True)
    ada.wait_for_line("As the Jacquard loom weaves flowers and leaves.")
    for width, height, dark in ((1200, 800, False), (1200, 800, True), (390, 780, False), (390, 780, True)):
        ada.look(width, height, dark=dark)
        ada.wait_for("nothing to stick out sideways", "document.documentElement.scrollWidth <= arguments[0]", width)
        ada.wait_for(
            "the text field to be on the screen", "document.getElementById('text').getBoundingClientRect().bottom <= innerHeight"
        )
        picture = ada.picture(tmp_path / f"chat-{width}-{'night' if dark else 'day'}.png")
        assert picture.startswith(PNG)


def test_the_silent_are_forgotten_and_those_who_come_back_with_us_are_no_newcomers(
    windows: tuple[Window, Window], chat: Chat
) -> None:
    window, _ = windows
    window.enter(chat.url, "Ada")
    script = """
        const done = arguments[0];
        import("/roster.js").then(({ Roster }) => {
            const roster = new Roster();
            const notices = [roster.joined("1", "Ada", 0), roster.joined("2", "Grace", 1000), roster.here("1", "Ada", 140000)];
            roster.forget(155000);
            const left = roster.sorted().map(({ name }) => name);
            roster.restart(160000);
            const back = [roster.joined("3", "Ada", 161000), roster.joined("4", "Grace", 161000)];
            back.push(roster.left("9"), roster.left("3"));
            done([notices, left, back]);
        }, done);
    """
    notices, left, back = window.driver.execute_async_script(script)
    assert notices == [True, True, False]
    assert left == ["Ada"]
    assert back == [False, True, False, True]
