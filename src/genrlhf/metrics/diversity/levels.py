"""Diversity of the outputs of one input, across inputs, and of all outputs together."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.checks import check_outputs
from genrlhf.metrics.estimate import bootstrap_estimate, jackknife_blocks, jackknife_from_blocks, mean_estimate
from genrlhf.types import DiversityMetric, Estimate

__all__ = [
    "LeftOut",
    "across_input_diversity",
    "draw_one_of_each",
    "least_texts",
    "leave_out_inputs",
    "metric_name",
    "per_input_diversity",
    "pooled_diversity",
    "values_of_sets",
]


_TEXTS_AT_ONCE = 100_000
"""Of the sets without a block, which hold nearly all texts each."""


@runtime_checkable
class _Batched(Protocol):
    """A metric that is faster for many sets at once."""

    def batch(self, sets: Sequence[Sequence[str]]) -> Sequence[float]: ...


@runtime_checkable
class _LeavesOut(Protocol):
    """A metric that knows its values without some texts without starting anew."""

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, Sequence[float]]: ...


def per_input_diversity(
    outputs: Sequence[Sequence[str]], metric: DiversityMetric, *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Return the mean over inputs of the diversity of the outputs of each: 1/N Σ_i D(y_i1, …, y_iK).

    Kirk et al. 2024, "Understanding the Effects of RLHF on LLM Generalisation and Diversity". Standard error and
    interval are those of a mean over inputs, which are taken to be independent.

    Args:
        outputs: one list of outputs per input; K may vary, but most metrics then favour some inputs.
        metric: D. An optional `batch(sets)` is called once in place of one call per input; an optional `min_texts` says
            how many outputs every input must have.
        resamples: of the bootstrap over inputs that gives the interval (see `bootstrap_estimate`); 0 for Student's.
        seed: of the bootstrap.

    Returns:
        `values` are the values of the inputs where D is defined, in their order.

    Raises:
        DataError: `outputs` is no list of lists of strings, an input has too few, or D is defined for no input.

    Example:
        >>> from genrlhf.metrics import DistinctN
        >>> print(per_input_diversity([["a b", "c d"], ["a a", "a a"], ["a b", "a c"]], DistinctN(1)))
        0.667 [-0.282, 1.615]
    """
    checked = check_outputs(outputs, at_least=least_texts(metric), metric=metric_name(metric))
    values = values_of_sets(metric, checked)
    return bootstrap_estimate(values, resamples=resamples, seed=seed) if resamples else mean_estimate(values)


def across_input_diversity(
    outputs: Sequence[Sequence[str]],
    metric: DiversityMetric,
    *,
    sample: int = 0,
    seed: int | None = None,
    draws: int = 1,
    blocks: int = 20,
) -> Estimate:
    """Return the diversity of a set that holds one output of every input: D(y_1, …, y_N).

    Kirk et al. 2024. D of one set has no standard deviation over inputs, and a bootstrap would put inputs into a set
    twice, which D takes for repetition; its error is that of a jackknife that deletes a block of inputs at a time (see
    `jackknife_from_blocks`).

    Args:
        outputs: one list of outputs per input.
        metric: D. An optional `leave_out(texts, blocks)` gives D and its values without each block.
        sample: which output of every input is taken, from 0.
        seed: draw one output of every input in place of `sample`, as where outputs are sorted.
        draws: with a seed, average D over so many draws.
        blocks: number of blocks, at least 2.

    Returns:
        `n` is the number of inputs; `values` are the pseudo-values of the blocks.

    Raises:
        DataError: `outputs` is no list of lists of strings, an input has too few, or D is undefined.
        ConfigError: several draws without a seed.

    Example:
        >>> from genrlhf.metrics import DistinctN
        >>> print(across_input_diversity([["a b"], ["a c"], ["c d"], ["a d"]], DistinctN(1)))
        0.500 [0.102, 0.898]
    """
    checked = check_outputs(outputs)
    if draws < 1 or (draws > 1 and seed is None):
        raise ConfigError(f"draws is {draws} and seed {seed}; give at least one draw, and a seed for several.")
    _check_enough(len(checked), "input(s)", metric, "across inputs")
    drawn = draw_one_of_each(checked, sample, seed, draws)
    return leave_out_inputs([[[text] for text in texts] for texts in drawn], metric, blocks).estimate()


