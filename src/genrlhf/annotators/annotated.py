"""Labels of pairs, and the rows they make: preferences to train on, and all that was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genrlhf.annotators.pairs import OutputPair
from genrlhf.errors import ConfigError
from genrlhf.metrics.preference.judging.spending import Usage
from genrlhf.metrics.preference.validating.agreement import majority

__all__ = ["AnnotatedPair", "AnnotatedPairs", "Annotation", "Keep"]

Keep = Literal["majority", "all"]
KEEPS: tuple[Keep, ...] = ("majority", "all")
TIE = "a tie"
DRAW = "the annotators disagree"
_NEITHER = 1e-9
"""By so much answers that average to a tie may miss it."""


@dataclass(frozen=True)
class Annotation:
    """What one annotator says of a pair.

    Attributes:
        annotator: its name.
        preference: 1 for the first output, 2 for the second, 1.5 for a tie, what lies between by degree, None for no
            answer.
        at_random: a coin was tossed in place of asking.
        raw_answer: what the judge wrote, or both texts where it was asked in both orders; None where it wrote nothing.
        reason: why there is no preference.
        flipped: whether the judge changed its mind with the order; None where it was asked in one.
        first_shown_wins: the share of its answers that prefer what it saw first; None where it was not asked.
    """

    annotator: str
    preference: float | None
    at_random: bool = False
    raw_answer: str | list[str] | None = None
    reason: str | None = None
    flipped: bool | None = None
    first_shown_wins: float | None = None


@dataclass(frozen=True)
class AnnotatedPair:
    """A pair with its labels.

    Attributes:
        pair: the pair.
        annotations: of every annotator who was drawn, in the order of the pool.
    """

    pair: OutputPair
    annotations: tuple[Annotation, ...]

    @property
    def shares(self) -> list[float]:
        """How much each who answered prefers the second output: 0, 1, 0.5 for a tie, or by degree."""
        return [one.preference - 1 for one in self.annotations if one.preference is not None]

    def why_unlabelled(self) -> str | None:
        """Return why the majority prefers neither output, None where it prefers one."""
        shares = self.shares
        if not shares:
            return "; ".join(dict.fromkeys(one.reason or "no answer" for one in self.annotations))
        if majority(shares) != 0.5:
            return None
        return TIE if all(abs(share - 0.5) < _NEITHER for share in shares) else DRAW


@dataclass(frozen=True)
class AnnotatedPairs:
    """Pairs that a pool has labelled.

    Attributes:
        pairs: with their labels, as they were given.
        annotators: the names of the pool.
        spent: what each annotator's calls took, None where its judge does not say.
    """

    pairs: Sequence[AnnotatedPair]
    annotators: Sequence[str]
    spent: Mapping[str, Usage | None]

    def preferences(self, *, keep: Keep = "majority") -> list[dict[str, Any]]:
        """Return rows to train on; pairs without a preference are not among them.

        A row has `prompt`, `chosen` and `rejected`, the columns of its pair, and beside them `annotator`, `score` (how
        much it prefers the chosen output: 1, or by degree above 0.5), `at_random` (a coin was tossed in place of
        asking) and `raw_answer`. Of several annotators' majority `annotator` is "majority", `score` the share of those
        who prefer the chosen output, ties counting half, and `annotations` says what each of them did.

        Args:
            keep: "majority" for one row a pair, or "all" for a row of every annotator who prefers one of the outputs.

        Raises:
            ConfigError: for another.
        """
        if keep not in KEEPS:
            raise ConfigError(f"keep is {keep!r}; give one of {', '.join(KEEPS)}.")
        several = keep == "majority" and any(len(one.annotations) > 1 for one in self.pairs)
        rows = []
        for one in self.pairs:
            if several:
                if one.why_unlabelled() is None:
                    rows.append(_of_majority(one))
                continue
            rows += [
                {**_sides(one.pair, said.preference - 1), **_beside(said, said.preference > 1.5)}
                for said in one.annotations
                if said.preference is not None and abs(said.preference - 1.5) >= _NEITHER
            ]
        return rows

    def annotations(self) -> list[dict[str, Any]]:
        """Return all labels in AlpacaEval's form, ties and those that are missing, with their reasons, among them.

        `genrlhf judge validate` and `genrlhf win-rate` read these rows.
        """
        return [
            {
                "instruction": one.pair.shown[0],
                "output_1": one.pair.shown[1],
                "generator_1": one.pair.names[0],
                "output_2": one.pair.shown[2],
                "generator_2": one.pair.names[1],
                "annotator": said.annotator,
                "preference": said.preference,
                "at_random": said.at_random,
                "flipped": said.flipped,
                "first_shown_wins": said.first_shown_wins,
                "raw_completion": said.raw_answer,
                "reason": said.reason,
                **({"dataset": one.pair.columns["dataset"]} if "dataset" in one.pair.columns else {}),
            }
            for one in self.pairs
            for said in one.annotations
        ]


def _sides(pair: OutputPair, share: float) -> dict[str, Any]:
    first, second = pair.completions
    chosen, rejected = (second, first) if share > 0.5 else (first, second)
    return {"prompt": pair.prompt, "chosen": chosen, "rejected": rejected, **pair.columns}


def _beside(said: Annotation, second_wins: bool) -> dict[str, Any]:
    share = None if said.preference is None else said.preference - 1 if second_wins else 2 - said.preference
    return {
        "annotator": said.annotator,
        "score": share,
        "at_random": said.at_random,
        "raw_answer": said.raw_answer,
    }


def _of_majority(one: AnnotatedPair) -> dict[str, Any]:
    shares = one.shares
    second = majority(shares) > 0.5
    votes = [0.5 if abs(share - 0.5) < _NEITHER else float(share > 0.5) for share in shares]
    mean = sum(votes) / len(votes)
    return {
        **_sides(one.pair, float(second)),
        "annotator": "majority",
        "score": mean if second else 1 - mean,
        "at_random": all(said.at_random for said in one.annotations),
        "annotations": [{**_beside(said, second), "reason": said.reason} for said in one.annotations],
    }
