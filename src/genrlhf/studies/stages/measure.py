"""Stages that measure what was drawn, and how far a model is from another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genrlhf.metrics import across_input_diversity, per_input_diversity
from genrlhf.metrics.estimate import mean_estimate
from genrlhf.metrics.preference import ScoreJudge, generalisation_gap, preference_vs_reference
from genrlhf.ops import best_of_n_kl
from genrlhf.studies.best_of_n import pool_curve
from genrlhf.studies.draws import sequence_kl
from genrlhf.types import DiversityMetric, Estimate, Judge, RewardFunction, SamplingParams

if TYPE_CHECKING:
    from genrlhf.sampling import TransformersSampler

__all__ = ["kl_bound", "measure", "measured_kl", "pool_figures", "scores"]

Rows = Sequence[Mapping[str, Any]]


def measure(
    outputs: Mapping[str, Rows],
    *,
    metrics: Sequence[DiversityMetric],
    judge: Judge | None,
    gold: RewardFunction | None,
) -> dict[str, Any]:
    """Return the figures of one method at one temperature.

    Args:
        outputs: the rows of every evaluation set, among them "id"; `prompt`, `outputs` and maybe `reference`.
        metrics: diversity metrics, of the outputs in distribution.
        judge: compares the first output of every input with its reference; None leaves PvR and gaps out.
        gold: the true score of a completion, where the task has one.

    Returns:
        `{"pvr": {SET: Estimate}, "gap": Estimate, "gaps": {SET: Estimate}, "gold": {SET: Estimate}, "diversity":
        {"per_input": {METRIC: Estimate}, "across_input": {METRIC: Estimate}}}`, without the parts that there is nothing
        to make from. Per-input diversity is that of the inputs with as many outputs as the first one, where these are
        more than one.
    """
    figures: dict[str, Any] = {}
    if judge is not None and all("reference" in row for rows in outputs.values() for row in rows):
        pvr = {name: _pvr(rows, judge) for name, rows in outputs.items()}
        figures["pvr"] = pvr
        gaps = {name: generalisation_gap(pvr["id"], other) for name, other in pvr.items() if name != "id"}
        figures["gaps"] = gaps
        if "ood" in gaps:
            figures["gap"] = gaps["ood"]
    if gold is not None:
        figures["gold"] = scores(outputs, gold)
    texts = [list(row["outputs"]) for row in outputs["id"]]
    several = [row for row in texts if len(row) == len(texts[0]) > 1]
    figures["diversity"] = {
        "per_input": {metric.name: per_input_diversity(several, metric) for metric in metrics} if several else {},
        "across_input": {metric.name: across_input_diversity(texts, metric) for metric in metrics},
    }
    return figures


def scores(outputs: Mapping[str, Rows], reward: RewardFunction) -> dict[str, Estimate]:
    """Return the mean score of the first outputs of every evaluation set."""
    return {name: mean_estimate(reward(*_firsts(rows))) for name, rows in outputs.items()}


def pool_figures(rows: Rows, n: int, judge: Judge | None) -> list[dict[str, Any]]:
    """Return best-of-n for every n from the samples that the first output of every input was chosen from."""
    texts, asked = as_texts(rows, judge)
    points = pool_curve(texts, n, asked)
    return [{name: value for name, value in vars(point).items() if value is not None} for point in points]


def measured_kl(
    sampler: TransformersSampler,
    reference: TransformersSampler,
    prompts: Sequence[Any],
    params: SamplingParams,
    *,
    seed: int,
    reference_prompts: Sequence[Any] | None = None,
) -> Estimate | None:
    """Return the KL from a reference in nats an output; None where the two have different vocabularies.

    See `sequence_kl`.
    """
    if sampler.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        return None
    found = sequence_kl(sampler, reference, prompts, params, seed=seed, reference_prompts=reference_prompts)
    return mean_estimate(found)


def kl_bound(n: int, inputs: int) -> Estimate:
    """Return an upper bound on the KL of best-of-n from what it chooses from; 0 for n = 1."""
    bound = best_of_n_kl(n)
    return Estimate(bound, 0.0, (bound, bound), inputs, np.full(inputs, bound))


def as_texts(rows: Rows, judge: Judge | None) -> tuple[Rows, Judge | None]:
    """Return rows whose prompts are texts, as judges read them, and a judge of these.

    A score is one of the prompt as it is, conversation or text.
    """
    prompts = {prompt_text(row["prompt"]): row["prompt"] for row in rows}
    if all(isinstance(prompt, str) for prompt in prompts.values()):
        return rows, judge
    texts = [{**row, "prompt": prompt_text(row["prompt"])} for row in rows]
    if not isinstance(judge, ScoreJudge):
        return texts, judge
    return texts, lambda asked, first, second: judge([prompts[text] for text in asked], first, second)


def prompt_text(prompt: Any) -> str:
    """Return a prompt as a text: of a conversation what was said, with who said it where it was not the user alone."""
    if isinstance(prompt, str):
        return prompt
    said = [(str(turn.get("role")), turn.get("content")) for turn in prompt]
    texts = [(role, text if isinstance(text, str) else json.dumps(text)) for role, text in said]
    return texts[0][1] if [role for role, _ in texts] == ["user"] else "\n\n".join(": ".join(turn) for turn in texts)


def _pvr(rows: Rows, judge: Judge) -> Estimate:
    texts, asked = as_texts(rows, judge)
    prompts, firsts = _firsts(texts)
    assert asked is not None
    return preference_vs_reference(prompts, firsts, [row["reference"] for row in rows], asked)


def _firsts(rows: Rows) -> tuple[list[Any], list[str]]:
    return [row["prompt"] for row in rows], [row["outputs"][0] for row in rows]
