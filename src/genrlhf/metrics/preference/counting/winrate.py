"""How often a judge prefers one model's outputs to another's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import DataError, JudgeError, excerpt
from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.types import Estimate, Judge

__all__ = [
    "WinRate",
    "check_sides",
    "count_shares",
    "preference_vs_reference",
    "shares_of",
    "shown_swapped",
    "win_rate",
]


@dataclass(frozen=True)
class WinRate(Estimate):
    """The share of comparisons won, with its counts.

    Attributes:
        wins: comparisons whose preference is for the first side.
        losses: for the second side.
        ties: for neither.
        unanswered: comparisons that the judge gave no answer to; they are not in `n` and `values`.
    """

    wins: int
    losses: int
    ties: int
    unanswered: int


def preference_vs_reference(
    prompts: Sequence[str], outputs: Sequence[str], references: Sequence[str], judge: Judge, *, seed: int = 0
) -> WinRate:
    """Return the share of inputs on which the judge prefers the output to the reference (PvR).

    Kirk et al. 2024, "Understanding the Effects of RLHF on LLM Generalisation and Diversity". See
    `win_rate`; here the first side is the model's and the second the reference's.

    Example:
        >>> from genrlhf.metrics.preference import ScoreJudge
        >>> longer = ScoreJudge(lambda prompts, completions: [len(text) for text in completions])
        >>> pvr = preference_vs_reference(["p", "q"], ["long one", "a"], ["short", "b"], longer)
        >>> pvr.value, pvr.wins, pvr.ties
        (0.75, 1, 1)
    """
    return _compare(prompts, {"outputs": outputs, "references": references}, judge, seed)


def win_rate(
    prompts: Sequence[str], first: Sequence[str], second: Sequence[str], judge: Judge, *, seed: int = 0
) -> WinRate:
    """Return the share of prompts on which the judge prefers `first` to `second`; a tie counts half.

    A judge may favour a position, so which side it sees first is drawn per comparison, from `seed`, the prompt and the
    two outputs. Swapping `first` and `second` shows it the same pairs in the same order: the two win rates add up to 1
    whatever the judge's bias (except for pairs of equal outputs).

    The standard error is s / √n; the interval is the score interval (see `proportion_estimate`).

    Args:
        prompts: one a comparison; they may repeat.
        first: the outputs of one side.
        second: those of the other.
        judge: returns 1, 2 or 1.5 for a tie, or what lies between for a preference by degree; None for no answer.
        seed: of the order.

    Returns:
        `values` has 1 for a win, 0 for a loss, 0.5 for a tie, without the comparisons that have no answer.

    Raises:
        DataError: the columns are no lists of strings of one length.
        JudgeError: the judge answered with something else, or answered nothing at all.

    Example:
        >>> from genrlhf.metrics.preference import ScoreJudge
        >>> longer = ScoreJudge(lambda prompts, completions: [len(text) for text in completions])
        >>> print(win_rate(["p", "q", "r"], ["long", "longer", "a"], ["a", "b", "long"], longer))
        0.667 [0.208, 0.939]
    """
    return _compare(prompts, {"first": first, "second": second}, judge, seed)


def _compare(prompts: Sequence[str], sides: dict[str, Sequence[str]], judge: Judge, seed: int) -> WinRate:
    asked, ours, theirs = check_sides(prompts, sides)
    if not asked:
        raise DataError("There are no prompts; give at least one comparison.")
    swapped = [shown_swapped(seed, *row) for row in zip(asked, ours, theirs, strict=True)]
    won = shares_of(judge, asked, ours, theirs, swapped)
    rate = count_shares([share for share in won if share is not None], len(won))
    if rate is None:
        raise JudgeError(
            f"The judge answered none of {len(won)} comparisons, so there is no win rate; look at the judge."
        )
    return rate


def check_sides(prompts: Sequence[str], sides: dict[str, Sequence[str]]) -> tuple[list[str], list[str], list[str]]:
    """Return prompts and the outputs of both sides as lists of one length, or raise `DataError`."""
    asked = check_texts(prompts, "prompts")
    ours, theirs = (check_texts(texts, name) for name, texts in sides.items())
    if not len(asked) == len(ours) == len(theirs):
        names = " and ".join(f"{len(texts)} {name}" for name, texts in zip(sides, (ours, theirs), strict=True))
        raise DataError(f"There are {len(asked)} prompts, {names}; give one of each per comparison.")
    return asked, ours, theirs


def shares_of(
    judge: Judge, prompts: list[str], ours: list[str], theirs: list[str], swapped: Sequence[bool]
) -> list[float | None]:
    """Return the share of a win of our side in every comparison, None where the judge has no answer.

    Args:
        judge: is shown their side first where `swapped` says so.
        prompts: one a comparison.
        ours: the outputs of our side.
        theirs: those of the other.
        swapped: one a comparison.

    Raises:
        JudgeError: the judge answers with something else, or not to every comparison.
    """
    shown = [(b, a) if swap else (a, b) for a, b, swap in zip(ours, theirs, swapped, strict=True)]
    answers = list(judge(prompts, [first for first, _ in shown], [second for _, second in shown]))
    if len(answers) != len(prompts):
        raise JudgeError(f"The judge gave {len(answers)} answers to {len(prompts)} comparisons; it must give one each.")
    return [_share(answer, swapped[row], row, prompts[row]) for row, answer in enumerate(answers)]


def shown_swapped(seed: int, prompt: str, ours: str, theirs: str) -> bool:
    """Say whether `theirs` is shown first, the same for a pair whichever way round it is given."""
    digest = hashlib.sha256()
    for part in (str(seed), prompt, *sorted((ours, theirs))):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    smaller_first = digest.digest()[0] % 2 == 0
    return smaller_first != (ours <= theirs)


def _share(answer: float | None, swapped: bool, row: int, prompt: str) -> float | None:
    """Return the share of a win that an answer gives to our side."""
    if answer is None:
        return None
    if isinstance(answer, bool) or not isinstance(answer, (int, float, np.number)) or not 1 <= answer <= 2:
        raise JudgeError(
            f"The judge answered {excerpt(answer)} on row {row}, prompt {excerpt(prompt)}; it must answer 1 (the first "
            "output is better), 2 (the second), 1.5 (a tie) or None (no answer)."
        )
    return float(answer) - 1 if swapped else 2 - float(answer)


def count_shares(shares: ArrayLike, asked: int) -> WinRate | None:
    """Return the win rate of comparisons with an answer, None where there are none.

    Args:
        shares: (n,) floats in [0, 1], of the comparisons with an answer: 1 for a win, 0.5 for a tie, 0 for a loss.
        asked: comparisons, also those without an answer.
    """
    values = np.asarray(shares, dtype=np.float64)
    if not len(values):
        return None
    rate = proportion_estimate(values)
    return WinRate(
        value=rate.value,
        stderr=rate.stderr,
        ci=rate.ci,
        n=rate.n,
        values=rate.values,
        wins=int((values > 0.5).sum()),
        losses=int((values < 0.5).sum()),
        ties=int((values == 0.5).sum()),
        unanswered=asked - len(values),
    )
