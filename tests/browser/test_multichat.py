"""Two people in the example multichat, each in a Chromium window of their own: ada has the key to the office, grace has not."""

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from examples.multichat.users import DEMO
from tests.browser.windows import Window, require_chromium
from tests.servers import Server, StartServer

PNG = b"\x89PNG\r\n\x1a\n"
PASSWORDS = {name: password for name, password, _ in DEMO}


class House:
    """``shmchan run examples.multichat`` with two workers, which keeps its address and its state over a stop and a start."""

    def __init__(self, start_server: StartServer, state: Path) -> None:
        self.start_server = start_server
        self.env = {"MULTICHAT_STATE": str(state)}
        self.running: Server = start_server("--workers", "2", app="examples.multichat", env=self.env)
        self.url = self.running.url

    def start(self) -> None:
        """Again, after a stop."""
        bind, name = f"127.0.0.1:{self.running.port}", self.running.name
        self.running = self.start_server("--workers", "2", "--bind", bind, name=name, app="examples.multichat", env=self.env)


@pytest.fixture
def house(server: StartServer, tmp_path: Path) -> House:
    require_chromium()
    return House(server, tmp_path / "state")


def log_in(window: Window, house: House, name: str, password: str) -> None:
    """Go to the page as somebody who has never been there, and send the form."""
    window.driver.get(f"{house.url}/static/icon.svg")
    window.driver.delete_all_cookies()
    window.run("sessionStorage.clear()")
    window.driver.get(f"{house.url}/")
    window.wait_for("the login form", "document.forms[0]?.elements.password")
    window.run(
        "const { name, password } = document.forms[0].elements;"
        "name.value = arguments[0]; password.value = arguments[1]; document.forms[0].requestSubmit()",
        name,
        password,
    )


def enter(window: Window, house: House, name: str) -> None:
    log_in(window, house, name, PASSWORDS[name])
    wait_for_doors(window)


def wait_for_doors(window: Window) -> None:
    window.wait_for("the rooms to be there", "document.body.dataset.state === 'connected' && document.querySelector('.door')")


def join(window: Window, room: str) -> None:
    window.run("document.querySelector(`[data-room=${arguments[0]}]`).click()", room)


def go_in(window: Window, room: str, title: str) -> None:
    join(window, room)
    window.wait_for(f"the room {title}", "document.getElementById('title').textContent === arguments[0]", title)


def say(window: Window, text: str) -> None:
    window.driver.find_element(By.ID, "text").send_keys(text + "\n")


def wait_for_line(window: Window, text: str, selector: str = ".line:not(.pending) .words") -> None:
    window.wait_for(
        f"{text!r} in {selector}",
        "[...document.querySelectorAll(arguments[1])].some((words) => words.textContent === arguments[0])",
        text,
        selector,
    )


def wait_for_people(window: Window, text: str) -> None:
    window.wait_for(f"the people to be {text!r}", "document.getElementById('people').textContent === arguments[0]", text)


def lines(window: Window) -> list[str]:
    found: list[str] = window.run("return [...document.querySelectorAll('#lines .words')].map((words) => words.textContent)")
    return found


def test_two_users_talk_in_the_rooms_that_they_may_enter(windows: tuple[Window, Window], house: House) -> None:
    ada, grace = windows
    enter(ada, house, "ada")
    enter(grace, house, "grace")
    go_in(ada, "lobby", "Lobby")
    go_in(grace, "lobby", "Lobby")
    wait_for_line(ada, "grace came in.", ".notice")
    wait_for_people(ada, "2 here: ada, grace")
    wait_for_people(grace, "2 here: ada, grace")
    say(ada, "Is anybody <b>there</b>?")
    wait_for_line(grace, "Is anybody <b>there</b>?")
    say(grace, "Yes, I am.")
    wait_for_line(ada, "Yes, I am.")

    join(grace, "office")
    wait_for_line(grace, "The Staff office is for staff only.", ".note span")
    assert grace.run("return document.getElementById('title').textContent") == "Lobby"
    go_in(ada, "office", "Staff office")
    wait_for_people(ada, "1 here: ada")
    say(ada, "Only staff reads this")
    wait_for_line(ada, "Only staff reads this")
    assert ada.run("return document.querySelector('.note')") is None, "the error of another is nobody else's"

    # What is said in a room that one is in but does not look at is counted on its door.
    say(grace, "Where did you go?")
    ada.wait_for("the badge", "document.querySelector('[data-room=lobby] .badge').textContent === '1'")
    go_in(ada, "lobby", "Lobby")
    wait_for_line(ada, "Where did you go?")
    assert lines(grace) == ["Is anybody <b>there</b>?", "Yes, I am.", "Where did you go?"]

    grace.run("document.getElementById('leave').click()")
    wait_for_line(ada, "grace left.", ".notice")
    wait_for_people(ada, "1 here: ada")
    grace.wait_for("the hall", "!document.getElementById('hall').hidden")


