"""The report in a real browser: tables that sort, outputs side by side, and texts that stay texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from genrlhf.data.files import write_rows
from genrlhf.studies.results import read_results, write_results
from tests.browser import asked
from tests.studies.report.reader import Reader
from tests.studies.results_record import HOSTILE, example_results

# The driver of the browser listens on this machine.
pytestmark = pytest.mark.enable_socket

Read = Callable[..., Reader]


def by_value(folder: Path, figure: Callable[[Any], float], *, rising: bool) -> list[tuple[str, str]]:
    """Return method and temperature by rising or falling value; rows of equal value stay as they are."""
    methods = read_results(folder)["methods"]
    rows = [
        (one["label"], temperature, figure(figures))
        for one in methods.values()
        for temperature, figures in one["temperatures"].items()
    ]
    rows.sort(key=lambda row: row[2] if rising else -row[2])
    return [(label, temperature) for label, temperature, _ in rows]


def test_a_column_sorts_by_its_values(read: Read, tmp_path: Path) -> None:
    reader = read()
    before = reader.rows()
    assert not reader.all("[aria-sort]")
    for column, figure in (
        ("OOD", lambda figures: figures["pvr"]["ood"].value),
        ("nats an output", lambda figures: figures["kl"].value),
    ):
        head = reader.head(0, column)
        reader.click(head.find_element(By.TAG_NAME, "button"))
        # The best first, then the other way round.
        assert head.get_attribute("aria-sort") == "descending"
        assert reader.rows() == by_value(tmp_path, figure, rising=False) != before
        reader.click(head.find_element(By.TAG_NAME, "button"))
        assert head.get_attribute("aria-sort") == "ascending"
        assert reader.rows() == by_value(tmp_path, figure, rising=True)
        assert len(reader.all("[aria-sort]")) == 1
    reader.click(reader.head(0, "Method").find_element(By.TAG_NAME, "button"))
    assert reader.rows() == before
    # Other tables are left alone.
    assert [one.text.split()[0] for one in reader.all("[aria-sort]")] == ["Method"]


def test_what_has_no_value_comes_last_either_way(read: Read, tmp_path: Path) -> None:
    results = example_results()
    del results["methods"]["ppo"]["temperatures"]["0.5"]["kl"]
    results["outputs"] = []
    write_results(results, tmp_path)
    reader = read(tmp_path)
    button = reader.head(0, "nats an output").find_element(By.TAG_NAME, "button")
    for _ in range(2):
        reader.click(button)
        assert reader.rows()[-1] == ("PPO", "0.5")


def test_sorting_by_keyboard_keeps_the_focus_and_the_seeds_with_their_method(read: Read) -> None:
    reader = read()
    seeds = reader.part("seeds")
    assert not any(row.is_displayed() for row in reader.all("table.figures .seed")[:16])
    reader.focus(seeds)
    reader.press(Keys.SPACE)
    assert all(row.is_displayed() for row in reader.all("table.figures")[0].find_elements(By.CSS_SELECTOR, ".seed"))
    script = """
        return [...document.querySelector("table.figures").tBodies].map((body) => body.textContent);
    """
    before = reader.run(script)
    assert all("seed 0" in body and "seed 1" in body for body in before)
    button = reader.head(0, "EAD").find_element(By.TAG_NAME, "button")
    reader.focus(button)
    reader.press(Keys.ENTER)
    assert reader.run("return document.activeElement") == button
    after = reader.run(script)
    assert sorted(after) == sorted(before) and after != before
    reader.press(Keys.SPACE)
    assert reader.run(script) != after
    assert reader.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


def test_a_method_is_taken_out_of_a_plot_and_put_back(read: Read) -> None:
    reader = read()
    first, second = reader.all("figure")[:2]

    def drawn(figure: Any) -> list[int]:
        marks = [one for one in reader.all(".plane.wide [data-series]", figure) if one.tag_name == "g"]
        return [int(one.get_attribute("data-series")) for one in marks if one.is_displayed()]

    # Short names stand on one line.
    assert all(one.size["height"] < 30 for one in reader.all(".legend .switch bdi"))
    button = reader.all(".legend .switch", first)[1]
    assert button.accessible_name == "PPO" and drawn(first) == drawn(second) == [0, 1, 2, 3]
    reader.focus(button)
    reader.press(Keys.ENTER)
    assert button.get_attribute("aria-pressed") == "false" and drawn(first) == [0, 2, 3]
    assert drawn(second) == [0, 1, 2, 3]
    reader.press(Keys.ENTER)
    assert button.get_attribute("aria-pressed") == "true" and drawn(first) == [0, 1, 2, 3]


def test_outputs_of_one_input_stand_side_by_side(read: Read, tmp_path: Path) -> None:
    reader = read()
    assert reader.text("input-title") == "Input 1 of 6"
    assert reader.text("prompt") == "SUBREDDIT: r/a TITLE: number 0 of id TL;DR:"
    assert reader.text("reference") == "reference 0"
    files = read_results(tmp_path)["outputs"]

    def expected(number: int, temperature: str, seed: int, where: str) -> dict[str, list[str]]:
        found = {}
        for name, one in read_results(tmp_path)["methods"].items():
            [file] = [
                entry["file"]
                for entry in files
                if (entry["method"], entry["temperature"], entry["seed"], entry["set"])
                == (name, temperature, seed, where)
            ]
            lines = (tmp_path / file).read_text().splitlines()
            found[one["label"]] = json.loads(lines[number])["outputs"]
        return found

    assert reader.outputs() == expected(0, "1.0", 0, "id")
    reader.click(reader.part("next"))
    assert reader.text("input-title") == "Input 2 of 6" and reader.outputs() == expected(1, "1.0", 0, "id")
    assert reader.text("status") == "Input 2 of 6, 2 of 6"
    reader.choose("temperature", "0.5")
    reader.choose("seed", "1")
    assert reader.outputs() == expected(1, "0.5", 1, "id")
    reader.choose("set", "ood")
    assert reader.text("input-title") == "Input 1 of 6" and reader.outputs() == expected(0, "0.5", 1, "ood")
    assert not reader.part("previous").is_enabled()
    reader.enter("number", "99")
    assert reader.text("input-title") == "Input 6 of 6" and not reader.part("next").is_enabled()
    reader.click(reader.part("previous"))
    assert reader.text("input-title") == "Input 5 of 6"


def test_searching(read: Read) -> None:
    reader = read()
    search = reader.part("search")
    search.send_keys("NUMBER 3")
    reader.wait(lambda: reader.text("of") == "of 1 that match")
    assert reader.text("input-title") == "Input 4 of 6"
    assert [one.text for one in reader.all("mark")] == ["number 3"]
    assert reader.text("prompt") == "SUBREDDIT: r/a TITLE: number 3 of id TL;DR:"
    search.clear()
    # In outputs that are shown; the first inputs have the hostile text in their first one.
    search.send_keys("onerror=")
    reader.wait(lambda: reader.text("input-title") == "Input 1 of 6" and reader.text("of") == "of 1 that match")
    assert reader.outputs()["PPO"][0] == HOSTILE
    search.clear()
    search.send_keys("nowhere")
    reader.wait(lambda: reader.seen("none"))
    assert not reader.seen("input") and not reader.part("next").is_enabled()
    assert reader.text("status") == "0 of 6 inputs"
    search.send_keys(Keys.CONTROL + "a" + Keys.NULL + Keys.DELETE)
    reader.wait(lambda: reader.text("of") == "of 6")
    assert not reader.all("mark")


EVIL = [
    HOSTILE,
    "<!--<script>\u2028{{data}} ${1} &lt;&amp; \\u003c __proto__",
    "two\n\nparagraphs,  spaces and\ta tab, half a character: \ud83d.",
    "مرحبا \u202e \u2066 hello",
    "",
]


def test_hostile_texts_and_names_are_shown_as_they_are(read: Read, tmp_path: Path, browser: Any) -> None:
    results = example_results(methods=("sft", "ppo"), temperatures=(1.0,), seeds=1)
    results["outputs"] = [entry for entry in results["outputs"] if entry["set"] == "id"]
    results["title"] = results["methods"]["ppo"]["label"] = HOSTILE
    results["methods"]["__proto__"] = results["methods"].pop("sft")
    results["curves"]["__proto__"] = results["curves"].pop("sft")
    results["reference"] = results["outputs"][0]["method"] = "__proto__"
    for entry in results["outputs"]:
        rows = [{"prompt": text, "outputs": EVIL, "reference": text} for text in EVIL]
        file = tmp_path / entry["file"]
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_results(results, tmp_path)
    reader = read(tmp_path)
    assert browser.title == HOSTILE and reader.all("h1")[0].text == HOSTILE
    shown = [text.replace("\ud83d", "\ud83d") for text in EVIL]
    for number, text in enumerate(shown):
        assert reader.text("prompt") == reader.text("reference") == text
        assert reader.outputs() == {HOSTILE: shown, "SFT": shown}
        assert not reader.all(".text *")
        if number + 1 < len(shown):
            reader.click(reader.part("next"))
    assert not asked(browser)
    assert reader.run("return document.scripts.length") == 2 and not reader.all("img")
    assert reader.run("return performance.getEntriesByType('resource').length") == 0
    direction = "return getComputedStyle(document.querySelectorAll('.column li .text')[arguments[0]]).direction"
    assert reader.run(direction, 3) == "rtl" and reader.run(direction, 0) == "ltr"
    empty = "return getComputedStyle(document.querySelectorAll('.column li .text')[4], '::before').content"
    assert reader.run(empty) == '"(nothing)"'


def test_the_policy_stops_what_is_put_into_the_page(read: Read, browser: Any) -> None:
    reader = read()
    source = reader.file.read_text(encoding="utf-8")
    injected = "<script>window.broken = 1</script><img src='x' onerror='window.broken = 1'></body>"
    reader.file.write_text(source.replace("</body>", injected), encoding="utf-8")
    browser.get_log("browser")
    reader.open()
    reader.wait(lambda: any("Content Security" in entry["message"] for entry in browser.get_log("browser")))
    assert reader.run("return window.broken === undefined") and reader.seen("browser")
    fetched = "try { await fetch('data:,x'); return 'loaded' } catch { return 'blocked' }"
    assert reader.run(fetched) == "blocked"


def test_a_page_of_ours_logs_no_error(read: Read, browser: Any) -> None:
    browser.get_log("browser")
    reader = read()
    reader.click(reader.part("next"))
    assert browser.get_log("browser") == []
    write_rows([{"a": 1}], reader.file.with_name("other.jsonl"))
    assert reader.run("return performance.getEntriesByType('resource').length") == 0


def test_long_outputs_and_repeated_ones(read: Read, tmp_path: Path) -> None:
    results = example_results(methods=("sft",), temperatures=(1.0,), seeds=1)
    results["outputs"] = results["outputs"][:1]
    outputs = ["w" * 5000, "same", "v" * 25_000, "same"]
    write_rows([{"prompt": "p", "outputs": outputs}], tmp_path / results["outputs"][0]["file"])
    write_results(results, tmp_path)
    reader = read(tmp_path)
    assert [one.text for one in reader.all(".which")] == ["1", "2", "3", "4, the same as 2"]
    assert reader.all(".column h4 .quiet")[0].text == "T 1.0, 4 outputs, 3 distinct"
    assert not reader.seen("reference-box") and not reader.seen("set")
    [shown] = reader.outputs().values()
    assert [len(text) for text in shown] == [1500, 4, 1500, 4]
    first, second = reader.all("li .more")
    assert (first.text, second.text) == ("Show all 5,000 characters", "Show all 25,000 characters")
    reader.click(first)
    reader.click(second)
    [shown] = reader.outputs().values()
    assert shown[0] == outputs[0] and shown[2] == "v" * 20_000 + " … (5,000 more in its file)"
    assert not reader.all("li .more")
    assert reader.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_ten_thousand_inputs_are_turned_over_at_once(read: Read, tmp_path: Path) -> None:
    results = example_results(methods=("sft", "ppo"), temperatures=(1.0,), seeds=1)
    results["outputs"] = [entry for entry in results["outputs"] if entry["set"] == "id"]
    for entry in results["outputs"]:
        rows = ({"prompt": f"prompt {n}", "outputs": [f"output {n}", "more"]} for n in range(10_000))
        write_rows(rows, tmp_path / entry["file"])
    write_results(results, tmp_path)
    reader = read(tmp_path)
    assert reader.text("input-title") == "Input 1 of 10,000" and reader.text("of") == "of 100"
    reader = read(tmp_path, inputs=10_000)
    assert reader.text("of") == "of 10,000"
    reader.enter("number", "9999")
    assert reader.text("prompt") == "prompt 9998"
    # What is in the page does not grow with the inputs.
    assert reader.run("return document.querySelectorAll('*').length") < 2000
    reader.part("search").send_keys("output 77")
    reader.wait(lambda: reader.text("of") == f"of {1 + 10 + 100} that match")
    assert reader.part("number").get_property("value") == "1"
