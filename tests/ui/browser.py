"""Debian's Chromium, headless, as a desktop browser that can reach this machine and nothing else."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

REMEDY = "needs Chromium and its driver, as root: apt-get install chromium chromium-driver"
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no internet
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse
)


class Browser:
    def __init__(self, driver, base: str):
        self.driver, self.base = driver, base

    def open(self, path: str, seen: str) -> None:
        """Load a page and wait until it shows `seen`."""
        self.driver.get(self.base + path)
        self.until(lambda: seen in self.text(), f"{seen!r} on {path}")

    def text(self) -> str:
        from selenium.common.exceptions import WebDriverException

        try:
            return self.driver.find_element("tag name", "body").text
        except WebDriverException:  # the page is being replaced
            return ""

    def find(self, css: str, words: str = "", within=None):
        """The first visible element with these words; waits for it."""
        return self.until(lambda: next(iter(self.all(css, words, within)), None), f"{css} with {words!r}")

    def all(self, css: str, words: str = "", within=None) -> list:
        from selenium.common.exceptions import StaleElementReferenceException

        found = (within or self.driver).find_elements("css selector", css)
        try:
            return [e for e in found if e.is_displayed() and words in e.text]
        except StaleElementReferenceException:
            return []

    def field(self, *labels: str):
        """The innermost part of a form under these labels, from the outside in."""
        part = None
        for label in labels:
            own = [
                p for p in self.all(".schema-form-property", label, part)
                if p.find_element("css selector", ".schema-form-property__label").text.split(" (")[0] == label
            ]  # fmt: skip
            assert own, f"no {label} in the form"
            part = own[0]
        return part

    def choose(self, field, *options: str, close: bool = True) -> None:
        """Tick options of a multi-select."""
        from selenium.webdriver.common.keys import Keys

        button = field.find_element("css selector", ".p-select-button__control")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        button.send_keys(Keys.ARROW_DOWN)
        for option in options:
            self.until(lambda o=option: [e for e in self.all(".p-select-option", o) if e.text == o], option)[0].click()
        if close:
            self.driver.switch_to.active_element.send_keys(Keys.ESCAPE)

    def fill(self, field, text: str) -> None:
        entry = field.find_element("css selector", "input, textarea")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", entry)
        entry.clear()
        entry.send_keys(text)

    def press(self, words: str) -> None:
        button = self.find("button", words)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def until(self, condition: Callable, what: str, seconds: float = 60.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.2)
        raise AssertionError(f"waited {seconds} s for {what}; the page says: {self.text()[:1500]}")

    def hosts(self) -> set[str]:
        """Every host that a page asked since the last call, over HTTP or a web socket."""
        from urllib.parse import urlsplit

        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        urls += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
        return {urlsplit(u).hostname for u in urls if u.split(":")[0] in ("http", "https", "ws", "wss")}

    def errors(self) -> list[str]:
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]


@contextmanager
def browser(base: str, width: int = 1440, height: int = 1000) -> Iterator[Browser]:
    """A browser on the site at `base`; the test is skipped, with the remedy, where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip(REMEDY)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for switch in (*SWITCHES, f"--window-size={width},{height}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(chromium, base)
    finally:
        chromium.quit()
