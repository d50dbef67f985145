"""NLI diversity with scripted classifiers, where every value can be worked out by hand."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.metrics import NLIDiversity
from genrlhf.metrics.diversity.nli_scorer import SharedScorer
from genrlhf.metrics.diversity.pairs import _pair_at

# Probabilities of contradiction, neutral, entailment for (premise, hypothesis).
SCRIPT = {
    ("hot", "cold"): (0.9, 0.1, 0.0),  # +0.9
    ("cold", "hot"): (0.6, 0.3, 0.1),  # +0.6
    ("hot", "warm"): (0.1, 0.2, 0.7),  # −0.7
    ("warm", "hot"): (0.2, 0.5, 0.3),  # 0
    ("cold", "warm"): (0.4, 0.3, 0.3),  # +0.4
    ("warm", "cold"): (0.1, 0.1, 0.8),  # −0.8
    ("hot", "hot"): (0.0, 0.0, 1.0),  # −1
}


class Scripted:
    """A scorer that looks the answer up, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []

    def __call__(self, premises: list[str], hypotheses: list[str]) -> list[tuple[float, ...]]:
        self.asked.append(list(zip(premises, hypotheses, strict=True)))
        return [SCRIPT[pair] for pair in self.asked[-1]]


def test_mean_and_sum_by_hand() -> None:
    # hot–cold 0.9 + 0.6, hot–warm −0.7 + 0, cold–warm 0.4 − 0.8: together 0.4 over 3 pairs
    texts = ["hot", "cold", "warm"]
    assert NLIDiversity(Scripted())(texts) == pytest.approx(0.4 / 3, rel=1e-12)
    assert NLIDiversity(Scripted(), aggregate="sum")(texts) == pytest.approx(0.4, rel=1e-12)


def test_the_range_is_two_either_way() -> None:
    assert NLIDiversity(Scripted())(["hot", "hot", "hot"]) == -2
    assert NLIDiversity(lambda p, h: [[1, 0, 0]] * len(p))(["a", "b", "c"]) == 2


def test_a_confident_neutral_is_zero() -> None:
    assert NLIDiversity(lambda p, h: [[0.3, 0.4, 0.3]] * len(p))(["a", "b"]) == 0


def test_fewer_than_two_texts_are_undefined() -> None:
    scorer = Scripted()
    assert math.isnan(NLIDiversity(scorer)(["hot"]))
    assert math.isnan(NLIDiversity(scorer)([]))
    assert scorer.asked == []


def test_batch_asks_once_and_every_pair_once() -> None:
    scorer = Scripted()
    values = NLIDiversity(scorer).batch([["hot", "cold", "hot"], ["cold", "hot"]])
    # first set: hot–cold twice (1.5 each), hot–hot (−2); second: 1.5
    assert values == pytest.approx([1 / 3, 1.5], rel=1e-12)
    assert [sorted(pairs) for pairs in scorer.asked] == [[("cold", "hot"), ("hot", "cold"), ("hot", "hot")]]


def test_leave_out_by_hand() -> None:
    scorer = Scripted()
    value, without = NLIDiversity(scorer).leave_out(["hot", "cold", "warm"], [[0], [1], [2], [0, 1]])
    assert value == pytest.approx(0.4 / 3, rel=1e-12)
    assert without[:3] == pytest.approx([-0.4, -0.7, 1.5], rel=1e-12)
    assert math.isnan(without[3])
    assert len(scorer.asked) == 1


