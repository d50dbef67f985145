"""The labelling page in a real browser, as a person uses it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from genrlhf.metrics.preference.validating.human_labels import read_labels
from genrlhf.metrics.preference.validating.labelling import key_rows
from tests.metrics.preference.validating.labeller import Labeller, pairs

# The driver of the browser listens on this machine.
pytestmark = pytest.mark.enable_socket


def test_labels_pressed_are_labels_imported(labeller: Labeller) -> None:
    labeller.start("Ann Ż.")
    keys = ["1", "a", "2", "B", "3", "s", "A"]
    pressed = ["A", "A", "B", "B", "tie", "skip", "A"]
    for number, key in enumerate(keys):
        assert labeller.shown() == number
        counts = f"{min(number, 5)} labelled, {max(0, number - 5)} skipped"
        assert labeller.text("count") == f"{number + 1} of 7: {counts}"
        assert (labeller.part("bar").get_property("value"), labeller.part("bar").get_property("max")) == (number, 7)
        labeller.press(key)
    assert labeller.seen("done") and not labeller.seen("work") and labeller.part("bar").get_property("value") == 7
    assert labeller.text("summary") == "6 labelled, 1 skipped, 0 without a label."
    file, document = labeller.save("save-done")
    assert re.fullmatch(r"labels-[0-9a-f]{8}-Ann_Ż_\.json", file.name)
    assert [label["item"] for label in document["labels"]] == [item.item for item in labeller.items]
    assert [label["choice"] for label in document["labels"]] == pressed
    assert all(label["seconds"] >= 0 for label in document["labels"])
    assert all(re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", label["at"]) for label in document["labels"])
    found = read_labels(key_rows(labeller.items), {file.name: file.read_bytes()})
    assert [one["instruction"] for one in found] == [item.instruction for item in labeller.items]
    for item, choice, one in zip(labeller.items, pressed, found, strict=True):
        assert one["annotator"] == "Ann Ż." and one["dataset"] == "set-one"
        assert one["output_1"].startswith("first of") and one["generator_1"] == "model-one"
        chosen = {"A": item.output_a, "B": item.output_b}.get(choice)
        preferred = {1: one["output_1"], 2: one["output_2"]}.get(one["preference"])
        assert preferred == chosen
        assert one["preference"] == {"tie": 1.5, "skip": None}.get(choice, one["preference"])


def test_nothing_is_lost_on_reload(labeller: Labeller) -> None:
    labeller.start()
    labeller.press("1", "2", "3", "u")
    assert labeller.shown() == 2
    before = labeller.save()[1]
    labeller.reopen(lambda: labeller.at(2))
    assert labeller.text("name") == "Ann"
    assert labeller.save()[1] == before
    # Under another name it begins anew, and the labels of the first are there under theirs.
    labeller.click("change")
    labeller.part("annotator").clear()
    labeller.start("Bob")
    assert labeller.shown() == 0 and labeller.choices() == [None] * 7
    labeller.press("s")
    labeller.reopen(lambda: labeller.text("name") == "Bob" and labeller.at(1))
    assert labeller.choices() == ["skip", *[None] * 6]
    labeller.click("change")
    labeller.part("annotator").clear()
    labeller.start("Ann")
    assert labeller.shown() == 2 and labeller.save()[1] == before
    assert not labeller.seen("unkept")


def test_another_page_begins_anew(labeller: Labeller, browser: Any, tmp_path: Path) -> None:
    labeller.start()
    labeller.press("1")
    (tmp_path / "other").mkdir()
    other = Labeller(browser, tmp_path / "other", pairs(5))
    assert other.seen("start")
    other.start()
    assert other.choices() == [None] * 5


def test_going_back_and_changing_a_label(labeller: Labeller) -> None:
    labeller.start()
    labeller.press("1", "1", "1")
    labeller.press(Keys.BACKSPACE, "U", "u")
    assert labeller.shown() == 0 and not labeller.part("back").is_enabled()
    pressed = labeller.browser.find_elements(By.CSS_SELECTOR, "[aria-pressed=true]")
    assert [button.get_attribute("data-choice") for button in pressed] == ["A"]
    labeller.press(Keys.BACKSPACE)
    assert labeller.shown() == 0
    first = labeller.save()[1]["labels"][0]
    labeller.press("2")
    # On to the next without a label.
    assert labeller.shown() == 3
    assert not labeller.browser.find_elements(By.CSS_SELECTOR, "[aria-pressed=true]")
    again = labeller.save()[1]["labels"]
    assert [label["choice"] for label in again] == ["B", "A", "A"]
    assert again[0]["at"] > first["at"] and again[0]["seconds"] >= first["seconds"]
    labeller.press("u", "u", "n")
    assert labeller.shown() == 2 and labeller.choices()[:4] == ["B", "A", "A", None]


def test_buttons_do_what_keys_do(labeller: Labeller) -> None:
    labeller.start()
    for choice in ("A", "B", "tie", "skip"):
        labeller.browser.find_element(By.CSS_SELECTOR, f"[data-choice={choice}]").click()
    assert labeller.shown() == 4
    # Keys work while a button has the focus.
    labeller.press("2")
    labeller.click("back")
    labeller.click("on")
    labeller.click("on")
    assert labeller.shown() == 6 and labeller.choices() == ["A", "B", "tie", "skip", "B", None, None]


def test_pairs_without_a_label_are_in_reach(labeller: Labeller) -> None:
    labeller.start()
    labeller.press("1", "n", "s", "N", "n", "2", "3")
    assert labeller.shown() == 1
    assert labeller.text("left") == "3 without a label"
    labeller.browser.find_element(By.TAG_NAME, "summary").click()
    buttons = labeller.browser.find_elements(By.CSS_SELECTOR, "#list button")
    states = ["labelled", "without a label", "skipped", "without a label", "without a label", "labelled", "labelled"]
    assert [button.get_attribute("aria-label") for button in buttons] == [
        f"Pair {number}, {state}" for number, state in enumerate(states, start=1)
    ]
    assert [bool(button.get_attribute("aria-current")) for button in buttons] == [False, True, *[False] * 5]
    buttons[5].click()
    assert labeller.shown() == 5
    labeller.click("unlabelled")
    assert labeller.shown() == 1
    labeller.click("unlabelled")
    assert labeller.shown() == 3


def test_keys_are_left_alone_while_typing_and_with_others_held(labeller: Labeller) -> None:
    labeller.type("annotator", "Tabs 123")
    assert labeller.part("annotator").get_property("value") == "Tabs 123" and labeller.seen("start")
    labeller.start()
    labeller.press("1")
    labeller.click("change")
    name = labeller.part("annotator")
    name.send_keys("2" + Keys.ARROW_LEFT + Keys.BACKSPACE + "ab")
    assert name.get_property("value") == "Tabs 123Anab2"
    name.clear()
    labeller.start("Tabs 123Ann")
    assert labeller.shown() == 1
    for held in (Keys.CONTROL, Keys.ALT, Keys.META):
        for key in ("b", "u", "3"):
            ActionChains(labeller.browser).key_down(held).send_keys(key).key_up(held).perform()
    assert labeller.shown() == 1 and labeller.choices() == ["A", *[None] * 6]
    ActionChains(labeller.browser).key_down(Keys.SHIFT).send_keys("b").key_up(Keys.SHIFT).perform()
    assert labeller.choices()[:3] == ["A", "B", None]


def test_a_key_held_down_and_a_double_click_label_one_pair(labeller: Labeller) -> None:
    labeller.start()
    for repeat in (False, True, True):
        labeller.browser.execute_cdp_cmd(
            "Input.dispatchKeyEvent", {"type": "keyDown", "key": "1", "text": "1", "autoRepeat": repeat}
        )
    labeller.browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", "key": "1"})
    assert labeller.shown() == 1
    button = labeller.browser.find_element(By.CSS_SELECTOR, "[data-choice=B]")
    ActionChains(labeller.browser).double_click(button).perform()
    assert labeller.shown() == 2
    for repeat in (False, True, True):
        labeller.browser.execute_cdp_cmd(
            "Input.dispatchKeyEvent",
            {
                "type": "keyDown",
                "key": "Enter",
                "code": "Enter",
                "text": "\r",
                "windowsVirtualKeyCode": 13,
                "autoRepeat": repeat,
            },
        )
    assert labeller.choices() == ["A", "B", "B", *[None] * 4]


def test_the_name_is_asked_for_and_cleaned(labeller: Labeller) -> None:
    labeller.press("1")
    assert labeller.part("annotator").get_property("value") == "1" and labeller.seen("start")
    labeller.press(Keys.BACKSPACE)
    labeller.type("annotator", "   " + Keys.ENTER)
    assert labeller.seen("start") and not labeller.part("save").is_enabled()
    labeller.part("annotator").clear()
    labeller.browser.execute_script("document.getElementById('annotator').value = ' Ann\\t\\u0007 \\u2028 B. \\ud800'")
    labeller.start("")
    assert labeller.text("name") == "Ann B."


def test_the_work_goes_on_in_another_browser(labeller: Labeller, tmp_path: Path) -> None:
    labeller.start()
    labeller.press("1", "2", "3")
    file, document = labeller.save()
    kept = tmp_path / "kept.json"
    shutil.copy(file, kept)
    labeller.browser.execute_script("localStorage.clear()")
    labeller.reopen(lambda: labeller.seen("start"))
    labeller.load(kept)
    assert labeller.text("name") == "Ann" and labeller.shown() == 3
    assert labeller.text("message") == "Loaded 3 labels by Ann."
    assert labeller.save()[1] == document
    # Keys work at once; of two labels the later holds, and those of others stay apart.
    labeller.press("s", "u", "u", "1")
    labeller.load(kept)
    assert labeller.choices() == ["A", "B", "A", "skip", None, None, None]
    bob = tmp_path / "bob.json"
    bob.write_text(json.dumps({**document, "annotator": "Bob", "labels": document["labels"][:1]}))
    labeller.load(bob)
    assert labeller.text("name") == "Bob" and labeller.choices() == ["A", *[None] * 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "it is not JSON."),
        ({"format": "x"}, "it holds no labels that this page saved."),
        ({"version": 2}, "it holds no labels that this page saved."),
        ({"labels": {}}, "it holds no labels that this page saved."),
        ({"page": "0" * 16}, "its labels are of another page."),
        ({"annotator": " "}, "it does not say who labelled."),
        ({"annotator": 7}, "it does not say who labelled."),
        ({"labels": [None]}, "one of its labels cannot be read."),
        ({"item": "__proto__"}, "one of its labels cannot be read."),
        ({"choice": "<b>"}, "one of its labels cannot be read."),
        ({"seconds": -1}, "one of its labels cannot be read."),
        ({"seconds": "1"}, "one of its labels cannot be read."),
        ({"at": "yesterday"}, "one of its labels cannot be read."),
    ],
)
def test_files_that_cannot_be_loaded(
    labeller: Labeller, tmp_path: Path, change: dict[str, Any] | None, message: str
) -> None:
    labeller.start()
    labeller.press("1", "2")
    document = labeller.save()[1]
    document["labels"][1].update(
        {name: value for name, value in (change or {}).items() if name in document["labels"][1]}
    )
    document.update({name: value for name, value in (change or {}).items() if name in document})
    bad = tmp_path / "<i>bad.json"
    bad.write_text("{" if change is None else json.dumps(document))
    labeller.load(bad)
    assert labeller.text("problem") == f"<i>bad.json was not loaded: {message}" and labeller.seen("problem")
    assert labeller.shown() == 2 and labeller.choices() == ["A", "B", *[None] * 5]
