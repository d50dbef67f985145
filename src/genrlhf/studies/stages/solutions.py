"""What is measured where something says which outputs are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.metrics.diversity.evaluation import OutputsRow
from genrlhf.metrics.solutions.evaluation import SolutionsTally
from genrlhf.metrics.solutions.passing import pass_at_k
from genrlhf.places import load_place
from genrlhf.rewards.calls import CallableReward
from genrlhf.rewards.checks import check_rewards, reward_name
from genrlhf.trainers.describe import Description
from genrlhf.types import RewardFunction

__all__ = ["Checker", "checker_of", "solution_figures"]

_FIGURES = ("distinct_valid", "yield", "exp_entropy", "effective_diversity")


@dataclass(frozen=True)
class Checker:
    """What says which outputs are right.

    Attributes:
        known: what tells it from others, as JSON.
        score: of completions.
        at_least: the score of a right one; None where scores are 1 and 0.
    """

    known: Any
    score: RewardFunction
    at_least: float | None = None

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str]) -> list[bool]:
        """Return which completions are right.

        Raises:
            DataError: a score is neither 1 nor 0, and no threshold says which are right.
        """
        scores = check_rewards(self.score(prompts, completions), prompts, completions, name=reward_name(self.score))
        if self.at_least is not None:
            return [score >= self.at_least for score in scores]
        for prompt, score in zip(prompts, scores, strict=True):
            if score not in (0.0, 1.0):
                raise DataError(
                    f"checker: the score of an output for {excerpt(prompt)} is {score:g}, neither right (1) nor wrong "
                    "(0); say from which score on outputs are right, as in {gold: 0.5}."
                )
        return [score == 1.0 for score in scores]

    def answers(self, prompts: Sequence[Any], completions: Sequence[str]) -> list[str]:
        """Return what each completion says, equal for equal answers where the checker knows them."""
        known = getattr(self.score, "answers", None)
        found = known(prompts, completions) if callable(known) else [None] * len(completions)
        return [text if answer is None else answer for text, answer in zip(completions, found, strict=True)]


def checker_of(given: Any, gold: RewardFunction | None) -> Checker | None:
    """Return what a recipe names as `checker`, None for nothing.

    Args:
        given: "auto", the task's true score where that is right or wrong; "gold"; package.module:function; a function;
            a mapping of one of the last three to the least score of a right output; or None.
        gold: the task's true score, where it has one.

    Raises:
        ConfigError: for anything else.
    """
    at_least = None
    if isinstance(given, Mapping):
        if len(given) != 1 or isinstance(next(iter(given.values())), bool):
            raise ConfigError(f"checker is {excerpt(dict(given))}; give a name and the least score that is right.")
        ((given, at_least),) = given.items()
        if not isinstance(at_least, (int, float)):
            raise ConfigError(f"checker: the least score of a right output is {excerpt(at_least)}; give a number.")
    if given == "auto":
        given = gold if gold is not None and getattr(gold, "right_or_wrong", False) else None
    if given is None:
        return None
    if given == "gold":
        given = gold
        if gold is None:
            raise ConfigError("checker is gold, and the task has no true score; name package.module:function.")
    elif isinstance(given, str):
        if ":" not in given:
            raise ConfigError(f"checker is {excerpt(given)}; give gold, package.module:function, or none.")
        given = load_place(given, f"The checker {given!r}")
    if not callable(given):
        raise ConfigError(f"checker is {excerpt(given)}; give gold, a function of prompts and completions, or none.")
    known = {"checker": Description().of(given), "at_least": at_least}
    return Checker(known, CallableReward(given), None if at_least is None else float(at_least))


def solution_figures(rows: Sequence[Mapping[str, Any]], checker: Checker) -> dict[str, Any]:
    """Return the figures of right outputs, over the inputs with as many outputs as the first one.

    Args:
        rows: `prompt` and `outputs` of every input.
        checker: says which outputs are right.

    Returns:
        `{"pass_at_k": {K: Estimate}, "solutions": {NAME: Estimate}, "verdicts": {"right": [int, …], "outputs": int}}`,
        K being powers of 2, and the number of outputs.
    """
    n = len(rows[0]["outputs"])
    several = [row for row in rows if len(row["outputs"]) == n]
    tally = SolutionsTally()
    for number, row in enumerate(several):
        prompts, outputs = [row["prompt"]] * n, list(row["outputs"])
        right, answers = checker(prompts, outputs), checker.answers(prompts, outputs)
        tally.add(OutputsRow(f"input {number}", row["prompt"], answers), right)
    ks = sorted({*(2**power for power in range(n.bit_length()) if 2**power <= n), n})
    found = tally.figures([])
    return {
        "pass_at_k": {str(k): pass_at_k(tally.verdicts, k) for k in ks},
        "solutions": {name: found[name] for name in _FIGURES},
        "verdicts": {"right": [sum(each) for each in tally.verdicts], "outputs": n},
    }
