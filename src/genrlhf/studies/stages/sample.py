"""Stages that sample: one method at one temperature on one evaluation set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.methods import DiverseBestOfN
from genrlhf.sampling import VerbalizedSampler
from genrlhf.studies.draws import best_of_n_draw, policy_draw, verbalized_draw
from genrlhf.studies.stages.outputs import draw_outputs

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.sampling import TransformersSampler
    from genrlhf.studies.recipe import Sampling
    from genrlhf.types import RewardFunction

__all__ = ["OUTPUTS", "POOL", "sample"]

OUTPUTS, POOL = "outputs.jsonl", "pool.jsonl"


def sample(
    folder: Path,
    dataset: Dataset,
    name: str,
    sampler: TransformersSampler,
    sampling: Sampling,
    *,
    temperature: float,
    seed: int,
    reward: RewardFunction | None = None,
) -> dict[str, Any]:
    """Draw the outputs of every input into `outputs.jsonl`, those that best-of-n chooses from into `pool.jsonl`.

    Args:
        folder: where they go.
        dataset: rows of `prompt` and maybe `reference`.
        name: of the evaluation set.
        sampler: of the model.
        sampling: how many are drawn, and how.
        temperature: at which.
        seed: of the samples.
        reward: what best-of-n chooses by.

    Returns:
        How many inputs and outputs there are.
    """
    counts = [sampling.outputs_of(row, name) for row in range(len(dataset))]
    draw = policy_draw(sampler, sampling.params(temperature), seed)
    if sampling.verbalized is not None:
        asked = VerbalizedSampler(sampler, sampling.verbalized, tail=sampling.verbalized_tail)
        draw = verbalized_draw(asked, sampling.params(temperature), seed)
    n = sampling.best_of_n
    if n is not None:
        pool = draw_outputs(
            folder / POOL,
            dataset,
            name,
            draw,
            counts=[n * count for count in counts],
            batch_size=sampling.batch_size,
            reward=reward,
        )
        grouped = None if sampling.group_reward is None else DiverseBestOfN(sampling.group_reward)
        draw = best_of_n_draw(pool, n, grouped)
    rows = draw_outputs(folder / OUTPUTS, dataset, name, draw, counts=counts, batch_size=sampling.batch_size)
    return {"inputs": len(rows), "outputs": sum(len(row["outputs"]) for row in rows)}
