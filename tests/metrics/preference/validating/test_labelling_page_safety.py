"""What the labelling page does with hostile texts, other windows, full storage, and screens of all kinds."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from genrlhf.metrics.preference.validating.human_labels import read_labels
from genrlhf.metrics.preference.validating.labelling import LabelItem, draw_pairs, key_rows, labelling_page
from tests.browser import asked
from tests.metrics.preference.validating.labeller import Labeller, pairs

# The driver of the browser listens on this machine.
pytestmark = pytest.mark.enable_socket

HOSTILE = [
    "</script><script>window.broken = 1; alert(1)</script>",
    '<img src="x" onerror="window.broken = 1; alert(1)"><b>bold</b>',
    "<!--<script>\u2028{{data}} ${1} &lt;&amp; \\u003c",
    "two\n\nparagraphs,  spaces and\ta tab, half a character: \ud83d.",
]


def test_two_windows_keep_both_their_labels(labeller: Labeller) -> None:
    labeller.start()
    browser, first = labeller.browser, labeller.browser.current_window_handle
    browser.switch_to.new_window("tab")
    second = browser.current_window_handle
    try:
        labeller.reopen(lambda: labeller.at(0))
        labeller.press("1", "1")
        browser.switch_to.window(first)
        labeller.wait(lambda: "2 labelled" in labeller.text("count"))
        labeller.press("n", "n")
        labeller.press("2")
        assert labeller.choices() == ["A", "A", "B", *[None] * 4]
        browser.switch_to.window(second)
        labeller.wait(lambda: "3 labelled" in labeller.text("count"))
    finally:
        browser.switch_to.window(second)
        browser.close()
        browser.switch_to.window(first)


def test_labels_of_a_window_that_was_not_heard_of_are_kept(labeller: Labeller) -> None:
    labeller.start()
    labeller.press("1")
    script = """
        const key = Object.keys(localStorage).find((key) => key.endsWith(":Ann"));
        const kept = JSON.parse(localStorage.getItem(key));
        kept.labels.push({ ...kept.labels[0], item: arguments[0] });
        localStorage.setItem(key, JSON.stringify(kept));
    """
    labeller.browser.execute_script(script, labeller.items[4].item)
    labeller.press("2")
    assert labeller.choices() == ["A", "B", None, None, "A", None, None]


def test_what_another_window_wrote_over_is_written_again(labeller: Labeller) -> None:
    """A window that had not heard of a label yet writes without it, and may be the last to be closed."""
    labeller.start()
    labeller.press("1", "2")
    script = """
        const key = Object.keys(localStorage).find((key) => key.endsWith(arguments[0]) && localStorage[key][0] === "{");
        const kept = JSON.parse(localStorage.getItem(key));
        const newValue = JSON.stringify({ ...kept, labels: kept.labels.slice(1) });
        localStorage.setItem(key, newValue);
        window.dispatchEvent(new StorageEvent("storage", { key, newValue }));
        return JSON.parse(localStorage.getItem(key)).labels.length;
    """
    assert labeller.browser.execute_script(script, ":Ann") == 2


def test_opening_a_page_stores_no_label(labeller: Labeller) -> None:
    """What it reads then may be older than what another window is about to store."""
    labeller.start()
    labeller.press("1")
    watch = """
        window.stored = [];
        const set = Storage.prototype.setItem;
        Storage.prototype.setItem = function (key, value) { window.stored.push(key); set.call(this, key, value); };
    """
    labels = 'return window.stored.some((key) => key.endsWith(":Ann"))'
    labeller.browser.execute_script(watch)
    labeller.press("2")
    assert labeller.browser.execute_script(labels)
    script = labeller.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": watch})
    try:
        labeller.reopen(lambda: labeller.at(2))
    finally:
        labeller.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert not labeller.browser.execute_script(labels)


def test_a_browser_that_keeps_nothing_says_so(labeller: Labeller) -> None:
    browser = labeller.browser
    script = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {"source": "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })"},
    )
    try:
        labeller.open()
        assert labeller.seen("unkept") and "Press Save before you leave" in labeller.text("unkept")
        labeller.start()
        labeller.press("1", "2")
        # Another name and back: what was entered is still there.
        labeller.click("change")
        labeller.part("annotator").clear()
        labeller.start("Bob")
        assert labeller.choices() == [None] * 7
        labeller.click("change")
        labeller.part("annotator").clear()
        labeller.start("Ann")
        assert labeller.choices() == ["A", "B", *[None] * 5]
        # What is saved may be left.
        assert not holds_back(browser)
        labeller.press("3")
        assert holds_back(browser)
        labeller.save()
        assert not holds_back(browser)
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    labeller.open()
    labeller.start()
    labeller.press("3")
    assert not labeller.seen("unkept") and not holds_back(browser)


def holds_back(browser: Any) -> bool:
    """Say whether the page asks before it is left."""
    script = "return !window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    return bool(browser.execute_script(script))


def test_storage_that_is_full_is_noticed(labeller: Labeller) -> None:
    labeller.start()
    labeller.press("1")
    labeller.browser.execute_script("Storage.prototype.setItem = () => { throw new Error('full') }")
    labeller.press("2")
    assert labeller.seen("unkept")
    labeller.press("u", "u", "3")
    assert labeller.choices() == ["tie", "B", *[None] * 5]


def hostile_items() -> list[LabelItem]:
    rows = [
        {
            "instruction": text,
            "output_1": f"{text} one",
            "generator_1": "llama-secret",
            "output_2": f"{text} two",
            "generator_2": "opt-secret",
        }
        for text in HOSTILE
    ]
    return draw_pairs({"secret-set": rows}, per_set=len(HOSTILE))


def test_hostile_texts_are_shown_as_they_are(browser: Any, tmp_path: Path) -> None:
    items = hostile_items()
    labeller = Labeller(browser, tmp_path, items)
    labeller.start("<b onclick=alert(1)>Ann")
    plain = browser.execute_script("return document.querySelectorAll('*').length")
    for number in range(len(items)):
        # `shown` compares the texts with those of the items.
        assert labeller.shown() == number
        assert not browser.find_elements(By.CSS_SELECTOR, ".text *, #name *, img")
        assert browser.execute_script("return document.querySelectorAll('*').length") == plain
        assert "secret" not in browser.page_source
        labeller.press("1")
    time.sleep(0.2)
    assert not asked(browser) and browser.execute_script("return window.broken === undefined")
    assert browser.execute_script("return document.scripts.length") == 2
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    found = read_labels(key_rows(items), {"f.json": labeller.save()[0].read_bytes()})
    assert [one["instruction"] for one in found] == [item.instruction for item in items]
    assert {one["annotator"] for one in found} == {"<b onclick=alert(1)>Ann"}


def test_long_outputs_paragraphs_and_nothing(browser: Any, tmp_path: Path) -> None:
    row = {"output_1": "", "generator_1": "x", "output_2": "w" * 30_000, "generator_2": "y"}
    items = draw_pairs({"one": [{**row, "instruction": f"a\n\n\nb  {n}"} for n in range(2)]}, per_set=2)
    labeller = Labeller(browser, tmp_path, items)
    labeller.start()
    assert labeller.part("prompt").text == items[0].instruction
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    # The buttons are in reach all the time, and the next pair is shown from its start.
    bottom = "return document.getElementById('back').getBoundingClientRect().bottom <= window.innerHeight"
    assert browser.execute_script(bottom)
    assert browser.execute_script("window.scrollTo(0, 500); return window.scrollY") == 500
    labeller.press("1")
    assert labeller.shown() == 1 and browser.execute_script("return window.scrollY") == 0
    empty = "output-a" if items[1].output_a == "" else "output-b"
    script = "return getComputedStyle(document.getElementById(arguments[0]), '::before').content"
    assert browser.execute_script(script, empty) == '"(nothing)"'


def test_the_policy_stops_what_is_put_into_the_page(browser: Any, tmp_path: Path) -> None:
    injected = "<script>window.broken = 1</script><img src='x' onerror='window.broken = 1'></body>"
    items = pairs(2)
    source = labelling_page(items).replace("</body>", injected)
    unguarded = re.sub("<meta http-equiv[^>]*>", "", source)
    for name, page, broken in (("unguarded", unguarded, True), ("guarded", source, False)):
        (tmp_path / name).mkdir()
        browser.get_log("browser")
        labeller = Labeller(browser, tmp_path / name, items, page)
        time.sleep(0.2)
        assert browser.execute_script("return window.broken === 1") is broken
        blocked = [entry["message"] for entry in browser.get_log("browser") if "Content Security" in entry["message"]]
        assert bool(blocked) is not broken
        # The page's own script and style are let through.
        if labeller.seen("start"):
            labeller.start()
        labeller.press("1")
        assert labeller.shown() == 1
        assert browser.execute_script("return getComputedStyle(document.getElementById('prompt')).whiteSpace") in (
            "pre-wrap",
            "break-spaces",
        )
        fetched = "try { await fetch('data:,x'); return 'loaded' } catch { return 'blocked' }"
        assert browser.execute_script(fetched) == ("loaded" if broken else "blocked")
        browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_laid_out_for_its_width_and_scheme(labeller: Labeller, width: int, scheme: str) -> None:
    browser = labeller.browser
    try:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        labeller.open()
        labeller.start()
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        a, b = (labeller.part(name).rect for name in ("side-a", "side-b"))
        assert (a["y"] == b["y"]) == (width == 1200)
        colour = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
        channels = [int(value) for value in re.findall(r"\d+", colour)[:3]]
        assert (max(channels) < 60) == (scheme == "dark")
        for button in browser.find_elements(By.CSS_SELECTOR, "[data-choice]"):
            box = browser.execute_script("return arguments[0].getBoundingClientRect()", button)
            assert box["left"] >= 0 and box["right"] <= width and box["bottom"] <= 740
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_every_control_has_a_name(labeller: Labeller) -> None:
    labeller.start()
    nodes = labeller.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [
        node
        for node in nodes
        if node.get("role", {}).get("value") in ("button", "textbox", "progressbar", "group") and not node["ignored"]
    ]
    names = {node["name"]["value"] for node in controls}
    assert {
        "Save the labels to a file",
        "Load labels that were saved",
        "Pairs done",
        "Which output is better?",
    } <= names
    assert "" not in {node["name"]["value"] for node in controls if node["role"]["value"] != "group"}
    assert labeller.browser.execute_script("return document.documentElement.lang") == "en"
