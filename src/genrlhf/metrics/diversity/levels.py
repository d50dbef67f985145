"""Diversity of the outputs of one input, across inputs, and of all outputs together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.checks import check_outputs
from genrlhf.metrics.diversity.evaluation import DiversityEvaluation, Level, OutputsRow, Undefined, evaluate_diversity
from genrlhf.metrics.diversity.remarks import warn_of
from genrlhf.metrics.diversity.set_metric import as_set_metric
from genrlhf.types import DiversityMetric, Estimate

__all__ = ["across_input_diversity", "evaluate_outputs", "per_input_diversity", "pooled_diversity"]

_WHERE: dict[Level, str] = {"per_input": "for every input", "across_input": "across inputs", "pooled": "in one set"}


def per_input_diversity(
    outputs: Sequence[Sequence[str]],
    metric: DiversityMetric,
    *,
    logprobs: Sequence[Sequence[Sequence[float]]] | None = None,
) -> Estimate:
    """Return the mean over inputs of the diversity of the outputs of each: 1/N Σ_i D(y_i1, …, y_iK).

    Kirk et al. 2024, "Understanding the Effects of RLHF on LLM Generalisation and Diversity". Standard error and
    interval are those of a mean over inputs (see `mean_estimate`), which are taken to be independent.

    Args:
        outputs: one list of outputs per input; K may vary, but most metrics then favour some inputs.
        metric: D. An optional `batch(sets)` is called once in place of one call per input; an optional `min_texts` says
            how many outputs every input must have; an optional `bounds` between which values D lies.
        logprobs: of every token of every output, for a metric that uses them, such as `LikelihoodEntropy`.

    Returns:
        `values` are the values of the inputs where D is defined, in their order.

    Raises:
        DataError: `outputs` is no list of lists of strings, an input has too few, or D is defined for no input.

    Example:
        >>> from genrlhf.metrics import DistinctN
        >>> print(per_input_diversity([["a b", "c d"], ["a a", "a a"], ["a b", "a c"]], DistinctN(1)))
        0.667 [0.000, 1.000]
    """
    measure = as_set_metric(metric)
    checked = check_outputs(outputs, at_least=measure.min_texts, metric=measure.name)
    if logprobs is not None and len(logprobs) != len(checked):
        raise DataError(f"logprobs has {len(logprobs)} inputs and outputs {len(checked)}; give those of every output.")
    return _figure(evaluate_outputs(checked, measure, "per_input", logprobs), "per_input")


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
        sample: which output of every input is taken, from 0: the first, as in `genrlhf diversity`. Outputs of an input
            are drawn alike, so that any stands for the others, and anybody can tell which it was.
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
        0.500 [0.102, 1.000]
    """
    checked = check_outputs(outputs)
    if draws < 1 or (draws > 1 and seed is None):
        raise ConfigError(f"draws is {draws} and seed {seed}; give at least one draw, and a seed for several.")
    _check_enough(len(checked), "input(s)", metric, "across inputs")
    settings: dict[str, Any] = {"sample": sample} if seed is None else {"draws": draws, "seed": seed}
    return _figure(evaluate_outputs(checked, metric, "across_input", blocks=blocks, **settings), "across_input")


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
    return _figure(evaluate_outputs(checked, metric, "pooled", blocks=blocks), "pooled")


def evaluate_outputs(
    outputs: Sequence[Sequence[str]],
    metric: DiversityMetric,
    level: Level,
    logprobs: Sequence[Sequence[Sequence[float]]] | None = None,
    **settings: Any,
) -> DiversityEvaluation:
    """Return the evaluation of one metric, by the name of "metric", as `evaluate_diversity` with these settings.

    Warns of texts that do not count as they stand.
    """
    rows = [
        OutputsRow(
            f"outputs, input {row}", None, list(texts), None if logprobs is None else list(map(list, logprobs[row]))
        )
        for row, texts in enumerate(outputs)
    ]
    found = evaluate_diversity(rows, {"metric": metric}, levels=[level], same_number=False, **settings)
    warn_of(found.metrics["metric"].name, found.remarks["metric"].counts, found.remarks["metric"].total, stacklevel=4)
    return found


def _check_enough(there: int, what: str, metric: DiversityMetric, where: str) -> None:
    measure = as_set_metric(metric)
    if there < measure.min_texts:
        raise DataError(
            f"outputs has {there} {what}, and {measure.name} {where} needs at least {measure.min_texts}; give more "
            "inputs."
        )


def _figure(evaluation: DiversityEvaluation, level: Level) -> Estimate:
    figure = evaluation.figure(level, "metric")
    if isinstance(figure, Undefined):
        raise DataError(f"{evaluation.metrics['metric'].name} is undefined {_WHERE[level]}: {figure.reason}.")
    return figure
