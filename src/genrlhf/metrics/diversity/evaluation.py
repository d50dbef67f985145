"""Many metrics over a stream of outputs, with little in memory: the one path of functions and command."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from genrlhf.errors import DataError, excerpt
from genrlhf.metrics.diversity.left_out import InputTexts, LeftOut, TakesOneOfEach
from genrlhf.metrics.diversity.ngrams import TextSets
from genrlhf.metrics.diversity.remarks import Remarks, described
from genrlhf.metrics.diversity.set_metric import SetMetric, as_set_metric
from genrlhf.metrics.diversity.tally import TextTally
from genrlhf.metrics.estimate import held_within, mean_estimate
from genrlhf.metrics.paired import PairedComparison, paired_comparison
from genrlhf.types import DiversityMetric, Estimate, UsesLogprobs

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
        logprobs: of every output, the log-probability of each of its tokens; None where they are not known.
    """

    place: str
    prompt: Any
    outputs: list[str]
    logprobs: list[list[float]] | None = None


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


@dataclass(frozen=True)
class DiversityEvaluation:
    """What the metrics found in the outputs of one model.

    Attributes:
        metrics: by their names.
        seed: of the sign-flip test.
        blocks: of the jackknife.
        values: of every metric, its values of the inputs, (inputs,) float64, NaN where it is undefined; without those
            that need more outputs.
        left: of the other levels, every metric's figure of all inputs and without blocks of them.
        texts: of these levels, of every draw, the texts of every input.
        keys: of every input, a digest of its prompt; None where the row has none.
        outputs_per_input: K, of the first input.
        tally: of all outputs.
        remarks: of every metric, on the texts that it measured.
    """

    metrics: Mapping[str, SetMetric]
    seed: int
    blocks: int
    values: Mapping[str, np.ndarray]
    left: Mapping[Level, Mapping[str, LeftOut | Undefined]]
    texts: Mapping[Level, Sequence[Sequence[Sequence[str]]]] = field(repr=False)
    keys: tuple[bytes | None, ...] = field(repr=False)
    outputs_per_input: int
    tally: TextTally
    remarks: Mapping[str, Remarks]

    @property
    def mean_words(self) -> float:
        """The mean length of an output in words (see `genrlhf.text.count_words`)."""
        return self.tally.mean_words

    def figure(self, level: Level, name: str) -> Estimate | Undefined:
        """Return the figure of a metric at a level that was measured."""
        if level != "per_input":
            left = self.left[level][name]
            return left if isinstance(left, Undefined) else held_within(left.estimate(), self.metrics[name].bounds)
        if (missing := self._too_few_outputs(name)) is not None:
            return missing
        values = self.values[name]
        if np.isnan(values).all():
            return Undefined("; ".join(self.remarks[name].lines()) or "no input has texts that are long enough for it")
        return mean_estimate(values, bounds=self.metrics[name].bounds)

    def pair_error(self, level: Level, name: str) -> float:
        """Return the standard error that a metric's drawing of pairs adds to a figure, 0 where it takes all of them.

        The figure's own error has it in it. Per input it is part of how inputs differ.
        """
        left = None if level == "per_input" else self.left[level][name]
        return left.pair_error if isinstance(left, LeftOut) else 0.0

    def comparison(self, first: DiversityEvaluation, level: Level, name: str) -> PairedComparison | Undefined:
        """Return the figure less that of `first`, an evaluation of the same inputs in the same order."""
        if level != "per_input":
            ours, theirs = self.left[level][name], first.left[level][name]
            if isinstance(ours, Undefined) or isinstance(theirs, Undefined):
                return theirs if isinstance(theirs, Undefined) else ours  # type: ignore[return-value]
            return PairedComparison(ours.less(theirs).estimate(), None)
        if (missing := self._too_few_outputs(name)) is not None:
            return missing
        both = np.array([first.values[name], self.values[name]])
        if np.isnan(both).any(axis=0).all():
            lines = [*first.remarks[name].lines(), *self.remarks[name].lines()]
            return Undefined("; ".join(lines) or "no input has a value for both")
        return paired_comparison(*both, bounds=self.metrics[name].bounds, seed=self.seed)

    def in_order_of(self, first: DiversityEvaluation, names: tuple[str, str]) -> DiversityEvaluation:
        """Return this evaluation with its inputs in the order of another's; itself where they are.

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
        if self.keys == first.keys:
            return self
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
        texts = {level: [[of[row] for row in order] for of in drawn] for level, drawn in self.texts.items()}
        return replace(
            self,
            values={name: _constant(values[order]) for name, values in self.values.items()},
            # Blocks and pairs are dealt by place, so that they are others now.
            left={level: _leave_out(drawn, self.metrics, self.blocks) for level, drawn in texts.items()},
            texts=texts,
            keys=first.keys,
        )

    def _too_few_outputs(self, name: str) -> Undefined | None:
        least = self.metrics[name].min_texts
        return None if name in self.values else Undefined(f"needs {least} outputs of an input, and there is one")


def evaluate_diversity(
    rows: Iterable[OutputsRow],
    metrics: Mapping[str, DiversityMetric],
    *,
    levels: Sequence[Level] = ("per_input", "across_input"),
    sample: int = 0,
    draws: int | None = None,
    seed: int = 0,
    blocks: int = 20,
    same_number: bool = True,
    progress: Callable[[int], None] | None = None,
) -> DiversityEvaluation:
    """Measure outputs as they come.

    In memory stay a number for every input and metric, and one output of every input for every draw; all outputs only
    with the level "pooled".

    Args:
        rows: one for every input.
        metrics: by the names that they shall have.
        levels: what to measure.
        sample: across inputs, which output of every input is taken, from 0 (see `TakesOneOfEach`).
        draws: across inputs, average over so many draws of one output of every input in place of `sample`.
        seed: of draws and of the sign-flip test.
        blocks: of the jackknife.
        same_number: refuse inputs with other numbers of outputs than the first.
        progress: called with the number of inputs of every chunk that is done.

    Raises:
        DataError: there are no rows, a row has no outputs, or another number of them than the first.
        ModelError: a metric does not return one value a set.
    """
    measures = {name: as_set_metric(metric) for name, metric in metrics.items()}
    take = TakesOneOfEach(sample, draws, seed)
    found = _Found({name: [] for name in measures}, [[] for _ in range(take.times)])
    remarks = {name: Remarks() for name in measures}
    for chunk in _chunks(rows):
        for row in chunk:
            found.add(row, same_number)
            if "across_input" in levels:
                for texts, taken in zip(found.taken, take(row.outputs, row.place), strict=True):
                    texts.append([taken])
        if "pooled" in levels:
            found.pooled += [row.outputs for row in chunk]
        if "per_input" in levels:
            sets = TextSets([row.outputs for row in chunk])
            for name, metric in measures.items():
                if found.least >= metric.min_texts:
                    logprobs = [_logprobs(row, metric) for row in chunk] if isinstance(metric, UsesLogprobs) else None
                    found.values[name].append(metric.values(sets, logprobs))
                    remarks[name].add(metric.remarks_of(sets), sum(map(len, sets)))
        if progress is not None:
            progress(len(chunk))
    if not found.keys:
        raise DataError("There are no outputs to measure; give at least one row.")
    together: dict[Level, list[list[list[str]]]] = {"across_input": found.taken, "pooled": [found.pooled]}
    texts_of: dict[Level, Sequence[Sequence[Sequence[str]]]] = {
        level: together[level] for level in levels if level != "per_input"
    }
    left: dict[Level, dict[str, LeftOut | Undefined]] = {
        level: _leave_out(drawn, measures, blocks) for level, drawn in texts_of.items()
    }
    for name, metric in measures.items():
        if not found.values[name]:
            flat = [text for drawn in texts_of.values() for inputs in drawn for texts in inputs for text in texts]
            remarks[name].add(metric.remarks(flat), len(flat))
    return DiversityEvaluation(
        metrics=measures,
        seed=seed,
        blocks=blocks,
        values={name: _constant(np.concatenate(values)) for name, values in found.values.items() if values},
        left=left,
        texts=texts_of,
        keys=tuple(found.keys),
        outputs_per_input=found.outputs_per_input,
        tally=found.tally,
        remarks=remarks,
    )


@dataclass
class _Found:
    """What has been seen of a stream.

    Attributes:
        values: of every metric, its values of every chunk.
        taken: of every draw, the one output of every input.
        pooled: the outputs of every input.
        keys: digests of the prompts.
        tally: of all outputs.
        outputs_per_input: of the first input.
        least: of any input.
    """

    values: dict[str, list[np.ndarray]]
    taken: list[list[list[str]]]
    pooled: list[list[str]] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    tally: TextTally = field(default_factory=TextTally)
    outputs_per_input: int = 0
    least: int = 0

    def add(self, row: OutputsRow, same_number: bool) -> None:
        count = len(row.outputs)
        if not count:
            raise DataError(f"{row.place} has no outputs; sample some, or drop the row.")
        if not self.keys:
            self.outputs_per_input = self.least = count
        if same_number and count != self.outputs_per_input:
            raise DataError(
                f"{row.place} has {count} output(s), and the first row has {self.outputs_per_input}; diversity "
                "depends on their number, so take as many of every row (--outputs-per-input takes the first so many)."
            )
        self.least = min(self.least, count)
        self.tally.add(row.outputs)
        self.keys.append(None if row.prompt is None else _digest(row.prompt))


def _leave_out(
    drawn: Sequence[Sequence[Sequence[str]]], metrics: Mapping[str, SetMetric], blocks: int
) -> dict[str, LeftOut | Undefined]:
    """Return every metric's figure of one set of all texts and without blocks of inputs, counting words once."""
    texts = InputTexts(drawn, blocks)
    found: dict[str, LeftOut | Undefined] = {}
    for name, metric in metrics.items():
        if isinstance(metric, UsesLogprobs):
            found[name] = Undefined("is one of the outputs of one input")
            continue
        if texts.size < metric.min_texts:
            found[name] = Undefined(f"needs {metric.min_texts} texts, and there is one")
            continue
        left = texts.leave_out(metric)
        found[name] = left if math.isfinite(left.value) else Undefined(_why(drawn, metric))
    return found


