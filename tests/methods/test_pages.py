"""Every method has a page of its own, which the index links."""

from __future__ import annotations

import re

import pytest

from genrlhf.methods import METHODS, get_method
from genrlhf.studies import Study
from genrlhf.studies.recipe import read_recipe
from tests.cli.documented import ROOT

PAGES = ROOT / "docs" / "methods"
PARTS = ["The idea", "When to use it", "What to watch"]
LEFT_OUT = {"ilf"}
"""Of the study of all methods, on whose task nobody gives feedback in words."""


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


def test_the_study_of_all_methods_has_all() -> None:
    entries = read_recipe(ROOT / "examples" / "all_methods.yaml").methods
    trained = {entry.method or name for name, entry in entries.items() if entry.settings}
    policies = {name for name in METHODS if get_method(name).makes == "policy"}
    assert trained - {"reward_model"} == policies - LEFT_OUT


def test_the_study_of_all_methods_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    sizes = {f"n_{kind}": 8 for kind in ("demonstrations", "prompts", "validation", "evaluation")}
    Study.from_yaml("all_methods.yaml", task={"name": "all_methods:task", "n_preferences": 0, **sizes}).check()
