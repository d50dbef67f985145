"""Many metrics over a stream of outputs, with little in memory."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.diversity.lengths import count_words
from genrlhf.metrics.diversity.levels import LeftOut, leave_out_inputs
from genrlhf.metrics.diversity.set_metric import as_set_metric
from genrlhf.metrics.estimate import bootstrap_estimate
from genrlhf.metrics.paired import PairedComparison, paired_comparison
from genrlhf.types import DiversityMetric, Estimate

__all__ = ["LEVELS", "DiversityEvaluation", "Level", "OutputsRow", "Undefined", "evaluate_diversity"]

Level: TypeAlias = Literal["per_input", "across_input", "pooled"]
LEVELS: tuple[Level, ...] = ("per_input", "across_input", "pooled")

_CHUNK_TEXTS = 4096


@dataclass(frozen=True)
class OutputsRow:
    """The outputs of one input.

    Attributes:
        place: where the row stands, for messages, such as "a.jsonl, line 3".
        prompt: the input, which tells rows of two models that belong together; None if it is not known.
        outputs: its outputs.
    """

    place: str
    prompt: Any
    outputs: list[str]


@dataclass(frozen=True)
class Undefined:
    """Stands in place of an estimate that there is none of.

    Attributes:
        reason: why.
    """

    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of an estimate without a value, and the reason."""
        return {"value": None, "stderr": None, "ci": [None, None], "n": 0, "reason": self.reason}


@dataclass
class DiversityEvaluation:
    """What the metrics found in the outputs of one model.

    Attributes:
        metrics: by their names.
        seed: of draws and bootstrap.
        blocks: of the jackknife.
        values: of every metric, its value of every input, NaN where it is undefined.
        keys: of every input, a digest of its prompt; None where the row has none.
        drawn: of every draw, one output of every input.
        pooled: the outputs of every input, where these are measured together.
        outputs_per_input: K.
        mean_words: blank-separated pieces of an output.
    """

    metrics: Mapping[str, DiversityMetric]
    seed: int
    blocks: int
    values: dict[str, list[float]]
    keys: list[bytes | None] = field(default_factory=list)
    drawn: list[list[str]] = field(default_factory=list)
    pooled: list[list[str]] | None = None
    outputs_per_input: int = 0
    mean_words: float = 0.0

    def figure(self, level: Level, name: str) -> Estimate | Undefined:
        """Return the figure of a metric at a level."""
        metric = self.metrics[name]
        if level == "per_input":
            if self.outputs_per_input < as_set_metric(metric).min_texts:
                return Undefined(f"needs {as_set_metric(metric).min_texts} outputs of an input, and there is one")
            if np.isnan(self.values[name]).all():
                return Undefined("the outputs of every input are empty")
            return bootstrap_estimate(self.values[name], seed=self.seed)
        left = self._left_out(level, name)
        return left if isinstance(left, Undefined) else left.estimate()

    def _left_out(self, level: Level, name: str) -> LeftOut | Undefined:
        metric = self.metrics[name]
        drawn = self.pooled if level == "pooled" else None
        inputs = [drawn] if drawn is not None else [[[text] for text in texts] for texts in self.drawn]
        if sum(map(len, inputs[0])) < as_set_metric(metric).min_texts:
            return Undefined(f"needs {as_set_metric(metric).min_texts} texts, and there is one")
        left = leave_out_inputs(inputs, metric, self.blocks)
        return left if math.isfinite(left.value) else Undefined("the texts are empty")

    def pair_error(self, level: Level, name: str) -> float:
        """Return the standard error that a metric's drawing of pairs adds to a figure, 0 where it takes all of them.

        The figure's own error has it in it. Per input it is part of how inputs differ.
        """
        left = None if level == "per_input" else self._left_out(level, name)
        return left.pair_error if isinstance(left, LeftOut) else 0.0

    def comparison(self, first: DiversityEvaluation, level: Level, name: str) -> PairedComparison | Undefined:
        """Return the figure less that of `first`, an evaluation of the same inputs in the same order."""
        if level == "per_input":
            if self.outputs_per_input < as_set_metric(self.metrics[name]).min_texts:
                return Undefined(
                    f"needs {as_set_metric(self.metrics[name]).min_texts} outputs of an input, and there is one"
                )
            both = np.array([first.values[name], self.values[name]])
            if np.isnan(both).any(axis=0).all():
                return Undefined("the outputs of every input are empty for one of the two")
            return paired_comparison(*both, seed=self.seed)
        sides = [evaluation._left_out(level, name) for evaluation in (first, self)]
        for side in sides:
            if isinstance(side, Undefined):
                return side
        ours, theirs = sides
        assert isinstance(ours, LeftOut) and isinstance(theirs, LeftOut)
        return PairedComparison(theirs.less(ours).estimate(), None)

    def in_order_of(self, first: DiversityEvaluation, names: tuple[str, str]) -> DiversityEvaluation:
        """Return this evaluation with its inputs in the order of another's.

        Args:
            first: the other.
            names: of the other and this one, for messages.

        Raises:
            DataError: a prompt is missing, there twice, or in one of the two alone; or both have other numbers of
                outputs.
        """
        if first.outputs_per_input != self.outputs_per_input:
            raise DataError(
                f"{names[0]} has {first.outputs_per_input} output(s) of an input and {names[1]} has "
                f"{self.outputs_per_input}; diversity depends on their number, so compare as many of both "
                "(--outputs-per-input takes the first so many)."
            )
        for evaluation, name in zip((first, self), names, strict=True):
            _refuse_unclear(evaluation.keys, name)
        places = {key: place for place, key in enumerate(self.keys)}
        lost = [row for row, key in enumerate(first.keys) if key not in places]
        if lost or len(self.keys) != len(first.keys):
            raise DataError(
                f"{names[0]} and {names[1]} do not hold the same prompts: {len(lost)} of the {len(first.keys)} of the "
                f"first are not among the {len(self.keys)} of the second"
                + (f", such as that of input {lost[0]}" if lost else "")
                + "; compare outputs of the same prompts."
            )
        order = [places[key] for key in first.keys]
        return DiversityEvaluation(
            metrics=self.metrics,
            seed=self.seed,
            blocks=self.blocks,
            values={name: [values[row] for row in order] for name, values in self.values.items() if values},
            keys=list(first.keys),
            drawn=[[texts[row] for row in order] for texts in self.drawn],
            pooled=None if self.pooled is None else [self.pooled[row] for row in order],
            outputs_per_input=self.outputs_per_input,
            mean_words=self.mean_words,
        )


