"""Do different models say the same?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from genrlhf.errors import DataError, ModelError
from genrlhf.metrics.checks import check_outputs
from genrlhf.metrics.diversity.embeddings import Embedder
from genrlhf.metrics.diversity.homogenisation import rouge_l
from genrlhf.metrics.solutions.verdicts import mean_or_undefined
from genrlhf.types import Estimate

__all__ = ["ModelHomogeneity", "homogeneity_between"]

PairScorer: TypeAlias = Callable[[list[tuple[str, str]]], Any]


@dataclass(frozen=True)
class ModelHomogeneity:
    """How alike the outputs of models are, lower is more diverse.

    Attributes:
        between: of every two models, the mean similarity of an output of the one and of the other to the same input.
        within: of every model, that of two of its own outputs to the same input; NaN with one output an input.
        overall: the mean over all pairs of models, input by input.
    """

    between: Mapping[tuple[str, str], Estimate]
    within: Mapping[str, Estimate]
    overall: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "overall": self.overall.to_dict(),
            "between": [{"models": list(pair), **figure.to_dict()} for pair, figure in self.between.items()],
            "within": {name: figure.to_dict() for name, figure in self.within.items()},
        }


def homogeneity_between(
    models: Mapping[str, Sequence[Sequence[str]]],
    similarity: PairScorer | Embedder = rouge_l,
    *,
    bounds: tuple[float, float] | None = None,
) -> ModelHomogeneity:
    """Return how alike outputs of different models to the same input are, beside those of one model.

    With the outputs x_1 … x_K and y_1 … y_L of two models to an input::

        between = 1 / (K L) Σ_i Σ_j sim(x_i, y_j),    within = 2 / (K (K − 1)) Σ_{i<j} sim(x_i, x_j)

    and the mean over inputs. Jiang et al. 2025, "Artificial Hivemind: The Open-Ended Homogeneity of Language Models
    (and Beyond)", find models alike where each for itself looks diverse.

    Args:
        models: by their names, one list of outputs per input, of the same inputs in the same order.
        similarity: a callable from pairs of texts to numbers, NaN for pairs that shall not count, by default ROUGE-L's
            F-measure; or an `Embedder`, for the cosine of embeddings.
        bounds: between which values it lies; known for the two that are named.

    Raises:
        DataError: there is one model, or the numbers of inputs differ.
        ModelError: the similarity does not return one number a pair.

    Example:
        >>> found = homogeneity_between({"a": [["the cat sat"]] * 3, "b": [["the cat ran"]] * 3})
        >>> print(f"{found.overall.value:.4f}")
        0.6667
    """
    if len(models) < 2:
        raise DataError(f"There is {len(models)} model; give the outputs of two or more by their names.")
    texts = {name: check_outputs(outputs) for name, outputs in models.items()}
    inputs = {name: len(each) for name, each in texts.items()}
    if len(set(inputs.values())) > 1:
        raise DataError(f"The models have outputs of {inputs} inputs; give all models' of the same ones.")
    if bounds is None and similarity is rouge_l:
        bounds = (0.0, 1.0)
    if isinstance(similarity, Embedder):
        bounds = bounds or (-1.0, 1.0)
    between = {
        (a, b): _means([list(itertools.product(x, y)) for x, y in zip(texts[a], texts[b], strict=True)], similarity)
        for a, b in itertools.combinations(texts, 2)
    }
    within = {
        name: _means([list(itertools.combinations(x, 2)) for x in each], similarity) for name, each in texts.items()
    }
    both = np.array(list(between.values()))
    known = np.maximum((~np.isnan(both)).sum(axis=0), 1)
    overall = np.where(np.isnan(both).all(axis=0), math.nan, np.nansum(both, axis=0) / known)
    return ModelHomogeneity(
        between={pair: mean_or_undefined(values, bounds) for pair, values in between.items()},
        within={name: mean_or_undefined(values, bounds) for name, values in within.items()},
        overall=mean_or_undefined(overall, bounds),
    )


def _means(pairs: list[list[tuple[str, str]]], similarity: PairScorer | Embedder) -> np.ndarray:
    """Return the mean similarity of the pairs of every input, NaN where none counts."""
    flat = [pair for each in pairs for pair in each]
    if not flat:
        return np.full(len(pairs), math.nan)
    if isinstance(similarity, Embedder):
        first, second = similarity.directions([[a for a, _ in flat], [b for _, b in flat]])
        scores = np.einsum("ij,ij->i", first, second)
    else:
        scores = np.asarray(similarity(flat), dtype=np.float64)
    if scores.shape != (len(flat),) or np.isinf(scores).any():
        raise ModelError(
            f"The similarity of {len(flat)} pairs has shape {scores.shape}; return a finite number a pair."
        )
    found = []
    for each in np.split(scores, np.cumsum([len(of_input) for of_input in pairs])[:-1]):
        counted = each[~np.isnan(each)]
        found.append(float(counted.mean()) if len(counted) else math.nan)
    return np.array(found)