def equal(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
    """Say that equal sentences entail, and others contradict, each other."""
    return [[0, 0, 1] if p == h else [1, 0, 0] for p, h in zip(premises, hypotheses, strict=True)]


def test_sentences_are_drawn_from_each_text() -> None:
    asked: set[tuple[str, str]] = set()

    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        asked.update(zip(premises, hypotheses, strict=True))
        return equal(premises, hypotheses)

    NLIDiversity(scorer)(["One. Two."] * 30 + ["Three."])
    singles = {"One.", "Two.", "Three."}
    assert asked == {pair for pair in itertools.product(singles, singles) if pair != ("Three.", "Three.")}


def test_whole_texts() -> None:
    texts = ["One. Two.", "One. Three."]
    assert NLIDiversity(equal, split="texts")(texts) == 2
    drawn = {NLIDiversity(equal, seed=seed)(texts) for seed in range(20)}
    assert drawn == {-2, 2}


def test_draws_depend_on_the_seed_and_the_set_alone() -> None:
    texts = [f"One {i}. Two {i % 3}. Three." for i in range(9)]
    values = [NLIDiversity(equal, seed=seed)(texts) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert NLIDiversity(equal).batch([["a", "b. c."], texts])[1] == values[0]


def test_pairs_are_sampled_where_there_are_many() -> None:
    counted: list[int] = []

    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        counted.append(len(premises))
        return equal(premises, hypotheses)

    texts = [str(number // 50) for number in range(100)]
    # 2 × C(50, 2) of the C(100, 2) pairs are of equal texts
    exact = 2 - 4 * 2450 / 4950
    assert NLIDiversity(scorer, max_pairs=None)(texts) == pytest.approx(exact, rel=1e-9)
    assert NLIDiversity(scorer, max_pairs=1500)(texts) == pytest.approx(exact, abs=0.15)
    distinct = [str(number) for number in range(100)]
    NLIDiversity(scorer, max_pairs=1500)(distinct)
    assert counted[-1] == 3000
    assert NLIDiversity(scorer, max_pairs=1500, aggregate="sum")(distinct) == pytest.approx(100 * 99, rel=1e-12)


def test_pairs_are_numbered_without_gaps() -> None:
    every = sorted(itertools.combinations(range(40), 2), key=lambda pair: pair[::-1])
    assert [_pair_at(number) for number in range(len(every))] == every


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([[0.2, 0.8], [0.2, 0.8]], r"shape \(2, 2\) for 2 pairs"),
        ([[1, 0, 0]], r"shape \(1, 3\) for 2 pairs"),
        ([[1, 0, 0], [3.1, -0.2, -1.9]], "premise 'cold' and hypothesis 'hot'"),
        ([[1, 0, 0], [math.nan, 0.5, 0.5]], "add up to 1"),
    ],
)
def test_bad_scorers(returned: list[list[float]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        NLIDiversity(lambda premises, hypotheses: returned)(["hot", "cold"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: NLIDiversity(equal, aggregate="median"),  # type: ignore[arg-type]
        lambda: NLIDiversity(equal, split="words"),  # type: ignore[arg-type]
        lambda: NLIDiversity(equal, max_pairs=0),
    ],
)
def test_bad_settings(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match=r"is ('median'|'words'|0); give"):
        make()


def test_bad_texts() -> None:
    with pytest.raises(DataError, match="set 0, row 1 is None"):
        NLIDiversity(equal)(["a", None])  # type: ignore[list-item]


def test_variants_by_hand() -> None:
    # Predicted: hot>cold c, cold>hot c, hot>warm e, warm>hot n, cold>warm c, warm>cold e
    texts = ["hot", "cold", "warm"]
    assert NLIDiversity(Scripted(), variant="baseline", aggregate="sum")(texts) == 1 + 1 - 1 + 0 + 1 - 1
    assert NLIDiversity(Scripted(), variant="neutral", aggregate="sum")(texts) == 1 + 1 - 1 + 1 + 1 - 1
    assert NLIDiversity(Scripted(), variant="baseline")(texts) == pytest.approx(1 / 3)
    # Figure 1 of Stasaski & Hearst: two contradictions, three neutrals, one entailment make 1.
    answers = iter([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
    figure = NLIDiversity(lambda p, h: [next(answers) for _ in p], variant="baseline", definition="published")
    assert figure(["a", "b", "c"]) == 1


def test_sixteen_outputs_take_at_most_240_pairs_in_one_call() -> None:
    asked: list[int] = []

    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        asked.append(len(premises))
        return equal(premises, hypotheses)

    NLIDiversity(scorer)([f"text {i}" for i in range(16)])
    assert asked == [240]
    # Three different texts among sixteen: 3 · 2 pairs of different ones, and 3 of equal ones.
    NLIDiversity(scorer)([f"other {i % 3}" for i in range(16)])
    assert asked == [240, 9]


def test_metrics_share_a_scorer() -> None:
    scripted = Scripted()
    shared = SharedScorer(scripted)
    for variant in ("baseline", "neutral", "confidence"):
        NLIDiversity(shared, variant=variant)(["hot", "cold"])
    assert len(scripted.asked) == 1


def test_the_error_of_a_pair_budget() -> None:
    texts = [f"text {i % 4}" for i in range(40)]
    everything = NLIDiversity(equal, max_pairs=None, split="texts")
    whole = everything(texts)
    assert everything.pair_error(texts) == 0
    budgets = [NLIDiversity(equal, max_pairs=100, split="texts", seed=seed) for seed in range(60)]
    values = [metric(texts) for metric in budgets]
    errors = [metric.pair_error(texts) for metric in budgets]
    spread = statistics.stdev(values)
    assert statistics.mean(values) == pytest.approx(whole, abs=3 * spread / 60**0.5)
    assert statistics.mean(errors) == pytest.approx(spread, rel=0.3)
    total = NLIDiversity(equal, max_pairs=100, split="texts", aggregate="sum")
    assert total.pair_error(texts) == pytest.approx(budgets[0].pair_error(texts) * 780)


def test_unknown_variant() -> None:
    with pytest.raises(ConfigError, match="variant is 'loud'"):
        NLIDiversity(equal, variant="loud")  # type: ignore[arg-type]
