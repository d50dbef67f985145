"""Win rates from judgements in AlpacaEval's form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genrlhf.errors import DataError, JudgeError, excerpt
from genrlhf.metrics.paired import sign_flip_test
from genrlhf.metrics.preference.counting.length_control import length_controlled
from genrlhf.metrics.preference.counting.winrate import count_shares
from genrlhf.types import Estimate

__all__ = [
    "AnnotationWinRate",
    "Annotations",
    "annotation_win_rates",
    "collect_annotations",
    "column",
    "known_preferences",
    "preference_share",
]


@dataclass(frozen=True)
class Annotations:
    """The judgements of one model against its baseline.

    Attributes:
        model: its name.
        baseline: that of what it is compared with.
        wins: (n,) float64, of every comparison with an answer how much the judge prefers the model: 1, 0, 0.5: a tie.
        lengths: (n, 2) float64, characters of the model's output and of the baseline's; NaN for an output that is null.
        unanswered: comparisons without an answer.
        instructions: of the comparisons with an answer; "" where a row has none.
    """

    model: str
    baseline: str
    wins: np.ndarray
    lengths: np.ndarray
    unanswered: int
    instructions: list[str]


@dataclass(frozen=True)
class AnnotationWinRate:
    """A win rate as AlpacaEval's leaderboard counts it; every figure is in percent.

    Attributes:
        win_rate: 100 times the mean preference for the model; a tie counts half.
        standard_error: s / √n in percent.
        n_wins: comparisons whose preference is for the model.
        n_wins_base: for the baseline.
        n_draws: for neither.
        n_total: comparisons with an answer.
        n_unanswered: without one.
        ci: the 95 % score interval, that of `win_rate` (see `proportion_estimate`).
        p_value: of the sign-flip test (see `sign_flip_test`) that the judge favours neither side; with ties left out
            and no preferences by degree the sign test.
        length_controlled: the win rate at equal lengths in percent (see `length_controlled`), if it was asked for.
        avg_length: mean characters of the model's outputs; NaN where all of them are null.
    """

    win_rate: float
    standard_error: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    n_unanswered: int
    ci: tuple[float, float]
    p_value: float
    avg_length: float
    length_controlled: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; NaN becomes None."""
        form: dict[str, Any] = {
            "win_rate": self.win_rate,
            "standard_error": None if math.isnan(self.standard_error) else self.standard_error,
            "n_wins": self.n_wins,
            "n_wins_base": self.n_wins_base,
            "n_draws": self.n_draws,
            "n_total": self.n_total,
            "n_unanswered": self.n_unanswered,
            "ci": [None if math.isnan(end) else end for end in self.ci],
            "p_value": self.p_value,
            "avg_length": None if math.isnan(self.avg_length) else self.avg_length,
        }
        if self.length_controlled is not None:
            form["length_controlled"] = self.length_controlled.to_dict()
        return form


def annotation_win_rates(
    rows: Iterable[Mapping[str, Any]],
    *,
    baseline: str | None = None,
    control_length: bool = False,
    difficulty: Mapping[str, float] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, AnnotationWinRate]:
    """Return the win rate of every model, as AlpacaEval counts it from its annotation files.

    Args:
        rows: with `generator_1`, `generator_2` and `preference` (1: the first is better, 2: the second, what lies
            between by degree, 1.5 or 0: a tie, None or NaN: no answer), and `output_1` and `output_2`.
        baseline: the generator that the others are compared with, on either side; by default `generator_1`, which must
            then be the same in all rows.
        control_length: also fit the win rate at equal lengths.
        difficulty: of every instruction, for that fit, by its text.
        resamples: take that fit's standard error from so many bootstrap resamples (see `length_controlled`).
        seed: of that bootstrap, and of the sign-flip test.

    Raises:
        DataError: a row lacks a column, has a preference that is none, or other generators than it should.
        JudgeError: no comparison of a model has an answer.

    Example:
        >>> rows = [
        ...     {"generator_1": "old", "output_1": "a", "generator_2": "new", "output_2": "b", "preference": p}
        ...     for p in (1, 2, 2, 0)
        ... ]
        >>> found = annotation_win_rates(rows)["new"]
        >>> found.win_rate, found.n_wins, found.n_wins_base, found.n_draws
        (62.5, 2, 1, 1)
    """
    found = {}
    for name, one in collect_annotations(rows, baseline=baseline).items():
        rate = count_shares(one.wins, len(one.wins) + one.unanswered)
        if rate is None:
            raise JudgeError(f"None of the {one.unanswered} comparisons of {name!r} has an answer; look at the judge.")
        found[name] = AnnotationWinRate(
            win_rate=100 * rate.value,
            standard_error=100 * rate.stderr,
            n_wins=rate.wins,
            n_wins_base=rate.losses,
            n_draws=rate.ties,
            n_total=rate.n,
            n_unanswered=rate.unanswered,
            ci=(100 * rate.ci[0], 100 * rate.ci[1]),
            p_value=sign_flip_test(one.wins - 0.5, seed=seed),
            avg_length=_mean_of_known(one.lengths[:, 0]),
            length_controlled=_in_percent(
                length_controlled(
                    one.wins,
                    _known_lengths(one),
                    difficulty=None if difficulty is None else _difficulties(one.instructions, difficulty),
                    resamples=resamples,
                    seed=seed,
                )
            )
            if control_length
            else None,
        )
    return found


