"""Sampling completions and scoring them: what happens between two rounds of PPO updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from genrlhf.data.chat import prompt_of
from genrlhf.models.completions import Trunk, completion_logits
from genrlhf.models.gather import unsharded
from genrlhf.models.precision import frozen_weights_cast
from genrlhf.models.trunk import trunk_states
from genrlhf.ops import chosen_logprobs, generalised_advantages, kl_estimate, masked_moments, whiten
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.sampling import decode_completions
from genrlhf.trainers.ppo.shaping import shape_scores, shaped_token_rewards, update_kl_coef
from genrlhf.types import Generation, MaskingPolicy, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from genrlhf.models.completions import PolicyWithValue
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.state import PPOState
    from genrlhf.trainers.ppo.trunk_reward import TrunkReward
    from genrlhf.types import RewardFunction, TokenSampler

__all__ = ["Metrics", "RolloutCollector", "ScoredBatch", "record_objective"]

Reduce: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
SAMPLED: tuple[str, ...] = ("logprobs", "entropy", "unmasked_logprobs")
TOKENS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")


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
class ScoredBatch:
    """Completions of a batch of prompts, and what policy, reference and reward say of them.

    Attributes:
        texts: B completions.
        tensors: `prompt_ids`, `prompt_mask`, `completion_ids`, `completion_mask`, `logprobs`, `entropy`, `values`,
            `ref_logprobs` as in `Rollout`; `kl` and `log_ratio`, (B, T), the estimate and log π − log π_ref, 0 behind
            the end; `scores`, `ended`, (B,); and where there are any `prompt_states`, `completion_states`, `allowed`.
    """

    texts: list[str]
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True)
class RolloutCollector:
    """Samples completions of prompts, scores them and estimates advantages.

    Attributes:
        model: the policy and what predicts its values.
        sampler: draws completions from the policy.
        samples_states: the sampler returns what the policy's trunk makes of the tokens when asked.
        reference: the model that the KL is taken against.
        reference_depth: layers of the trunk that it shares with the policy, 0 for none.
        reward: scores a completion.
        trunk_reward: scores those that it can from the trunk; None where the reward shares none.
        masking: limits what training rollouts draw; None for no limit.
        tokenizer: of the policy.
        args: the settings.
        state: what one rollout hands on to the next.
        low_precision: the policy runs in less than float32, so that passes of other shapes differ.
        reduce: sums a tensor over processes.
        autocast: the mixed precision that the policy is trained in, for sampling and the reference too.
        metrics: where figures of the training rollouts go.
        phase: called with "sampling" or "scoring" for a context to do it in.
    """

    model: PolicyWithValue
    sampler: TokenSampler
    samples_states: bool
    reference: PreTrainedModel
    reference_depth: int
    reward: RewardFunction
    trunk_reward: TrunkReward | None
    masking: MaskingPolicy | None
    tokenizer: PreTrainedTokenizerBase
    args: PPOConfig
    state: PPOState
    low_precision: bool
    reduce: Reduce
    autocast: Callable[[], AbstractContextManager[Any]]
    metrics: Metrics
    phase: Callable[[str], AbstractContextManager[Any]] = nullcontext

    @torch.no_grad()
    def sample_and_score(
        self, rows: Sequence[dict[str, Any]], seeds: Sequence[int], *, masking: MaskingPolicy | None = None
    ) -> ScoredBatch:
        """Sample completions for every row, as many as there are seeds for it, and score them."""
        was_training = self.model.training
        self.model.eval()
        n = len(seeds) // len(rows)
        with unsharded(self.model):
            with self.phase("sampling"):
                generation, params = self._sample([prompt_of(row) for row in rows], n, seeds, masking)
                texts = decode_completions(self.tokenizer, generation, params)
            with self.phase("scoring"), self.autocast():
                batch = {name: getattr(generation, name).to(self.model.device) for name in (*TOKENS, "ended")}
                batch |= self._states(generation, batch)
                batch["scores"] = self._scores(rows, texts, n, generation, batch).to(self.model.device)
                if generation.allowed is not None:
                    batch["allowed"] = generation.allowed
                batch |= self._forward({**batch, **self._sampled(generation, batch)}, n)
        self.model.train(was_training)
        return ScoredBatch(texts, batch)

    def _sample(
        self, prompts: list[Any], n: int, seeds: Sequence[int], masking: MaskingPolicy | None
    ) -> tuple[Generation, Any]:
        self.sampler.update_weights(self.model.policy)
        # In low precision other shapes round otherwise: what sampling finds would make the first ratio differ from 1.
        params = replace(self.args.sampling_params, logprobs=not self.low_precision)
        options: dict[str, Any] = {}
        if self.samples_states:
            options["boundary"] = self.model.depth
        models: list[Any] = [self.model.policy]
        if masking is not None:
            options["masking"] = masking
            models.append(masking.model)
        with self.autocast(), frozen_weights_cast(*models):
            return self.sampler.generate(prompts, n, params, seeds, **options), params

    def _states(self, generation: Generation, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what the trunk makes of prompts and completions, from sampling or from a pass through it."""
        if not self.model.depth:
            return {}
        if generation.trunk is not None:
            return {"prompt_states": generation.trunk.prompt, "completion_states": generation.trunk.completion}
        width, parts = batch["prompt_ids"].shape[1], []
        for chunk in self._chunks({name: batch[name] for name in TOKENS}):
            ids, mask = (torch.cat([chunk[f"prompt_{x}"], chunk[f"completion_{x}"]], dim=1) for x in ("ids", "mask"))
            parts.append(trunk_states(self.model.policy, self.model.depth, ids, mask))
        states = torch.cat(parts)
        return {"prompt_states": states[:, :width], "completion_states": states[:, width:]}

    def _scores(
        self,
        rows: Sequence[dict[str, Any]],
        texts: list[str],
        n: int,
        generation: Generation,
        batch: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        repeated = [row for row in rows for _ in range(n)]
        prompts = [row["prompt"] for row in repeated]
        columns = {key: [row[key] for row in repeated] for key in rows[0] if key != "prompt"}
        if self.trunk_reward is not None and generation.trunk is not None:
            return self.trunk_reward(prompts, texts, batch, generation.trunk, columns)
        values = self.reward(prompts, texts, **columns)
        return torch.tensor(check_rewards(values, prompts, texts, name=reward_name(self.reward)))

    def _sampled(self, generation: Generation, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what a forward pass of the policy would find, where sampling has found it."""
        if generation.logprobs is None or generation.entropy is None or generation.last_hidden is None:
            return {}
        found = {"logprobs": generation.logprobs, "entropy": generation.entropy}
        if generation.unmasked_logprobs is not None:
            found["unmasked_logprobs"] = generation.unmasked_logprobs
        if self.model.value_model is None:
            tokens = tuple(batch[name] for name in TOKENS)
            found["values"] = self.model.values(tokens, generation.last_hidden)  # type: ignore[arg-type]
        return found

    def _chunks(self, batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Split a batch into those of a training step."""
        size = self.args.per_device_train_batch_size
        count = len(batch["prompt_ids"])
        return [{k: v[start : start + size] for k, v in batch.items()} for start in range(0, count, size)]

    def _forward(self, batch: dict[str, torch.Tensor], n: int) -> dict[str, torch.Tensor]:
        """Score completions under the reference, and under the policy where sampling has not, a training batch a time.

        `prompt_states` come once for `n` completions.
        """
        parts = []
        each_prompt = batch.pop("prompt_states", None)
        if each_prompt is not None:
            batch["row"] = torch.arange(len(batch["ended"]), device=each_prompt.device)
            share = len(batch["ended"]) // len(each_prompt)
        for chunk in self._chunks(batch):
            tokens = [chunk[name] for name in TOKENS]
            states = None
            if each_prompt is not None:
                states = torch.cat([each_prompt[chunk["row"] // share], chunk["completion_states"]], dim=1)
            found = {name: chunk[name] for name in SAMPLED if name in chunk}
            if "logprobs" not in found:
                policy = self.model(*tokens, states, chunk.get("allowed"))
                found = {"logprobs": policy.logprobs, "entropy": policy.entropy, "values": policy.values}
                if policy.unmasked_logprobs is not None:
                    found["unmasked_logprobs"] = policy.unmasked_logprobs
            elif "values" in chunk:
                found["values"] = chunk["values"]
            else:
                found["values"] = self.model.values(tuple(tokens), tokens[0], states)  # type: ignore[arg-type]
            trunk = Trunk(self.reference_depth, states) if states is not None and self.reference_depth else None
            ref_logits, _ = completion_logits(self.reference, *tokens, trunk=trunk)
            ref = chosen_logprobs(ref_logits, chunk["completion_ids"], temperature=self.args.temperature)
            whole = found.pop("unmasked_logprobs", found["logprobs"])
            mask = chunk["completion_mask"]
            kl = kl_estimate(whole, ref, self.args.kl_estimator)  # type: ignore[arg-type]
            parts.append({**found, "ref_logprobs": ref, "kl": kl * mask, "log_ratio": (whole - ref) * mask})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def collect(self, rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> tuple[Rollout, ScoredBatch]:
        """Sample and score the prompts of `rows` and return what the updates need."""
        scored = self.sample_and_score(rows, seeds, masking=self.masking)
        batch = scored.tensors
        mask = batch["completion_mask"]
        scores = shape_scores(batch["scores"], batch["ended"], mask.sum(-1), self.args, self.state, self.reduce)
        rewards = shaped_token_rewards(scores, batch["kl"], mask, self.args, self.state, self.reduce)
        advantages, returns = generalised_advantages(
            rewards, batch["values"], mask, gamma=self.args.gamma, lam=self.args.lam
        )
        self._record(batch, scores, rewards, returns)
        update_kl_coef(batch["log_ratio"].sum(-1), self.args, self.state, self.reduce)
        if self.args.whiten_advantages:
            advantages = whiten(advantages, mask, reduce=self.reduce)
        kept = ("logprobs", "values", "ref_logprobs", "prompt_states", "completion_states", "allowed")
        found = {name: batch[name] for name in (*TOKENS, *kept) if name in batch}
        return Rollout(**found, advantages=advantages, returns=returns), scored

    def _record(
        self, batch: dict[str, torch.Tensor], scores: torch.Tensor, rewards: torch.Tensor, returns: torch.Tensor
    ) -> None:
        mask = batch["completion_mask"]
        record_objective(self.metrics, batch)
        self.metrics.add("objective/shaped_scores", scores)
        self.metrics.add("objective/rlhf_reward", rewards.sum(-1))
        self.metrics.add("objective/kl_coef", torch.tensor(self.state.kl_coef, device=mask.device))
        _, residual = masked_moments(returns - batch["values"], mask, reduce=self.reduce)
        _, variance = masked_moments(returns, mask, reduce=self.reduce)
        self.metrics.add("value/explained_variance", 1 - residual / variance.clamp(min=1e-12))


def record_objective(metrics: Metrics, batch: dict[str, torch.Tensor]) -> None:
    """Add what `RolloutCollector.sample_and_score` found to the `objective/…` means."""
    mask = batch["completion_mask"]
    metrics.add("objective/scores", batch["scores"])
    metrics.add("objective/kl", batch["log_ratio"].sum(-1))
    metrics.add("objective/entropy", batch["entropy"], mask)
    metrics.add("objective/completion_length", mask.sum(-1))
    metrics.add("objective/ended", batch["ended"])
