"""Sampling completions and scoring them: what happens between two rounds of PPO updates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.data.chat import prompt_of
from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.autocast import frozen_weights_cast
from genrlhf.models.families import shares_prefix
from genrlhf.models.gather import unsharded
from genrlhf.ops import generalised_advantages, masked_moments, whiten
from genrlhf.sampling import TransformersSampler, decode_completions
from genrlhf.trainers.ppo.advantage import spread_over_tokens
from genrlhf.trainers.ppo.hooks import SHAPING
from genrlhf.trainers.ppo.records import RolloutTensors, ScoredBatch, in_groups
from genrlhf.trainers.ppo.scoring import Scorer
from genrlhf.trainers.ppo.shaping import shape_scores, shaped_token_rewards, update_entropy_coef, update_kl_coef
from genrlhf.trainers.tally import Reduce, Tally
from genrlhf.types import Generation, MaskingPolicy, Support

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from genrlhf.models.policy import PolicyWithValue
    from genrlhf.rewards.groups import GroupReward
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.hooks import Hooks
    from genrlhf.trainers.ppo.models import PPOModels
    from genrlhf.trainers.ppo.state import PPOState
    from genrlhf.trainers.ppo.trunk_reward import TrunkReward
    from genrlhf.types import RewardFunction, TokenSampler

__all__ = ["RolloutCollector", "record_objective"]


@dataclass(frozen=True)
class RolloutCollector:
    """Samples completions of prompts, scores them and estimates advantages.

    Attributes:
        models: policy and value, reference and reward.
        sampler: draws completions from the policy.
        masking: limits what training rollouts draw; None for no limit.
        support: the tokens that log-probabilities range over.
        tokenizer: of the policy.
        args: the settings.
        state: what one rollout hands on to the next.
        low_precision: the policy runs in less than float32, so that passes of other shapes differ.
        reduce: sums a tensor over processes.
        autocast: the mixed precision that the policy is trained in, for sampling and the reference too.
        tally: where figures of the training rollouts go.
        hooks: what a method hands to the loop.
        phase: called with "sampling" or "scoring" for a context to do it in.
    """

    models: PPOModels
    sampler: TokenSampler
    masking: MaskingPolicy | None
    support: Support
    tokenizer: PreTrainedTokenizerBase
    args: PPOConfig
    state: PPOState
    low_precision: bool
    reduce: Reduce
    autocast: Callable[[], AbstractContextManager[Any]]
    tally: Tally
    hooks: Hooks
    phase: Callable[[str], AbstractContextManager[Any]] = nullcontext

    def __post_init__(self) -> None:
        limits = [("mask_top_p", self.masking is not None), ("renormalise='all' with a filter", self.support.filtered)]
        for name, wanted in limits:
            if wanted and not self._own_sampler:
                raise ConfigError(
                    f"{name} needs to know which tokens could be drawn, and a {type(self.sampler).__name__} does not "
                    "say; leave sampler out, or switch that off."
                )

    @property
    def model(self) -> PolicyWithValue:
        """The policy and what predicts its values."""
        return self.models.trained

    @property
    def reference(self) -> PreTrainedModel:
        """The model that the KL is taken against."""
        return self.models.reference

    @property
    def reference_depth(self) -> int:
        """Layers of the trunk that it shares with the policy, 0 for none."""
        return self.models.reference_depth

    @property
    def reward(self) -> RewardFunction:
        """Scores a completion."""
        return self.models.reward

    @property
    def trunk_reward(self) -> TrunkReward | None:
        """Scores those that it can from the trunk; None where the reward shares none."""
        return self.models.trunk_reward

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
                # A sampler that does not know of the support has taken its log-probabilities over all tokens.
                sampled = self._own_sampler or not self.support.min_new_tokens
                repeated = [row for row in rows for _ in range(n)]
                scored = score(repeated, texts, generation.to(self.model.device), sampled=sampled)
        self.model.train(was_training)
        return scored

    @property
    def _own_sampler(self) -> bool:
        """Whether the sampler takes what the library's own takes beyond the protocol."""
        return isinstance(self.sampler, TransformersSampler)

    def _sample(self, prompts: list[Any], n: int, seeds: Sequence[int], masking: MaskingPolicy | None) -> Generation:
        self.sampler.update_weights(self.model.policy)
        # In low precision other shapes round otherwise: what sampling finds would make the first ratio differ from 1.
        params = replace(self.args.sampling_params, logprobs=not self.low_precision)
        options: dict[str, Any] = {}
        if self._own_sampler:
            options["support"] = self.support
            if self.model.depth > 0 and shares_prefix(self.model.policy):
                options["boundary"] = self.model.depth
        models: list[Any] = [self.model.policy]
        if masking is not None:
            options["masking"] = masking
            models.append(masking.model)
        with self.autocast(), frozen_weights_cast(*models):
            generation = self.sampler.generate(prompts, n, params, seeds, **options)
        if not self._own_sampler:
            self._check_ends(generation)
        return generation

    def _check_ends(self, generation: Generation) -> None:
        """Raise `ModelError` where a sampler let a completion end early, which has no probability then."""
        early = slice(None, self.support.min_new_tokens)
        ends = torch.tensor(self.support.eos_token_ids, device=generation.completion_ids.device)
        if (torch.isin(generation.completion_ids[:, early], ends) & generation.completion_mask[:, early]).any():
            raise ModelError(
                f"A {type(self.sampler).__name__} drew EOS among the first {self.args.min_new_tokens} tokens; it must "
                "keep to min_new_tokens, or set min_new_tokens=0."
            )

    def collect(self, rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> tuple[RolloutTensors, ScoredBatch]:
        """Sample and score the prompts of `rows` and return what the updates need."""
        scored = self.sample_and_score(rows, seeds, masking=self.masking)
        mask = scored.completion_mask
        scores = self.shape(scored, self.tally)
        rewards = shaped_token_rewards(scores, scored.kl, mask, self.args, self.state, self.reduce)
        advantages, returns = self._advantages(scored, rewards)
        update_entropy_coef(scored.entropy, mask, self.args, self.state, self.reduce)
        self._record(scored, scores, rewards, returns)
        update_kl_coef(scored.log_ratio.sum(-1), self.args, self.state, self.reduce)
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

    def shape(
        self, scored: ScoredBatch, tally: Tally, *, training: bool = True, count: int | None = None
    ) -> torch.Tensor:
        """Return the scores that are maximised, (B,) float32, and add figures of groups to the `objective/…` means.

        Args:
            scored: completions.
            tally: where figures go.
            training: the scores count in the deviation that `scale_scores` divides by.
            count: completions whose figures count, by default all.
        """
        found = shape_scores(
            scored.scores,
            scored.ended,
            scored.completion_mask.sum(-1),
            self.args,
            self.state,
            self.reduce,
            regroup=None if self.hooks.group_reward is None else partial(self._regroup, scored, tally, count),
            count=training,
        )
        if self.hooks.shape_reward is not None:
            found = self._ask(self.hooks.shape_reward, scored, found, self._shaping(scored))
        if self.args.samples_per_prompt > 1:
            record_groups(tally, scored.texts[:count], found[:count].view(-1, self.args.samples_per_prompt))
        return found

    def _regroup(self, scored: ScoredBatch, tally: Tally, count: int | None, scores: torch.Tensor) -> torch.Tensor:
        assert self.hooks.group_reward is not None
        columns = scored.grouped_columns(self.args.samples_per_prompt)
        found = self._ask(self.hooks.group_reward, scored, scores, columns)
        tally.add("objective/group_rewards", found[:count])
        return found

    def _shaping(self, scored: ScoredBatch) -> dict[str, Any]:
        """Return what `shape_reward` gets beside prompts, completions and rewards; sums over tokens, (G, n)."""
        both, mask = (scored.logprobs, scored.ref_logprobs), scored.completion_mask
        sums = [(each * mask).sum(-1).view(-1, self.args.samples_per_prompt).cpu() for each in both]
        return dict(zip(SHAPING, (*sums, self.state.kl_coef), strict=True))

    def _ask(
        self, hook: GroupReward, scored: ScoredBatch, scores: torch.Tensor, columns: Mapping[str, Any]
    ) -> torch.Tensor:
        n = self.args.samples_per_prompt
        return hook.rewards(scored.prompts[::n], in_groups(scored.texts, n), scores.view(-1, n), columns).flatten()

    def _advantages(self, scored: ScoredBatch, rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the advantages of all tokens, and with a critic what it is to predict, (B, T) float32 each."""
        mask, args = scored.completion_mask, self.args
        if self.hooks.estimate is not None:
            texts = in_groups(scored.texts, args.samples_per_prompt)
            found = spread_over_tokens(rewards.sum(-1), texts, self.hooks.estimate, mask)
            return whiten(found, mask, reduce=self.reduce) if args.whiten_advantages else found, None
        assert scored.values is not None
        advantages, returns = generalised_advantages(rewards, scored.values, mask, gamma=args.gamma, lam=args.lam)
        if args.whiten_advantages is not False:
            advantages = whiten(advantages, mask, reduce=self.reduce)
        return advantages, returns

    def _record(
        self, scored: ScoredBatch, scores: torch.Tensor, rewards: torch.Tensor, returns: torch.Tensor | None
    ) -> None:
        mask = scored.completion_mask
        record_objective(self.tally, scored)
        self.tally.add("objective/shaped_scores", scores)
        self.tally.add("objective/rlhf_reward", rewards.sum(-1))
        self.tally.add("objective/kl_coef", torch.full((), self.state.kl_coef, device=mask.device))
        if self.args.entropy_target is not None:
            self.tally.add("objective/entropy_coef", torch.full((), self.state.entropy_coef, device=mask.device))
        if returns is None or scored.values is None:
            return
        _, residual = masked_moments(returns - scored.values, mask, reduce=self.reduce)
        _, variance = masked_moments(returns, mask, reduce=self.reduce)
        self.tally.add("value/explained_variance", 1 - residual / variance.clamp(min=1e-12))


def record_objective(tally: Tally, scored: ScoredBatch, count: int | None = None) -> None:
    """Add what was found of the first `count` completions, by default of all, to the `objective/…` means."""
    mask = scored.completion_mask[:count]
    tally.add("objective/scores", scored.scores[:count])
    tally.add("objective/kl", scored.log_ratio[:count].sum(-1))
    tally.add("objective/entropy", scored.entropy[:count], mask)
    tally.add("objective/completion_length", mask.sum(-1))
    tally.add("objective/ended", scored.ended[:count])


def record_groups(tally: Tally, texts: Sequence[str], rewards: torch.Tensor) -> None:
    """Add how alike the completions of a prompt are to the `objective/…` means.

    Args:
        tally: where figures go.
        texts: of the completions, G · n.
        rewards: (G, n) float, what is maximised.
    """
    tally.add("objective/equal_groups", (rewards == rewards[:, :1]).all(-1).float())
    groups = in_groups(texts, rewards.shape[1])
    counts = [Counter(group).values() for group in groups]
    tally.add("objective/distinct_completions", torch.tensor([float(len(each)) for each in counts]))
    shares = [[count / rewards.shape[1] for count in each] for each in counts]
    entropies = [-sum(share * math.log(share) for share in each) for each in shares]
    tally.add("objective/completion_entropy", torch.tensor(entropies))
