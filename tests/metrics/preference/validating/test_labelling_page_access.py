"""The labelling page for those who use a keyboard, a screen reader, large letters, or another script.

Numbers are those of the success criteria of WCAG 2.1, https://www.w3.org/TR/WCAG21/.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from genrlhf.metrics.preference.validating.labelling import draw_pairs, labelling_page
from tests.browser import CONTRASTS, contrast, screen
from tests.metrics.preference.validating.labeller import Labeller, pairs

# The driver of the browser listens on this machine.
pytestmark = pytest.mark.enable_socket


def focused(labeller: Labeller) -> str:
    return str(labeller.browser.execute_script("return document.activeElement.id || document.activeElement.tagName"))


def announced(labeller: Labeller) -> str:
    return labeller.text("announcement")


def choose(labeller: Labeller, choice: str) -> None:
    labeller.browser.find_element(By.CSS_SELECTOR, f"[data-choice={choice}]").click()


def test_shortcuts_can_be_switched_off(labeller: Labeller) -> None:
    """2.1.4: character keys do nothing where they are switched off, and the page forgets neither."""
    labeller.start()
    labeller.press("1")
    assert labeller.shown() == 1
    assert labeller.part("shortcuts").is_selected()
    labeller.click("shortcuts")
    labeller.press("1", "a", "2", "b", "3", "t", "s", "u", "n", Keys.BACKSPACE)
    assert labeller.shown() == 1 and labeller.choices() == ["A", *[None] * 6]
    assert not labeller.browser.find_elements(By.CSS_SELECTOR, "[aria-keyshortcuts]")
    assert not any(key.is_displayed() for key in labeller.browser.find_elements(By.CSS_SELECTOR, "footer kbd"))
    # Buttons work as before, and the setting outlives a reload, on other pages too.
    choose(labeller, "B")
    assert labeller.shown() == 2
    labeller.reopen(lambda: labeller.at(2) and not labeller.part("shortcuts").is_selected())
    labeller.press("1")
    assert labeller.shown() == 2
    labeller.part("shortcuts").send_keys(Keys.SPACE)
    labeller.press("1")
    assert labeller.shown() == 3 and labeller.choices() == ["A", "B", "A", *[None] * 4]
    back = labeller.part("back")
    assert back.get_attribute("aria-keyshortcuts") == "U Backspace"


def test_the_setting_holds_for_other_pages(labeller: Labeller, browser: Any, tmp_path: Path) -> None:
    labeller.click("shortcuts")
    (tmp_path / "other").mkdir()
    other = Labeller(browser, tmp_path / "other", pairs(3))
    other.reopen(lambda: not other.part("shortcuts").is_selected())
    other.start()
    other.press("1")
    assert other.shown() == 0


def test_keys_that_scroll_are_left_alone(browser: Any, tmp_path: Path) -> None:
    """Arrows, space, Page Down, Home and End are for reading."""
    row = {"output_1": "w\n" * 500, "generator_1": "x", "output_2": "v\n" * 500, "generator_2": "y"}
    items = draw_pairs({"one": [{**row, "instruction": str(n)} for n in range(3)]}, per_set=3)
    labeller = Labeller(browser, tmp_path, items)
    labeller.start()
    scrolled = "return window.scrollY"
    for key in (Keys.ARROW_DOWN, Keys.SPACE, Keys.PAGE_DOWN, Keys.END):
        before = browser.execute_script(scrolled)
        labeller.press(key)
        labeller.wait(lambda before=before: browser.execute_script(scrolled) > before)
    for key in (Keys.ARROW_UP, Keys.PAGE_UP, Keys.HOME):
        before = settled(labeller)
        labeller.press(key)
        labeller.wait(lambda before=before: browser.execute_script(scrolled) < before)
    labeller.press(Keys.ARROW_LEFT, Keys.ARROW_RIGHT)
    assert labeller.shown() == 0 and labeller.choices() == [None] * 3


def settled(labeller: Labeller) -> float:
    """Return where the page stands once it has come to rest."""
    places = [-1.0]

    def rests() -> bool:
        places.append(labeller.browser.execute_script("return window.scrollY"))
        return places[-1] == places[-2]

    labeller.wait(rests)
    return places[-1]


def test_focus_and_announcement_move_with_the_question(labeller: Labeller) -> None:
    """2.4.3 and 4.1.3: whoever hears the page is where the next pair begins, and hears what was entered."""
    labeller.start()
    assert focused(labeller) == "question" and labeller.text("question") == "Pair 1 of 7"
    assert announced(labeller) == "Pair 1 of 7"
    steps = [
        (lambda: labeller.press("1"), "question", "Pair 1: A is better. Pair 2 of 7"),
        (lambda: choose(labeller, "tie"), "question", "Pair 2: no difference. Pair 3 of 7"),
        (lambda: choose(labeller, "skip"), "question", "Pair 3: skipped. Pair 4 of 7"),
        (lambda: labeller.click("back"), "question", "Pair 3 of 7"),
        (lambda: labeller.press("n", "n", "2"), "question", "Pair 5: B is better. Pair 6 of 7"),
        (lambda: labeller.press("1", "1"), "question", "Pair 7: A is better. Pair 4 of 7"),
        (lambda: labeller.press("1"), "end", "Pair 4: A is better. You have been through all pairs."),
    ]
    for step, place, said in steps:
        step()
        assert (focused(labeller), announced(labeller)) == (place, said)
    region = labeller.part("announcement")
    assert region.get_attribute("role") == "status"
    # It is in the tree all the time, so that what comes into it is read out.
    assert labeller.browser.execute_script("return getComputedStyle(arguments[0]).display", region) != "none"
    labeller.save("save-done")
    assert announced(labeller).startswith("Saved 7 of 7 labels as labels-") and focused(labeller) == "save-done"
    labeller.click("change")
    assert focused(labeller) == "annotator"


def test_a_reload_and_another_window_leave_the_focus(labeller: Labeller) -> None:
    labeller.start()
    labeller.press("1")
    labeller.reopen(lambda: labeller.at(1))
    assert focused(labeller) == "BODY" and announced(labeller) == ""
    labeller.browser.find_element(By.TAG_NAME, "summary").click()
    labeller.browser.execute_script("document.querySelectorAll('#list button')[4].focus()")
    script = """
        const key = Object.keys(localStorage).find((key) => key.endsWith(":Ann"));
        const kept = JSON.parse(localStorage.getItem(key));
        kept.labels.push({ ...kept.labels[0], item: arguments[0] });
        localStorage.setItem(key, JSON.stringify(kept));
        window.dispatchEvent(new StorageEvent("storage", { key, newValue: localStorage.getItem(key) }));
        return document.activeElement.getAttribute("aria-label");
    """
    assert labeller.browser.execute_script(script, labeller.items[4].item) == "Pair 5, labelled"


def test_all_can_be_done_with_the_keyboard_and_nothing_traps_it(labeller: Labeller) -> None:
    """2.1.1 and 2.1.2: Tab reaches every control in the order of the page, and leaves the last one."""
    labeller.click("shortcuts")
    labeller.start()
    labeller.browser.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    labeller.wait(lambda: labeller.seen("unlabelled"))
    script = """
        const usable = [...document.querySelectorAll("button, input, summary, a, [tabindex='0']")];
        return usable.filter((one) => !one.disabled && one.getClientRects().length > 0).length;
    """
    number = labeller.browser.execute_script(script)
    labeller.browser.execute_script("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    labeller.browser.execute_script("document.getElementById('question').focus()")
    at = "const one = document.activeElement; return one === document.body ? null : [...document.all].indexOf(one)"
    seen: list[int] = []
    for _ in range(3 * number):
        labeller.press(Keys.TAB)
        here = labeller.browser.execute_script(at)
        if here is not None and here in seen:
            break
        seen += [] if here is None else [here]
    assert len(seen) == number
    # From the heading on to the end, round, and from the start on.
    turn = seen.index(min(seen))
    assert seen[turn:] + seen[:turn] == sorted(seen)
    labeller.browser.execute_script("document.getElementById('question').focus()")
    while "data-choice" not in labeller.browser.execute_script("return document.activeElement.outerHTML"):
        labeller.press(Keys.TAB)
    labeller.press(Keys.ENTER)
    assert labeller.shown() == 1 and labeller.choices()[0] == "A"


def test_a_name_that_is_none_is_an_error_that_is_told(labeller: Labeller) -> None:
    """3.3.1 and 3.3.3."""
    labeller.type("annotator", "   " + Keys.ENTER)
    assert labeller.seen("problem") and "enter a name to start" in labeller.text("problem")
    name = labeller.part("annotator")
    assert name.get_attribute("aria-invalid") == "true" and name.get_attribute("aria-describedby") == "problem"
    assert labeller.part("problem").get_attribute("role") == "alert" and focused(labeller) == "annotator"
    labeller.start("Ann")
    assert not labeller.seen("problem")


def test_a_choice_is_told_by_more_than_its_colour(labeller: Labeller) -> None:
    """1.4.1."""
    labeller.start()
    labeller.press("1", "u")
    assert labeller.seen("mark-a") and not labeller.seen("mark-b")
    script = "return getComputedStyle(document.querySelector(arguments[0]), '::before').content"
    assert labeller.browser.execute_script(script, "[data-choice=A]") == '"✓ "'
    assert labeller.browser.execute_script(script, "[data-choice=B]") == "none"
    labeller.press("2", "u")
    assert labeller.seen("mark-b") and not labeller.seen("mark-a")


def test_names_hold_what_is_seen_and_headings_are_nested(labeller: Labeller) -> None:
    """2.5.3, 1.3.1 and 2.4.2."""
    labeller.start()
    labeller.browser.find_element(By.TAG_NAME, "summary").click()
    for button in labeller.browser.find_elements(By.CSS_SELECTOR, "button, summary"):
        if button.is_displayed():
            assert button.text.strip().splitlines()[0] in button.accessible_name
    shown = [
        one.tag_name for one in labeller.browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3") if one.is_displayed()
    ]
    assert shown == ["h1", "h2", "h3", "h3", "h3"]
    assert labeller.browser.title == "Which output is better?"
    ids = labeller.browser.execute_script("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


def test_texts_run_in_their_own_direction_and_language(browser: Any, tmp_path: Path) -> None:
    """1.3.2 and 3.1.1: the page is English, the texts are of no language that it knows."""
    texts = {"rtl": "مرحبا بالعالم hello", "ltr": "hello مرحبا"}
    row = {"generator_1": "x", "generator_2": "y", "output_1": texts["rtl"], "output_2": texts["ltr"]}
    items = draw_pairs({"one": [{**row, "instruction": "שלום"}]}, per_set=1)
    labeller = Labeller(browser, tmp_path, items, labelling_page(items, "איזה פלט טוב יותר?"))
    labeller.start("דנה")
    script = "return getComputedStyle(document.getElementById(arguments[0])).direction"
    assert browser.execute_script(script, "prompt") == "rtl" and browser.execute_script(script, "name") == "rtl"
    for name in ("output-a", "output-b"):
        direction = "rtl" if labeller.text(name) == texts["rtl"] else "ltr"
        assert browser.execute_script(script, name) == direction
        assert labeller.part(name).get_attribute("lang") == ""
    assert browser.execute_script("return getComputedStyle(document.querySelector('h1')).direction") == "rtl"
    assert browser.execute_script("return document.documentElement.lang") == "en"


@pytest.mark.parametrize("height", [256, 640])
def test_it_is_read_without_sidewards_scrolling_at_four_times_the_size(
    browser: Any, tmp_path: Path, height: int
) -> None:
    """1.4.10: 320 CSS pixels wide, and what stays in place leaves room for the text."""
    row = {"generator_1": "x", "generator_2": "y", "output_1": "w" * 900, "output_2": "one two " * 90}
    items = draw_pairs({"one": [{**row, "instruction": f"https://example.org/{'a' * 200}/{height}"}]}, per_set=1)
    labeller = Labeller(browser, tmp_path, items)
    with screen(browser, 320, height):
        labeller.open()
        for _ in range(3):
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 320
            if labeller.seen("start"):
                labeller.start("A name that is rather long for so narrow a screen, and longer")
            else:
                labeller.press("1")
        assert labeller.seen("done")
        footer = browser.execute_script("return getComputedStyle(document.querySelector('footer')).position")
        assert footer == ("static" if height == 256 else "sticky")


def test_contrast_is_computed_as_defined() -> None:
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    # The grey that is known for being just enough on white.
    assert contrast([118, 118, 118], [255, 255, 255]) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_edges_stand_out(labeller: Labeller, scheme: str) -> None:
    """1.4.3 and 1.4.11: 4.5 to 1 for texts, 3 to 1 for the edges of controls."""
    browser = labeller.browser
    with screen(browser, 1200, 900, scheme):
        labeller.open()
        views = [
            lambda: None,
            labeller.start,
            lambda: labeller.press("1", "s", "u"),
            lambda: labeller.press("n", *"12333"),
        ]
        checked = 0
        for view in views:
            view()
            for summary in browser.find_elements(By.CSS_SELECTOR, "details:not([open]) summary"):
                if summary.is_displayed():
                    summary.click()
            texts, edges = browser.execute_script(CONTRASTS)
            for least, found in ((4.5, texts), (3, edges)):
                for name, colour, ground, opacity in found:
                    assert opacity == 1 and contrast(colour, ground) >= least, (name, colour, ground)
                    checked += 1
        assert labeller.seen("done") and checked > 100


def test_the_page_needs_no_network_and_has_no_foreign_code() -> None:
    page = labelling_page(pairs(2))
    assert not re.findall(r"(?:src|href)=|https?:|@import|url\(|eval\(|innerHTML|document\.write", page)
