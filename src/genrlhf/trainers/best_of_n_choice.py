"""Which of n samples is the best, and what choosing it gains and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.ops import best_of_n_kl, best_of_n_weights
from genrlhf.sampling.choose import next_tokens, sample_seeds, uniforms
from genrlhf.trainers.best_of_n_file import BestOfNOutput
from genrlhf.types import SamplingParams

if TYPE_CHECKING:
    from genrlhf.trainers.best_of_n_config import BestOfNConfig
    from genrlhf.trainers.groups import Completion
    from genrlhf.types import Sample

__all__ = ["best_of_n_figures", "choose", "group_figures"]


def choose(
    prompt: Any,
    samples: Sequence[Sample | Completion],
    rewards: list[float],
    args: BestOfNConfig,
    *,
    seed: int,
    row: int,
    group_rewards: list[float] | None = None,
) -> BestOfNOutput:
    """Return the best of a prompt's samples, the first of equal ones, or with a temperature one by chance.

    Args:
        prompt: text, or messages.
        samples: n of them.
        rewards: as many.
        args: its rule for samples that were cut off, and the temperature of soft best-of-n.
        seed: of the chance, with the prompt's row.
        row: of the prompt.
        group_rewards: what a reward of groups made of the rewards, by which is chosen then; None for none.
    """
    ended = [sample.ended for sample in samples]
    scores = args.cut_off_rule.of_rewards(rewards, ended)
    if group_rewards is not None:
        scores = torch.tensor(group_rewards).to(scores)
    chosen = max(range(len(samples)), key=scores.tolist().__getitem__)
    if args.selection_temperature > 0:
        # Soft best-of-n draws a sample as a token is drawn, with rewards for logits.
        soft = SamplingParams(temperature=args.selection_temperature)
        own_seed = sample_seeds(seed, [row], len(samples) + 1)[-1]
        chosen = int(next_tokens(scores.unsqueeze(0), uniforms([own_seed], 1)[0], soft))
    return BestOfNOutput(
        prompt=prompt,
        completion=samples[chosen].text,
        reward=rewards[chosen],
        samples=[sample.text for sample in samples],
        rewards=rewards,
        ended=ended,
        token_ids=[sample.token_ids for sample in samples],
        chosen=chosen,
        group_rewards=group_rewards,
    )


def group_figures(group_rewards: Sequence[Sequence[float]], chosen: Sequence[int]) -> dict[str, float]:
    """Return `group_reward/best`, of the chosen completion, and `group_reward/mean`, of any; means over prompts."""
    values = torch.tensor(group_rewards, dtype=torch.float64)
    best = values.gather(1, torch.tensor(chosen).unsqueeze(1))
    return {"group_reward/best": float(best.mean()), "group_reward/mean": float(values.mean())}


def best_of_n_figures(outputs: Sequence[BestOfNOutput], args: BestOfNConfig) -> dict[str, float]:
    """Return `reward/best`, `reward/mean`, `kl/bound`, and for m = 2, 4, … below n those of the best of m.

    Chosen by a reward of groups, `group_reward/best` and `group_reward/mean` in place of those of fewer than n, which
    would be groups of their own.
    """
    every = [output.rewards for output in outputs]
    rewards = torch.tensor(every, dtype=torch.float64)
    scores = args.cut_off_rule.of_rewards(every, [output.ended for output in outputs])
    figures = {
        "reward/best": sum(output.reward for output in outputs) / len(outputs),
        "reward/mean": float(rewards.mean()),
        "kl/bound": best_of_n_kl(args.n),
    }
    if outputs[0].group_rewards is not None:
        grouped = [output.group_rewards or [] for output in outputs]
        return figures | group_figures(grouped, [output.chosen for output in outputs])
    m = 2
    while m < args.n:
        figures[f"reward/best_of_{m}"] = float((best_of_n_weights(scores, m) * rewards).sum(-1).mean())
        figures[f"kl/bound_of_{m}"] = best_of_n_kl(m)
        m *= 2
    return figures
