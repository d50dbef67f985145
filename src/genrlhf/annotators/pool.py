"""A pool of judges in place of people who label preferences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genrlhf.annotators.annotated import AnnotatedPair, AnnotatedPairs, Annotation
from genrlhf.annotators.draws import coin, drawn_annotators, uniform
from genrlhf.annotators.pairs import OutputPair
from genrlhf.errors import ConfigError, DataError, GenRLHFError, JudgeError
from genrlhf.metrics.preference.judging.comparisons import judge_comparisons, shown_orders
from genrlhf.metrics.preference.judging.openai_judge import OpenAIJudge
from genrlhf.metrics.preference.judging.spending import Usage
from genrlhf.types import Judge

__all__ = ["Annotator", "AnnotatorPool", "Order"]

Order = Literal["random", "both"]
ORDERS: tuple[Order, ...] = ("random", "both")
_NOTHING_LEFT = 1e-12
"""A budget that pays for no call."""


@dataclass(frozen=True)
class Annotator:
    """A judge that stands for a person.

    Attributes:
        name: what it is called in files; no other has it.
        judge: says which of two outputs is better: an `OpenAIJudge`, or any function `(prompts, first, second)`.
        weight: how often it is drawn, beside the others' weights.
        noise: the share of its labels that are flipped, from 0 to 0.5, where they say nothing; 0.25 is what AlpacaFarm
            trains with, and 0 what it evaluates with.

    Raises:
        ConfigError: a value is out of range.
    """

    name: str
    judge: Judge
    weight: float = 1.0
    noise: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigError(f"An annotator is called {self.name!r}; give it a name.")
        for what, value, most, wanted in (
            ("weight", self.weight, math.inf, "0 or more, and finite"),
            ("noise", self.noise, 0.5, "from 0 to 0.5"),
        ):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= most or value == math.inf:
                raise ConfigError(f"The {what} of annotator {self.name!r} must be {wanted}, not {value!r}.")


class AnnotatorPool:
    """Labels pairs of outputs as a crowd of people would: several judges, each with a taste of its own, and noise.

    After AlpacaFarm (Dubois et al. 2023, arXiv 2305.14387): every pair is labelled by one annotator, which is drawn;
    which output it sees first is drawn, too; and a share p of the labels is flipped. There a pool of 13 prompts for
    three models labels what is trained on, with p = 0.25.

    All that is drawn comes from the seed and the texts of a pair. So the same pair gets the same label in whatever
    order and beside whatever others it is given; a run that was stopped, or has more pairs, asks for what is new alone,
    where the judges keep their answers (`OpenAIJudge(…, store=…)`).

    **Noise.** With probability 2p a label is a fair coin's, and nobody is asked, as in AlpacaFarm: half of these are
    wrong, so that p of all labels are, and at p = 0.25 half of the pairs cost nothing.

    Args:
        annotators: at least one, with names of their own.
        seed: of all draws.

    Raises:
        ConfigError: there is no annotator, two have one name, or all weights are 0.

    Example:
        >>> from genrlhf.metrics.preference import ScoreJudge
        >>> longer = ScoreJudge(lambda prompts, completions: [len(text) for text in completions])
        >>> pool = AnnotatorPool([Annotator("longer", longer, noise=0.0)])
        >>> pool.annotate([OutputPair("Name a colour.", "red", "dark blue")]).preferences()[0]["chosen"]
        'dark blue'
    """

    def __init__(self, annotators: Sequence[Annotator], *, seed: int = 0) -> None:
        self.annotators = list(annotators)
        self.seed = seed
        if not self.annotators:
            raise ConfigError("The pool has no annotators; give at least one.")
        names = [annotator.name for annotator in self.annotators]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise ConfigError(f"Two annotators are called {twice!r}; give each a name of its own.")
        if not any(annotator.weight for annotator in self.annotators):
            raise ConfigError("The weights of all annotators are 0, so that none is ever drawn; give one a weight.")

    def annotate(
        self,
        pairs: Sequence[OutputPair],
        *,
        n_annotators: int = 1,
        order: Order = "random",
        budget: float | None = None,
        watch: Callable[[Judge], object] | None = None,
    ) -> AnnotatedPairs:
        """Label pairs.

        Args:
            pairs: to label.
            n_annotators: of each pair; more than one says how far they agree, and their majority has less noise.
            order: "random" shows either output first, as drawn; "both" asks in both orders and averages the answers, so
                that a judge that changes its mind makes a tie.
            budget: stop before more than this could be spent by all annotators, in the unit of their prices.
            watch: called with every judge before it is asked.

        Raises:
            ConfigError: fewer annotators than are asked for, another order, or a budget for a judge without prices.
            DataError: there are no pairs.
            JudgeError: an annotator can answer nothing, or the budget is reached.
        """
        drawn = self._drawn(pairs, n_annotators, order)
        self._check(drawn, budget)
        labels: dict[tuple[int, str], Annotation] = {}
        spent: dict[str, Usage | None] = {}
        for annotator in self.annotators:
            rows = drawn[annotator.name]
            asked = []
            for row in rows:
                label = coin(annotator.name, pairs[row].shown, noise=annotator.noise, seed=self.seed)
                if label is None:
                    asked.append(row)
                else:
                    labels[row, annotator.name] = Annotation(annotator.name, label, at_random=True)
            before = _usage(annotator.judge)
            if watch is not None:
                watch(annotator.judge)
            answers = self._ask(annotator, [pairs[row] for row in asked], order, _left(budget, spent))
            labels |= {(row, annotator.name): answer for row, answer in zip(asked, answers, strict=True)}
            spent[annotator.name] = _difference(_usage(annotator.judge), before)
        return AnnotatedPairs(
            [
                AnnotatedPair(
                    pair, tuple(labels[row, one.name] for one in self.annotators if (row, one.name) in labels)
                )
                for row, pair in enumerate(pairs)
            ],
            [annotator.name for annotator in self.annotators],
            spent,
        )

    def estimate(
        self, pairs: Sequence[OutputPair], *, n_annotators: int = 1, order: Order = "random"
    ) -> dict[str, Usage]:
        """Return what labelling would take at most of every annotator behind an endpoint, without asking.

        Raises:
            ConfigError: as `annotate`.
            DataError: there are no pairs.
        """
        drawn = self._drawn(pairs, n_annotators, order)
        found = {}
        for annotator in self.annotators:
            judge, shown = annotator.judge, [pairs[row].shown for row in drawn[annotator.name]]
            shown = [one for one in shown if coin(annotator.name, one, noise=annotator.noise, seed=self.seed) is None]
            if isinstance(judge, OpenAIJudge):
                columns = [[one[column] for one in shown] for column in range(3)]
                rounds = shown_orders(columns[0], columns[1], columns[2], order=order, seed=self._order_seed(annotator))
                found[annotator.name] = judge.endpoint.estimate(
                    [
                        judge.ask(prompt, second, first) if swap else judge.ask(prompt, first, second)
                        for swaps in rounds
                        for (prompt, first, second), swap in zip(shown, swaps, strict=True)
                    ]
                )
        return found

    def calls(self, pairs: Sequence[OutputPair], *, n_annotators: int = 1, order: Order = "random") -> int:
        """Return how many labels are asked for, answered before or not.

        Raises:
            ConfigError: as `annotate`.
            DataError: there are no pairs.
        """
        noise = {annotator.name: annotator.noise for annotator in self.annotators}
        asked = sum(
            coin(name, pairs[row].shown, noise=noise[name], seed=self.seed) is None
            for name, rows in self._drawn(pairs, n_annotators, order).items()
            for row in rows
        )
        return asked * (2 if order == "both" else 1)

    def _drawn(self, pairs: Sequence[OutputPair], n_annotators: int, order: str) -> dict[str, list[int]]:
        """Return the rows that each annotator labels."""
        weights = {annotator.name: annotator.weight for annotator in self.annotators}
        able = sum(weight > 0 for weight in weights.values())
        if not 1 <= n_annotators <= able:
            raise ConfigError(
                f"n_annotators is {n_annotators}, and {able} annotators have a weight above 0; give a number from 1 to "
                f"{able}."
            )
        if order not in ORDERS:
            raise ConfigError(f"order is {order!r}; give one of {', '.join(ORDERS)}.")
        if not len(pairs):
            raise DataError("There are no pairs to annotate; give at least one.")
        drawn: dict[str, list[int]] = {name: [] for name in weights}
        for row, pair in enumerate(pairs):
            for name in drawn_annotators(weights, pair.shown, n=n_annotators, seed=self.seed):
                drawn[name].append(row)
        return drawn

    def _check(self, drawn: Mapping[str, list[int]], budget: float | None) -> None:
        """Raise before the first call where a later one could not be made."""
        for annotator in self.annotators:
            if drawn[annotator.name] and isinstance(annotator.judge, OpenAIJudge):
                annotator.judge.endpoint.client.check_key()
                before = annotator.judge.endpoint.budget
                if budget is not None:
                    try:
                        annotator.judge.endpoint.budget = budget
                    except ConfigError as error:
                        raise ConfigError(f"Annotator {annotator.name!r}: {error}") from error
                    annotator.judge.endpoint.budget = before

    def _ask(
        self, annotator: Annotator, pairs: Sequence[OutputPair], order: Order, left: float | None
    ) -> list[Annotation]:
        if not pairs:
            return []
        prompts, first, second = (list(column) for column in zip(*(pair.shown for pair in pairs), strict=True))
        endpoint = annotator.judge.endpoint if isinstance(annotator.judge, OpenAIJudge) else None
        own = None if endpoint is None else endpoint.budget
        if endpoint is not None and left is not None:
            before = (endpoint.usage.cost or 0.0) + (endpoint.usage.unknown_cost or 0.0)
            allowed = max(left + before, _NOTHING_LEFT)
            endpoint.budget = allowed if own is None else min(own, allowed)
        try:
            judged = judge_comparisons(
                prompts, first, second, annotator.judge, order=order, seed=self._order_seed(annotator)
            )
        except GenRLHFError as error:
            if endpoint is not None and endpoint.exhausted and left is not None:
                raise JudgeError(
                    f"The budget for all annotators is reached at {annotator.name!r}, and another call might go over "
                    "it. The answers are kept; raise the budget to go on."
                ) from error
            raise type(error)(f"Annotator {annotator.name!r}: {error}") from error
        finally:
            if endpoint is not None:
                endpoint.budget = own
        rows = judged.to_annotations(("", ""), annotator.name, getattr(annotator.judge, "answers", ()))
        return [
            Annotation(
                annotator.name,
                row["preference"],
                raw_answer=row["raw_completion"],
                reason=row["reason"] or (None if row["preference"] is not None else "the annotator did not answer"),
                flipped=row["flipped"],
                first_shown_wins=row["first_shown_wins"],
            )
            for row in rows
        ]

    def _order_seed(self, annotator: Annotator) -> int:
        """Return the seed of the order in which an annotator sees outputs, so that not all see the same one first."""
        return int(uniform(self.seed, f"order {annotator.name}", ("", "", "")) * 2**32)


def _usage(judge: Judge) -> Usage | None:
    """Return what a judge has taken so far, None where it does not say."""
    if isinstance(judge, OpenAIJudge):
        return Usage(**vars(judge.endpoint.usage))
    answered, stored = getattr(judge, "answered", None), getattr(judge, "stored", None)
    return Usage(answered=answered, stored=stored) if isinstance(answered, int) and isinstance(stored, int) else None


def _difference(after: Usage | None, before: Usage | None) -> Usage | None:
    """Return what was taken between two states."""
    if after is None or before is None:
        return after
    changed: dict[str, Any] = {
        name: None if value is None else value - (getattr(before, name) or 0)
        for name, value in vars(after).items()
        if name != "last_error"
    }
    return Usage(**changed, last_error=after.last_error)


def _left(budget: float | None, spent: Mapping[str, Usage | None]) -> float | None:
    if budget is None:
        return None
    return budget - sum((one.cost or 0.0) + (one.unknown_cost or 0.0) for one in spent.values() if one is not None)