def evaluate_diversity(
    rows: Iterable[OutputsRow],
    metrics: Mapping[str, DiversityMetric],
    *,
    levels: Sequence[Level] = ("per_input", "across_input"),
    draws: int = 1,
    seed: int = 0,
    blocks: int = 20,
    progress: Callable[[int], None] | None = None,
) -> DiversityEvaluation:
    """Measure outputs as they come.

    In memory stay a number for every input and metric, and one output of every input for every draw; all outputs only
    with the level "pooled".

    Args:
        rows: one for every input.
        metrics: by the names that they shall have.
        levels: what to measure.
        draws: across inputs, average over so many draws of one output of every input.
        seed: of draws and bootstrap.
        blocks: of the jackknife.
        progress: called with the number of inputs of every chunk that is done.

    Raises:
        DataError: there are no rows, a row has no outputs, or another number of them than the first.
    """
    if draws < 1:
        raise ConfigError(f"draws is {draws}; give at least one.")
    found = DiversityEvaluation(metrics, seed, blocks, {name: [] for name in metrics})
    found.drawn = [[] for _ in range(draws)] if "across_input" in levels else []
    found.pooled = [] if "pooled" in levels else None
    generator = random.Random(seed)
    words = 0
    for chunk in _chunks(rows):
        for row in chunk:
            _check_count(row, found)
            words += sum(map(count_words, row.outputs))
            found.keys.append(None if row.prompt is None else _digest(row.prompt))
            for texts in found.drawn:
                texts.append(generator.choice(row.outputs))
        sets = [row.outputs for row in chunk]
        if found.pooled is not None:
            found.pooled += sets
        if "per_input" in levels:
            for name, metric in metrics.items():
                if found.outputs_per_input >= as_set_metric(metric).min_texts:
                    found.values[name] += as_set_metric(metric).values(sets).tolist()
        if progress is not None:
            progress(len(chunk))
    if not found.keys:
        raise DataError("There are no outputs to measure; give at least one row.")
    found.mean_words = words / (len(found.keys) * found.outputs_per_input)
    return found


def _chunks(rows: Iterable[OutputsRow]) -> Iterator[list[OutputsRow]]:
    stream = iter(rows)
    for first in stream:
        size = max(1, _CHUNK_TEXTS // max(1, len(first.outputs)))
        yield [first, *itertools.islice(stream, size - 1)]


def _check_count(row: OutputsRow, found: DiversityEvaluation) -> None:
    if not row.outputs:
        raise DataError(f"{row.place} has no outputs; sample some, or drop the row.")
    if not found.outputs_per_input:
        found.outputs_per_input = len(row.outputs)
    if len(row.outputs) != found.outputs_per_input:
        raise DataError(
            f"{row.place} has {len(row.outputs)} output(s), and the first row has {found.outputs_per_input}; diversity "
            "depends on their number, so take as many of every row (--outputs-per-input takes the first so many)."
        )


def _digest(prompt: Any) -> bytes:
    return hashlib.blake2b(repr(prompt).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _refuse_unclear(keys: Sequence[bytes | None], name: str) -> None:
    seen: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        if key is None:
            raise DataError(f"{name}, input {row} has no prompt, by which outputs are compared; add it.")
        if key in seen:
            raise DataError(
                f"{name}, inputs {seen[key]} and {row} have the same prompt; a comparison needs every prompt once."
            )
        seen[key] = row
