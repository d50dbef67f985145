"""Diversity of the outputs of one input, across inputs, and of all outputs together."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.checks import check_outputs
from genrlhf.metrics.diversity.set_metric import LeaveOut, PairDraw, SetMetric, as_set_metric
from genrlhf.metrics.estimate import (
    bootstrap_estimate,
    interval,
    jackknife_blocks,
    jackknife_from_blocks,
    jackknife_variance,
    mean_estimate,
)
from genrlhf.types import DiversityMetric, Estimate

__all__ = [
    "LeftOut",
    "across_input_diversity",
    "draw_one_of_each",
    "leave_out_inputs",
    "per_input_diversity",
    "pooled_diversity",
]


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
    checked = check_outputs(outputs, at_least=as_set_metric(metric).min_texts, metric=as_set_metric(metric).name)
    values = as_set_metric(metric).values(checked)
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


@dataclass(frozen=True)
class LeftOut:
    """A figure of all inputs, and its values without each block of inputs.

    Attributes:
        value: of all inputs.
        without: (B,) float64.
        blocks: the inputs of every block.
        draw: of pairs of texts; None where all of them are taken. Inputs as many are compared at the same places.
    """

    value: float
    without: np.ndarray
    blocks: tuple[tuple[int, ...], ...]
    draw: PairDraw | None = None

    def estimate(self) -> Estimate:
        """Return the value with its standard error, that of inputs and of the draw of pairs together.

        The jackknife's values differ by the pairs that are left too, each of which goes with the texts of two blocks:
        it counts the variance of the draw about twice. That share is taken out, and the variance put in once.
        """
        plain = jackknife_from_blocks(self.value, self.without, self.blocks)
        if self.draw is None or not math.isfinite(plain.stderr):
            return plain
        sizes = np.array([len(block) for block in self.blocks], dtype=np.float64)
        counted = self.draw.mean_of(jackknife_variance(self.draw.moves[0], self.draw.moves[1:].T, sizes))
        inputs = max(0.0, plain.stderr**2 - counted)
        variance = inputs + self.draw.error**2
        # The degrees of freedom are those of what was measured, of which a part was subtracted (Satterthwaite 1946).
        share = variance / (inputs + counted) if inputs + counted > 0 else 1.0
        df = max(1.0, (len(self.blocks) - 1) * min(1.0, share) ** 2)
        stderr = math.sqrt(variance)
        return replace(plain, stderr=stderr, ci=interval(self.value, stderr, df))

    @property
    def pair_error(self) -> float:
        """The standard error that the draw of pairs adds, 0 where all are taken; `estimate` has it in its own."""
        return 0.0 if self.draw is None else self.draw.error

    def less(self, other: LeftOut) -> LeftOut:
        """Return the difference from another figure of the same inputs."""
        return LeftOut(
            self.value - other.value, self.without - other.without, self.blocks, _less(self.draw, other.draw)
        )


def _less(ours: PairDraw | None, theirs: PairDraw | None) -> PairDraw | None:
    if ours is None or theirs is None:
        return ours or theirs
    return replace(ours, moves=ours.moves - theirs.moves)


def leave_out_inputs(drawn: Sequence[Sequence[Sequence[str]]], metric: DiversityMetric, blocks: int = 20) -> LeftOut:
    """Return D of the texts of all inputs as one set and without each block of inputs, the mean over several draws.

    Args:
        drawn: of every draw, the texts of every input.
        metric: D.
        blocks: number of blocks.
    """
    measure = as_set_metric(metric)
    dealt = jackknife_blocks(len(drawn[0]), blocks)
    found = [_leave_out(inputs, measure, dealt) for inputs in drawn]
    draws = [each.draw for each in found if each.draw is not None]
    return LeftOut(
        float(np.mean([each.value for each in found])),
        np.mean([each.without for each in found], axis=0),
        tuple(map(tuple, dealt)),
        replace(draws[0], moves=np.mean([each.moves for each in draws], axis=0)) if draws else None,
    )


def _leave_out(inputs: Sequence[Sequence[str]], metric: SetMetric, dealt: list[list[int]]) -> LeaveOut:
    texts = [text for outputs in inputs for text in outputs]
    ends = np.cumsum([len(outputs) for outputs in inputs]).tolist()
    spans = [range(end - len(outputs), end) for end, outputs in zip(ends, inputs, strict=True)]
    return metric.left_out(texts, [[index for row in block for index in spans[row]] for block in dealt])


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
    measure = as_set_metric(metric)
    if there < measure.min_texts:
        raise DataError(
            f"outputs has {there} {what}, and {measure.name} {where} needs at least {measure.min_texts}; give more "
            "inputs."
        )
