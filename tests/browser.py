"""A browser for the tests of pages, and what is measured in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import needs

__all__ = ["CONTRASTS", "asked", "browser", "contrast", "open_browser", "screen"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium; a module that uses it lets sockets through, over which its driver is spoken to."""
    if not (needs.CHROMIUM and needs.DRIVER):
        pytest.skip(f"needs {needs.BROWSER_WANTED}")
    driver = open_browser(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


def open_browser(folder: Path) -> Any:
    """Return a browser that keeps what it is given in an empty folder and asks nothing of the network."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = needs.CHROMIUM
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1200,900",
        f"user-data-dir={folder}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Dialogues stay open, so that a test can see them.
    options.unhandled_prompt_behavior = "ignore"
    # Named, since Selenium would otherwise fetch a driver.
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=needs.DRIVER))


def asked(browser: Any) -> bool:
    """Say whether a dialogue is open."""
    from selenium.common.exceptions import WebDriverException

    try:
        return bool(browser.switch_to.alert)
    except WebDriverException:
        return False


@contextmanager
def screen(browser: Any, width: int, height: int, scheme: str = "light") -> Iterator[None]:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


CONTRASTS = """
    const found = [];
    const colour = (text) => text.match(/[\\d.]+/g).map(Number);
    const ground = (one) => {
        for (; one; one = one.parentElement) {
            const [r, g, b, a = 1] = colour(getComputedStyle(one).backgroundColor);
            if (a === 1) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !one.getClientRects().length || one.closest(":disabled, .away")) {
            continue;
        }
        let seen = 1;
        for (let up = one; up; up = up.parentElement) seen *= Number(getComputedStyle(up).opacity);
        const name = walker.currentNode.textContent.trim().slice(0, 30);
        const style = getComputedStyle(one);
        found.push([name, colour(one.closest("svg") ? style.fill : style.color), ground(one), seen]);
    }
    const controls = "button:not(.sort, .switch), .button, input[type=text], input[type=search], select";
    const edges = [...document.querySelectorAll(controls)]
        .filter((one) => one.getClientRects().length && !one.disabled)
        .map((one) => [one.id || one.textContent.slice(0, 30), colour(getComputedStyle(one).borderTopColor),
            ground(one.parentElement), 1]);
    return [found, edges];
"""


def contrast(one: list[float], other: list[float]) -> float:
    """Return the contrast ratio of two colours by WCAG's definition."""

    def luminance(colour: list[float]) -> float:
        parts = [c / 255 for c in colour[:3]]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
