"""Judges that need no language model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from genrlhf.errors import RewardError, excerpt
from genrlhf.types import RewardFunction

__all__ = ["ScoreJudge"]


class ScoreJudge:
    """Prefers the output with the higher score; equal scores are a tie.

    Args:
        score: `(prompts, completions) -> list[float]`, such as a reward model or a gold score.

    Example:
        >>> longer = ScoreJudge(lambda prompts, completions: [len(text) for text in completions])
        >>> longer(["p", "p", "p"], ["aa", "a", "a"], ["b", "bb", "b"])
        [1.0, 2.0, 1.5]
    """

    def __init__(self, score: RewardFunction) -> None:
        self.score = score

    def __call__(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
        """Return 1 where `first` scores higher, 2 where `second` does, 1.5 for a tie.

        Raises:
            RewardError: the score has the wrong number of values, or one is not finite.
        """
        scores = self._scores([*prompts, *prompts], [*first, *second])
        pairs = zip(scores[: len(prompts)], scores[len(prompts) :], strict=True)
        return [1.0 if one > other else 2.0 if other > one else 1.5 for one, other in pairs]

    def _scores(self, prompts: list[str], completions: list[str]) -> list[float]:
        scores = [float(score) for score in self.score(prompts, completions)]
        if len(scores) != len(completions):
            raise RewardError(
                f"The score returned {len(scores)} values for {len(completions)} completions; it must return one each."
            )
        for prompt, completion, score in zip(prompts, completions, scores, strict=True):
            if not math.isfinite(score):
                raise RewardError(
                    f"The score of completion {excerpt(completion)} of prompt {excerpt(prompt)} is {score}; it must be "
                    "a finite number."
                )
        return scores
