"""Two models on the same inputs: is one more diverse?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.checks import check_outputs
from genrlhf.metrics.diversity.evaluation import Undefined
from genrlhf.metrics.diversity.levels import evaluate_outputs
from genrlhf.metrics.diversity.set_metric import as_set_metric
from genrlhf.metrics.paired import PairedComparison
from genrlhf.types import DiversityMetric

__all__ = ["compare_diversity"]


def compare_diversity(
    first: Sequence[Sequence[str]],
    second: Sequence[Sequence[str]],
    metric: DiversityMetric,
    *,
    level: Literal["per_input", "across_input"] = "per_input",
    sample: int = 0,
    draws: int | None = None,
    seed: int = 0,
    blocks: int = 20,
) -> PairedComparison:
    """Return how much more diverse the second model's outputs are, on the same inputs in the same order.

    Args:
        first: one list of outputs per input.
        second: the same of another model.
        metric: D.
        level: "per_input" pairs the values of an input (sign-flip test); "across_input" sets D of
            one output of every input against D of the other model's (paired jackknife).
        sample: across inputs, which output of every input is taken, from 0.
        draws: across inputs, average over so many draws of one output of every input in place of `sample`.
        seed: of flips and draws.
        blocks: of the jackknife.

    Raises:
        DataError: the numbers of inputs differ, an input has too few outputs, or D is undefined.

    Example:
        >>> from genrlhf.metrics import DistinctN
        >>> print(compare_diversity([["a b", "c d"]] * 8, [["a b", "a b"]] * 8, DistinctN(1)))
        -0.500 [-0.662, -0.013] p=0.0078
    """
    measure = as_set_metric(metric)
    least = measure.min_texts if level == "per_input" else 1
    ours, theirs = (check_outputs(outputs, at_least=least, metric=measure.name) for outputs in (first, second))
    if len(ours) != len(theirs):
        raise DataError(f"There are outputs of {len(ours)} inputs and of {len(theirs)}; give both for the same inputs.")
    if level not in ("per_input", "across_input"):
        raise ConfigError(f"level is {level!r}; give 'per_input' or 'across_input'.")
    before, after = (
        evaluate_outputs(outputs, measure, level, sample=sample, draws=draws, seed=seed, blocks=blocks)
        for outputs in (ours, theirs)
    )
    found = after.comparison(before, level, "metric")
    if isinstance(found, Undefined):
        raise DataError(f"{measure.name} does not compare: {found.reason}.")
    return found
