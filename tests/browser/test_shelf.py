"""A Django project behind ``shmchan run``, as somebody with Chromium meets it: forms, files, streams and its admin."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.browser.windows import Window, open_window, require_chromium
from tests.servers import Server
from tests.shelf import PROJECTS, django, migrate

SECRET = "a word for tests"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_chromium()
    folder = tmp_path_factory.mktemp("shelf")
    migrate(folder)
    superuser = {"DJANGO_SUPERUSER_USERNAME": "ada", "DJANGO_SUPERUSER_EMAIL": "a@b.org", "DJANGO_SUPERUSER_PASSWORD": SECRET}
    django(folder, "createsuperuser", "--noinput", **superuser)
    running = Server(folder, "--workers", "2", "--app-dir", str(PROJECTS), app="shelf.wsgi", env={"SHELF_FOLDER": str(folder)})
    try:
        running.wait_until_started()
        yield running
        running.stop()
    finally:
        running.discard()


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    with open_window(tmp_path_factory.mktemp("reader")) as opened:
        yield opened


def fill(window: Window, **fields: str) -> None:
    """Type into the fields of a form, and submit it."""
    for name, text in fields.items():
        field = window.driver.find_element(By.NAME, name)
        field.send_keys(text)
    window.run("document.querySelector(`[name=${arguments[0]}]`).form.requestSubmit()", next(iter(fields)))


def wait_for_text(window: Window, text: str) -> None:
    window.wait_for(f"the text {text!r}", "document.body?.innerText.includes(arguments[0])", text)


def test_a_visitor_enters_and_puts_a_file_there(window: Window, shelf: Server, tmp_path: Path) -> None:
    window.driver.get(f"{shelf.url}/")
    window.wait_for("the static file", "getComputedStyle(document.querySelector('h1')).color === 'rgb(1, 2, 3)'")
    fill(window, name="Ada Ü")
    window.wait_for("the session", "document.getElementById('name')?.textContent === 'Ada Ü'")
    assert window.driver.get_cookie("theme") is not None
    path = tmp_path / "long.bin"
    path.write_bytes(bytes(range(256)) * 20_000)
    fill(window, file=str(path))
    wait_for_text(window, "long.bin: 5120000 bytes")
    script = """
        const done = arguments[0];
        fetch(document.querySelector("li a").href).then((response) => response.arrayBuffer()).then((data) => {
            const bytes = new Uint8Array(data);
            done([bytes.length, bytes.every((byte, index) => byte === index % 256)]);
        }, (error) => done(String(error)));
    """
    assert window.driver.execute_async_script(script) == [5_120_000, True]


def test_a_page_reads_a_stream_while_it_comes_and_leaves_it(window: Window, shelf: Server) -> None:
    window.driver.get(f"{shelf.url}/")
    script = """
        const done = arguments[0];
        const leaving = new AbortController();
        fetch("/rows/100000000", {signal: leaving.signal}).then(async (response) => {
            const {value} = await response.body.getReader().read();
            leaving.abort();
            done(new TextDecoder().decode(value).slice(0, 5));
        }).catch((error) => done(String(error)));
    """
    assert window.driver.execute_async_script(script) == "row 0"
    shelf.wait_for_print("the client left in the middle of its request")


def test_a_response_that_fails_half_way_is_an_error_to_the_page(window: Window, shelf: Server) -> None:
    window.driver.get(f"{shelf.url}/")
    script = """
        const done = arguments[0];
        fetch("/fail-late").then((response) => response.text()).then(() => done("whole"), (error) => done(error.name));
    """
    assert window.driver.execute_async_script(script) == "TypeError"


def test_the_admin_works(window: Window, shelf: Server) -> None:
    window.driver.get(f"{shelf.url}/admin/")
    fill(window, username="ada", password=SECRET)
    wait_for_text(window, "Site administration")
    window.wait_for("its style", "getComputedStyle(document.getElementById('header')).backgroundColor !== 'rgba(0, 0, 0, 0)'")
    window.driver.get(f"{shelf.url}/admin/auth/group/add/")
    fill(window, name="readers")
    wait_for_text(window, "was added successfully")
    window.run("document.getElementById('logout-form').submit()")
    wait_for_text(window, "Logged out")
