"""Gaps of a study beside the shifts of its sets."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.preference import generalisation_gaps
from genrlhf.studies.report import report_page
from genrlhf.studies.report.shift_part import methods_with_gaps, shift_planes
from genrlhf.studies.results import Results
from genrlhf.studies.results_text import results_table
from genrlhf.studies.shifts import gap_of, gap_per_shift, shifts_of
from genrlhf.types import Estimate
from tests.studies.results_record import example_results

PROMPTS: dict[str, list[Any]] = {
    "id": [f"name a bird of kind {i}" for i in range(12)],
    "near": [f"name a bird and a fish {i}" for i in range(12)],
    "chat": [[{"role": "user", "content": f"who wrote the book {i}?"}] for i in range(12)],
    "small": ["one prompt"],
}


def with_shifts(sets: list[str]) -> Results:
    """Return results on several sets, worse the later a set comes, with their shifts."""
    results = example_results()
    results["sets"] = ["id", *sets]
    results["outputs"] = []
    shifts = {
        name: {
            "words": Estimate(
                0.2 * place, 0.01, (0.2 * place - 0.02, 0.2 * place + 0.02), 40, proportion_estimate([1]).values
            ),
            "length": Estimate(-place, 0.1, (-place - 0.2, -place + 0.2), 40, proportion_estimate([1]).values),
        }
        for place, name in enumerate(sets, start=1)
    }
    for method in results["methods"].values():
        for figures in method["temperatures"].values():
            pvr = {
                name: proportion_estimate([1] * (16 - 4 * i) + [0] * (4 + 4 * i))
                for i, name in enumerate(results["sets"])
            }
            found = generalisation_gaps(pvr["id"], {name: pvr[name] for name in sets})
            figures.update(pvr=pvr, gaps=found.gaps)
            figures.update(gap_per_shift=gap_per_shift(figures, "pvr", results["sets"], shifts))
    results["shifts"] = shifts  # type: ignore[typeddict-item]
    return results


def test_every_set_is_compared_with_the_first_and_a_small_one_left_out() -> None:
    found = shifts_of(PROMPTS)
    assert list(found) == ["near", "chat"] and set(found["near"]) == {"words", "length"}
    assert 0 < found["near"]["words"].value < found["chat"]["words"].value


def test_the_gap_for_a_shift_of_one_takes_sizes_without_their_sign() -> None:
    results = with_shifts(["near", "far"])
    figures = results["methods"]["sft"]["temperatures"]["1.0"]
    others = {name: figures["pvr"][name] for name in ("near", "far")}
    for measure, sizes in (("words", (0.2, 0.4)), ("length", (1.0, 2.0))):
        expected = generalisation_gaps(
            figures["pvr"]["id"], others, shifts=dict(zip(others, sizes, strict=True))
        ).per_shift
        assert figures["gap_per_shift"][measure] == expected
    assert gap_per_shift(figures, "pvr", ["id", "near"], {"near": results["shifts"]["near"]}) == {}
    assert gap_per_shift(figures, "reward", results["sets"], results["shifts"]) == {}


def test_a_true_score_has_a_gap_too_and_rewards_of_unlike_inputs_have_none() -> None:
    figures: Any = {"gold": {"id": proportion_estimate([1, 1, 1, 0]), "ood": proportion_estimate([1, 0, 0, 0])}}
    gap = gap_of(figures, "gold", "id", "ood")
    assert gap is not None and gap.value == 0.5
    assert (
        gap_of(figures, "gold", "id", "far") is None
        and gap_of({"reward": figures["gold"]}, "reward", "id", "ood") is None
    )


def test_the_report_draws_the_gap_against_every_measure() -> None:
    results = with_shifts(["near", "far"])
    planes = {plane.title: plane for plane in shift_planes(results)}
    for measure, places in (("words", [0.2, 0.4]), ("length", [1.0, 2.0])):
        drawn = planes[f"Gap against shift, {measure}"]
        assert [series.label for series in drawn.series] == [one["label"] for one in results["methods"].values()]
        points = drawn.series[0].points
        assert [point.x.value for point in points] == pytest.approx(places)
        assert [point.y.value for point in points] == pytest.approx([0.2, 0.4]) and points[0].x.ci[0] < points[
            0
        ].x.value
    page = report_page(results)
    assert 'id="shifts"' in page and "gap for 1 of words" in page
    table = results_table(results)
    assert "shift from ID" in table and "gap for 1 of length" in table


def test_results_of_one_set_or_without_shifts_have_no_such_part() -> None:
    results = example_results()
    assert 'id="shifts"' not in report_page(results) and "shift from" not in results_table(results)
    assert {temperature for _, temperature, *_ in methods_with_gaps(results)} == {"1.0"}
    # One other set is a table, and no plot.
    one = with_shifts(["far"])
    assert 'id="shifts"' in report_page(one) and not list(shift_planes(one))
