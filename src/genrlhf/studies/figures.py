"""From outputs to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrlhf.metrics import across_input_diversity, per_input_diversity
from genrlhf.metrics.estimate import mean_estimate
from genrlhf.metrics.preference import generalisation_gap, preference_vs_reference
from genrlhf.types import DiversityMetric, Estimate, Judge, RewardFunction

__all__ = ["measure_method"]

Rows = Sequence[Mapping[str, Any]]


def measure_method(
    outputs: Mapping[str, Rows],
    *,
    reward: RewardFunction,
    metrics: Sequence[DiversityMetric],
    judge: Judge | None,
    gold: RewardFunction | None,
) -> dict[str, Any]:
    """Return the figures of one method.

    Args:
        outputs: the rows of every evaluation set, among them "id"; `prompt`, `outputs` and maybe `reference`.
        reward: the reward model, which scores the first output of every input.
        metrics: diversity metrics, of the outputs in distribution.
        judge: compares the first output of every input with its reference; None leaves PvR and gaps out.
        gold: the true score of a completion, where the task has one.

    Returns:
        `{"pvr": {SET: Estimate}, "gap": Estimate, "gaps": {SET: Estimate}, "reward": {SET: Estimate}, "gold": {SET:
        Estimate}, "diversity": {"per_input": {METRIC: Estimate}, "across_input": {METRIC: Estimate}}}`, without the
        parts that there is nothing to make from. Per-input diversity is that of the inputs with as many outputs as the
        first one.
    """
    figures: dict[str, Any] = {}
    if judge is not None:
        pvr = {name: _pvr(rows, judge) for name, rows in outputs.items()}
        figures["pvr"] = pvr
        gaps = {name: generalisation_gap(pvr["id"], other) for name, other in pvr.items() if name != "id"}
        figures["gaps"] = gaps
        if "ood" in gaps:
            figures["gap"] = gaps["ood"]
    figures["reward"] = {name: _score(rows, reward) for name, rows in outputs.items()}
    if gold is not None:
        figures["gold"] = {name: _score(rows, gold) for name, rows in outputs.items()}
    texts = [list(row["outputs"]) for row in outputs["id"]]
    several = [row for row in texts if len(row) == len(texts[0])]
    figures["diversity"] = {
        "per_input": {metric.name: per_input_diversity(several, metric) for metric in metrics},
        "across_input": {metric.name: across_input_diversity(texts, metric) for metric in metrics},
    }
    return figures


def _pvr(rows: Rows, judge: Judge) -> Estimate:
    prompts, firsts = _firsts(rows)
    return preference_vs_reference(prompts, firsts, [row["reference"] for row in rows], judge)


def _score(rows: Rows, reward: RewardFunction) -> Estimate:
    return mean_estimate(reward(*_firsts(rows)))


def _firsts(rows: Rows) -> tuple[list[Any], list[str]]:
    return [row["prompt"] for row in rows], [row["outputs"][0] for row in rows]
