"""Who reads a report in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from genrlhf.studies.report import write_report


class Reader:
    """Who opens a report, clicks and types, and reads what is there."""

    def __init__(self, browser: Any, folder: Path, *, inputs: int | None = None) -> None:
        self.browser = browser
        self.file = Path(write_report(folder, inputs=inputs)["output"])
        self.open()

    def open(self) -> None:
        self.browser.get(self.file.as_uri())
        # Keys that are pressed before a window has the focus go nowhere.
        self.browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        self.wait(lambda: self.run("return document.readyState === 'complete' && document.hasFocus()"))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def part(self, name: str) -> Any:
        return self.browser.find_element(By.ID, name)

    def all(self, selector: str, within: Any = None) -> list[Any]:
        return list((within or self.browser).find_elements(By.CSS_SELECTOR, selector))

    def text(self, name: str) -> str:
        """Return the text of an element as it is in the page, not as it is laid out."""
        # The driver cannot hand over half a character, but for its escape.
        return str(
            json.loads(self.run("return JSON.stringify(document.getElementById(arguments[0]).textContent)", name))
        )

    def seen(self, name: str) -> bool:
        return bool(self.part(name).is_displayed())

    def click(self, element: Any) -> None:
        self.run("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", element)
        element.click()

    def press(self, *keys: str) -> None:
        for key in keys:
            webdriver.ActionChains(self.browser).send_keys(key).perform()

    def focus(self, element: Any) -> None:
        self.run("arguments[0].focus()", element)

    def enter(self, name: str, value: str) -> None:
        """Put a value in place of that of a field."""
        self.part(name).send_keys(Keys.CONTROL + "a" + Keys.NULL, value + Keys.ENTER)

    def choose(self, name: str, value: str) -> None:
        Select(self.part(name)).select_by_value(value)

    def head(self, table: int, column: str) -> Any:
        """Return the heading of a column, by its name without what stands below it."""
        heads = self.all("thead tr:last-child th", self.all("table.figures")[table])
        [found] = [
            one for one in heads if self.run("return arguments[0].querySelector('.what').textContent", one) == column
        ]
        return found

    def rows(self, table: int = 0) -> list[tuple[str, str]]:
        """Return method and temperature of the rows of a table, as they stand."""
        script = """
            return [...document.querySelectorAll("table.figures")[arguments[0]].tBodies].map((body) =>
                [body.rows[0].querySelector("bdi").textContent, body.rows[0].cells[1].textContent]);
        """
        return [(method, temperature) for method, temperature in self.run(script, table)]

    def outputs(self) -> dict[str, list[str]]:
        """Return the outputs that are shown, by method."""
        script = """
            return JSON.stringify([...document.querySelectorAll(".column")].map((column) =>
                [column.querySelector("h4 bdi").textContent,
                 [...column.querySelectorAll("li .text")].map((one) => one.textContent)]));
        """
        return dict(json.loads(self.run(script)))

    def wait(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, 60, poll_frequency=0.05).until(lambda _: condition())
