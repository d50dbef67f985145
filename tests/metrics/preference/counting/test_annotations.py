"""Win rates from annotations, against AlpacaEval's published leaderboard."""

from __future__ import annotations

import csv
import gzip
import json
import math
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import DataError, JudgeError
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.preference import annotation_win_rates, known_preferences, length_controlled
from tests import needs

JUDGEMENTS, LEADERBOARD = "alpacaeval_gpt4_annotations.jsonl.gz", "alpacaeval_gpt4_leaderboard.csv"


def rows(*preferences: Any, first: str = "old", second: str = "new") -> list[dict[str, Any]]:
    return [
        {"generator_1": first, "output_1": "aa", "generator_2": second, "output_2": "bbbb", "preference": p}
        for p in preferences
    ]


@needs.data(JUDGEMENTS, LEADERBOARD)
def test_published_judgements_give_the_published_leaderboard() -> None:
    with gzip.open(needs.DATA / JUDGEMENTS, "rt", encoding="utf-8") as lines:
        found = annotation_win_rates(map(json.loads, lines))
    with (needs.DATA / LEADERBOARD).open(encoding="utf-8") as file:
        published = {row["model"]: row for row in csv.DictReader(file)}
    assert found.keys() == published.keys() and len(found) == 4
    for name, row in published.items():
        one = found[name]
        assert one.win_rate == pytest.approx(float(row["win_rate"]), abs=1e-6)
        assert one.standard_error == pytest.approx(float(row["standard_error"]), abs=1e-6)
        for count in ("n_wins", "n_wins_base", "n_draws", "n_total"):
            assert getattr(one, count) == int(row[count]), (name, count)
        assert one.ci[0] < one.win_rate < one.ci[1]
        assert one.ci[1] - one.ci[0] == pytest.approx(2 * 1.96 * one.standard_error, rel=0.1)
    assert found["ultralm-13b-v2.0"].n_unanswered == 3


def test_by_hand() -> None:
    found = annotation_win_rates(rows(1, 2, 2, 1.5, 0, None, math.nan, 1.25))["new"]
    assert found.win_rate == pytest.approx(100 * (0 + 1 + 1 + 0.5 + 0.5 + 0.25) / 6)
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total, found.n_unanswered) == (2, 2, 2, 6, 2)
    values = np.array([0, 1, 1, 0.5, 0.5, 0.25])
    assert found.standard_error == pytest.approx(100 * values.std(ddof=1) / 6**0.5)
    # In percent, that of `win_rate`.
    assert found.ci == tuple(100 * end for end in proportion_estimate(values).ci)
    assert found.avg_length == 4
    assert found.length_controlled is None and "length_controlled" not in found.to_dict()
    assert annotation_win_rates(rows(2))["new"].to_dict()["standard_error"] is None


def test_difficulty_by_instruction() -> None:
    judged = [{**row, "instruction": f"i{number % 4}"} for number, row in enumerate(rows(*[1, 2, 2, 1, 2] * 8))]
    table = {"i0": -1.0, "i1": 0.0, "i2": 0.5, "i3": 2.0}
    found = annotation_win_rates(judged, control_length=True, difficulty=table)["new"].length_controlled
    wins = np.array([0, 1, 1, 0, 1] * 8)
    lengths = np.tile([4, 2], (40, 1))
    levels = np.array([table[f"i{i % 4}"] for i in range(40)])
    expected = length_controlled(wins, lengths, difficulty=levels)
    assert found is not None and found.value == pytest.approx(100 * expected.value, abs=1e-10)
    assert found.ci == pytest.approx([100 * end for end in expected.ci]) and found.n == 40
    assert found.stderr == pytest.approx(100 * expected.stderr)
    with pytest.raises(DataError, match=r"The difficulty of 20 of 40 instructions is not known, such as that of 'i0'"):
        annotation_win_rates(judged, control_length=True, difficulty={"i1": 0.0, "i3": 0.0})


def test_a_null_output_has_no_length() -> None:
    judged = rows(1, 2, 2)
    judged[1]["output_2"] = None
    found = annotation_win_rates(judged)["new"]
    # Its text would have been "None"; the others have the length that all have.
    assert found.avg_length == annotation_win_rates(rows(1))["new"].avg_length
    assert found.n_total == 3
    with pytest.raises(DataError, match="1 of 3 comparisons of .new. with .old. have an output that is null"):
        annotation_win_rates(judged, control_length=True)
    nothing = annotation_win_rates([{**row, "output_2": None} for row in judged])["new"]
    assert math.isnan(nothing.avg_length) and nothing.to_dict()["avg_length"] is None
    with pytest.raises(DataError, match=r"row 0 has \['a'\] for 'output_1'; give text, or null"):
        annotation_win_rates([{**judged[0], "output_1": ["a"]}])


def test_null_texts_are_no_known_preferences() -> None:
    row = {**rows(1)[0], "instruction": "i", "output_2": None}
    assert known_preferences([row]) == {}
    assert len(known_preferences([{**row, "output_2": "None"}])) == 2


def test_p_value_is_that_of_the_sign_test() -> None:
    # 1 win and 7 losses: 2 · (1 + 8) / 2⁸
    assert annotation_win_rates(rows(2, *[1] * 7))["new"].p_value == pytest.approx(18 / 256)
    assert annotation_win_rates(rows(2, 1, 1.5))["new"].p_value == 1


def test_the_baseline_may_be_on_either_side() -> None:
    mixed = [*rows(1, 2, 2), *rows(2, first="new", second="old")]
    found = annotation_win_rates(mixed)["new"]
    assert found.win_rate == 50 and found.avg_length == pytest.approx((4 + 4 + 4 + 2) / 4)
    turned = annotation_win_rates(mixed, baseline="new")["old"]
    assert turned.win_rate == 50 and turned.n_wins == 2
    with pytest.raises(DataError, match=r"row 3 compares 'a' with 'b', and neither is the baseline 'old'"):
        annotation_win_rates([*rows(1, 2, 2), *rows(1, first="a", second="b")])


def test_several_models() -> None:
    found = annotation_win_rates([*rows(2, 2), *rows(1, second="newer"), *rows(2, second="newer")])
    assert {name: one.win_rate for name, one in found.items()} == {"new": 100, "newer": 50}


@pytest.mark.parametrize("preference", [3, -1, "1", True, 0.5])
def test_what_is_no_preference(preference: Any) -> None:
    with pytest.raises(DataError, match=r"row 1 has the preference .*; it must be 1 \(the first output\)"):
        annotation_win_rates(rows(1, preference))


def test_bad_rows() -> None:
    with pytest.raises(DataError, match="row 0 has no 'preference'"):
        annotation_win_rates([{"generator_1": "a", "generator_2": "b"}])
    with pytest.raises(DataError, match="row 0 compares 'a' with itself"):
        annotation_win_rates(rows(1, first="a", second="a"))
    with pytest.raises(DataError, match="There are no annotations"):
        annotation_win_rates([])
    with pytest.raises(JudgeError, match="None of the 2 comparisons of 'new' has an answer"):
        annotation_win_rates(rows(None, None))
