"""The toys of `benchmarks/toys` at a small size: the method passes its bar and its control does not."""

from __future__ import annotations

import json

import pytest
from benchmarks import methods
from benchmarks.toys._bar import Claim, judge

from tests.cli.documented import ROOT


@pytest.mark.parametrize("name", methods.toy_names())
def test_a_small_toy_passes_its_bar(name: str) -> None:
    toy = methods.load_toy(name)
    figures = toy.run(0, **toy.SMALL)
    for claim in getattr(toy, "SMALL_BAR", toy.BAR):
        assert claim.passes(figures[claim.arm][claim.figure]), (claim, figures)
        assert claim.control is None or not claim.passes(figures[claim.control][claim.figure]), (claim, figures)


def test_a_bar_holds_where_the_arms_are_apart_by_three_spreads() -> None:
    claim = Claim("share", "method", "control", at_least=0.5)

    def judged(method: list[float], control: list[float]) -> tuple[bool, bool | None, bool]:
        pairs = enumerate(zip(method, control, strict=True))
        found = judge(claim, {str(seed): {"method": {"share": a}, "control": {"share": b}} for seed, (a, b) in pairs})
        return found["arm_passes"], found["control_fails"], found["holds"]

    assert judged([0.9, 1.0, 0.95], [0.2, 0.1, 0.2]) == (True, True, True)
    # 0.7 apart, with a spread of 0.4.
    assert judged([0.6, 1.0, 0.8], [0.1, 0.1, 0.1]) == (True, True, False)
    assert judged([0.9, 0.4, 0.95], [0.2, 0.1, 0.2]) == (False, True, False)
    assert judged([0.9, 1.0, 0.95], [0.2, 0.5, 0.2]) == (True, False, False)
    assert judged([0.9], [0.2]) == (True, True, True)
    less = Claim("share", "method", at_most=0.5)
    assert judge(less, {"0": {"method": {"share": 0.5}}})["holds"]
    assert not judge(less, {"0": {"method": {"share": 0.51}}})["holds"]


def test_the_pages_have_the_tables_of_the_record() -> None:
    toys = json.loads(methods.RECORD.read_text(encoding="utf-8"))["toys"]
    shown = set()
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert methods.with_tables(text, toys) == text, f"python benchmarks/methods.py --docs writes {page.name} anew"
        shown |= {line.split()[2] for line in text.splitlines() if line.startswith("<!-- toy: ")}
    assert shown == set(toys) == set(methods.toy_names())
    for name, record in toys.items():
        assert list(record["seeds"]) == ["0", "1", "2"], name
        assert record["holds"] == all(judge(claim, record["seeds"])["holds"] for claim in methods.load_toy(name).BAR)
