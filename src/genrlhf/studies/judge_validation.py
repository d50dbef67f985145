"""How far the reward model may be trusted as a judge, where the true score is known."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.metrics.preference import JudgeValidation, ScoreJudge, judge_comparisons, validate_judge

if TYPE_CHECKING:
    from genrlhf.types import RewardFunction

__all__ = ["validate_reward_model"]

Rows = Sequence[Mapping[str, Any]]


def validate_reward_model(
    outputs: Mapping[str, Mapping[str, Rows]], *, reward: RewardFunction, gold: RewardFunction
) -> dict[str, JudgeValidation]:
    """Return how the reward model, as a judge of every two methods' first outputs, agrees with the gold score.

    The gold score stands for the humans of Kirk et al. 2024, appendix D. Equal outputs say nothing and are left out.

    Args:
        outputs: rows of `prompt` and `outputs` by method and evaluation set, of the same prompts.
        reward: the judge.
        gold: the true score.

    Returns:
        By evaluation set, and "all"; empty where no two methods' outputs differ.
    """
    rows: dict[str, list[dict[str, Any]]] = {"reward_model": [], "gold": []}
    for first, second in itertools.combinations(outputs, 2):
        for name, ours in outputs[first].items():
            pairs = [
                (one["prompt"], one["outputs"][0], other["outputs"][0])
                for one, other in zip(ours, outputs[second][name], strict=True)
                if one["outputs"][0] != other["outputs"][0]
            ]
            if not pairs:
                continue
            columns = [list(column) for column in zip(*pairs, strict=True)]
            for annotator, score in (("reward_model", reward), ("gold", gold)):
                judged = judge_comparisons(columns[0], columns[1], columns[2], ScoreJudge(score))
                annotations = judged.to_annotations((first, second), annotator)
                rows[annotator] += [{**annotation, "dataset": name} for annotation in annotations]
    return validate_judge(rows["reward_model"], rows["gold"]) if rows["gold"] else {}