def pooled_diversity(outputs: Sequence[Sequence[str]], metric: DiversityMetric, *, blocks: int = 20) -> Estimate:
    """Return the diversity of all outputs of all inputs as one set, with a jackknife over inputs.

    Args:
        outputs: one list of outputs per input.
        metric: D; those that look at pairs take long, or draw some of the pairs.
        blocks: number of blocks of inputs, at least 2.

    Raises:
        DataError: as `across_input_diversity`.

    Example:
        >>> from genrlhf.metrics import DistinctN
        >>> round(pooled_diversity([["a b", "a b"], ["c d", "a d"]], DistinctN(1)).value, 6)
        0.5
    """
    checked = check_outputs(outputs)
    _check_enough(sum(map(len, checked)), "output(s)", metric, "in one set")
    return leave_out_inputs([checked], metric, blocks).estimate()


class LeftOut:
    """A statistic of all inputs, and its values without each block of inputs.

    Args:
        value: of all inputs.
        without: (blocks,) float64.
        blocks: the inputs of every block.
    """

    def __init__(self, value: float, without: np.ndarray, blocks: list[list[int]]) -> None:
        self.value = value
        self.without = without
        self.blocks = blocks

    def estimate(self) -> Estimate:
        """Return the value with its jackknife error."""
        return jackknife_from_blocks(self.value, self.without, self.blocks)

    def less(self, other: LeftOut) -> Estimate:
        """Return the difference from another statistic of the same inputs, with its jackknife error."""
        return jackknife_from_blocks(self.value - other.value, self.without - other.without, self.blocks)


def leave_out_inputs(drawn: Sequence[Sequence[Sequence[str]]], metric: DiversityMetric, blocks: int = 20) -> LeftOut:
    """Return D of the texts of all inputs as one set and without each block of inputs, the mean over several draws.

    Args:
        drawn: of every draw, the texts of every input.
        metric: D.
        blocks: number of blocks.
    """
    dealt = jackknife_blocks(len(drawn[0]), blocks)
    found = [_leave_out(inputs, metric, dealt) for inputs in drawn]
    return LeftOut(
        float(np.mean([value for value, _ in found])), np.mean([without for _, without in found], axis=0), dealt
    )


def _leave_out(
    inputs: Sequence[Sequence[str]], metric: DiversityMetric, dealt: list[list[int]]
) -> tuple[float, np.ndarray]:
    texts = [text for outputs in inputs for text in outputs]
    ends = np.cumsum([len(outputs) for outputs in inputs]).tolist()
    spans = [range(end - len(outputs), end) for end, outputs in zip(ends, inputs, strict=True)]
    blocks = [[index for row in block for index in spans[row]] for block in dealt]
    if isinstance(metric, _LeavesOut):
        value, without = metric.leave_out(texts, blocks)
        return value, np.asarray(without, dtype=np.float64)
    left = [[text for index, text in enumerate(texts) if index not in block] for block in map(frozenset, blocks)]
    # One block of all inputs leaves nothing to measure.
    sets = [texts, *filter(None, left)]
    step = max(1, _TEXTS_AT_ONCE // len(texts))
    values = [
        value for start in range(0, len(sets), step) for value in values_of_sets(metric, sets[start : start + step])
    ]
    padded = [*values, *[math.nan] * (1 + len(blocks) - len(values))]
    return padded[0], np.array(padded[1:], dtype=np.float64)


def values_of_sets(metric: DiversityMetric, sets: Sequence[Sequence[str]]) -> list[float]:
    """Return the diversity of every set, in one call where the metric has one for many."""
    return list(metric.batch(sets)) if isinstance(metric, _Batched) else [metric(texts) for texts in sets]


def least_texts(metric: DiversityMetric) -> int:
    """Return how many texts the metric needs."""
    return int(getattr(metric, "min_texts", 1))


def metric_name(metric: DiversityMetric) -> str:
    """Return what the metric is called in messages."""
    return str(getattr(metric, "name", "the metric"))


def draw_one_of_each(
    outputs: Sequence[Sequence[str]], sample: int = 0, seed: int | None = None, draws: int = 1
) -> list[list[str]]:
    """Return, for every draw, one output of every input: `sample`, or with a seed one drawn at random."""
    if seed is not None:
        choose: Callable[[Sequence[str]], str] = random.Random(seed).choice
        return [[choose(texts) for texts in outputs] for _ in range(draws)]
    for row, texts in enumerate(outputs):
        if not 0 <= sample < len(texts):
            raise DataError(
                f"outputs, input {row} has {len(texts)} output(s), so there is none at sample {sample} (counted from "
                "0); take another sample, or give a seed to draw one."
            )
    return [[texts[sample] for texts in outputs]]


def _check_enough(there: int, what: str, metric: DiversityMetric, where: str) -> None:
    if there < least_texts(metric):
        raise DataError(
            f"outputs has {there} {what}, and {metric_name(metric)} {where} needs at least {least_texts(metric)}; "
            "give more inputs."
        )
