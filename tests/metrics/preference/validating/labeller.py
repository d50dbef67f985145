"""Who uses a labelling page in a real browser."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from genrlhf.metrics.preference.validating.labelling import LabelItem, draw_pairs, labelling_page

sets = itertools.count()


def pairs(n: int) -> list[LabelItem]:
    """Return pairs like those of any other call, on a page of their own: a browser keeps apart what pages store."""
    page = next(sets)
    rows = [
        {
            "instruction": f"prompt {number} of {page}",
            "output_1": f"first of {number}",
            "generator_1": "model-one",
            "output_2": f"second of {number}",
            "generator_2": "model-two",
        }
        for number in range(n)
    ]
    return draw_pairs({"set-one": rows}, per_set=n)


class Labeller:
    """Who opens a page, types and clicks, and reads what is there."""

    def __init__(self, browser: Any, folder: Path, items: list[LabelItem], source: str | None = None) -> None:
        self.browser, self.folder, self.items = browser, folder, items
        self.file = folder / "page.html"
        self.file.write_text(source or labelling_page(items), encoding="utf-8", newline="\n")
        self.downloads = folder / "downloads"
        browser.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(self.downloads)}
        )
        self.open()

    def open(self) -> None:
        self.browser.get(self.file.as_uri())
        # Keys that are pressed before a window has the focus go nowhere, and a second window may never get it.
        self.browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        self.wait(lambda: self.browser.execute_script("return document.hasFocus()"))

    def reopen(self, there: Callable[[], Any]) -> None:
        """Open the page, in this window or another, until what an earlier one has stored is there.

        It reaches the next page by way of another process, which may be late, and nothing tells when it has.
        """

        def opened() -> Any:
            self.open()
            return there()

        self.wait(opened)

    def at(self, pair: int) -> bool:
        """Say whether the page shows this pair, from 0."""
        return self.seen("work") and self.shown() == pair

    def part(self, name: str) -> Any:
        return self.browser.find_element(By.ID, name)

    def text(self, name: str) -> str:
        """Return the text of an element as it is in the page, not as it is laid out."""
        # The driver cannot hand over half a character, but for its escape.
        script = "return JSON.stringify(document.getElementById(arguments[0]).textContent)"
        return str(json.loads(self.browser.execute_script(script, name)))

    def seen(self, name: str) -> bool:
        return bool(self.part(name).is_displayed())

    def click(self, name: str) -> None:
        self.wait(lambda: self.seen(name))
        self.part(name).click()

    def type(self, name: str, text: str) -> None:
        """Type into a field, once a busy machine has drawn it."""
        self.wait(lambda: self.seen(name))
        self.part(name).send_keys(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            webdriver.ActionChains(self.browser).send_keys(key).perform()

    def start(self, name: str = "Ann") -> None:
        self.type("annotator", name + Keys.ENTER)
        self.wait(lambda: self.seen("work"))

    def shown(self) -> int:
        """Return the number of the pair shown, from 0."""
        texts = tuple(self.text(name) for name in ("prompt", "output-a", "output-b"))
        [number] = [
            number
            for number, item in enumerate(self.items)
            if (item.instruction, item.output_a, item.output_b) == texts
        ]
        return number

    def save(self, button: str = "save") -> tuple[Path, dict[str, Any]]:
        """Save, and return the file and what it holds."""
        for old in self.downloads.glob("*"):
            old.unlink()
        self.click(button)
        # The file is empty at first; the page ends it with a line break.
        self.wait(lambda: any(file.read_bytes().endswith(b"\n") for file in self.downloads.glob("*.json")))
        [file] = self.downloads.glob("*.json")
        return file, json.loads(file.read_text(encoding="utf-8"))

    def choices(self) -> list[str | None]:
        """Return the saved choice of every pair."""
        labels = {label["item"]: label["choice"] for label in self.save()[1]["labels"]}
        return [labels.get(item.item) for item in self.items]

    def load(self, file: Path) -> None:
        self.part("load").send_keys(str(file))
        self.wait(lambda: self.seen("message") or self.seen("problem"))

    def wait(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, 60, poll_frequency=0.05).until(lambda _: condition())
