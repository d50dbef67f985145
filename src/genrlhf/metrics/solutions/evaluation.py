"""All figures of solutions over a stream of outputs with verdicts: what `genrlhf diversity` shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from genrlhf.errors import DataError
from genrlhf.metrics.diversity.classes import ExactClasses
from genrlhf.metrics.diversity.evaluation import DiversityEvaluation, OutputsRow, Undefined, evaluate_diversity
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.paired import PairedComparison, paired_shares
from genrlhf.metrics.solutions.answers import distinct_valid, effective_answers, valid_share, valid_yield
from genrlhf.metrics.solutions.crossing import CrossingPoint, crossing_point
from genrlhf.metrics.solutions.filtered import FilteredDiversity, effective_semantic_diversity
from genrlhf.metrics.solutions.passing import cover_at_tau, pass_at_k, pass_hat_k
from genrlhf.metrics.solutions.verdicts import check_verdicts
from genrlhf.types import DiversityMetric, Estimate

__all__ = ["SolutionsTally"]

_TAU = 0.5


@dataclass
class SolutionsTally:
    """The verdicts of a file, and its right outputs.

    Attributes:
        verdicts: of every input.
        answers: of every input, a name for what each output says, the same for equal ones.
        right: rows with the right outputs alone, of inputs that have two or more.
    """

    verdicts: list[list[bool]] = field(default_factory=list)
    answers: list[list[str]] = field(default_factory=list)
    right: list[OutputsRow] = field(default_factory=list)

    def add(self, row: OutputsRow, verdicts: Any) -> None:
        """Count the outputs of one input.

        Raises:
            DataError: there is not one verdict an output; the message names the place.
        """
        try:
            (checked,) = check_verdicts([verdicts])
        except DataError as error:
            raise DataError(f"{row.place}: {str(error).replace('verdicts, input 0', 'verdicts')}") from error
        if len(checked) != len(row.outputs):
            raise DataError(
                f"{row.place} has {len(row.outputs)} output(s) and {len(checked)} verdict(s); give one each."
            )
        self.verdicts.append(checked.tolist())
        self.answers.append([str(label) for label in ExactClasses()([row.outputs])[0]])
        places = np.flatnonzero(checked).tolist()
        if len(places) > 1:
            logprobs = row.logprobs
            if isinstance(logprobs, list) and len(logprobs) == len(row.outputs):
                logprobs = [logprobs[place] for place in places]
            self.right.append(replace(row, outputs=[row.outputs[place] for place in places], logprobs=logprobs))

    @property
    def fewest(self) -> int:
        """The fewest outputs that an input has."""
        return min(map(len, self.verdicts))

    def figures(self, ks: Sequence[int]) -> dict[str, Estimate]:
        """Return the figures by their names; those for each k, where k is above 1."""
        found = {"valid": valid_share(self.verdicts)}
        for k in ks:
            found[f"pass@{k}"] = pass_at_k(self.verdicts, k)
            if k > 1:
                found[f"pass^{k}"] = pass_hat_k(self.verdicts, k)
        found[f"cover@{_TAU}"] = cover_at_tau(self.verdicts, _TAU)
        found["distinct_valid"] = distinct_valid(self.answers, self.verdicts)
        found["yield"] = valid_yield(self.answers, self.verdicts)
        found["exp_entropy"] = effective_answers(self.answers, self.verdicts)
        found["effective_diversity"] = effective_semantic_diversity(self.answers, self.verdicts)
        return found

    def diversity(self, metrics: Mapping[str, DiversityMetric], *, seed: int = 0) -> dict[str, FilteredDiversity]:
        """Return the diversity per input of the right outputs, by every metric (see `quality_filtered_diversity`)."""
        inputs = len(self.verdicts)
        coverage = proportion_estimate(np.arange(inputs) < len(self.right))
        found: DiversityEvaluation | None = None
        if self.right:
            found = evaluate_diversity(self.right, metrics, levels=["per_input"], seed=seed, same_number=False)
        figures = {name: None if found is None else found.figure("per_input", name) for name in metrics}
        mean_right = float(np.mean([len(row.outputs) for row in self.right])) if self.right else float("nan")
        return {
            name: FilteredDiversity(
                None if figure is None or isinstance(figure, Undefined) else figure,
                coverage,
                inputs - len(self.right),
                mean_right,
            )
            for name, figure in figures.items()
        }

    def in_order(self, order: Sequence[int]) -> SolutionsTally:
        """Return the verdicts and answers of the inputs in another order, without right outputs."""
        return SolutionsTally([self.verdicts[row] for row in order], [self.answers[row] for row in order])

    def comparison(self, first: SolutionsTally, ks: Sequence[int], *, seed: int = 0) -> dict[str, PairedComparison]:
        """Return pass@k less that of `first`, of the same inputs in their order, for every k that all of them have."""
        return {
            f"pass@{k}": paired_shares(
                pass_at_k(first.verdicts, k).values, pass_at_k(self.verdicts, k).values, seed=seed
            )
            for k in ks
            if k <= min(self.fewest, first.fewest)
        }

    def crossing(self, base: SolutionsTally, *, seed: int = 0) -> CrossingPoint:
        """Return the k from which on `base` is ahead, of the same inputs in the same order."""
        return crossing_point(base.verdicts, self.verdicts, seed=seed)
