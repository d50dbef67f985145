"""Stages that sample: one method at one temperature on one evaluation set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.log import recover_records
from genrlhf.methods import DiverseBestOfN
from genrlhf.sampling import VerbalizedSampler
from genrlhf.studies.draws import best_of_n_draw, given_draw, policy_draw, verbalized_draw
from genrlhf.studies.stages.outputs import draw_outputs

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.sampling import TransformersSampler
    from genrlhf.studies.recipe import Sampling
    from genrlhf.types import RewardFunction

__all__ = ["OUTPUTS", "POOL", "choose", "sample"]

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
) -> dict[str, Any]:
    """Draw the outputs of every input into `outputs.jsonl`, or what best-of-n chooses from into `pool.jsonl`.

    Args:
        folder: where they go.
        dataset: rows of `prompt` and maybe `reference`.
        name: of the evaluation set.
        sampler: of the model.
        sampling: how many are drawn, and how.
        temperature: at which.
        seed: of the samples.

    Returns:
        How many inputs and outputs there are.
    """
    draw = policy_draw(sampler, sampling.params(temperature), seed)
    if sampling.verbalized is not None:
        asked = VerbalizedSampler(sampler, sampling.verbalized, tail=sampling.verbalized_tail)
        draw = verbalized_draw(asked, sampling.params(temperature), seed)
    n = sampling.best_of_n
    file, counts = (
        folder / (OUTPUTS if n is None else POOL),
        [(n or 1) * count for count in _counts(dataset, name, sampling)],
    )
    return _numbers(draw_outputs(file, dataset, name, draw, counts=counts, batch_size=sampling.batch_size))


def choose(
    folder: Path, pool: Path, dataset: Dataset, name: str, sampling: Sampling, reward: RewardFunction
) -> dict[str, Any]:
    """Choose the best of n drawn samples for every output into `outputs.jsonl`; what all scored goes to `pool.jsonl`.

    Args:
        folder: where they go.
        pool: the samples, as `sample` has drawn them.
        dataset: rows of `prompt` and maybe `reference`.
        name: of the evaluation set.
        sampling: of how many is chosen.
        reward: what is chosen by.

    Returns:
        How many inputs and outputs there are.
    """
    n, counts = sampling.best_of_n or 1, _counts(dataset, name, sampling)
    batch_size = sampling.batch_size
    drawn, all_counts = given_draw(recover_records(pool)), [n * count for count in counts]
    scored = draw_outputs(folder / POOL, dataset, name, drawn, counts=all_counts, batch_size=batch_size, reward=reward)
    grouped = None if sampling.group_reward is None else DiverseBestOfN(sampling.group_reward)
    draw = best_of_n_draw(scored, n, grouped)
    return _numbers(draw_outputs(folder / OUTPUTS, dataset, name, draw, counts=counts, batch_size=batch_size))


def _counts(dataset: Dataset, name: str, sampling: Sampling) -> list[int]:
    return [sampling.outputs_of(row, name) for row in range(len(dataset))]


def _numbers(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {"inputs": len(rows), "outputs": sum(len(row["outputs"]) for row in rows)}
