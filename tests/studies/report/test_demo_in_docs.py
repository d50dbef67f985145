"""What puts the demo into README and docs."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

from tests.studies.results_record import example_results

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_in_docs", ROOT / "scripts" / "demo_in_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_the_figures_of_both_sets(script: ModuleType) -> None:
    results = example_results(methods=("sft", "ppo"), temperatures=(1.0,))
    lines = script.table(results).splitlines()
    assert lines[0] == (
        "|  | preferred to the reference, %, ID | preferred to the reference, %, OOD | gap OOD | EAD per input | "
        "KL, nats an output |"
    )
    assert len({line.count(" | ") for line in lines}) == 1 and len(lines) == 4
    pvr = results["methods"]["ppo"]["temperatures"]["1.0"]["pvr"]["ood"]
    low, high = pvr.ci
    assert f"| {100 * pvr.value:.1f} [{100 * low:.1f}, {100 * high:.1f}] |" in lines[3]


def test_what_was_between_the_marks_is_replaced(script: ModuleType) -> None:
    results = example_results(methods=("sft", "ppo"), temperatures=(1.0,))
    before, after = script.MARKS
    once = script.with_demo(f"A\n{before}\nold\n{after}\nB\n", results, "a.svg")
    assert script.with_demo(once, results, "a.svg") == once
    assert once.startswith(f"A\n{before}\n|  | ") and once.endswith(f"(a.svg)\n{after}\nB\n") and "old" not in once
    with pytest.raises(SystemExit, match="There are no marks"):
        script.with_demo("no marks", results, "a.svg")


def test_the_front_pages_have_the_marks_and_the_picture(script: ModuleType) -> None:
    for page, image in script.PAGES.items():
        content = page.read_text(encoding="utf-8")
        assert all(content.count(mark) == 1 for mark in script.MARKS)
        assert (page.parent / image).is_file() and f"({image})" in content


def test_the_picture_is_one_file_for_light_and_dark(script: ModuleType) -> None:
    source = script.picture(example_results(methods=("sft", "ppo"), temperatures=(1.0,)))
    tree = ET.fromstring(source)
    planes = [one for one in tree if "aria-label" in one.attrib]
    assert [one.get("aria-label", "").split(".")[0] for one in planes] == [
        "Quality against diversity, ID",
        "Quality against diversity, OOD",
    ]
    assert "prefers-color-scheme: dark" in source and not re.findall(r"href|url\(|<script|@import", source)
    # Every colour that is asked for is given.
    assert set(re.findall(r"var\((--\w+)\)", source)) <= set(re.findall(r"(--\w+): #", source))
