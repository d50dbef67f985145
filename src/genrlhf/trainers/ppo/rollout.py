"""Sampling completions and scoring them: what happens between two rounds of PPO updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.data.chat import prompt_of
from genrlhf.models.autocast import frozen_weights_cast
from genrlhf.models.families import shares_prefix
from genrlhf.models.gather import unsharded
from genrlhf.sampling import decode_completions
from genrlhf.trainers.ppo.figures import record_objective, record_values
from genrlhf.trainers.ppo.records import RolloutTensors, ScoredBatch
from genrlhf.trainers.ppo.scoring import Scorer
from genrlhf.trainers.ppo.shaping import Shaping
from genrlhf.trainers.tally import Reduce, Tally
from genrlhf.types import Generation, MaskingPolicy, Support

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from genrlhf.models.policy import PolicyWithValue
    from genrlhf.sampling import TransformersSampler
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.models import PPOModels
    from genrlhf.trainers.ppo.other_sampler import OtherSampler
    from genrlhf.types import RewardFunction

__all__ = ["RolloutCollector"]


@dataclass(frozen=True)
class RolloutCollector:
    """Samples completions of prompts, scores them, and hands on what the updates need.

    Attributes:
        models: policy and value, reference and reward.
        sampler: draws completions from the policy.
        masking: limits what training rollouts draw; None for no limit.
        support: the tokens that log-probabilities range over.
        tokenizer: of the policy.
        args: the settings.
        shaping: makes of scores what the updates need.
        low_precision: the policy runs in less than float32, so that passes of other shapes differ.
        reduce: sums a tensor over processes.
        autocast: the mixed precision that the policy is trained in, for sampling and the reference too.
        tally: where figures of the training rollouts go.
        phase: called with "sampling" or "scoring" for a context to do it in.
    """

    models: PPOModels
    sampler: TransformersSampler | OtherSampler
    masking: MaskingPolicy | None
    support: Support
    tokenizer: PreTrainedTokenizerBase
    args: PPOConfig
    shaping: Shaping
    low_precision: bool
    reduce: Reduce
    autocast: Callable[[], AbstractContextManager[Any]]
    tally: Tally
    phase: Callable[[str], AbstractContextManager[Any]] = nullcontext

    @property
    def model(self) -> PolicyWithValue:
        """The policy and what predicts its values."""
        return self.models.trained

    @property
    def reference(self) -> PreTrainedModel:
        """The model that the KL is taken against."""
        return self.models.reference

    @property
    def reward(self) -> RewardFunction:
        """Scores a completion."""
        return self.models.reward

    @property
    def shared_samples(self) -> int:
        """How many completions of a prompt share it in the passes that score them and train on them; 1 for none.

        Dropout would fall on their prompt alike. In low precision rounding hangs on what lies beside a completion, so
        that it must be the same in both, which mini-batches are not: the first ratio would differ from 1.
        """
        args = self.args
        exact = not self.low_precision or args.num_mini_batches == 1
        return args.samples_per_prompt if args.disable_dropout and exact else 1

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
                generation = self._sample([prompt_of(row) for row in rows], n, seeds, masking)
                texts = decode_completions(self.tokenizer, generation, self.args.sampling_params)
            with self.phase("scoring"), self.autocast():
                score = Scorer(self.models, self.args, self.support, n if self.shared_samples > 1 else 1)
                repeated = [row for row in rows for _ in range(n)]
                scored = score(repeated, texts, generation.to(self.model.device))
        self.model.train(was_training)
        return scored

    def _sample(self, prompts: list[Any], n: int, seeds: Sequence[int], masking: MaskingPolicy | None) -> Generation:
        policy, depth = self.model.policy, self.model.depth
        self.sampler.update_weights(policy)
        # In low precision other shapes round otherwise: what sampling finds would make the first ratio differ from 1.
        params = replace(self.args.sampling_params, logprobs=not self.low_precision)
        boundary = depth if depth > 0 and shares_prefix(policy) else None
        models = [policy] if masking is None else [policy, masking.model]
        with self.autocast(), frozen_weights_cast(*models):
            return self.sampler.generate(
                prompts, n, params, seeds, boundary=boundary, masking=masking, support=self.support
            )

    def collect(self, rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> tuple[RolloutTensors, ScoredBatch]:
        """Sample and score the prompts of `rows` and return what the updates need."""
        scored = self.sample_and_score(rows, seeds, masking=self.masking)
        scores = self.shaping.scores(scored, self.tally)
        rewards = self.shaping.token_rewards(scores, scored.kl, scored.completion_mask)
        advantages, returns = self.shaping.advantages(scored, rewards)
        self.shaping.update_entropy_coef(scored.entropy, scored.completion_mask)
        self._record(scored, scores, rewards, returns)
        self.shaping.update_kl_coef(scored.log_ratio.sum(-1))
        rollout = RolloutTensors(
            *scored.tokens,
            logprobs=scored.logprobs,
            advantages=advantages,
            ref_logprobs=scored.ref_logprobs,
            values=scored.values,
            returns=returns,
            prompt_states=scored.prompt_states,
            completion_states=scored.completion_states,
            allowed=scored.allowed,
        )
        return rollout, replace(scored, shaped_scores=scores, rewards=rewards.sum(-1))

    def _record(
        self, scored: ScoredBatch, scores: torch.Tensor, rewards: torch.Tensor, returns: torch.Tensor | None
    ) -> None:
        state, device = self.shaping.state, scores.device
        record_objective(self.tally, scored)
        self.tally.add("objective/shaped_scores", scores)
        self.tally.add("objective/rlhf_reward", rewards.sum(-1))
        self.tally.add("objective/kl_coef", torch.full((), state.kl_coef, device=device))
        if self.args.entropy_target is not None:
            self.tally.add("objective/entropy_coef", torch.full((), state.entropy_coef, device=device))
        record_values(self.tally, scored, returns, self.reduce)
