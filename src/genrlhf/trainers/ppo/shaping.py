"""From the scores of completions to the rewards of their tokens and the advantages that these give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.ops import (
    adaptive_entropy_coef,
    adaptive_kl_coef,
    generalised_advantages,
    masked_moments,
    token_rewards,
    whiten,
    widened,
)
from genrlhf.trainers.ppo.advantage import samples_read, spread_over_tokens
from genrlhf.trainers.ppo.figures import record_groups
from genrlhf.trainers.ppo.hooks import SHAPING
from genrlhf.trainers.ppo.records import ScoredBatch, in_groups, token_lists

if TYPE_CHECKING:
    from genrlhf.rewards.groups import GroupReward
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.hooks import Hooks
    from genrlhf.trainers.ppo.state import PPOState
    from genrlhf.trainers.tally import Reduce, Tally

__all__ = ["Shaping"]


@dataclass(frozen=True)
class Shaping:
    """Makes of scored completions what a policy is updated by.

    Attributes:
        args: the settings.
        state: the moments of all scores so far, and the coefficients of KL and entropy.
        hooks: what a method hands to the loop.
        reduce: sums a tensor over processes.
    """

    args: PPOConfig
    state: PPOState
    hooks: Hooks
    reduce: Reduce

    def scores(
        self, scored: ScoredBatch, tally: Tally, *, training: bool = True, count: int | None = None
    ) -> torch.Tensor:
        """Return the scores that are maximised, (B,) float32, and add figures of groups to the `objective/…` means.

        In this order: division by the deviation of all scores so far, clipping, the rule for completions that were cut
        off, the reward of the group, the length penalty, `shape_reward`.

        Args:
            scored: completions.
            tally: where figures go.
            training: the scores count in the deviation that `scale_scores` divides by.
            count: completions whose figures count, by default all.
        """
        found, args = scored.scores, self.args
        if args.scale_scores:
            if training:
                self._remember(found)
            found = found / self.state.score_std
        if args.clip_scores is not None:
            found = found.clamp(-args.clip_scores, args.clip_scores)
        found = args.cut_off_rule.apply(found, scored.ended)
        if self.hooks.group_reward is not None:
            found = self._ask(self.hooks.group_reward, scored, found, scored.grouped_columns(args.samples_per_prompt))
            tally.add("objective/group_rewards", found[:count])
        found = found - args.length_penalty * scored.completion_mask.sum(-1)
        if self.hooks.shape_reward is not None:
            found = self._ask(self.hooks.shape_reward, scored, found, self._shaping(scored))
        if args.samples_per_prompt > 1:
            record_groups(tally, scored.texts[:count], found[:count].view(-1, args.samples_per_prompt))
        return found

    def _remember(self, scores: torch.Tensor) -> None:
        everything = torch.ones_like(scores, dtype=torch.bool)
        count = float(self.reduce(widened(everything.sum())))
        mean, variance = masked_moments(scores, everything, reduce=self.reduce)
        self.state.add_scores(count, float(mean), float(variance) * max(count - 1, 0))

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

    def token_rewards(self, scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the rewards of tokens, (B, T) float32: see `token_rewards`; whitened if the settings say so.

        Args:
            scores: (B,) float32, shaped.
            kl: (B, T) float32.
            mask: (B, T) bool.
        """
        coef = 0.0 if self.args.kl_in_loss else self.state.kl_coef
        rewards = token_rewards(scores, kl, mask, kl_coef=coef)
        return whiten(rewards, mask, shift_mean=False, reduce=self.reduce) if self.args.whiten_rewards else rewards

    def advantages(self, scored: ScoredBatch, rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the advantages of all tokens, and with a critic what it is to predict, (B, T) float32 each.

        Args:
            scored: completions.
            rewards: (B, T) float32, of their tokens.
        """
        mask, args = scored.completion_mask, self.args
        if self.hooks.estimate is not None:
            n = args.samples_per_prompt
            # Tokens and `ended` wait for a GPU: they are read where somebody wants them.
            read: dict[str, Callable[[], Sequence[Any]]] = {
                "completions": lambda: scored.texts,
                "completion_ids": lambda: token_lists(scored),
                "ended": scored.ended.tolist,
            }
            samples = {name: in_groups(read[name](), n) for name in samples_read(self.hooks.estimate)}
            found = spread_over_tokens(rewards.sum(-1), n, self.hooks.estimate, mask, samples)
            return whiten(found, mask, reduce=self.reduce) if args.whiten_advantages else found, None
        assert scored.values is not None
        advantages, returns = generalised_advantages(rewards, scored.values, mask, gamma=args.gamma, lam=args.lam)
        if args.whiten_advantages is not False:
            advantages = whiten(advantages, mask, reduce=self.reduce)
        return advantages, returns

    def update_kl_coef(self, log_ratios: torch.Tensor) -> None:
        """Move an adaptive KL coefficient after a rollout, given log π − log π_ref of whole completions, (B,)."""
        target = self.args.kl_target
        if target is None:
            return
        sums = torch.stack([widened(log_ratios).sum(), widened(torch.ones_like(log_ratios)).sum()])
        total, count = self.reduce(sums).tolist()
        options = {"target": target, "horizon": self.args.kl_horizon}
        self.state.kl_coef = adaptive_kl_coef(self.state.kl_coef, total / count, num_samples=int(count), **options)

    def update_entropy_coef(self, entropy: torch.Tensor, mask: torch.Tensor) -> None:
        """Move an adaptive weight of the entropy bonus after a rollout, for its updates.

        Args:
            entropy: (B, T) float32, of the distribution that tokens were drawn from, in nats.
            mask: (B, T) bool.
        """
        target = self.args.entropy_target
        if target is None:
            return
        total, count = self.reduce(torch.stack([widened(entropy * mask).sum(), widened(mask.sum())])).tolist()
        options = {"target": target, "step": self.args.entropy_step}
        self.state.entropy_coef = adaptive_entropy_coef(self.state.entropy_coef, total / count, **options)
