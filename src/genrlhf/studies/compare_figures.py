"""What is measured of one arm of a comparison: a model at a temperature, or a file of outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from genrlhf.errors import JudgeError
from genrlhf.metrics.diversity.evaluation import DiversityEvaluation, Level, OutputsRow, Undefined, evaluate_diversity
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.metrics.preference import generalisation_gap
from genrlhf.metrics.preference.counting.winrate import shares_of, shown_swapped
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.studies.compare_inputs import Input
from genrlhf.studies.results import Figures
from genrlhf.types import DiversityMetric, Estimate, Judge, RewardFunction

__all__ = ["Measured", "Measures", "RememberedScores"]


class RememberedScores:
    """A score that is asked once for every completion of a prompt: a judge by scores asks for references ever again.

    Args:
        score: the same for the same prompt and completion, whatever stands beside them.
    """

    def __init__(self, score: RewardFunction) -> None:
        self.score = score
        self.name = reward_name(score)
        self.known: dict[tuple[str, str], float] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str]) -> list[float]:
        """Return the scores, asking for those that are not known."""
        keys = [(repr(prompt), text) for prompt, text in zip(prompts, completions, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self.known}
        if new:
            asked = [prompts[place] for place in new.values()], [completions[place] for place in new.values()]
            self.known |= dict(zip(new, check_rewards(self.score(*asked), *asked, name=self.name), strict=True))
        return [self.known[key] for key in keys]


@dataclass(frozen=True)
class Measured:
    """The figures of one arm.

    Attributes:
        figures: as `results.json` has them.
        values: of "pvr", "reward" and "gold", those that were measured, and of every metric, as "per_input.ead": the
            values of the inputs of the first set, (I,), NaN where they are undefined.
        warnings: what there is to say.
    """

    figures: Figures
    values: Mapping[str, np.ndarray]
    warnings: list[str]


@dataclass(frozen=True)
class Measures:
    """What is measured of every arm.

    Attributes:
        metrics: of diversity, by name, of the outputs of the first set.
        levels: of diversity.
        judge: compares the first output of every input with its reference.
        scores: what scores the first output: "reward", "gold".
    """

    metrics: Mapping[str, DiversityMetric]
    levels: Sequence[Level]
    judge: Judge | None = None
    scores: Mapping[str, RewardFunction] = field(default_factory=dict)

    def of(
        self,
        label: str,
        inputs: Sequence[Input],
        outputs: Sequence[Sequence[str]],
        references: Sequence[str | None],
        sets: Sequence[str],
    ) -> Measured:
        """Return the figures of an arm.

        Args:
            label: of the arm, for messages.
            inputs: of all sets.
            outputs: as many of every input.
            references: what its first output is compared with, None for an input that has none.
            sets: names of the evaluation sets, the one in distribution first.
        """
        figures: dict[str, Any] = {}
        warnings: list[str] = []
        firsts = [texts[0] for texts in outputs]
        values: dict[str, np.ndarray] = {}
        if self.judge is not None:
            values["pvr"] = self._shares(label, inputs, firsts, references, warnings)
        for name, score in self.scores.items():
            prompts = [one.prompt for one in inputs]
            found = check_rewards(score(prompts, firsts), prompts, firsts, name=reward_name(score))
            values[name] = np.array(found, dtype=np.float64)
        for name, numbers in values.items():
            figures[name] = self._by_set(name, numbers, inputs, sets)
        if "pvr" in figures:
            figures |= _gaps(figures["pvr"], sets)
        first = [place for place, one in enumerate(inputs) if one.where == sets[0]]
        values = {name: numbers[first] for name, numbers in values.items()}
        measured = self._diversity(label, [inputs[place] for place in first], [outputs[place] for place in first])
        figures["diversity"] = _diversity_figures(label, measured, self.levels, warnings)
        values |= {f"per_input.{name}": numbers for name, numbers in measured.values.items()}
        empty = sum(not text.strip() for texts in outputs for text in texts)
        if empty:
            total = sum(map(len, outputs))
            warnings.append(f"{label}: {empty} of {total} outputs are empty.")
        return Measured(cast(Figures, figures), values, warnings)

    def _shares(
        self,
        label: str,
        inputs: Sequence[Input],
        firsts: Sequence[str],
        references: Sequence[str | None],
        warnings: list[str],
    ) -> np.ndarray:
        """Return how much of a win every first output is, NaN where the judge has no answer or there is no reference.

        Equal texts are a tie that nobody is asked about.
        """
        assert self.judge is not None
        shares = np.full(len(inputs), math.nan)
        asked = []
        for place, (output, reference) in enumerate(zip(firsts, references, strict=True)):
            if output == reference:
                shares[place] = 0.5
            elif reference is not None:
                asked.append(place)
        prompts, ours = [inputs[place].text for place in asked], [firsts[place] for place in asked]
        theirs = [str(references[place]) for place in asked]
        swapped = [shown_swapped(0, *row) for row in zip(prompts, ours, theirs, strict=True)]
        answers = shares_of(self.judge, prompts, ours, theirs, swapped) if asked else []
        for place, answer in zip(asked, answers, strict=True):
            shares[place] = math.nan if answer is None else answer
        if np.isnan(shares).all():
            raise JudgeError(f"{label}: the judge answered none of {len(asked)} comparisons; look at the judge.")
        unanswered = sum(answer is None for answer in answers)
        if unanswered:
            warnings.append(f"{label}: the judge has no answer to {unanswered} of {len(asked)} comparisons.")
        return shares

    def _by_set(
        self, name: str, values: np.ndarray, inputs: Sequence[Input], sets: Sequence[str]
    ) -> dict[str, Estimate]:
        estimate = proportion_estimate if name == "pvr" else mean_estimate
        of_sets = {where: values[[one.where == where for one in inputs]] for where in sets}
        return {where: estimate(numbers) for where, numbers in of_sets.items() if not np.isnan(numbers).all()}

    def _diversity(self, label: str, inputs: Sequence[Input], outputs: Sequence[Sequence[str]]) -> DiversityEvaluation:
        rows = (
            OutputsRow(f"{label}, input {place}", one.text, list(texts))
            for place, (one, texts) in enumerate(zip(inputs, outputs, strict=True))
        )
        return evaluate_diversity(rows, self.metrics, levels=list(self.levels))


def _gaps(pvr: Mapping[str, Estimate], sets: Sequence[str]) -> dict[str, Any]:
    """Return how much less is preferred on every other set than on the first."""
    first = pvr.get(sets[0])
    if first is None or len(pvr) < 2:
        return {}
    gaps = {name: generalisation_gap(first, other) for name, other in pvr.items() if name != sets[0]}
    return {"gaps": gaps, **({"gap": gaps["ood"]} if "ood" in gaps else {})}


def _diversity_figures(
    label: str, measured: DiversityEvaluation, levels: Sequence[Level], warnings: list[str]
) -> dict[str, dict[str, Estimate]]:
    figures: dict[str, dict[str, Estimate]] = {}
    for level in levels:
        of_level = figures[level] = dict[str, Estimate]()
        for name in measured.metrics:
            found = measured.figure(level, name)
            if isinstance(found, Undefined):
                warnings.append(f"{label}: {name} {level.replace('_', ' ')} is undefined: {found.reason}.")
            else:
                of_level[name] = found
    for name, remarks in measured.remarks.items():
        warnings += [f"{label}: {name}: {line}." for line in remarks.lines()]
    return figures
