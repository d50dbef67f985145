"""What is to be known of labels before they are trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from genrlhf.annotators.annotated import AnnotatedPairs, Annotation
from genrlhf.annotators.pairs import CHOSEN_REJECTED, OutputPair
from genrlhf.errors import ConfigError
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.preference.judging.spending import Usage
from genrlhf.metrics.preference.validating.agreement import agreement, fleiss_kappa, krippendorff_alpha, label_counts
from genrlhf.types import Estimate

__all__ = ["AnnotationFigures", "AnnotatorFigures", "annotation_figures"]


@dataclass(frozen=True)
class AnnotatorFigures:
    """What one annotator did, or all of them.

    Attributes:
        pairs: labels that it was drawn for.
        asked: of these, those that its judge was asked for.
        at_random: those that a coin decided.
        preferred: those that prefer an output.
        ties: those that prefer neither.
        unanswered: those that there are not.
        first_shown_wins: the share of its judge's answers that prefer what was shown first, ties counting half; 0.5
            without a taste for a position. None without an answer.
        flip_rate: the share of its judge's answers that changed with the order, where it was asked in both.
        longer_wins: the share of its judge's preferences that are for the longer output, equal lengths counting half.
        spent: what the calls took; None where the judge does not say.
    """

    pairs: int
    asked: int
    at_random: int
    preferred: int
    ties: int
    unanswered: int
    first_shown_wins: Estimate | None
    flip_rate: float | None
    longer_wins: Estimate | None
    spent: Usage | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        spent = None if self.spent is None else {k: v for k, v in asdict(self.spent).items() if k != "last_error"}
        return {
            **{name: value for name, value in vars(self).items() if name != "spent"},
            "share_at_random": self.at_random / self.pairs if self.pairs else None,
            "spent": spent,
        }


@dataclass(frozen=True)
class AnnotationFigures:
    """What is to be known of labels.

    Attributes:
        pairs: that were to be labelled.
        labelled: of these, those of which the majority prefers an output.
        unlabelled: the others, by the reason.
        all: all annotators together.
        annotators: each of them.
        length_chosen: mean characters of the chosen outputs, None without any.
        length_rejected: of the rejected ones.
        longer_chosen: the share of chosen outputs that are longer than the rejected one, equal lengths counting half.
        agreement: of two annotators on a pair, the mean over its annotators and pairs; a tie against a preference is
            half of one. None where no pair has two labels.
        fleiss_kappa: their agreement beyond chance.
        krippendorff_alpha: likewise, with labels that are missing; None without the package (extra `agreement`).
        as_before: of preferences that were there already, the share of labels that choose the same, ties counting half.
    """

    pairs: int
    labelled: int
    unlabelled: dict[str, int]
    all: AnnotatorFigures
    annotators: dict[str, AnnotatorFigures]
    length_chosen: float | None
    length_rejected: float | None
    longer_chosen: Estimate | None
    agreement: Estimate | None
    fleiss_kappa: float | None
    krippendorff_alpha: float | None
    as_before: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(vars(self))


def annotation_figures(annotated: AnnotatedPairs) -> AnnotationFigures:
    """Return the figures of labels: counts, taste for position and length, agreement, and what they cost.

    Example:
        >>> from genrlhf.annotators import Annotator, AnnotatorPool, OutputPair
        >>> pool = AnnotatorPool([Annotator("first", lambda prompts, first, second: [1.0] * len(prompts), noise=0)])
        >>> figures = annotation_figures(pool.annotate([OutputPair(f"q{n}", "yes", "no") for n in range(40)]))
        >>> figures.labelled, figures.all.first_shown_wins.value
        (40, 1.0)
    """
    said = [(one.pair, label) for one in annotated.pairs for label in one.annotations]
    reasons = [why for one in annotated.pairs if (why := one.why_unlabelled()) is not None]
    lengths = np.array(
        [
            [len(text) for text in _texts(one.pair, one.shares)]
            for one in annotated.pairs
            if one.why_unlabelled() is None
        ]
    ).reshape(-1, 2)
    tables = [one.shares for one in annotated.pairs if len(one.shares) > 1]
    before = [share for one in annotated.pairs if one.pair.names == CHOSEN_REJECTED for share in one.shares]
    return AnnotationFigures(
        pairs=len(annotated.pairs),
        labelled=len(lengths),
        unlabelled=dict(Counter(reasons).most_common()),
        all=_figures(said, _sum(annotated.spent.values())),
        annotators={
            name: _figures([(pair, one) for pair, one in said if one.annotator == name], annotated.spent.get(name))
            for name in annotated.annotators
        },
        length_chosen=float(lengths[:, 0].mean()) if len(lengths) else None,
        length_rejected=float(lengths[:, 1].mean()) if len(lengths) else None,
        longer_chosen=_share((np.sign(lengths[:, 0] - lengths[:, 1]) + 1) / 2),
        agreement=_share([np.mean([agreement(a, b) for a, b in combinations(shares, 2)]) for shares in tables]),
        fleiss_kappa=_number(fleiss_kappa([label_counts(shares) for shares in tables])) if tables else None,
        krippendorff_alpha=_alpha(annotated) if tables else None,
        as_before=_share([1 - share for share in before]),
    )


def _texts(pair: OutputPair, shares: Sequence[float]) -> tuple[str, str]:
    """Return the chosen and the rejected text."""
    _, first, second = pair.shown
    return (second, first) if np.mean(np.sign(np.asarray(shares) - 0.5)) > 0 else (first, second)


def _figures(said: Sequence[tuple[OutputPair, Annotation]], spent: Usage | None) -> AnnotatorFigures:
    judged = [one for one in said if not one[1].at_random]
    preferences = [one.preference for _, one in said if one.preference is not None]
    preferred = sum(abs(preference - 1.5) > 1e-9 for preference in preferences)
    flips = [one.flipped for _, one in judged if one.flipped is not None]
    longer = []
    for pair, one in judged:
        if one.preference is not None and abs(one.preference - 1.5) > 1e-9:
            chosen, rejected = _texts(pair, [one.preference - 1])
            longer.append((np.sign(len(chosen) - len(rejected)) + 1) / 2)
    return AnnotatorFigures(
        pairs=len(said),
        asked=len(judged),
        at_random=len(said) - len(judged),
        preferred=preferred,
        ties=len(preferences) - preferred,
        unanswered=len(said) - len(preferences),
        first_shown_wins=_share([one.first_shown_wins for _, one in judged if one.first_shown_wins is not None]),
        flip_rate=sum(flips) / len(flips) if flips else None,
        longer_wins=_share(longer),
        spent=spent,
    )


def _alpha(annotated: AnnotatedPairs) -> float | None:
    table = np.full((len(annotated.annotators), len(annotated.pairs)), np.nan)
    for column, one in enumerate(annotated.pairs):
        for said in one.annotations:
            if said.preference is not None:
                table[annotated.annotators.index(said.annotator), column] = said.preference - 1
    try:
        return _number(krippendorff_alpha(table))
    except ConfigError:
        return None


def _share(values: Any) -> Estimate | None:
    return proportion_estimate(values) if len(values) else None


def _number(value: float) -> float | None:
    return None if value != value else value


def _sum(spent: Iterable[Usage | None]) -> Usage | None:
    known = [one for one in spent if one is not None]
    if not known:
        return None
    total = Usage()
    for name in vars(total):
        if name == "last_error":
            continue
        values = [value for one in known if (value := getattr(one, name)) is not None]
        setattr(total, name, sum(values) if values else None)
    total.last_error = next((one.last_error for one in reversed(known) if one.last_error), "")
    return total
