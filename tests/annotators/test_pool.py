"""Pools of scripted annotators: who labels what, noise, what rows come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from genrlhf.annotators import AnnotatedPairs, Annotator, AnnotatorPool, OutputPair, annotation_figures
from genrlhf.annotators.draws import coin, uniform
from genrlhf.data import check_rows
from genrlhf.errors import ConfigError, DataError, JudgeError
from genrlhf.metrics.preference import ScoreJudge


def longer(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
    return [
        1.0 if len(one) > len(other) else 2.0 if len(other) > len(one) else 1.5
        for one, other in zip(first, second, strict=True)
    ]


def shorter(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
    return [3 - said for said in longer(prompts, first, second)]


def pairs(n: int) -> list[OutputPair]:
    """The second output is the longer one in every other pair."""
    return [OutputPair(f"q{k}", f"a{k}" + "x" * (k % 2), f"b{k}" + "x" * (1 - k % 2)) for k in range(n)]


def labels(annotated: AnnotatedPairs) -> dict[tuple[str, str], float | None]:
    return {(one.pair.shown[0], said.annotator): said.preference for one in annotated.pairs for said in one.annotations}


def test_labels_do_not_hang_on_order_batches_or_sides() -> None:
    pool = AnnotatorPool([Annotator("longer", longer), Annotator("shorter", shorter)], seed=3)
    given = pairs(200)
    whole = labels(pool.annotate(given, n_annotators=1))
    turned = labels(pool.annotate(given[::-1]))
    assert turned == whole
    for part in (given[:7], given[100:]):
        assert labels(pool.annotate(part)).items() <= whole.items()
    swapped = [OutputPair(pair.prompt, pair.second, pair.first) for pair in given]
    assert {key: 3 - said for key, said in labels(pool.annotate(swapped)).items() if said} == whole
    other = labels(AnnotatorPool(pool.annotators, seed=4).annotate(given))
    assert other != whole


def test_annotators_are_drawn_by_weight_and_a_new_one_moves_pairs_to_itself_alone() -> None:
    weights = {"a": 1.0, "b": 3.0, "c": 0.0}
    pool = AnnotatorPool([Annotator(name, longer, weight=weight) for name, weight in weights.items()])
    before = {prompt: name for prompt, name in labels(pool.annotate(pairs(2000)))}
    drawn = Counter(before.values())
    assert "c" not in drawn and abs(drawn["b"] / 2000 - 0.75) < 4 * (0.75 * 0.25 / 2000) ** 0.5
    grown = AnnotatorPool([*pool.annotators, Annotator("d", longer)])
    after = {prompt: name for prompt, name in labels(grown.annotate(pairs(2000)))}
    assert {after[prompt] for prompt in before if after[prompt] != before[prompt]} == {"d"}
    assert abs(Counter(after.values())["d"] / 2000 - 0.2) < 4 * (0.2 * 0.8 / 2000) ** 0.5


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.25, 0.5])
def test_noise_is_recovered_and_what_a_coin_decides_is_not_asked(noise: float) -> None:
    asked: list[str] = []

    def counted(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
        asked.extend(prompts)
        return longer(prompts, first, second)

    given = pairs(2000)
    clean = labels(AnnotatorPool([Annotator("x", longer, noise=0.0)]).annotate(given))
    noisy = AnnotatorPool([Annotator("x", counted, noise=noise)]).annotate(given)
    same = np.mean([clean[key] == said for key, said in labels(noisy).items()])
    assert abs(same - (1 - noise)) <= 4 * (noise * (1 - noise) / 2000) ** 0.5
    by_coin = sum(said.at_random for one in noisy.pairs for said in one.annotations)
    assert len(asked) == 2000 - by_coin and abs(by_coin / 2000 - 2 * noise) < 0.05
    # A coin has no taste for either side.
    firsts = [said.preference == 1 for one in noisy.pairs for said in one.annotations if said.at_random]
    assert noise == 0 or abs(np.mean(firsts) - 0.5) < 4 * 0.5 / len(firsts) ** 0.5


def test_more_noise_adds_coins_and_changes_none() -> None:
    shown = [pair.shown for pair in pairs(500)]
    less = {one: coin("x", one, noise=0.1, seed=0) for one in shown}
    more = {one: coin("x", one, noise=0.4, seed=0) for one in shown}
    assert all(more[one] == said for one, said in less.items() if said is not None)
    assert all(0 < uniform(0, "x", one) < 1 for one in shown)


def test_two_noisy_copies_agree_as_often_as_they_must() -> None:
    pool = AnnotatorPool([Annotator(name, longer, noise=0.25) for name in ("a", "b")])
    figures = annotation_figures(pool.annotate(pairs(2000), n_annotators=2))
    # (1 − p)² + p²
    assert figures.agreement is not None and figures.agreement.ci[0] <= 0.625 <= figures.agreement.ci[1]
    assert figures.krippendorff_alpha == pytest.approx(0.25, abs=0.05)


def likes(**taste: str | None) -> Any:
    """Return a judge that prefers a text of each prompt, neither for "", and has no answer for None."""

    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        said: dict[str | None, float | None] = {"": 1.5, None: None}
        return [
            said[taste[prompt]] if taste[prompt] in said else 1.0 if one == taste[prompt] else 2.0
            for prompt, one in zip(prompts, first, strict=True)
        ]

    return judge


def test_a_majority_ties_and_missing_answers_are_told_apart() -> None:
    judges = {
        "1": likes(tie="", draw="bb", all="bb", none=None),
        "2": likes(tie="", draw="a", all="a", none=None),
        "3": likes(tie="", draw=None, all="bb", none=None),
    }
    pool = AnnotatorPool([Annotator(name, judge, noise=0) for name, judge in judges.items()])
    given = [OutputPair(prompt, "a", "bb", columns={"dataset": "d"}) for prompt in ("tie", "draw", "all", "none")]
    annotated = pool.annotate(given, n_annotators=3)
    assert [one.why_unlabelled() for one in annotated.pairs] == [
        "a tie",
        "the annotators disagree",
        None,
        "the annotator did not answer",
    ]
    (row,) = annotated.preferences()
    assert (row["prompt"], row["chosen"], row["rejected"], row["dataset"]) == ("all", "bb", "a", "d")
    assert row["annotator"] == "majority" and row["score"] == pytest.approx(2 / 3)
    assert [said["score"] for said in row["annotations"]] == [1.0, 0.0, 1.0]
    turned = pool.annotate([OutputPair("all", "bb", "a")], n_annotators=3).preferences()
    assert [(one["chosen"], one["score"]) for one in turned] == [("bb", pytest.approx(2 / 3))]
    every = annotated.preferences(keep="all")
    assert [(row["prompt"], row["chosen"], row["annotator"]) for row in every] == [
        ("draw", "bb", "1"),
        ("draw", "a", "2"),
        ("all", "bb", "1"),
        ("all", "a", "2"),
        ("all", "bb", "3"),
    ]
    figures = annotation_figures(annotated)
    assert (figures.all.ties, figures.all.unanswered, figures.labelled) == (3, 4, 1)
    assert figures.unlabelled == {"a tie": 1, "the annotators disagree": 1, "the annotator did not answer": 1}
    assert (figures.length_chosen, figures.length_rejected) == (2, 1)


def test_figures_of_a_judge_that_likes_what_it_sees_first() -> None:
    def first_shown(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
        return [1.0] * len(prompts)

    pool = AnnotatorPool([Annotator("first", first_shown, noise=0), Annotator("longer", longer, noise=0)])
    found = annotation_figures(pool.annotate(pairs(400), n_annotators=2)).annotators
    assert found["first"].first_shown_wins is not None and found["first"].first_shown_wins.value == 1
    assert found["longer"].longer_wins is not None and found["longer"].longer_wins.value == 1
    for share in (found["longer"].first_shown_wins, found["first"].longer_wins):
        assert share is not None and share.ci[0] < 0.5 < share.ci[1]
    both = annotation_figures(pool.annotate(pairs(40), n_annotators=2, order="both")).annotators["first"]
    assert both.flip_rate == 1 and both.ties == 40 and both.preferred == 0


def test_conversations_come_out_as_conversations() -> None:
    turn = [{"role": "user", "content": "Say hi."}]
    pair = OutputPair(turn, "Hi.", "Hello there.")
    (row,) = AnnotatorPool([Annotator("x", longer, noise=0)]).annotate([pair]).preferences()
    assert row["prompt"] == turn and row["chosen"] == [{"role": "assistant", "content": "Hello there."}]
    check_rows([row], ["prompt", "chosen", "rejected"])


def test_a_preference_by_degree_is_the_score() -> None:
    def unsure(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
        return [1.8 if len(other) > len(one) else 1.2 for one, other in zip(first, second, strict=True)]

    (row,) = AnnotatorPool([Annotator("x", unsure, noise=0)]).annotate([OutputPair("q", "a", "bb")]).preferences()
    assert row["chosen"] == "bb" and row["score"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: AnnotatorPool([]), ConfigError, "no annotators"),
        (lambda: AnnotatorPool([Annotator("a", longer, weight=0)]), ConfigError, "weights of all annotators are 0"),
        (lambda: AnnotatorPool([Annotator("a", longer)] * 2), ConfigError, "Two annotators are called 'a'"),
        (lambda: Annotator("a", longer, noise=0.6), ConfigError, "noise of annotator 'a' must be from 0 to 0.5"),
        (lambda: Annotator("a", longer, noise=float("nan")), ConfigError, "noise"),
        (lambda: Annotator("a", longer, weight=-1), ConfigError, "weight"),
        (lambda: Annotator(" ", longer), ConfigError, "give it a name"),
        (lambda: OutputPair("q", "same", "same"), DataError, "nothing to prefer"),
        (lambda: OutputPair("q", "some", " "), DataError, "blank"),
        (lambda: one_pool().annotate([]), DataError, "no pairs"),
        (lambda: one_pool().annotate(pairs(1), n_annotators=2), ConfigError, "give a number from 1 to 1"),
        (lambda: one_pool().annotate(pairs(1), order="alpaca_eval"), ConfigError, "random, both"),  # type: ignore
        (lambda: one_pool().annotate(pairs(1)).preferences(keep="x"), ConfigError, "majority, all"),  # type: ignore
    ],
)
def test_what_cannot_work_is_told(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def one_pool() -> AnnotatorPool:
    return AnnotatorPool([Annotator("a", longer)])


def test_what_a_judge_does_wrong_names_the_annotator() -> None:
    with pytest.raises(JudgeError, match="Annotator 'broken': The judge gave 1 answers"):
        AnnotatorPool([Annotator("broken", lambda *_: [1.0], noise=0)]).annotate(pairs(3))


def test_a_reward_is_an_annotator() -> None:
    judge = ScoreJudge(lambda prompts, completions: [text.count("x") for text in completions])
    annotated = AnnotatorPool([Annotator("x", judge, noise=0)]).annotate(pairs(10))
    assert all("x" in row["chosen"] and "x" not in row["rejected"] for row in annotated.preferences())