def collect_annotations(rows: Iterable[Mapping[str, Any]], *, baseline: str | None = None) -> dict[str, Annotations]:
    """Return the judgements of every model against the baseline; arguments and errors as of `annotation_win_rates`."""
    wins: dict[str, list[float]] = {}
    lengths: dict[str, list[tuple[float, float]]] = {}
    unanswered: dict[str, int] = {}
    instructions: dict[str, list[str]] = {}
    for number, row in enumerate(rows):
        first, second, preference = (column(row, name, number) for name in ("generator_1", "generator_2", "preference"))
        baseline = first if baseline is None else baseline
        if baseline not in (first, second):
            raise DataError(
                f"row {number} compares {first!r} with {second!r}, and neither is the baseline {baseline!r}; name the "
                "generator that all rows have."
            )
        if first == second:
            raise DataError(f"row {number} compares {first!r} with itself; drop the row.")
        model, turned = (second, False) if first == baseline else (first, True)
        wins.setdefault(model, [])
        lengths.setdefault(model, [])
        share = preference_share(preference, number)
        if share is None:
            unanswered[model] = unanswered.get(model, 0) + 1
            continue
        sizes = (_length(row, "output_2", number), _length(row, "output_1", number))
        wins[model].append(1 - share if turned else share)
        instructions.setdefault(model, []).append(str(row.get("instruction") or ""))
        lengths[model].append(sizes[::-1] if turned else sizes)
    if not wins:
        raise DataError("There are no annotations; give at least one row.")
    return {
        model: Annotations(
            model=model,
            baseline=str(baseline),
            wins=np.array(values, dtype=np.float64),
            lengths=np.array(lengths[model], dtype=np.float64).reshape(-1, 2),
            unanswered=unanswered.get(model, 0),
            instructions=instructions.get(model, []),
        )
        for model, values in wins.items()
    }


def _in_percent(share: Estimate) -> Estimate:
    ends = (100 * share.ci[0], 100 * share.ci[1])
    return replace(share, value=100 * share.value, stderr=100 * share.stderr, ci=ends, values=100 * share.values)


def _length(row: Mapping[str, Any], name: str, number: int) -> float:
    """Return the characters of an output, NaN where it is null."""
    output = column(row, name, number)
    if output is None:
        return math.nan
    if not isinstance(output, str):
        raise DataError(f"row {number} has {excerpt(output)} for {name!r}; give text, or null where there is none.")
    return len(output)


def _mean_of_known(lengths: np.ndarray) -> float:
    known = lengths[~np.isnan(lengths)]
    return float(known.mean()) if len(known) else math.nan


def _known_lengths(one: Annotations) -> np.ndarray:
    missing = int(np.isnan(one.lengths).any(axis=1).sum())
    if missing:
        raise DataError(
            f"{missing} of {len(one.lengths)} comparisons of {one.model!r} with {one.baseline!r} have an output that "
            "is null, whose length is not known; drop these rows, or leave length control out."
        )
    return one.lengths


def _difficulties(instructions: list[str], difficulty: Mapping[str, float]) -> np.ndarray:
    missing = [instruction for instruction in instructions if instruction not in difficulty]
    if missing:
        raise DataError(
            f"The difficulty of {len(missing)} of {len(instructions)} instructions is not known, such as that of "
            f"{excerpt(missing[0])}; complete the table, or leave it out."
        )
    return np.array([difficulty[instruction] for instruction in instructions], dtype=np.float64)


def known_preferences(
    rows: Iterable[Mapping[str, Any]], *, annotator: str | None = None
) -> dict[tuple[str, str, str], float]:
    """Return the preferences of annotations by (instruction, first output, second output), and the other way round.

    What AlpacaEval's `annotations.json` or another file of judgements holds so needs no second judgement: see
    `judge_comparisons`.

    Args:
        rows: with `instruction`, `output_1`, `output_2`, `preference`; those without an answer, or with a
            text that is null, are left out.
        annotator: only what this one said; None for all.

    Raises:
        DataError: a row lacks a column or has a preference that is none.
    """
    found: dict[tuple[str, str, str], float] = {}
    for number, row in enumerate(rows):
        if annotator is not None and row.get("annotator") != annotator:
            continue
        share = preference_share(column(row, "preference", number), number)
        if share is not None:
            texts = [column(row, name, number) for name in ("instruction", "output_1", "output_2")]
            if any(text is None for text in texts):
                continue
            prompt, first, second = map(str, texts)
            found[prompt, first, second] = 1 + share
            found[prompt, second, first] = 2 - share
    return found


def column(row: Mapping[str, Any], name: str, number: int) -> Any:
    """Return what a row has in a column, or raise `DataError`."""
    if name not in row:
        raise DataError(
            f"row {number} has no {name!r}; an annotation has instruction, generator_1, output_1, generator_2, "
            "output_2 and preference."
        )
    return row[name]


def preference_share(preference: Any, number: int) -> float | None:
    """Return how much a judge prefers the second output, None for no answer."""
    if preference is None or preference != preference:
        return None
    if (
        isinstance(preference, bool)
        or not isinstance(preference, (int, float))
        or not (preference == 0 or 1 <= preference <= 2)
    ):
        raise DataError(
            f"row {number} has the preference {excerpt(preference)}; it must be 1 (the first output), 2 (the second), "
            "a number between, 0 or 1.5 (a tie), or null (no answer)."
        )
    return 0.5 if preference == 0 else float(preference) - 1
