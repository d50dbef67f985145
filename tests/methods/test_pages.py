"""Every method has a page of its own, which the index links."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest
from scripts import all_methods_in_docs, method_curves, open_ended_in_docs

from genrlhf.methods import METHODS, get_method
from genrlhf.studies import Study
from genrlhf.studies.recipe import read_recipe
from tests.cli.documented import ROOT

PAGES = ROOT / "docs" / "methods"
PARTS = ["The idea", "When to use it", "What to watch"]
LEFT_OUT = {"ilf"}
"""Of the study of all methods, on whose task nobody gives feedback in words."""
WITHOUT_CURVE = {"carp", "coop_carp"}
"""Rewards, which nothing in that study is trained for."""


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_page(name: str) -> None:
    text, method = (PAGES / f"{name}.md").read_text(encoding="utf-8"), get_method(name)
    assert text.startswith(f"# {method.label}\n")
    assert [title for title in re.findall(r"^## (.+)$", text, re.MULTILINE) if title in PARTS] == PARTS
    # An equation, and where it comes from.
    assert "$" in text
    numbers = re.findall(r"arXiv (\d{4}\.\d{5})", method.paper)
    assert numbers and all(f"https://arxiv.org/abs/{number}" in text for number in numbers)


def test_the_index_links_every_page() -> None:
    listed = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert {page.stem for page in PAGES.glob("*.md")} == set(re.findall(r"\(methods/(\w+)\.md\)", listed))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT_CURVE])
def test_the_curve_of_a_run_is_that_of_the_record(name: str) -> None:
    run, page = method_curves.runs()[name], (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert method_curves.HEADING in page
    assert method_curves.with_curve(page, name, run) == page
    image = (method_curves.IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert image == method_curves.picture(run.curves)
    assert len(run.curves) > 0 and len(image) < 15_000


def test_the_page_of_the_study_of_all_methods_is_that_of_its_record() -> None:
    record = json.loads(all_methods_in_docs.RECORD.read_text(encoding="utf-8"))
    page = all_methods_in_docs.PAGE.read_text(encoding="utf-8")
    assert all_methods_in_docs.with_tables(page, record) == page
    for name, image in all_methods_in_docs.images(record).items():
        assert (all_methods_in_docs.IMAGES / f"{name}.svg").read_text(encoding="utf-8") == image
    assert {name for names in all_methods_in_docs.FAMILIES.values() for name in names} >= set(record["methods"]) - {
        *all_methods_in_docs.FREE
    }


def test_the_page_of_open_ended_is_that_of_its_record() -> None:
    record = json.loads(open_ended_in_docs.RECORD.read_text(encoding="utf-8"))
    page = open_ended_in_docs.PAGE.read_text(encoding="utf-8")
    assert open_ended_in_docs.with_tables(page, record) == page
    image = open_ended_in_docs.PICTURE.read_text(encoding="utf-8")
    assert image == open_ended_in_docs.picture(open_ended_in_docs.shown(record))


def test_the_study_of_all_methods_has_all() -> None:
    entries = read_recipe(ROOT / "examples" / "all_methods.yaml").methods
    trained = {entry.method or name for name, entry in entries.items() if entry.settings}
    policies = {name for name in METHODS if get_method(name).makes == "policy"}
    assert trained - {"reward_model"} == policies - LEFT_OUT


def test_the_study_of_all_methods_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    sizes = {f"n_{kind}": 8 for kind in ("demonstrations", "prompts", "validation", "evaluation")}
    Study.from_yaml("all_methods.yaml", task={"name": "all_methods:task", "n_preferences": 0, **sizes}).check()


def test_what_the_study_of_all_methods_brings_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    all_methods: Any = importlib.import_module("all_methods")
    task = all_methods.task(n_demonstrations=2, n_preferences=0, n_prompts=2, n_validation=2, n_evaluation=4)
    assert set(task.evaluation) == {"id", "ood"}
    prompts, texts = zip(*((row["prompt"], row["reference"]) for row in task.evaluation["id"]), strict=True)
    assert set(all_methods.passes([*prompts, *prompts], [*texts, *[""] * 4])) == {0.0, 1.0}
    assert all_methods.fulfilled(prompts[:1], [""]) == [" not well"]
    # One width, whatever the texts of a group are.
    assert {len(vector) for group in (texts, ["", "a b"]) for vector in all_methods.words(group)} == {257}
