"""Comparisons of two models, judged in one order or in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.preference.winrate import check_sides, shares_of, shown_swapped
from genrlhf.types import Judge

__all__ = ["Comparison", "JudgedComparisons", "judge_comparisons"]

Order = Literal["random", "both"]


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
    """

    prompt: str
    first: str
    second: str
    preference: float | None
    flipped: bool | None


@dataclass(frozen=True)
class JudgedComparisons:
    """All comparisons of two models.

    Attributes:
        comparisons: in the order of the prompts.
        first_shown_wins: the share of answers that prefer what was shown first, ties counting half; 0.5 for a judge
            without a liking for a position, where order is random or both.
    """

    comparisons: list[Comparison]
    first_shown_wins: float | None

    @property
    def flip_rate(self) -> float | None:
        """The share of comparisons in which the judge changed its mind with the order, of those that can be told."""
        known = [one.flipped for one in self.comparisons if one.flipped is not None]
        return sum(known) / len(known) if known else None

    def to_annotations(self, names: tuple[str, str], annotator: str) -> list[dict[str, Any]]:
        """Return rows in AlpacaEval's form, with the second model as `generator_2`, whose win rate they count."""
        return [
            {
                "instruction": one.prompt,
                "output_1": one.first,
                "generator_1": names[0],
                "output_2": one.second,
                "generator_2": names[1],
                "annotator": annotator,
                "preference": one.preference,
            }
            for one in self.comparisons
        ]


def judge_comparisons(
    prompts: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    judge: Judge,
    *,
    order: Order = "random",
    seed: int = 0,
) -> JudgedComparisons:
    """Have a judge compare two models' outputs.

    Args:
        prompts: one a comparison.
        first: the outputs of one model.
        second: those of the other.
        judge: returns 1, 2, 1.5 or what lies between, or None, of what it is shown first and second.
        order: "random" draws for every comparison which output is shown first, from `seed`, the prompt and the
            outputs; "both" asks in both orders and averages the answers, so that a judge that changes its mind makes a
            tie. Where only one of the two is answered, there is no answer.
        seed: of the order.

    Raises:
        DataError: the columns are no lists of strings of one length, or empty.
        JudgeError: the judge answered with something else.

    Example:
        >>> always_first = lambda prompts, first, second: [1.0] * len(prompts)
        >>> judged = judge_comparisons(["p", "q"], ["a", "b"], ["c", "d"], always_first, order="both")
        >>> [one.preference for one in judged.comparisons], judged.flip_rate, judged.first_shown_wins
        ([1.5, 1.5], 1.0, 1.0)
    """
    if order not in ("random", "both"):
        raise ConfigError(f"order is {order!r}; give 'random' or 'both'.")
    asked, ours, theirs = check_sides(prompts, {"first": first, "second": second})
    if not asked:
        raise DataError("There are no prompts; give at least one comparison.")
    swapped = [shown_swapped(seed, *row) for row in zip(asked, ours, theirs, strict=True)]
    rounds = [swapped, [not swap for swap in swapped]] if order == "both" else [swapped]
    shares = [shares_of(judge, asked, ours, theirs, swaps) for swaps in rounds]
    shown = [
        1 - share if swap else share
        for swaps, answers in zip(rounds, shares, strict=True)
        for swap, share in zip(swaps, answers, strict=True)
        if share is not None
    ]
    comparisons = []
    for prompt, one, other, *answers in zip(asked, ours, theirs, *shares, strict=True):
        known = [share for share in answers if share is not None]
        complete = len(known) == len(rounds)
        comparisons.append(
            Comparison(
                prompt=prompt,
                first=one,
                second=other,
                preference=2 - sum(known) / len(known) if complete else None,
                flipped=(known[0] - 0.5) * (known[1] - 0.5) < 0 if complete and order == "both" else None,
            )
        )
    return JudgedComparisons(comparisons, sum(shown) / len(shown) if shown else None)
