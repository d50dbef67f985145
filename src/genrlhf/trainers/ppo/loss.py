"""The loss of PPO on one micro-batch, and the figures that go with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.ops import ClippedLoss, clipped_policy_loss, clipped_value_loss, kl_estimate, widened

if TYPE_CHECKING:
    from genrlhf.models.policy import CompletionOutput
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.records import MicroBatch
    from genrlhf.trainers.ppo.report import RunHealth
    from genrlhf.trainers.ppo.state import PPOState
    from genrlhf.trainers.tally import Tally

__all__ = ["PPOLoss", "loss_items"]


@dataclass
class PPOLoss:
    """Clipped policy loss, value loss, and where they are asked for KL and entropy, per token.

    Attributes:
        args: the settings.
        state: holds the coefficients of KL and entropy.
        tally: where figures go.
        health: looks at the ratios of the first update of a rollout.
        function: of the policy, in place of the clipped surrogate, see `checked_policy_loss`.
        first_update: whether this is one.
        update_kl: (2,), the KL from the policy that sampled, summed over tokens, and their number; since it was last
            set to 0, on this process.
    """

    args: PPOConfig
    state: PPOState
    tally: Tally
    health: RunHealth
    function: Callable[..., ClippedLoss] | None = None
    first_update: bool = False

    def __post_init__(self) -> None:
        self.update_kl = torch.zeros(2)
        self._first_deviation: torch.Tensor | None = None

    def __call__(self, output: CompletionOutput, batch: MicroBatch) -> torch.Tensor:
        """Return the loss of every token, (B, T) float32.

        Args:
            output: what the policy says now.
            batch: of a rollout, see `minibatch`.
        """
        args = self.args
        given = output.logprobs, batch.logprobs, batch.advantages
        if self.function is None:
            low, high = args.clip_range, args.clip_range_high
            policy = clipped_policy_loss(*given, clip_range=low, clip_range_high=high)
        else:
            policy = self.function(*given, batch.completion_mask)
        value, loss = self._value_loss(output, batch), policy.loss
        if value is not None:
            loss = loss + args.vf_coef * value.loss
        if args.kl_in_loss:
            estimator: Any = args.kl_estimator
            loss = loss + self.state.kl_coef * kl_estimate(output.compared_logprobs, batch.ref_logprobs, estimator)
        if output.entropy is not None:
            loss = loss - self.state.entropy_coef * output.entropy
            self.tally.add("policy/entropy", output.entropy, batch.completion_mask)
        self._watch(policy, value, (output.logprobs - batch.logprobs).detach(), batch.completion_mask)
        return loss

    def _value_loss(self, output: CompletionOutput, batch: MicroBatch) -> ClippedLoss | None:
        """Return the loss of the critic, None without one."""
        if output.values is None or batch.values is None or batch.returns is None:
            return None
        return clipped_value_loss(output.values, batch.values, batch.returns, clip_range=self.args.value_clip_range)

    def _watch(
        self, policy: ClippedLoss, value: ClippedLoss | None, log_ratio: torch.Tensor, mask: torch.Tensor
    ) -> None:
        approx_kl = torch.expm1(log_ratio) - log_ratio
        figures = [
            ("policy/loss", policy.loss),
            ("policy/clip_fraction", policy.clipped),
            ("policy/approx_kl", approx_kl),
            ("policy/ratio", log_ratio.exp()),
        ]
        if value is not None:
            figures += [("value/loss", value.loss), ("value/clip_fraction", value.clipped)]
        for name, figure in figures:
            self.tally.add(name, figure, mask)
        moved = torch.stack([widened(torch.where(mask, approx_kl, 0.0)).sum(), widened(mask.sum())])
        self.update_kl = self.update_kl.to(moved) + moved
        if self.first_update:
            largest = torch.where(mask, torch.expm1(log_ratio).abs(), 0.0).max()
            before = self._first_deviation
            self._first_deviation = largest if before is None else torch.maximum(before, largest)

    def judge_first_ratios(self) -> None:
        """Warn where the first update of a rollout has seen ratios other than 1 since the last time.

        Called where figures are logged: to look at every update would make the host wait for it.
        """
        if self._first_deviation is not None:
            self.health.first_ratio(float(self._first_deviation))
            self._first_deviation = None


def loss_items(mask: torch.Tensor, args: PPOConfig) -> torch.Tensor:
    """Return what the loss of some completions is divided by, an int64 scalar, see `PPOConfig.loss_mean`.

    Args:
        mask: (B, T) bool.
        args: the settings.
    """
    if args.loss_mean == "token":
        return mask.sum()
    per_completion = 1 if args.loss_mean == "sequence" else args.max_new_tokens
    return torch.tensor(len(mask) * per_completion, device=mask.device)
