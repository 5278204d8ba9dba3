"""Somebody in Django's admin and somebody at the board of the same project, each in a Chromium window of their own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.windows import Window, require_chromium
from tests.django_project import Project, make_database


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    require_chromium()
    new = Project(tmp_path / "django")
    shutil.copy(make_database(tmp_path_factory), new.folder / "board.sqlite3")
    try:
        new.shell(
            "from cards.models import Card\n"
            "Card.objects.create(title='Paint the fence', colour='mint', author='ada', place=1.0)\n"
            "Card.objects.create(title='Buy the paint', note='Green.', column='doing', colour='sky', place=2.0)\n"
        )
        new.serve("--noreload")
        yield new
        new.stop()
        new.assert_nothing_is_left()
    finally:
        new.discard()


def enter(window: Window, project: Project, name: str, password: str, path: str) -> None:
    window.driver.get(f"http://127.0.0.1:{project.port}/login/?next={path}")
    window.run(
        "document.querySelector('[name=username]').value = arguments[0];"
        "document.querySelector('[name=password]').value = arguments[1];"
        "document.forms[0].requestSubmit()",
        name,
        password,
    )
    window.wait_for("the way in", "location.pathname === arguments[0] && document.readyState === 'complete'", path)


def wait_for_cards(window: Window, *titles: str) -> None:
    window.wait_for(
        f"the cards {titles}",
        "JSON.stringify([...document.querySelectorAll('.card .title')].map((it) => it.textContent))"
        " === JSON.stringify([...arguments])",
        *titles,
    )


def test_what_somebody_hides_in_the_admin_goes_from_the_board_of_others_at_once(
    windows: tuple[Window, Window], project: Project, tmp_path: Path
) -> None:
    ada, grace = windows
    enter(grace, project, "grace", "two", "/")
    wait_for_cards(grace, "Paint the fence", "Buy the paint")
    assert grace.run("return document.getElementById('people').textContent") == "grace"
    enter(ada, project, "ada", "one", "/admin/cards/card/")
    ada.run(
        "const rows = [...document.querySelectorAll('#result_list tbody tr')];"
        "const row = rows.find((it) => it.textContent.includes('Buy the paint'));"
        "row.querySelector('[name$=admin_only]').click();"
        "document.querySelector('[name=_save]').click()"
    )
    wait_for_cards(grace, "Paint the fence")
    ada.driver.get(f"http://127.0.0.1:{project.port}/")
    wait_for_cards(ada, "Paint the fence", "Buy the paint")
    assert ada.run("return [...document.querySelectorAll('.lock:not([hidden])')].length") == 1
    grace.run("document.querySelector('[data-column=done] .add').click();"
              "document.getElementById('title').value = 'From the board';"
              "document.getElementById('form').requestSubmit()")  # fmt: skip
    for window in windows:
        wait_for_cards(window, *(["Paint the fence", "Buy the paint"][: 2 if window is ada else 1]), "From the board")
    ada.look(1200, 700)
    ada.picture(tmp_path / "board-django.png")
    ada.driver.get(f"http://127.0.0.1:{project.port}/admin/cards/card/")
    ada.wait_for("the card of the board in the admin", "document.querySelector('#result_list').textContent.includes('grace')")
    ada.picture(tmp_path / "board-admin.png")