def _why(drawn: Sequence[Sequence[Sequence[str]]], metric: SetMetric) -> str:
    flat = [text for inputs in drawn for texts in inputs for text in texts]
    return "; ".join(described(metric.remarks(flat), len(flat))) or "the texts are not long enough for it"


def _logprobs(row: OutputsRow, metric: SetMetric) -> list[list[float]]:
    """Return the log-probabilities of a row's outputs, checked."""
    given = row.logprobs
    if given is None:
        raise DataError(
            f"{row.place} has no log-probabilities of its outputs, which {metric.name} needs: sample with "
            "--logprobs, or give logprobs."
        )
    right = isinstance(given, list) and len(given) == len(row.outputs) and all(isinstance(each, list) for each in given)
    if not right or not all(_is_logprob(number) for tokens in given for number in tokens):
        raise DataError(
            f"{row.place} has {excerpt(given)} for the log-probabilities of {len(row.outputs)} output(s); give "
            "one list of numbers of at most 0 for every output, one a token."
        )
    return given


def _is_logprob(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value <= 1e-6


def _chunks(rows: Iterable[OutputsRow]) -> Iterator[list[OutputsRow]]:
    stream = iter(rows)
    for first in stream:
        size = max(1, _CHUNK_TEXTS // max(1, len(first.outputs)))
        yield [first, *itertools.islice(stream, size - 1)]


def _constant(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values


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
