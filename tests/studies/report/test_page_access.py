"""The report for those who use a keyboard, a screen reader, a phone, paper, or a dark screen.

Numbers are those of the success criteria of WCAG 2.2, https://www.w3.org/TR/WCAG22/.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from genrlhf.data.files import write_rows
from genrlhf.studies.results import write_results
from tests.browser import CONTRASTS, contrast, screen
from tests.studies.report.reader import Reader
from tests.studies.results_record import example_results

# The driver of the browser listens on this machine.
pytestmark = pytest.mark.enable_socket

Read = Callable[..., Reader]


def long_names(folder: Path) -> Path:
    """Write a study whose names, settings and outputs are as long as they come."""
    results = example_results()
    for number, method in enumerate(results["methods"].values()):
        method["label"] = ["w" * 90, "words " * 20, "方法" * 40, "a/b/c/" * 20][number]
        method["paper"] = "https://example.org/" + "p" * 150
    results["title"] = "t" * 120
    results["warnings"] = ["https://example.org/" + "x" * 200]
    results["settings"] = {"k" * 80: "v" * 300}
    results["versions"]["p" * 100] = "1" * 100
    for entry in results["outputs"]:
        write_rows([{"prompt": "q" * 300, "outputs": ["o" * 900, "one two " * 90]}], folder / entry["file"])
    write_results(results, folder)
    return folder


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_but_tables_scrolls_sidewards(read: Read, browser: Any, tmp_path: Path, width: int) -> None:
    """1.4.10."""
    long_names(tmp_path / "long")
    for folder in (None, tmp_path / "long"):
        with screen(browser, width, 740):
            reader = read(folder)
            for summary in reader.all("summary"):
                if summary.is_displayed():
                    reader.click(summary)
            assert reader.run("return document.documentElement.scrollWidth") <= width
            # What is wider than the screen has a box of its own that scrolls.
            script = """
                return [...document.querySelectorAll("main *")].filter((one) => {
                    const box = one.getBoundingClientRect();
                    return box.width > 0 && box.right > document.documentElement.clientWidth + 1
                        && !one.closest(".scroll, .away, svg");
                }).map((one) => one.outerHTML.slice(0, 80));
            """
            assert reader.run(script) == []
            plots = [one for one in reader.all(".plane") if one.is_displayed()]
            assert {("narrow" in one.get_attribute("class")) for one in plots} == {width < 704}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_edges_and_marks_stand_out(read: Read, browser: Any, scheme: str) -> None:
    """1.4.3 and 1.4.11: 4.5 to 1 for texts, 3 to 1 for the edges of controls and for what plots show."""
    with screen(browser, 1200, 900, scheme):
        reader = read()
        for summary in reader.all("summary"):
            reader.click(summary)
        reader.click(reader.part("seeds"))
        back = reader.run("return getComputedStyle(document.documentElement).backgroundColor")
        assert (max(int(part) for part in re.findall(r"\d+", back)[:3]) < 60) == (scheme == "dark")
        texts, edges = reader.run(CONTRASTS)
        assert len(texts) > 300 and len(edges) > 4
        for least, found in ((4.5, texts), (3, edges)):
            for name, colour, ground, opacity in found:
                assert opacity == 1 and contrast(colour, ground) >= least, (name, colour, ground)
        script = """
            const style = getComputedStyle(document.documentElement);
            const probe = document.createElement("i");
            document.body.append(probe);
            const colour = (name) => {
                probe.className = name;
                return getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
            };
            const grounds = [".plane", "html"].map((one) =>
                getComputedStyle(document.querySelector(one)).backgroundColor.match(/[\\d.]+/g).map(Number));
            return [[..."01234567"].map((n) => colour(`c${n}`)), grounds];
        """
        colours, grounds = reader.run(script)
        assert len({tuple(one) for one in colours}) == 8
        # Temperatures are written in the colours of curves, on plots.
        assert min(contrast(one, grounds[0]) for one in colours) >= 4.5
        assert min(contrast(one, grounds[1]) for one in colours) >= 3


def test_all_can_be_done_with_the_keyboard_and_nothing_traps_it(read: Read) -> None:
    """2.1.1, 2.1.2 and 2.4.7: Tab reaches all controls in the order of the page, each with an outline."""
    reader = read()
    script = """
        const usable = [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")];
        return usable.filter((one) => !one.disabled && one.checkVisibility());
    """
    usable = reader.run(script)
    seen: list[Any] = []
    # The window itself has a turn between the last and the first.
    for _ in range(len(usable) + 2):
        reader.press(Keys.TAB)
        one = reader.run("return document.activeElement")
        if one.tag_name != "body" and one not in seen:
            seen.append(one)
            outline = reader.run("return getComputedStyle(arguments[0]).outline", one)
            assert "solid 3px" in outline, one.get_attribute("outerHTML")
    assert seen == usable
    assert seen[0].get_attribute("class") == "skip"


def test_the_link_to_the_figures_skips_what_comes_before(read: Read) -> None:
    """2.4.1."""
    reader = read()
    skip = reader.all(".skip")[0]
    assert skip.size["width"] <= 1
    reader.focus(skip)
    assert skip.size["width"] > 50
    reader.press(Keys.ENTER)
    assert reader.run("return document.activeElement.id") == "main"


def test_names_roles_and_states(read: Read, browser: Any) -> None:
    """1.1.1, 1.3.1 and 4.1.2."""
    read()
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]

    def named(*roles: str) -> list[str]:
        return [
            node["name"]["value"]
            for node in nodes
            if node.get("role", {}).get("value") in roles and not node["ignored"] and "name" in node
        ]

    controls = named("button", "textbox", "searchbox", "combobox", "checkbox", "spinbutton", "link", "region")
    assert "" not in controls
    assert {"Single seeds", "Set", "Temperature", "Seed", "Search", "Previous", "Next", "Input"} <= set(controls)
    assert any(name.startswith("ID") for name in named("button"))
    pictures = [name for name in named("img", "image", "graphics-document") if name]
    assert any("Quality against diversity, ID. " in name for name in pictures)
    assert "Methods at a glance" in named("table", "region")
    assert len(named("main")) == len(named("banner")) == len(named("navigation")) == 1


def test_on_paper_there_is_all_that_matters_and_no_control(read: Read, browser: Any) -> None:
    reader = read()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for selector in ("nav", ".controls", "button:not(.sort, .switch)", "select", "summary", ".skip"):
            assert not any(one.is_displayed() for one in reader.all(selector)), selector
        for selector in ("h1", ".figures", ".plane", ".column", "#prompt"):
            assert any(one.is_displayed() for one in reader.all(selector)), selector
        back = "return getComputedStyle(document.documentElement).backgroundColor"
        assert reader.run(back) == "rgb(255, 255, 255)"
        # What is folded is opened for it, and folded again.
        folded = "return document.querySelectorAll('details:not([open])').length"
        before = reader.run(folded)
        reader.run("window.dispatchEvent(new Event('beforeprint'))")
        assert before > 2 and reader.run(folded) == 0
        reader.run("window.dispatchEvent(new Event('afterprint'))")
        assert reader.run(folded) == before
        made = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
        assert made.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", made)) > 1
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize(("asked", "behaviour"), [("no-preference", "smooth"), ("reduce", "auto")])
def test_nothing_moves_by_itself_for_those_who_ask_for_that(
    read: Read, browser: Any, asked: str, behaviour: str
) -> None:
    """2.3.3."""
    features = [{"name": "prefers-reduced-motion", "value": asked}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        reader = read()
        assert reader.run("return getComputedStyle(document.documentElement).scrollBehavior") == behaviour
        assert reader.run("return document.getAnimations().length") == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_without_scripts_figures_and_plots_are_there(read: Read, browser: Any) -> None:
    reader = read()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(reader.file.as_uri())
        assert browser.find_element(By.CSS_SELECTOR, ".figures").is_displayed()
        assert "scripts are switched off" in browser.find_element(By.TAG_NAME, "noscript").text
        # With nothing to fold them away, single seeds are shown.
        assert all(row.is_displayed() for row in browser.find_elements(By.CSS_SELECTOR, ".scroll .seed")[:8])
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
