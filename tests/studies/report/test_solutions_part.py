"""pass@k, crossing points and forgetting in the report and in the table of a terminal."""

from __future__ import annotations

import re

from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.studies.report import report_page
from genrlhf.studies.report.solutions_part import crossing_text, pass_plane
from genrlhf.studies.report.svg import Axis, plane
from genrlhf.studies.results import Results, from_json, to_json
from genrlhf.studies.results_check import check_record
from genrlhf.studies.results_text import results_table
from tests.studies.results_record import example_results


def with_solutions() -> Results:
    results = example_results()
    for place, (name, method) in enumerate(results["methods"].items()):
        for figures in method["temperatures"].values():
            figures["pass_at_k"] = {
                str(k): proportion_estimate([1.0] * (k + place) + [0.0] * (10 - k - place)) for k in (4, 1, 2)
            }
            if name != "sft":
                figures["crossing"] = {"base": "sft", "k": 3, "ci": [2.0, None], "crossed": 0.6, "max_k": 4, "n": 10}
                figures["forgetting"] = {"increase": mean_estimate([0.1, 0.2, 0.4]), "loss": mean_estimate([2.0, 2.5])}
    return results


def test_the_page_has_curves_crossing_points_and_forgetting() -> None:
    results = with_solutions()
    check_record({**from_json(to_json(results)), "stages": {}}, "it")
    (drawn,) = pass_plane(results)
    assert [point.x.value for point in drawn.series[0].points] == [1, 2, 4]
    page = report_page(results)
    assert "3 [2, ∞]" in page and "Solved by one of k outputs" in page and "Forgetting, nats a token" in page
    table = results_table(results)
    assert "pass@k: SFT overtakes PPO (T 1.0) at k = 3 [2, ∞]" in table and "forgetting" in table
    results["methods"]["ppo"]["temperatures"]["1.0"]["crossing"]["k"] = None
    assert "pass@k: SFT does not overtake PPO (T 1.0) up to k = 4: none [2, ∞]" in results_table(results)


def test_without_them_nothing_is_said() -> None:
    page = report_page(example_results())
    assert "Where the base overtakes" not in page and not list(pass_plane(example_results()))
    assert crossing_text({"k": None, "ci": [1.0, None]}) == "none [1, ∞]"


def test_a_logarithmic_axis_has_powers_of_two_at_equal_distances() -> None:
    (drawn,) = pass_plane(with_solutions())
    picture = plane(drawn.series, Axis("k", log=True), drawn.y, size=(600, 400), described_by=("a", "b"))
    ticks = re.findall(r'<text class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="middle">(\d+)<', picture)
    assert [shown for _, shown in ticks] == ["1", "2", "4"]
    one, two, four = (float(place) for place, _ in ticks)
    assert abs((two - one) - (four - two)) < 0.2
