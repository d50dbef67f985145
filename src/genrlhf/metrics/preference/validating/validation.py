"""Whether a judge may stand in for humans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, SupportsFloat

import numpy as np

from genrlhf.errors import JudgeError
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.preference.validating.aggregates import (
    AggregateWinRate,
    Correlation,
    aggregate_win_rates,
    correlate,
)
from genrlhf.metrics.preference.validating.agreement import (
    agreement,
    cohen_kappa,
    fleiss_kappa,
    label_counts,
    leave_one_out,
    majority,
    others_majority,
    win_labels,
)
from genrlhf.metrics.preference.validating.matching import EVERYTHING, LabelledPair, match_pairs
from genrlhf.types import Estimate

__all__ = ["JudgeValidation", "validate_judge", "validation_table"]

_UNKNOWN = "–"


@dataclass(frozen=True)
class JudgeValidation:
    """How a judge compares with humans on one data set.

    All figures are of the `n_pairs` pairs that both answered, and their intervals the score intervals of means over
    pairs (see `proportion_estimate`). What is undefined for want of pairs is None. Labels are loss, tie and win (see
    `win_labels`, `agreement`).

    With one annotation y of the judge, its majority m and the humans' majority h on a pair, the `bias` is the mean of
    1 − agreement(m, h) and the `variance` estimates that of 1 − agreement(y, m), the majority being that of the judge's
    other annotations: the definitions of Dubois et al. 2023, "AlpacaFarm" (arXiv 2305.14387). They do not add up to the
    error of one annotation against h. Without ties that is per pair, with bias B and variance V,
    B + (1 − 2B) V: variance costs where the majority is right, and helps where it is wrong (Domingos 2000, "A Unified
    Bias-Variance Decomposition"). Humans have no bias by definition; their variance is 1 − `human_agreement`. The fewer
    annotations of the judge a pair has, the more of its variance the bias takes in: of a single one, all.

    A pair has no order of its own, and a file may always name the better output first; so both kappas count every
    pair in both orders.

    Attributes:
        n_pairs: pairs with an answer of the judge and of a human.
        n_unmatched: pairs with an answer of a human and no row of the judge.
        n_unanswered: pairs with an answer of a human and rows of the judge, but no answer.
        n_unlabelled: pairs of the human rows that no human answered.
        n_annotators: humans with an answer to one of the pairs.
        accuracy: mean over pairs of the judge's mean agreement with every human.
        human_agreement: mean over pairs with two humans or more of their `leave_one_out` agreement; None without any.
        judge_leave_one_out: the judge's agreement with the same majorities of all humans but one on the same pairs,
            which compares with `human_agreement` like with like, as `accuracy` does not.
        cohen_kappa: of the majority of the judge's annotations and of the humans; NaN where undefined.
        fleiss_kappa: between humans; None where no pair has two, NaN where all say tie.
        aggregate: win rates of judge and humans by "model vs baseline", for every two models compared.
        aggregate_correlation: of these, for three or more.
        bias: disagreement of the majority of the judge's annotations with that of the humans, mean over pairs.
        variance: disagreement of each of the judge's annotations with the majority of its others, mean over the pairs
            that have two or more; None where none has.
        first_shown_wins: mean over the pairs that tell it of the share of the judge's answers that prefer what it was
            shown first; 0.5 for a judge without a liking for a position.
        flip_rate: of the pairs that tell it, the share on which the verdict changed with the order.
        longer_preferred_judge: over pairs whose outputs differ in characters, how often the judge prefers the longer
            one; a tie counts half.
        longer_preferred_humans: the same of the humans; what both prefer is no fault of the judge.
    """

    n_pairs: int
    n_unmatched: int
    n_unanswered: int
    n_unlabelled: int
    n_annotators: int
    accuracy: Estimate | None
    human_agreement: Estimate | None
    judge_leave_one_out: Estimate | None
    cohen_kappa: float
    fleiss_kappa: float | None
    aggregate: Mapping[str, AggregateWinRate]
    aggregate_correlation: Correlation | None
    bias: Estimate | None
    variance: Estimate | None
    first_shown_wins: Estimate | None
    flip_rate: Estimate | None
    longer_preferred_judge: Estimate | None
    longer_preferred_humans: Estimate | None

    @property
    def win_rate_judge(self) -> Estimate | None:
        """The judge's win rate where two models are compared; None where more are."""
        return next(iter(self.aggregate.values())).judge if len(self.aggregate) == 1 else None

    @property
    def win_rate_humans(self) -> Estimate | None:
        """The humans' win rate where two models are compared; None where more are."""
        return next(iter(self.aggregate.values())).humans if len(self.aggregate) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without the properties; NaN becomes None."""
        return {one.name: _json(getattr(self, one.name)) for one in fields(self)}


def validate_judge(
    judge_rows: Iterable[Mapping[str, Any]], human_rows: Iterable[Mapping[str, Any]]
) -> dict[str, JudgeValidation]:
    """Return how a judge compares with humans who labelled the same pairs of outputs, per data set.

    Kirk et al. 2024, "Understanding the Effects of RLHF on LLM Generalisation and Diversity", appendix D, validate
    their judge so: by its accuracy on human preferences, and by its agreement with humans per example and in aggregate,
    against the agreement between humans.

    Args:
        judge_rows: annotations in AlpacaEval's form: `instruction`, `output_1`, `generator_1`, `output_2`,
            `generator_2`, `preference` (1: the first is better, 2: the second, what lies between by degree, 1.5 or 0: a
            tie, None or NaN: no answer). They may tell `first_shown_wins` (0 to 1) and `flipped` (true or false).
            Several rows of one pair are repeats.
        human_rows: the same with `annotator`, and with `dataset` where there are several test sets. See
            `pairs_from_preferences` for preference sets.

    Returns:
        By data set; "all" has the pairs of all of them, where there are several or rows name none.

    Raises:
        DataError: either has no rows, a row lacks a column or has a wrong value, or no pair is in both.
        JudgeError: the judge answered none of the pairs that humans answered.

    Example:
        >>> def row(instruction, annotator, preference):
        ...     names = {"generator_1": "old", "generator_2": "new", "output_1": "Yes.", "output_2": "Yes, I do."}
        ...     return {"instruction": instruction, **names, "annotator": annotator, "preference": preference}
        >>> humans = [row("p", "ann", 2), row("p", "ben", 2), row("q", "ann", 1), row("q", "ben", 2)]
        >>> found = validate_judge([row("p", "judge", 2), row("q", "judge", 1)], humans)["all"]
        >>> found.accuracy.value, found.human_agreement.value, found.judge_leave_one_out.value
        (0.75, 0.5, 0.75)
    """
    sets: dict[str, list[LabelledPair]] = {}
    pairs = match_pairs(judge_rows, human_rows)
    for pair in pairs:
        sets.setdefault(pair.dataset, []).append(pair)
    if len(sets) > 1:
        sets.pop(EVERYTHING, None)
        sets[EVERYTHING] = pairs
    if not any(len(pair.judge) and len(pair.humans) for pair in pairs):
        asked = sum(pair.asked for pair in pairs)
        raise JudgeError(
            f"None of the {asked} pairs that judge and humans share has an answer of both, so there is nothing to "
            "compare; look at the null preferences."
        )
    return {name: _validate(of_set) for name, of_set in sets.items()}


def _validate(pairs: Sequence[LabelledPair]) -> JudgeValidation:
    labelled = [pair for pair in pairs if len(pair.humans)]
    both = [pair for pair in labelled if len(pair.judge)]
    groups = [pair for pair in both if len(pair.humans) >= 2]
    unequal = [pair for pair in both if pair.lengths[0] != pair.lengths[1]]
    aggregate = aggregate_win_rates(both)

    def mean(shares: Iterable[SupportsFloat]) -> Estimate | None:
        listed = [float(share) for share in shares]
        return proportion_estimate(listed) if listed else None

    return JudgeValidation(
        n_pairs=len(both),
        n_unmatched=sum(not pair.asked for pair in labelled),
        n_unanswered=sum(pair.asked and not len(pair.judge) for pair in labelled),
        n_unlabelled=len(pairs) - len(labelled),
        n_annotators=len({name for pair in both for name in pair.annotators}),
        accuracy=mean(_crossed(pair.judge, pair.humans) for pair in both),
        human_agreement=mean(leave_one_out(pair.humans).mean() for pair in groups),
        judge_leave_one_out=mean(_crossed(pair.judge, others_majority(pair.humans)) for pair in groups),
        cohen_kappa=_cohen(both) if both else math.nan,
        fleiss_kappa=_fleiss(groups) if groups else None,
        aggregate=aggregate,
        aggregate_correlation=correlate(list(aggregate.values())) if len(aggregate) >= 3 else None,
        bias=mean(1 - agreement(majority(pair.judge), majority(pair.humans)) for pair in both),
        variance=mean(1 - leave_one_out(pair.judge).mean() for pair in both if len(pair.judge) >= 2),
        first_shown_wins=mean(np.mean(pair.first_shown_wins) for pair in both if pair.first_shown_wins),
        flip_rate=mean(np.mean(pair.flipped) for pair in both if pair.flipped),
        longer_preferred_judge=mean(_for_longer(pair, pair.judge) for pair in unequal),
        longer_preferred_humans=mean(_for_longer(pair, pair.humans) for pair in unequal),
    )


def _crossed(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean agreement of every label of one with every label of the other."""
    return float(agreement(first[:, None], second[None, :]).mean())


def _cohen(pairs: Sequence[LabelledPair]) -> float:
    judge = np.array([majority(pair.judge) for pair in pairs])
    humans = np.array([majority(pair.humans) for pair in pairs])
    return cohen_kappa(np.concatenate([judge, 1 - judge]), np.concatenate([humans, 1 - humans]))


def _fleiss(pairs: Sequence[LabelledPair]) -> float:
    counts = np.array([label_counts(pair.humans) for pair in pairs])
    return fleiss_kappa(np.concatenate([counts, counts[:, ::-1]]))


def _for_longer(pair: LabelledPair, labels: np.ndarray) -> float:
    share = float(win_labels(labels).mean())
    return share if pair.lengths[1] > pair.lengths[0] else 1 - share


def _json(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _json(one) for name, one in value.items()}
    if is_dataclass(value):
        return {one.name: _json(getattr(value, one.name)) for one in fields(value)}
    return None if isinstance(value, float) and math.isnan(value) else value


def validation_table(found: Mapping[str, JudgeValidation]) -> list[list[str]]:
    """Return the figures that decide whether a judge will do, a header and a line per data set.

    All but the kappa are in percent, "–" is what is not known. Of several pairs of models, the difference is the mean
    size of theirs.

    Args:
        found: as `validate_judge` returns it.
    """
    header = ["set", "pairs", "accuracy", "humans", "judge, one left out", "κ", "win rate (judge / humans)"]
    header += ["difference", "bias", "variance", "longer (judge / humans)", "first shown", "flip"]
    return [header, *([name, *_line(one)] for name, one in found.items())]


def _line(one: JudgeValidation) -> list[str]:
    differences = [rates.difference.value for rates in one.aggregate.values()]
    if len(differences) > 1:
        difference = f"{_percent(float(np.abs(differences).mean()))} (of {len(differences)})"
    else:
        difference = f"{100 * differences[0]:+.1f}" if differences else _UNKNOWN
    return [
        str(one.n_pairs),
        _with_interval(one.accuracy),
        _with_interval(one.human_agreement),
        _with_interval(one.judge_leave_one_out),
        _UNKNOWN if math.isnan(one.cohen_kappa) else f"{one.cohen_kappa:.2f}",
        _two(one.win_rate_judge, one.win_rate_humans),
        difference,
        _percent(one.bias),
        _percent(one.variance),
        _two(one.longer_preferred_judge, one.longer_preferred_humans),
        _percent(one.first_shown_wins),
        _percent(one.flip_rate),
    ]


def _percent(share: Estimate | float | None) -> str:
    value = share.value if isinstance(share, Estimate) else share
    return _UNKNOWN if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _two(judge: Estimate | None, humans: Estimate | None) -> str:
    return _UNKNOWN if judge is None or humans is None else f"{_percent(judge)} / {_percent(humans)}"


def _with_interval(share: Estimate | None) -> str:
    if share is None:
        return _UNKNOWN
    low, high = map(_percent, share.ci)
    return f"{_percent(share)} [{low}, {high}]"
