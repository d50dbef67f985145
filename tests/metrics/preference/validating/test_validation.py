"""A judge against humans, by hand arithmetic and by what must not matter."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import cohen_kappa_score

from genrlhf.errors import DataError, JudgeError
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.preference.validating.matching import pairs_from_preferences
from genrlhf.metrics.preference.validating.validation import JudgeValidation, validate_judge, validation_table
from genrlhf.metrics.score_interval import score_interval


def row(instruction: str, annotator: str, preference: Any, **other: Any) -> dict[str, Any]:
    """Return an annotation of a short output of "old" and a longer one of "new"."""
    sides = {"output_1": "aa", "generator_1": "old", "output_2": "bbbb", "generator_2": "new"}
    return {"instruction": instruction, **sides, "annotator": annotator, "preference": preference, **other}


def turned(one: dict[str, Any]) -> dict[str, Any]:
    """Return the same annotation with the outputs the other way round."""
    swapped = {**one, "output_1": one["output_2"], "output_2": one["output_1"]}
    swapped |= {"generator_1": one["generator_2"], "generator_2": one["generator_1"]}
    if one["preference"] in (1, 2):
        swapped["preference"] = 3 - one["preference"]
    return swapped


def judged(*preferences: Any, **other: Any) -> list[dict[str, Any]]:
    return [row(f"p{i}", "judge", preference, **other) for i, preference in enumerate(preferences)]


def said(name: str, *preferences: Any, **other: Any) -> list[dict[str, Any]]:
    return [row(f"p{i}", name, preference, **other) for i, preference in enumerate(preferences)]


def only(judge: list[dict[str, Any]], humans: list[dict[str, Any]]) -> JudgeValidation:
    found = validate_judge(judge, humans)
    assert list(found) == ["all"]
    return found["all"]


THREE = [*said("ann", 2, 2, 1, 1.5), *said("ben", 2, 1, 1, 2), *said("cai", 2, 2, 2, None)]
"""By pair: new, new, new; new, old, new; old, old, new; tie, new."""


def test_agreement_per_example_by_hand() -> None:
    found = only(judged(2, 1, 1, 2), THREE)
    assert (found.n_pairs, found.n_annotators) == (4, 3)
    # Judge new, old, old, new against every human.
    assert found.accuracy is not None and found.human_agreement is not None and found.judge_leave_one_out is not None
    assert found.accuracy.values == pytest.approx([1, 1 / 3, 2 / 3, (0.5 + 1) / 2])
    # Of the second pair the others of each draw, say new, and draw; of the third they draw, draw, and say old.
    assert found.human_agreement.values == pytest.approx([1, (0.5 + 0 + 0.5) / 3, (0.5 + 0.5 + 0) / 3, 0.5])
    # The judge says old to both, and new to the last, where the others say new and tie.
    assert found.judge_leave_one_out.values == pytest.approx(
        [1, (0.5 + 0 + 0.5) / 3, (0.5 + 0.5 + 1) / 3, (1 + 0.5) / 2]
    )
    # Majorities new, new, old, and a draw of tie and new.
    assert found.bias is not None and found.bias.values == pytest.approx([0, 1, 0, 0.5])
    assert found.variance is None


def test_the_judge_is_compared_with_the_majorities_that_humans_are_compared_with() -> None:
    # Of new, new, new, old the others say new, whoever is left out; the judge says new, as three humans of four do.
    found = only(judged(2), [*said("a", 2), *said("b", 2), *said("c", 2), *said("d", 1)])
    assert found.accuracy is not None and found.human_agreement is not None and found.judge_leave_one_out is not None
    assert (found.accuracy.value, found.human_agreement.value, found.judge_leave_one_out.value) == (0.75, 0.75, 1)


def test_leave_one_out_is_of_pairs_with_two_humans() -> None:
    found = only(judged(2, 2, 1), [*said("ann", 2, 1, 1), *said("ben", 2)])
    assert found.accuracy is not None and found.accuracy.values.tolist() == [1, 0, 1]
    assert found.human_agreement is not None and found.human_agreement.n == 1
    assert found.judge_leave_one_out is not None and found.judge_leave_one_out.n == 1
    alone = only(judged(2, 2), said("ann", 2, 1))
    assert alone.human_agreement is None and alone.judge_leave_one_out is None and alone.fleiss_kappa is None
    assert alone.n_annotators == 1


def test_the_intervals_are_those_of_shares() -> None:
    few = only(judged(1, 2, 2, 2), said("ann", 1, 2, 1, 2))
    assert few.accuracy == proportion_estimate([1, 1, 0, 1])
    # Wilson's of 1 of 1: 1 / (1 + z²)
    one = only(judged(1), said("ann", 1)).accuracy
    assert one is not None and math.isnan(one.stderr) and one.ci == pytest.approx((0.2065, 1), abs=5e-5)


def test_kappas_count_a_pair_in_both_orders() -> None:
    found = only(judged(2, 1, 1, 2, 1.5, 2), said("ann", 2, 2, 1, 2, 1, 1.5))
    judge, human = [2, 0, 0, 2, 1, 2], [2, 2, 0, 2, 0, 1]
    reference = cohen_kappa_score(judge + [2 - x for x in judge], human + [2 - x for x in human])
    assert found.cohen_kappa == pytest.approx(reference, abs=1e-12)
    several = [*said("ann", 1, 2), *said("ben", 2, 2), *said("cai", 2, 2)]
    assert only(judged(2, 2), several).cohen_kappa == 1
    # Three of three; two of three: P = 1, 1/3. In both orders, half of the labels are for each.
    humans = [*said("ann", 2, 2), *said("ben", 2, 2), *said("cai", 2, 1)]
    assert only(judged(2, 2), humans).fleiss_kappa == pytest.approx((2 / 3 - 0.5) / 0.5)


def test_a_preference_set_that_always_has_the_better_output_first_has_a_kappa() -> None:
    # Three of four right; without ties, half is chance: (0.75 − 0.5) / 0.5.
    assert only(judged(1, 1, 1, 2), said("ann", 1, 1, 1, 1)).cohen_kappa == pytest.approx(0.5)
    ties = only(judged(1.5, 1.5), [*said("ann", 1.5, 0), *said("ben", 1.5, 0)])
    assert math.isnan(ties.cohen_kappa) and ties.fleiss_kappa is not None and math.isnan(ties.fleiss_kappa)


def test_repeats_of_the_judge_give_bias_and_variance() -> None:
    judge = [*judged(2, 2, 1), *judged(2, 1, 1), *judged(1, 1)]
    found = only(judge, said("ann", 2, 2, 2))
    # new, new, old; new, old, old; old, old: majorities new, old, old.
    assert found.bias is not None and found.bias.values.tolist() == [0, 1, 1]
    # The others of new, new, old draw, draw and say new.
    assert found.variance is not None and found.variance.values == pytest.approx([2 / 3, 2 / 3, 0])
    assert found.accuracy is not None and found.accuracy.values == pytest.approx([2 / 3, 1 / 3, 0])
    # Majorities of both: only the first of three agrees, 1/3 against a half by chance.
    assert found.cohen_kappa == pytest.approx((1 / 3 - 0.5) / 0.5)
    # Only the pair that was repeated.
    once = only([*judged(2, 2), *judged(1)], said("ann", 2, 2))
    assert once.variance is not None and once.variance.values.tolist() == [1]


def test_an_annotator_counts_once() -> None:
    humans = [*said("ann", 1), *said("ann", 2), *said("ann", 2), *said("ben", 1)]
    found = only(judged(2), humans)
    assert found.accuracy is not None and found.accuracy.value == 0.5 and found.n_annotators == 2
    assert found.human_agreement is not None and found.human_agreement.value == 0


def test_what_is_missing_is_counted() -> None:
    judge = [*judged(2, None, math.nan, 1), row("p5", "judge", 1), row("more", "judge", 2)]
    humans = said("ann", 2, 2, 1, 1, 2, None, None)
    humans[0]["preference"] = 1.5
    found = only(judge, humans)
    assert (found.n_pairs, found.n_unanswered, found.n_unmatched, found.n_unlabelled) == (2, 2, 1, 2)
    assert found.accuracy is not None and found.accuracy.values.tolist() == [0.5, 1]


def test_an_answer_to_one_repeat_is_an_answer() -> None:
    found = only([*judged(None), *judged(2)], said("ann", 2))
    assert (found.n_pairs, found.n_unanswered) == (1, 0)


def test_win_rates_of_two_models() -> None:
    found = only(judged(2, 1.25, 1), [*said("ann", 2, 1.5, 1), *said("ben", 1, 2, 1)])
    (name, rates), *others = found.aggregate.items()
    assert name == "new vs old" and not others and (rates.model, rates.baseline) == ("new", "old")
    assert rates.judge.values.tolist() == [1, 0.25, 0] and rates.humans.values.tolist() == [0.5, 0.75, 0]
    assert rates.difference.values.tolist() == [0.5, -0.5, 0]
    assert rates.difference.ci == score_interval([0.5, -0.5, 0], -1, 1)
    assert found.win_rate_judge == rates.judge and found.win_rate_humans == rates.humans
    assert found.aggregate_correlation is None


def test_the_first_human_row_says_whose_win_rate_it_is() -> None:
    humans = said("ann", 2, 2, 1)
    found = only(judged(2, 2, 2), [turned(humans[0]), *humans[1:]])
    rates = found.aggregate["old vs new"]
    assert rates.judge.values.tolist() == [0, 0, 0] and rates.humans.values.tolist() == [0, 0, 1]


def models(pair: tuple[str, str], annotator: str, *preferences: Any) -> list[dict[str, Any]]:
    names = {"generator_1": pair[0], "generator_2": pair[1]}
    return [row(f"p{i}", annotator, preference, **names) for i, preference in enumerate(preferences)]


def test_win_rates_correlate_over_pairs_of_models() -> None:
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c")]
    judge_says = [(2, 2, 2, 1), (2, 2, 1, 1), (2, 1, 1, 1), (2, 2, 1, 1)]
    humans_say = [(2, 2, 2, 2), (2, 1, 1, 1), (1, 1, 1, 1), (2, 2, 2, 1)]
    judge = [one for pair, says in zip(pairs, judge_says, strict=True) for one in models(pair, "judge", *says)]
    humans = [one for pair, says in zip(pairs, humans_say, strict=True) for one in models(pair, "ann", *says)]
    found = only(judge, humans)
    assert list(found.aggregate) == ["b vs a", "c vs a", "d vs a", "c vs b"]
    rates = [[0.75, 0.5, 0.25, 0.5], [1, 0.25, 0, 0.75]]
    assert [one.judge.value for one in found.aggregate.values()] == rates[0]
    assert [one.humans.value for one in found.aggregate.values()] == rates[1]
    assert found.aggregate_correlation is not None
    assert found.aggregate_correlation.pearson == pytest.approx(pearsonr(*rates).statistic, abs=1e-12)
    assert found.aggregate_correlation.spearman == pytest.approx(spearmanr(*rates).statistic, abs=1e-12)
    assert found.win_rate_judge is None and found.win_rate_humans is None
    two = only([one for one in judge if one["generator_2"] != "c"], humans)
    assert len(two.aggregate) == 2 and two.aggregate_correlation is None and two.n_unmatched == 8


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("constant", ["judge", "humans"])
def test_equal_win_rates_do_not_correlate(constant: str) -> None:
    pairs = [("a", "b"), ("a", "c"), ("a", "d")]
    same = [one for pair in pairs for one in models(pair, "ann", 2, 1, 1)]
    varied = [one for i, pair in enumerate(pairs) for one in models(pair, "ann", 2, 1 + i % 2, 1)]
    found = (only(same, varied) if constant == "judge" else only(varied, same)).aggregate_correlation
    assert found is not None and math.isnan(found.pearson) and math.isnan(found.spearman)


def test_two_outputs_of_one_model_have_no_win_rate() -> None:
    one = models(("a", "a"), "judge", 2, 1)
    found = only(one, [turned({**two, "annotator": "ann"}) for two in one])
    assert found.accuracy is not None and found.accuracy.value == 1 and found.aggregate == {}
    assert found.win_rate_judge is None


def test_pairs_are_told_apart_by_generators_and_outputs() -> None:
    # The same instruction and outputs, by other models; and the same models with other outputs.
    base = row("p", "judge", 2)
    other_models = {**base, "generator_1": "older", "preference": 1}
    other_output = {**base, "output_1": "cc", "preference": 1.5}
    exchanged = {**base, "generator_1": "new", "generator_2": "old", "preference": 1}
    judge = [base, other_models, other_output, exchanged]
    humans = [{**one, "annotator": "ann"} for one in judge]
    found = only(judge, humans)
    assert found.n_pairs == 4 and found.accuracy is not None and found.accuracy.value == 1
    assert only([{**base, "output_2": "aa"}], [{**base, "output_2": "aa", "annotator": "ann"}]).n_pairs == 1


def test_longer_outputs() -> None:
    same = {"output_1": "bbbb"}
    judge = [*judged(2, 1.25, 1.5, 2), row("same", "judge", 2, **same)]
    humans = [*said("ann", 2, 2, 1, 2), *said("ben", 2, 1), row("same", "ann", 2, **same)]
    # On the last the longer output comes first.
    for rows in (judge, humans):
        for one in rows:
            if one["instruction"] == "p3":
                one["output_1"] = "ccccc"
    found = only(judge, humans)
    assert found.longer_preferred_judge is not None and found.longer_preferred_humans is not None
    assert found.longer_preferred_judge.values.tolist() == [1, 0, 0.5, 0]
    assert found.longer_preferred_humans.values.tolist() == [1, 0.5, 0, 0]
    equal = only([row("same", "judge", 2, **same)], humans)
    assert equal.longer_preferred_judge is None and equal.longer_preferred_humans is None


def test_positions() -> None:
    judge = [
        row("p0", "judge", 2, first_shown_wins=1.0, flipped=False),
        row("p0", "judge", 2, first_shown_wins=0, flipped=True),
        row("p1", "judge", 1.5, first_shown_wins=1, flipped=np.bool_(True)),
        row("p2", "judge", 1, first_shown_wins=None, flipped=None),
        row("p3", "judge", 1, first_shown_wins=math.nan, flipped=math.nan),
        row("more", "judge", 1, first_shown_wins=0, flipped=False),
    ]
    found = only(judge, said("ann", 2, 1, 1, 1))
    assert found.first_shown_wins is not None and found.first_shown_wins.values.tolist() == [0.5, 1]
    assert found.flip_rate is not None and found.flip_rate.values.tolist() == [0.5, 1]
    unknown = only(judged(2), said("ann", 2))
    assert unknown.first_shown_wins is None and unknown.flip_rate is None


def test_data_sets() -> None:
    humans = [*said("ann", 2, 1, dataset="tldr"), row("q", "ben", 2, dataset="cnn"), row("lost", "ben", 1, dataset="x")]
    judge = [*judged(2, 2), row("q", "judge", 2)]
    found = validate_judge(judge, humans)
    assert list(found) == ["tldr", "cnn", "x", "all"]
    counts = {name: (one.n_pairs, one.n_unmatched, one.n_annotators) for name, one in found.items()}
    assert counts == {"tldr": (2, 0, 1), "cnn": (1, 0, 1), "x": (0, 1, 0), "all": (3, 1, 2)}
    assert [one.accuracy and one.accuracy.value for one in found.values()] == [0.5, 1, None, pytest.approx(2 / 3)]
    assert found["x"].bias is None and found["x"].aggregate == {} and math.isnan(found["x"].cohen_kappa)
    assert list(validate_judge(judge, humans[:2])) == ["tldr"]
    some = validate_judge(judge, [row("q", "ben", 2, dataset=math.nan), *humans[:2]])
    assert [(name, one.n_pairs) for name, one in some.items()] == [("tldr", 2), ("all", 3)]


def test_one_pair_in_two_data_sets_is_in_both() -> None:
    humans = [row("p0", "ann", 2, dataset="a"), row("p0", "ben", 1, dataset="b")]
    found = validate_judge(judged(2), humans)
    assert {name: one.accuracy and one.accuracy.value for name, one in found.items()} == {"a": 1, "b": 0, "all": 0.5}


preferences = st.lists(
    st.tuples(st.sampled_from([1, 1.5, 2]), st.lists(st.sampled_from([1, 1.5, 2]), min_size=1, max_size=4)),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(preferences, st.data())
def test_the_order_of_the_judges_outputs_does_not_matter(given_labels: Any, data: st.DataObject) -> None:
    judge = judged(*(one for one, _ in given_labels), first_shown_wins=0.25)
    humans = [
        row(f"p{i}", f"h{j}", label) for i, (_, all_of) in enumerate(given_labels) for j, label in enumerate(all_of)
    ]
    as_given = json.dumps(validate_judge(judge, humans)["all"].to_dict())
    swapped = [turned(one) if data.draw(st.booleans()) else one for one in judge]
    assert json.dumps(validate_judge(swapped, humans)["all"].to_dict()) == as_given


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 1.2, 1.5, 1.8, 2]), min_size=1, max_size=20), st.data())
def test_a_judge_that_is_the_only_human_is_right(given_labels: list[float], data: st.DataObject) -> None:
    humans = [turned(one) if data.draw(st.booleans()) else one for one in said("ann", *given_labels)]
    judge = [{**one, "annotator": "judge"} for one in humans]
    found = only(judge, humans)
    assert found.accuracy is not None and found.accuracy.value == 1
    assert found.bias is not None and found.bias.value == 0
    assert found.cohen_kappa == 1 or all(label == 1.5 for label in given_labels)
    assert found.aggregate[next(iter(found.aggregate))].difference.value == 0


@pytest.mark.parametrize(
    ("judge", "humans", "message"),
    [
        ([], said("ann", 2), "There are no judge rows; give at least one annotation"),
        (judged(2), [], "There are no human rows; give at least one annotation"),
        (judged(1, 3), said("ann", 2), r"^judge row 1 has the preference 3; it must be 1"),
        (judged(1), said("ann", "2"), r"^human row 0 has the preference '2'; it must be 1"),
        (judged(1, output_1=None), said("ann", 2), r"judge row 0 has None for 'output_1'; make it text"),
        (judged(1), said(None, 2), "human row 0 does not say whose it is"),  # type: ignore[arg-type]
        (judged(1, flipped=0.5), said("ann", 2), r"judge row 0 has 0.5 for 'flipped'; it must be true, false"),
        (judged(1, first_shown_wins=1.5), said("ann", 2), r"judge row 0 has 1.5 for 'first_shown_wins'.* from 0 to 1"),
        (judged(1, first_shown_wins=True), said("ann", 2), r"judge row 0 has True for 'first_shown_wins'"),
        (
            judged(1),
            said("ann", 2, output_2="aa", generator_2="old"),
            "human row 0 compares an output of 'old' with it",
        ),
    ],
)
def test_bad_rows(judge: list[dict[str, Any]], humans: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        validate_judge(judge, humans)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["instruction", "output_1", "generator_1", "output_2", "generator_2", "annotator", "preference"]
)
def test_a_missing_column(name: str) -> None:
    lacking = [{key: value for key, value in row("p0", "ann", 2).items() if key != name}]
    with pytest.raises(DataError, match=f"^human row 0 has no '{name}'"):
        validate_judge(judged(2), lacking)
    if name == "annotator":
        assert only(lacking, said("ann", 2)).n_pairs == 1
        return
    with pytest.raises(DataError, match=f"^judge row 0 has no '{name}'"):
        validate_judge(lacking, said("ann", 2))


def test_no_pair_in_common() -> None:
    with pytest.raises(DataError, match="None of the 2 pairs of the humans is among the 3 of the judge: .* 'p0', with"):
        validate_judge(judged(1, 2, 1, output_1="other"), [*said("ann", 2, 1), *said("ben", 2, 1)])
    with pytest.raises(DataError, match=r"the judge has no row for the instruction 'q+…; have the judge compare"):
        validate_judge(judged(1), [row("q" * 200, "ann", 2)])


def test_no_answer() -> None:
    with pytest.raises(JudgeError, match="None of the 2 pairs that judge and humans share has an answer of both"):
        validate_judge(judged(None, 1), [*said("ann", 1, None), row("more", "ann", 2)])


def test_preference_sets() -> None:
    said_by = [{"role": "user", "content": "Hi."}]
    answer = [{"role": "assistant", "content": "Hello."}]
    long = [{"role": "system", "content": "Be brief."}, *said_by]
    rows = [
        {"prompt": "POST: …", "chosen": "good", "rejected": "bad", "dataset": "tldr", "worker": 3},
        {"prompt": said_by, "chosen": answer, "rejected": said_by},
        {"prompt": "Hi.", "chosen": [*said_by, *answer], "rejected": [*said_by, *answer, *said_by]},
        {"prompt": long, "chosen": [*long, *answer], "rejected": answer, "dataset": None},
        {"prompt": "No.", "chosen": [*said_by, *answer], "rejected": "No.", "dataset": math.nan},
    ]
    found = pairs_from_preferences(rows)
    assert found[0] == {
        "instruction": "POST: …",
        "output_1": "good",
        "generator_1": "chosen",
        "output_2": "bad",
        "generator_2": "rejected",
        "annotator": "human",
        "preference": 1,
        "dataset": "tldr",
    }
    assert [(one["instruction"], one["output_1"], one["output_2"]) for one in found[1:]] == [
        ("Hi.", "Hello.", "Hi."),
        ("Hi.", "Hello.", "assistant: Hello.\n\nuser: Hi."),
        ("system: Be brief.\n\nuser: Hi.", "Hello.", "Hello."),
        ("No.", "user: Hi.\n\nassistant: Hello.", "No."),
    ]
    assert all("dataset" not in one for one in found[1:])
    judge = [{**turned(one), "annotator": "judge"} for one in found]
    checked = validate_judge([*judge[:4], {**judge[4], "preference": 1}], found)["all"]
    assert checked.accuracy is not None and checked.accuracy.values.tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "There are no preference rows"),
        ([{"prompt": "p", "chosen": "c"}], "preference row 0 has no 'rejected'"),
        ([{"prompt": "p", "chosen": "c", "rejected": 3}], "preference row 0, 'rejected' is 3; give text, or a list"),
        ([{"prompt": [], "chosen": "c", "rejected": "r"}], r"preference row 0, 'prompt' is \[\]"),
        ([{"prompt": [{"role": "user"}], "chosen": "c", "rejected": "r"}], "preference row 0, 'prompt' is"),
        ([{"prompt": "p", "chosen": [{"role": "user", "content": None}], "rejected": "r"}], "row 0, 'chosen' is"),
    ],
)
def test_bad_preference_rows(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pairs_from_preferences(rows)


def test_json() -> None:
    found = only(judged(2), said("ann", 2)).to_dict()
    json.dumps(found, allow_nan=False)
    share = {"value": 1.0, "stderr": None, "ci": list(score_interval([1.0])), "n": 1}
    assert found["accuracy"] == share and found["human_agreement"] is None and found["n_pairs"] == 1
    assert found["aggregate"] == {
        "new vs old": {
            "model": "new",
            "baseline": "old",
            "judge": share,
            "humans": share,
            "difference": {**share, "value": 0.0, "ci": list(score_interval([0.0], -1, 1))},
        }
    }
    assert only(judged(1.5), said("ann", 1.5)).to_dict()["cohen_kappa"] is None
    assert len(found) == 18


def test_table() -> None:
    humans = [
        *said("ann", *[2] * 20, dataset="tldr"),
        *said("ben", *[2] * 20, dataset="tldr"),
        row("lost", "ann", 2, dataset="x"),
    ]
    judge = judged(*[2] * 15, *[1] * 5, first_shown_wins=0.5, flipped=False) + judged(*[2] * 15, *[1] * 5)
    found = validate_judge(judge, humans)
    header, tldr, lost, everything = validation_table(found)
    assert header[:2] == ["set", "pairs"] and len(header) == len(tldr) == len(lost) == len(everything) == 13
    # Wilson's of 15 and of 20 of 20
    accuracy = "75.0 [53.1, 88.8]"
    assert tldr == [
        *("tldr", "20", accuracy, "100.0 [83.9, 100.0]", accuracy, "0.50", "75.0 / 100.0", "-25.0"),
        *("25.0", "0.0", "75.0 / 100.0", "50.0", "0.0"),
    ]
    assert lost == ["x", "0", *["–"] * 11]
    assert everything == ["all", *tldr[1:]]


def test_a_table_of_several_pairs_of_models_has_their_mean_difference() -> None:
    judge = [*models(("a", "b"), "judge", 2, 2, 1, 1), *models(("a", "c"), "judge", 1, 1, 1, 1)]
    humans = [*models(("a", "b"), "ann", 2, 1, 1, 1), *models(("a", "c"), "ann", 2, 2, 2, 1)]
    # +25 and −75.
    line = dict(zip(*validation_table(validate_judge(judge, humans)), strict=True))
    one = dict(zip(*validation_table(validate_judge(judge[:4], humans[:4])), strict=True))
    assert one["difference"] == "+25.0" and one["win rate (judge / humans)"] == "50.0 / 25.0"
    assert line["difference"] == "50.0 (of 2)" and line["win rate (judge / humans)"] == "–"
