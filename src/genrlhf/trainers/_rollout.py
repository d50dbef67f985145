"""Sampling completions and scoring them: what happens between two rounds of PPO updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from genrlhf.models.completions import completion_logits
from genrlhf.ops import (
    generalised_advantages,
    kl_estimate,
    logprobs_and_entropy,
    masked_moments,
    token_rewards,
    whiten,
)
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.sampling import decode_completions
from genrlhf.trainers._rollout_data import concatenate
from genrlhf.types import Generation, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from genrlhf.models.completions import PolicyWithValue
    from genrlhf.trainers.ppo_config import PPOConfig
    from genrlhf.types import RewardFunction, TokenSampler

__all__ = ["Metrics", "RolloutCollector"]

Reduce: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


class Metrics:
    """Running means, each a sum and a count, so that they add up over batches and processes."""

    def __init__(self) -> None:
        self._totals: dict[str, torch.Tensor] = {}

    def add(self, name: str, values: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        """Count `values` (where `mask` is True) into the mean called `name`."""
        chosen = (values if mask is None else values[mask]).detach().double()
        total = torch.stack([chosen.sum(), torch.tensor(float(chosen.numel()), device=chosen.device).double()])
        self._totals[name] = self._totals[name] + total if name in self._totals else total

    def means(self, reduce: Reduce) -> dict[str, float]:
        """Return the means over all processes and start afresh."""
        totals, self._totals = self._totals, {}
        return {name: float(t[0] / t[1].clamp(min=1)) for name, total in totals.items() for t in [reduce(total)]}


@dataclass(frozen=True)
class RolloutCollector:
    """Samples completions of prompts, scores them and estimates advantages.

    Attributes:
        model: the policy with its value head.
        sampler: draws completions from the policy.
        reference: the model that the KL is taken against.
        reward: scores a completion.
        tokenizer: of the policy.
        args: the settings.
        reduce: sums a tensor over processes.
        autocast: the mixed precision that the policy is trained in, for sampling and the reference too.
        metrics: where figures of the training rollouts go.
    """

    model: PolicyWithValue
    sampler: TokenSampler
    reference: PreTrainedModel
    reward: RewardFunction
    tokenizer: PreTrainedTokenizerBase
    args: PPOConfig
    reduce: Reduce
    autocast: Callable[[], AbstractContextManager[Any]]
    metrics: Metrics

    @torch.no_grad()
    def sample_and_score(self, rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, torch.Tensor]:
        """Sample one completion for every row and score it.

        Returns:
            `prompt_ids`, `prompt_mask`, `completion_ids`, `completion_mask`, `logprobs`, `entropy`, `values`,
            `ref_logprobs` as in `Rollout`, `kl` (B, T) under `args.kl_estimator`, and `scores`, `ended`, (B,).
        """
        was_training = self.model.training
        self.model.eval()
        prompts = [row["prompt"] for row in rows]
        self.sampler.update_weights(self.model.policy)
        # In low precision other shapes round otherwise: what sampling finds would make the first ratio differ from 1.
        exact = self.model.policy.dtype == torch.float32 and not (self.args.bf16 or self.args.fp16)
        params = replace(self.args.sampling_params, logprobs=exact)
        with self.autocast():
            generation = self.sampler.generate(prompts, 1, params, seeds)
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "ended")
        batch = {name: getattr(generation, name).to(self.model.device) for name in names}
        texts = decode_completions(self.tokenizer, generation, params)
        batch["scores"] = self._scores(rows, texts).to(self.model.device)
        sampled = self._sampled(generation)
        with self.autocast():
            batch.update(self._forward({**batch, **sampled}))
        self.model.train(was_training)
        return batch

    def _scores(self, rows: Sequence[dict[str, Any]], completions: list[str]) -> torch.Tensor:
        prompts = [row["prompt"] for row in rows]
        columns = {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
        values = self.reward(prompts, completions, **columns)
        return torch.tensor(check_rewards(values, prompts, completions, name=reward_name(self.reward)))

    def _sampled(self, generation: Generation) -> dict[str, torch.Tensor]:
        """Return what a forward pass of the policy would find, where sampling has found it."""
        if generation.logprobs is None or generation.entropy is None or generation.last_hidden is None:
            return {}
        return {
            "logprobs": generation.logprobs,
            "entropy": generation.entropy,
            "values": self.model.value_head(generation.last_hidden),
        }

    def _forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Score the completions under the reference, and the policy where sampling has not; a training batch a time."""
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        parts = []
        size = self.args.per_device_train_batch_size
        for start in range(0, len(batch["ended"]), size):
            chunk = {name: tensor[start : start + size] for name, tensor in batch.items()}
            ids = [chunk[name] for name in names]
            if "values" not in chunk:
                policy = self.model(*ids)
                chunk |= {"logprobs": policy.logprobs, "entropy": policy.entropy, "values": policy.values}
            ref_logits, _ = completion_logits(self.reference, *ids)
            ref_logprobs, _ = logprobs_and_entropy(
                ref_logits, chunk["completion_ids"], temperature=self.args.temperature
            )
            kl = kl_estimate(chunk["logprobs"], ref_logprobs, self.args.kl_estimator)  # type: ignore[arg-type]
            found = {name: chunk[name] for name in ("logprobs", "entropy", "values")}
            parts.append({**found, "ref_logprobs": ref_logprobs, "kl": kl})
        return concatenate(parts)

    def collect(self, rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> Rollout:
        """Sample and score the prompts of `rows` and return what the updates need."""
        batch = self.sample_and_score(rows, seeds)
        mask, scores = batch["completion_mask"], batch["scores"]
        if self.args.missing_eos_score is not None:
            scores = torch.where(batch["ended"], scores, torch.full_like(scores, self.args.missing_eos_score))
        rewards = token_rewards(scores, batch["kl"], mask, kl_coef=self.args.kl_coef)
        advantages, returns = generalised_advantages(
            rewards, batch["values"], mask, gamma=self.args.gamma, lam=self.args.lam
        )
        self._record(batch, rewards, returns)
        if self.args.whiten_advantages:
            advantages = whiten(advantages, mask, reduce=self.reduce)
        return Rollout(
            prompt_ids=batch["prompt_ids"],
            prompt_mask=batch["prompt_mask"],
            completion_ids=batch["completion_ids"],
            completion_mask=mask,
            logprobs=batch["logprobs"],
            values=batch["values"],
            advantages=advantages,
            returns=returns,
        )

    def _record(self, batch: dict[str, torch.Tensor], rewards: torch.Tensor, returns: torch.Tensor) -> None:
        mask = batch["completion_mask"]
        record_objective(self.metrics, batch)
        self.metrics.add("objective/rlhf_reward", rewards.sum(-1))
        _, residual = masked_moments(returns - batch["values"], mask, reduce=self.reduce)
        _, variance = masked_moments(returns, mask, reduce=self.reduce)
        self.metrics.add("value/explained_variance", 1 - residual / variance.clamp(min=1e-12))


def record_objective(metrics: Metrics, batch: dict[str, torch.Tensor]) -> None:
    """Add what `RolloutCollector.sample_and_score` found to the `objective/…` means."""
    mask = batch["completion_mask"]
    log_ratio = (batch["logprobs"] - batch["ref_logprobs"]) * mask
    metrics.add("objective/scores", batch["scores"])
    metrics.add("objective/kl", log_ratio.sum(-1))
    metrics.add("objective/entropy", batch["entropy"], mask)
    metrics.add("objective/completion_length", mask.sum(-1))
    metrics.add("objective/ended", batch["ended"])
