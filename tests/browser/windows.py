"""
Real Chromium windows, and what the tests ask of the chat page in them.

A window is a browser of its own with an empty profile, driven by Debian's chromedriver; nothing is downloaded. Whatever is waited
for is asked in one piece of JavaScript, again and again under a watchdog, so that no element is held across a change of the page.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

WATCHDOG = 30.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--lang=en",
)


def require_chromium() -> tuple[str, str]:
    """The paths of chromium and its driver. Without them the test is skipped; where CI could have installed them it fails."""
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if paths[0] and paths[1]:
        return paths[0], paths[1]
    reason = "chromium and chromedriver are not installed (apt-get install chromium chromium-driver)"
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


class Window:
    """One browser window that shows the chat."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def holds(self, expression: str, *arguments: object) -> bool:
        """Whether a JavaScript expression is true; it is not while the page is just being replaced by another."""
        try:
            return bool(self.run(f"return Boolean({expression})", *arguments))
        except WebDriverException:
            return False  # whatever else it was, the watchdog's own look at the page raises again

    def wait_for(self, what: str, expression: str, *arguments: object) -> None:
        """Wait until a JavaScript expression is true; ``what`` says in the failure what was waited for."""
        deadline = time.monotonic() + WATCHDOG
        while not self.holds(expression, *arguments):
            if time.monotonic() > deadline:
                pytest.fail(f"waited {WATCHDOG:.0f} s for {what}; the page says: {self.run('return document.body.innerText')!r}")
            time.sleep(0.05)

    def enter(self, url: str, name: str, room: str = "lobby") -> None:
        """Go to the page as somebody who has never been there, and enter a room."""
        self.driver.get(f"{url}icon.svg")
        self.run("sessionStorage.clear(); localStorage.clear()")
        self.driver.get(url)
        self.wait_for("the page to have started", "document.getElementById('room')?.value")
        self.run(
            "document.getElementById('name').value = arguments[0]; document.getElementById('room').value = arguments[1];"
            "document.getElementById('enter').requestSubmit()",
            name,
            room,
        )
        self.wait_for_state("connected")

    def wait_for_state(self, state: str) -> None:
        self.wait_for(f"the state {state}", "document.body.dataset.state === arguments[0]", state)

    def type_line(self, text: str) -> None:
        """Real key presses. The text field is part of the page from its beginning to its end, so it can be held here."""
        self.driver.find_element(By.ID, "text").send_keys(text + "\n")

    def wait_for_line(self, text: str, *, own: bool = False) -> None:
        self.wait_for(
            f"the line {text!r}",
            "[...document.querySelectorAll(arguments[1])].some((words) => words.textContent === arguments[0])",
            text,
            ".own:not(.pending) .words" if own else ".line:not(.own) .words",
        )

    def lines(self) -> list[str]:
        lines: list[str] = self.run("return [...document.querySelectorAll('.words')].map((words) => words.textContent)")
        return lines

    def wait_for_people(self, *names: str) -> None:
        self.wait_for(
            f"the list of who is here to be {sorted(names)}",
            "JSON.stringify([...document.querySelectorAll('#people .who')].map((who) => who.textContent).sort())"
            " === JSON.stringify([...arguments].sort())",
            *names,
        )

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the window the size of a screen, and its owner day or night."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def picture(self, path: Path) -> bytes:
        """A screenshot, also written to ``path``."""
        data = self.driver.get_screenshot_as_png()
        path.write_bytes(data)
        return data


@contextmanager
def open_window(profile: Path) -> Iterator[Window]:
    """A window with the empty folder ``profile`` as its user data; it is closed at the end."""
    chromium, chromedriver = require_chromium()
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=ChromeService(executable_path=chromedriver))
    try:
        driver.set_page_load_timeout(WATCHDOG)
        driver.set_script_timeout(WATCHDOG)
        yield Window(driver)
    finally:
        driver.quit()
