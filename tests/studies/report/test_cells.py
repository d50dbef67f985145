"""Rows, columns and numbers of a report."""

from __future__ import annotations

import math
from typing import Any

import pytest

from genrlhf.studies.report.cells import Column, all_groups, number, overview, rows_of
from genrlhf.studies.results import Results
from genrlhf.types import Estimate
from tests.studies.report.test_tables import estimate
from tests.studies.results_record import example_results


def headings(groups: Any) -> dict[str, list[str]]:
    return {group.heading: [column.heading for column in group.columns] for group in groups}


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (0.123456, 3, "0.123"),
        (-1.5, 2, "\N{MINUS SIGN}1.50"),
        (0.0, 2, "0.00"),
        (-0.0, 2, "0.00"),
        (-0.001, 2, "\N{MINUS SIGN}0.001"),
        (0.00012, 3, "0.00012"),
        (12345.678, 2, "12,346"),
        (1e9, 2, "1e+09"),
        (math.nan, 2, "–"),
        (math.inf, 2, "∞"),
        (-math.inf, 2, "\N{MINUS SIGN}∞"),
    ],
)
def test_numbers(value: float, decimals: int, shown: str) -> None:
    assert number(value, decimals) == shown


def test_rows_are_methods_by_rising_temperature() -> None:
    record = example_results(temperatures=(1.5, 0.5, 10.0))
    temperatures = record["methods"]["ppo"]["temperatures"]
    temperatures["given"] = temperatures["0.5"]
    rows = [(row.method, row.temperature) for row in rows_of(record)]
    assert rows[:3] == [("sft", "0.5"), ("sft", "1.5"), ("sft", "10.0")]
    assert rows[3:7] == [("ppo", "0.5"), ("ppo", "1.5"), ("ppo", "10.0"), ("ppo", "given")]


def test_the_overview_has_quality_gaps_diversity_and_kl() -> None:
    assert headings(overview(example_results())) == {
        "Preferred to the reference, %": ["ID", "OOD", "gap OOD"],
        "Diversity per input": ["EAD"],
        "KL": ["nats an output"],
    }
    rewards = headings(overview({**example_results(), "quality": "reward", "diversity": "across_input.ead"}))
    assert rewards == {"Reward": ["ID", "OOD"], "Diversity across inputs": ["EAD"], "KL": ["nats an output"]}


def test_all_figures_have_a_column_those_of_a_later_time_too() -> None:
    record = example_results()
    figures: Any = record["methods"]["ppo"]["temperatures"]["0.5"]
    figures["seeds"]["1"]["pass_at_k"] = {"id": {"4": estimate(0.5, 0.1)}}
    figures["entropy"] = estimate(2.0, 0.1)
    assert headings(all_groups(record)) == {
        "Preferred to the reference, %": ["ID", "OOD", "gap OOD"],
        "Reward": ["ID", "OOD"],
        "KL": ["nats an output"],
        "Diversity per input": ["EAD", "distinct-2"],
        "Diversity across inputs": ["EAD"],
        "entropy": ["value"],
        "pass at k": ["id 4"],
    }


def test_what_was_not_measured_is_left_out() -> None:
    record: Results = example_results()
    for method in record["methods"].values():
        method["temperatures"] = {"1.0": {}}
    assert overview(record) == all_groups(record) == []
    empty = Column(("pvr", "id"), "ID")
    assert empty.of({}) is empty.of({"pvr": {}}) is empty.of({"pvr": {"id": "x"}}) is None
    nothing = Estimate(math.nan, math.nan, (math.nan, math.nan), 0, estimate(0, 0).values)
    assert empty.of({"pvr": {"id": nothing}}) is None