def test_who_closes_the_window_is_gone_and_who_logs_out_is_gone_everywhere(windows: tuple[Window, Window], house: House) -> None:
    ada, grace = windows
    enter(ada, house, "ada")
    enter(grace, house, "grace")
    for window in (ada, grace):
        go_in(window, "garden", "Garden")
    wait_for_people(ada, "2 here: ada, grace")
    first = grace.driver.current_window_handle
    grace.driver.switch_to.new_window("tab")
    second = grace.driver.current_window_handle
    grace.driver.get(f"{house.url}/")
    wait_for_doors(grace)
    go_in(grace, "garden", "Garden")
    wait_for_people(grace, "2 here: ada, grace")
    grace.driver.close()
    grace.driver.switch_to.window(first)
    say(grace, "still here")
    wait_for_line(ada, "still here")
    wait_for_people(ada, "2 here: ada, grace")

    grace.driver.switch_to.new_window("tab")
    third = grace.driver.current_window_handle
    assert third != second
    grace.driver.get(f"{house.url}/")
    wait_for_doors(grace)
    grace.run("document.getElementById('logout').click()")
    grace.wait_for("the login form", "document.forms[0]?.elements.password")
    wait_for_people(ada, "1 here: ada")
    grace.driver.close()
    grace.driver.switch_to.window(first)
    grace.wait_for("the other tab to be logged out, too", "location.pathname === '/login'")


def test_everybody_is_back_in_their_rooms_after_a_restart(windows: tuple[Window, Window], house: House) -> None:
    ada, grace = windows
    enter(ada, house, "ada")
    enter(grace, house, "grace")
    for window in (ada, grace):
        go_in(window, "workshop", "Workshop")
    say(ada, "before")
    wait_for_line(grace, "before")
    house.running.stop()
    for window in (ada, grace):
        window.wait_for("the connection to be missed", "document.body.dataset.state === 'reconnecting'")
    say(ada, "while nobody listens")
    wait_for_line(ada, "while nobody listens", ".pending .words")
    house.start()
    for window in (ada, grace):
        wait_for_line(window, "You are back.", ".notice")
        wait_for_people(window, "2 here: ada, grace")
    wait_for_line(ada, "while nobody listens")
    say(grace, "after")
    wait_for_line(ada, "after")
    assert lines(ada) == ["before", "while nobody listens", "after"]
    # Whoever came back later than it was sent does not get it, as nothing is stored. It is never there twice.
    assert lines(grace).count("while nobody listens") <= 1


def test_a_wrong_password_is_told_on_the_form(windows: tuple[Window, Window], house: House) -> None:
    window, _ = windows
    log_in(window, house, "ada", "no loom")
    wait_for_line(window, "This name and this password do not belong together.", ".error")
    assert window.run("return document.forms[0].elements.name.value") == "ada"
    window.run("[...document.querySelectorAll('.demo')][0].click()")  # the demo user who is offered
    wait_for_doors(window)


def test_its_pages_fit_a_desk_and_a_phone_by_day_and_by_night(
    windows: tuple[Window, Window], house: House, tmp_path: Path
) -> None:
    ada, grace = windows
    ada.look(1200, 800)
    log_in(ada, house, "ada", "wrong")
    wait_for_line(ada, "This name and this password do not belong together.", ".error")
    for width, height, dark in ((1200, 800, False), (390, 780, True)):
        fits(ada, width, height, dark, tmp_path / f"login-{width}.png")
    enter(ada, house, "ada")
    enter(grace, house, "grace")
    for window in (ada, grace):
        for room, title in (("workshop", "Workshop"), ("lobby", "Lobby")):
            go_in(window, room, title)
    for window, text in (
        (ada, "Does it weave algebraical patterns?"),
        (grace, "As the Jacquard loom weaves flowers and leaves."),
        (grace, "The second line of the same person stands closer, and a long one goes on for a while, and then a little more."),
    ):
        say(window, text)
        wait_for_line(window, text)
    wait_for_line(ada, text)
    go_in(grace, "workshop", "Workshop")
    say(grace, "Has anybody seen my nanosecond?")
    wait_for_line(grace, "Has anybody seen my nanosecond?")
    go_in(grace, "lobby", "Lobby")
    join(grace, "office")
    wait_for_line(grace, "The Staff office is for staff only.", ".note span")
    desk, phone = (1200, 800), (390, 780)
    looks = ((ada, desk, False), (ada, phone, False), (ada, desk, True), (grace, desk, False), (grace, phone, True))
    for window, (width, height), dark in looks:
        who = "ada" if window is ada else "grace"
        fits(window, width, height, dark, tmp_path / f"{who}-{width}-{'night' if dark else 'day'}.png")
        window.wait_for(
            "the text field to be on the screen",
            "document.getElementById('text').getBoundingClientRect().bottom <= innerHeight",
        )


def fits(window: Window, width: int, height: int, dark: bool, path: Path) -> None:
    window.look(width, height, dark=dark)
    window.wait_for("nothing to stick out sideways", "document.documentElement.scrollWidth <= arguments[0]", width)
    assert window.picture(path).startswith(PNG)
