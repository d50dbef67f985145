"""What policy, reference and reward say of completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.models.completions import completion_logits
from genrlhf.models.policy import CompletionOutput
from genrlhf.models.trunk import Trunk, trunk_states
from genrlhf.ops import EarlyTokens, chosen_logprobs, kl_estimate, only_members
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.rewards.signatures import with_samples
from genrlhf.trainers.ppo.records import ScoredBatch, groups_of, token_lists
from genrlhf.types import Generation, Support

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.models import PPOModels

__all__ = ["Scorer"]


@dataclass(frozen=True)
class _States:
    """What the trunk makes of prompts, (B / n, P, d), and of completions, (B, T, d)."""

    prompt: torch.Tensor
    completion: torch.Tensor

    def joined(self, rows: slice, total: int) -> torch.Tensor:
        """Return those of some of `total` completions behind those of their prompts, (rows, P + T, d)."""
        share = total // len(self.prompt)
        prompts = torch.arange(total, device=self.prompt.device)[rows] // share
        return torch.cat([self.prompt[prompts], self.completion[rows]], dim=1)


@dataclass(frozen=True)
class Scorer:
    """Scores completions under policy, reference and reward, in forward passes of the size of a training step's.

    Attributes:
        models: of PPO.
        args: the settings.
        support: the tokens that log-probabilities range over.
        samples: how many completions side by side share a prompt that is computed once for them; 1 for none.
    """

    models: PPOModels
    args: PPOConfig
    support: Support
    samples: int = 1

    def __call__(self, rows: Sequence[dict[str, Any]], texts: list[str], generation: Generation) -> ScoredBatch:
        """Return what the models say.

        Args:
            rows: of the dataset, one for each of the B completions.
            texts: B completions.
            generation: the same as token ids, on the device of the policy; its log-probabilities, if there are any, are
                those of a forward pass up to rounding.
        """
        prompts = [row["prompt"] for row in rows]
        columns = {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
        states = self._states(generation)
        scores = self._scores(prompts, texts, columns, generation).to(generation.ended.device)
        policy = self._policy(generation, states)
        assert policy.entropy is not None
        ref_logprobs = self._reference(generation, states)
        mask, estimator = generation.completion_mask, self.args.kl_estimator
        kl = kl_estimate(policy.compared_logprobs, ref_logprobs, estimator)  # type: ignore[arg-type]
        return ScoredBatch(
            *generation.tokens,
            texts=texts,
            ended=generation.ended,
            scores=scores,
            logprobs=policy.logprobs,
            entropy=policy.entropy,
            values=policy.values,
            ref_logprobs=ref_logprobs,
            kl=kl * mask,
            log_ratio=(policy.compared_logprobs - ref_logprobs) * mask,
            prompt_states=None if states is None else states.prompt,
            completion_states=None if states is None else states.completion,
            allowed=generation.allowed,
            prompts=prompts,
            columns=columns,
        )

    def _parts(self, total: int) -> list[slice]:
        """Split `total` rows into those of training steps."""
        size = self.args.per_device_train_batch_size
        return [slice(start, start + size) for start in range(0, total, size)]

    def _groups(self, rows: slice, total: int) -> tuple[int, ...] | None:
        return groups_of(range(*rows.indices(total)), self.samples)

    def _states(self, generation: Generation) -> _States | None:
        """Return what the trunk makes of the tokens, from sampling or from a pass through it; None without a trunk."""
        model = self.models.trained
        if not model.depth:
            return None
        if generation.trunk is not None:
            return _States(generation.trunk.prompt, generation.trunk.completion)
        ids, mask = generation.tokens.joined()
        parts = self._parts(len(ids))
        states = torch.cat([trunk_states(model.policy, model.depth, ids[rows], mask[rows]) for rows in parts])
        width = generation.prompt_ids.shape[1]
        return _States(states[:, :width], states[:, width:])

    def _scores(
        self, prompts: list[Any], texts: list[str], columns: Mapping[str, Sequence[Any]], generation: Generation
    ) -> torch.Tensor:
        if self.models.trunk_reward is not None and generation.trunk is not None:
            return self.models.trunk_reward(prompts, texts, generation, generation.trunk, columns)
        columns = with_samples(columns, token_lists(generation), generation.ended.tolist())
        reward = self.models.reward
        return torch.tensor(check_rewards(reward(prompts, texts, **columns), prompts, texts, name=reward_name(reward)))

    def _policy(self, generation: Generation, states: _States | None) -> CompletionOutput:
        """Return what the policy says: from sampling where that has found it, else from forward passes."""
        logprobs, entropy, hidden = generation.logprobs, generation.entropy, generation.last_hidden
        if logprobs is None or entropy is None or hidden is None:
            return self._forward(generation, states)
        model = self.models.trained
        if model.value_model is None:
            values = model.values(generation.tokens, hidden)
        else:
            parts: list[Any] = []
            for rows in self._parts(len(logprobs)):
                chosen = None if states is None else states.joined(rows, len(logprobs))
                parts.append(model.values(generation.tokens.at(rows), hidden[rows], chosen))
            values = torch.cat(parts)
        return CompletionOutput(logprobs, values, entropy, generation.unmasked_logprobs)

    def _forward(self, generation: Generation, states: _States | None) -> CompletionOutput:
        parts, total = [], len(generation.ended)
        for rows in self._parts(total):
            chosen = None if states is None else states.joined(rows, total)
            allowed = None if generation.allowed is None else generation.allowed[rows]
            parts.append(self.models.trained(*generation.tokens.at(rows), chosen, allowed, self._groups(rows, total)))
        found: list[Any] = [None if each[0] is None else torch.cat(each) for each in zip(*parts, strict=True)]
        return CompletionOutput(*found)

    def _reference(self, generation: Generation, states: _States | None) -> torch.Tensor:
        """Return the log-probabilities under the reference, (B, T) float32, over the same tokens as the policy's."""
        parts, total, depth = [], len(generation.ended), self.models.reference_depth
        for rows in self._parts(total):
            trunk = Trunk(depth, states.joined(rows, total)) if states is not None and depth else None
            tokens = generation.tokens.at(rows)
            groups = self._groups(rows, total)
            logits, _ = completion_logits(self.models.reference, tokens, trunk=trunk, groups=groups)
            if self.support.filtered and generation.allowed is not None:
                logits = only_members(logits, generation.allowed[rows])
            early = EarlyTokens(self.support.eos_token_ids, self.support.min_new_tokens)
            parts.append(chosen_logprobs(logits, tokens.completion_ids, temperature=self.args.temperature, early=early))
        return torch.cat(parts)
