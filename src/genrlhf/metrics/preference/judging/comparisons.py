"""Comparisons of two models, judged in one order or in both."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.preference.counting.winrate import check_sides, shares_of, shown_swapped
from genrlhf.metrics.preference.judging.prompt_judge import JudgeAnswer
from genrlhf.types import Judge

__all__ = ["Comparison", "JudgedComparisons", "judge_comparisons", "shown_orders"]

Order = Literal["random", "both", "alpaca_eval"]
ORDERS: tuple[Order, ...] = ("random", "both", "alpaca_eval")


@dataclass(frozen=True)
class Comparison:
    """The outputs of two models for one prompt, and which the judge prefers.

    Attributes:
        prompt: the prompt.
        first: the first model's output.
        second: the second model's output.
        preference: 1 for the first, 2 for the second, 1.5 for a tie, what lies between by degree, None for no answer.
        flipped: whether the judge changed its mind with the order; None where it was asked in one order, or did not
            answer in both.
        first_shown_wins: the share of its answers that prefer what was shown first, a tie counting half; None without
            an answer.
    """

    prompt: str
    first: str
    second: str
    preference: float | None
    flipped: bool | None = None
    first_shown_wins: float | None = None


@dataclass(frozen=True)
class JudgedComparisons:
    """All comparisons of two models.

    Attributes:
        comparisons: in the order of the prompts.
    """

    comparisons: list[Comparison]

    @property
    def first_shown_wins(self) -> float | None:
        """The share of answers that prefer what was shown first, ties counting half; None without an answer.

        It is 0.5 for a judge without a liking for a position, where the order is drawn, or both.
        """
        known = [one.first_shown_wins for one in self.comparisons if one.first_shown_wins is not None]
        return sum(known) / len(known) if known else None

    @property
    def flip_rate(self) -> float | None:
        """The share of comparisons in which the judge changed its mind with the order, of those that can be told."""
        known = [one.flipped for one in self.comparisons if one.flipped is not None]
        return sum(known) / len(known) if known else None

    def to_annotations(
        self, names: tuple[str, str], annotator: str, answers: Iterable[JudgeAnswer] = ()
    ) -> list[dict[str, Any]]:
        """Return rows in AlpacaEval's form, with the second model as `generator_2`, whose win rate they count.

        Args:
            names: of the models.
            annotator: the judge's name.
            answers: what it said, for `raw_completion`: the text, or those in both orders; and for `reason`, why there
                is no preference.
        """
        said = {answer.shown: answer for answer in answers}
        rows = []
        for one in self.comparisons:
            shown = ((one.prompt, one.first, one.second), (one.prompt, one.second, one.first))
            given = [said[order] for order in dict.fromkeys(shown) if order in said]
            texts = [answer.text for answer in given]
            reasons = dict.fromkeys(answer.reason for answer in given if answer.reason is not None)
            rows.append(
                {
                    "instruction": one.prompt,
                    "output_1": one.first,
                    "generator_1": names[0],
                    "output_2": one.second,
                    "generator_2": names[1],
                    "annotator": annotator,
                    "preference": one.preference,
                    "flipped": one.flipped,
                    "first_shown_wins": one.first_shown_wins,
                    "raw_completion": texts[0] if len(texts) == 1 else texts or None,
                    "reason": "; ".join(reasons) or None if one.preference is None else None,
                }
            )
        return rows


def shown_orders(
    prompts: Sequence[str], first: Sequence[str], second: Sequence[str], *, order: Order, seed: int
) -> list[list[bool]]:
    """Return for every round of questions whether each comparison is shown with its second output first.

    Args:
        prompts: one a comparison.
        first: the outputs of one model.
        second: those of the other.
        order: as in `judge_comparisons`.
        seed: of it.

    Raises:
        ConfigError: for another order.
    """
    if order not in ORDERS:
        raise ConfigError(f"order is {order!r}; give one of {', '.join(ORDERS)}.")
    if order == "alpaca_eval":
        return [[_swapped_by_alpaca_eval(prompt, seed) for prompt in prompts]]
    swapped = [shown_swapped(seed, *row) for row in zip(prompts, first, second, strict=True)]
    return [swapped, [not swap for swap in swapped]] if order == "both" else [swapped]


def _swapped_by_alpaca_eval(instruction: str, seed: int) -> bool:
    """Return the order that AlpacaEval 0.6 draws, from the instruction alone, whatever the outputs are."""
    return random.Random(f"is_switched_outputs{instruction}{seed}").random() >= 0.5


def judge_comparisons(
    prompts: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    judge: Judge,
    *,
    order: Order = "random",
    seed: int = 0,
    known: Mapping[tuple[str, str, str], float | None] | None = None,
) -> JudgedComparisons:
    """Have a judge compare two models' outputs; equal outputs are a tie, and not asked for.

    Args:
        prompts: one a comparison.
        first: the outputs of one model.
        second: those of the other.
        judge: returns 1, 2, 1.5 or what lies between, or None, of what it is shown first and second.
        order: "random" draws for every comparison which output is shown first, from `seed`, the prompt and the
            outputs; "both" asks in both orders and averages the answers, so that a judge that changes its mind makes a
            tie, and where only one of the two is answered, there is no answer; "alpaca_eval" draws as AlpacaEval does,
            from the instruction alone.
        seed: of the order; AlpacaEval's is 0.
        known: preferences by (prompt, first, second) that are there already, such as `known_preferences` finds, and not
            asked for; whether they flip is not known.

    Raises:
        DataError: the columns are no lists of strings of one length, or empty.
        JudgeError: the judge answered with something else.

    Example:
        >>> always_first = lambda prompts, first, second: [1.0] * len(prompts)
        >>> judged = judge_comparisons(["p", "q"], ["a", "b"], ["c", "d"], always_first, order="both")
        >>> [one.preference for one in judged.comparisons], judged.flip_rate, judged.first_shown_wins
        ([1.5, 1.5], 1.0, 1.0)
    """
    asked, ours, theirs = check_sides(prompts, {"first": first, "second": second})
    if not asked:
        raise DataError("There are no prompts; give at least one comparison.")
    shown_orders([], [], [], order=order, seed=seed)
    rows = list(zip(asked, ours, theirs, strict=True))
    known = {row: preference for row, preference in (known or {}).items() if preference is not None}
    known |= {row: 1.5 for row in rows if row[1] == row[2]}
    missing = [row for row in dict.fromkeys(rows) if row not in known]
    judged = dict(zip(missing, _judge(missing, judge, order, seed), strict=True))
    return JudgedComparisons([Comparison(*row, known[row]) if row in known else judged[row] for row in rows])


def _judge(rows: list[tuple[str, str, str]], judge: Judge, order: Order, seed: int) -> list[Comparison]:
    if not rows:
        return []
    asked, ours, theirs = (list(column) for column in zip(*rows, strict=True))
    rounds = shown_orders(asked, ours, theirs, order=order, seed=seed)
    shares = [shares_of(judge, asked, ours, theirs, swaps) for swaps in rounds]
    comparisons = []
    for number, row in enumerate(rows):
        answers = [(swaps[number], share[number]) for swaps, share in zip(rounds, shares, strict=True)]
        known = [share for _, share in answers if share is not None]
        shown = [1 - share if swap else share for swap, share in answers if share is not None]
        complete = len(known) == len(rounds)
        comparisons.append(
            Comparison(
                *row,
                preference=2 - sum(known) / len(known) if complete else None,
                flipped=(known[0] - 0.5) * (known[1] - 0.5) < 0 if complete and order == "both" else None,
                first_shown_wins=sum(shown) / len(shown) if shown else None,
            )
        )
    return comparisons
