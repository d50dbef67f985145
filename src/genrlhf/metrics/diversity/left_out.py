"""Figures of all inputs together, and what they are without some of the inputs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.diversity.ngrams import TextSet
from genrlhf.metrics.diversity.set_metric import PairDraw, SetMetric
from genrlhf.metrics.estimate import interval, jackknife_blocks, jackknife_from_blocks, jackknife_variance
from genrlhf.types import Estimate

__all__ = ["InputTexts", "LeftOut", "TakesOneOfEach"]


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
        if self.draw is None or math.isnan(plain.ci[0]):
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


class InputTexts:
    """The texts of all inputs that make one set, of which every metric gets the same, with their words counted once.

    Args:
        drawn: of every draw of the texts, those of every input.
        blocks: number of blocks of inputs that are left out in turn.
    """

    def __init__(self, drawn: Sequence[Sequence[Sequence[str]]], blocks: int) -> None:
        self.blocks = tuple(map(tuple, jackknife_blocks(len(drawn[0]), blocks)))
        self.sets = [TextSet([text for texts in inputs for text in texts]) for inputs in drawn]
        self.places = [_places(inputs, self.blocks) for inputs in drawn]

    @property
    def size(self) -> int:
        """How many texts there are."""
        return len(self.sets[0])

    def leave_out(self, metric: SetMetric) -> LeftOut:
        """Return the value of all texts and without each block of inputs, the mean over draws of the texts."""
        found = [metric.left_out(texts, blocks) for texts, blocks in zip(self.sets, self.places, strict=True)]
        draws = [each.draw for each in found if each.draw is not None]
        return LeftOut(
            float(np.mean([each.value for each in found])),
            np.mean([each.without for each in found], axis=0),
            self.blocks,
            replace(draws[0], moves=np.mean([each.moves for each in draws], axis=0)) if draws else None,
        )


def _places(inputs: Sequence[Sequence[str]], blocks: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return, of every block of inputs, where its texts stand among those of all."""
    ends = np.cumsum([len(texts) for texts in inputs]).tolist()
    spans = [range(end - len(texts), end) for end, texts in zip(ends, inputs, strict=True)]
    return [[place for row in block for place in spans[row]] for block in blocks]


class TakesOneOfEach:
    """Takes one output of every input, input after input.

    The first one, or `sample`: outputs of an input are drawn alike, so that any of them stands for the others, and
    anybody can tell which it was. Where they are not, as where the best come first, draw.

    Args:
        sample: which one, from 0.
        draws: draw one at random in its place, so many times independently; None does not.
        seed: of the draws.

    Raises:
        ConfigError: for no draws.
    """

    def __init__(self, sample: int = 0, draws: int | None = None, seed: int = 0) -> None:
        if draws is not None and draws < 1:
            raise ConfigError(f"draws is {draws}; give at least one, or None to take the same output of every input.")
        self.sample = sample
        self.draws = draws
        self._generator = random.Random(seed)

    @property
    def times(self) -> int:
        """How many outputs of an input are taken."""
        return self.draws or 1

    def __call__(self, outputs: Sequence[str], place: str) -> list[str]:
        """Return, of every draw, an output of the next input.

        Raises:
            DataError: there is no such output; the message names the `place`.
        """
        if self.draws:
            return [self._generator.choice(outputs) for _ in range(self.draws)]
        if not 0 <= self.sample < len(outputs):
            raise DataError(
                f"{place} has {len(outputs)} output(s), so there is none at sample {self.sample} (counted from 0); "
                "take another sample, or draw one."
            )
        return [outputs[self.sample]]
