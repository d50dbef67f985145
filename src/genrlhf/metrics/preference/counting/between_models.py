"""Models against each other, from judgements in AlpacaEval's form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genrlhf.errors import DataError
from genrlhf.metrics.paired import PairedComparison, paired_shares
from genrlhf.metrics.preference.counting.annotations import AnnotationWinRate, annotation_win_rates, collect_annotations

__all__ = ["compare_win_rates", "head_to_head"]

Rows = Iterable[Mapping[str, Any]]


def head_to_head(rows: Rows, *, seed: int = 0) -> dict[str, dict[str, AnnotationWinRate]]:
    """Return the win rate of every model against every other that it was compared with, `{MODEL: {OTHER: …}}`.

    Args:
        rows: as of `annotation_win_rates`, of any pairs of models, in either order.
        seed: of the sign-flip test.

    Raises:
        DataError: a row cannot be used, or there are none.
        JudgeError: no comparison of two models has an answer.

    Example:
        >>> pairs = [("a", "b", 1), ("b", "a", 1), ("a", "b", 1), ("c", "a", 1)]
        >>> rows = [
        ...     {"generator_1": one, "output_1": "x", "generator_2": other, "output_2": "y", "preference": preference}
        ...     for one, other, preference in pairs
        ... ]
        >>> table = head_to_head(rows)
        >>> round(table["a"]["b"].win_rate, 1), round(table["b"]["a"].win_rate, 1), table["a"]["c"].win_rate
        (66.7, 33.3, 0.0)
    """
    pairs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for number, row in enumerate(rows):
        missing = [name for name in ("generator_1", "generator_2") if name not in row]
        if missing:
            raise DataError(f"row {number} has no {missing[0]!r}; an annotation names both of its generators.")
        one, other = sorted((str(row["generator_1"]), str(row["generator_2"])))
        pairs.setdefault((one, other), []).append(row)
    if not pairs:
        raise DataError("There are no annotations; give at least one row.")
    table: dict[str, dict[str, AnnotationWinRate]] = {
        name: {} for name in sorted({name for pair in pairs for name in pair})
    }
    for pair, judged in pairs.items():
        for model, baseline in (pair, pair[::-1]):
            found = annotation_win_rates(judged, baseline=baseline, seed=seed)
            table[model][baseline] = found[model]
    return table


def compare_win_rates(
    rows: Rows, first: str, second: str, *, baseline: str | None = None, seed: int = 0
) -> PairedComparison:
    """Return the second model's win rate less the first's, on the instructions that both were judged on.

    Both were compared with the same baseline. What an instruction adds to both cancels, so the interval is narrower
    than that of two win rates apart; it is the score interval of paired shares (see `paired_shares`).

    Args:
        rows: as of `annotation_win_rates`, with `instruction`.
        first: a model.
        second: another.
        baseline: what both are compared with; by default `generator_1`.
        seed: of flips.

    Raises:
        DataError: a model is not among the rows, or no instruction has an answer for both.
    """
    found = collect_annotations(rows, baseline=baseline)
    for name in (first, second):
        if name not in found:
            raise DataError(f"There are no judgements of {name!r}; there are of {', '.join(map(repr, found))}.")
    ours, theirs = (_by_instruction(found[name].instructions, found[name].wins) for name in (first, second))
    both = [instruction for instruction in ours if instruction in theirs]
    if not both:
        raise DataError(f"No instruction has an answer for both {first!r} and {second!r}; judge them on the same ones.")
    sides = ([found[instruction] for instruction in both] for found in (ours, theirs))
    return paired_shares(*sides, seed=seed)


def _by_instruction(instructions: list[str], wins: Iterable[float]) -> dict[str, float]:
    """Return the mean win of every instruction."""
    found: dict[str, list[float]] = {}
    for instruction, win in zip(instructions, wins, strict=True):
        found.setdefault(instruction, []).append(float(win))
    return {instruction: sum(values) / len(values) for instruction, values in found.items()}
