"""A policy and what predicts its values, as one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from genrlhf.models.completions import classifier_scores, completion_logits
from genrlhf.models.structure import inner_model
from genrlhf.models.trunk import Trunk
from genrlhf.ops import EarlyTokens, chosen_logprobs, only_members, token_entropy
from genrlhf.types import WHOLE_VOCABULARY, Support, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.models.heads import ScalarHead

__all__ = ["CompletionOutput", "PolicyWithValue"]


class CompletionOutput(NamedTuple):
    """What a policy says of sampled completions, each (B, T) float32.

    Attributes:
        logprobs: of the sampled tokens, under the distribution that they were drawn from.
        values: predicted before each token; None without a critic.
        entropy: of the distribution they were drawn from; None while training without a bonus for it.
        unmasked_logprobs: what they would be without a masking policy, which is what the KL takes; None where it takes
            `logprobs`.
    """

    logprobs: torch.Tensor
    values: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    unmasked_logprobs: torch.Tensor | None = None

    @property
    def compared_logprobs(self) -> torch.Tensor:
        """What the KL takes, see `Support`."""
        return self.logprobs if self.unmasked_logprobs is None else self.unmasked_logprobs


class PolicyWithValue(nn.Module):
    """A policy and what predicts its values, trained together.

    One module with one forward pass, so that wrappers for distributed training see every parameter.

    Args:
        policy: a causal language model, in or out of a PEFT wrapper.
        value_head: maps hidden states (B, T, d) of the policy to values (B, T); None with a value model.
        value_model: a sequence classifier, see `classifier_scores`; None with a value head. Without either there is no
            critic, and there are no values.
        temperature: the one that completions are sampled at; log-probabilities are taken at it.
        depth: layers of the trunk that policy and value model share; 0 for none.
        value_depth: the same for the value model, 0 where it has a trunk of its own.
        entropy_bonus: the entropy takes part in the loss.
        support: the tokens that log-probabilities range over.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        value_head: ScalarHead | None,
        *,
        value_model: PreTrainedModel | None = None,
        temperature: float,
        depth: int = 0,
        value_depth: int = 0,
        entropy_bonus: bool = False,
        support: Support = WHOLE_VOCABULARY,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.value_head = value_head
        self.value_model = value_model
        self.temperature = temperature
        self.depth = depth
        self.value_depth = value_depth
        self.entropy_bonus = entropy_bonus
        self.support = support

    def forward(
        self,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        completion_ids: torch.Tensor,
        completion_mask: torch.Tensor,
        states: torch.Tensor | None = None,
        allowed: torch.Tensor | None = None,
        groups: Sequence[int] | None = None,
    ) -> CompletionOutput:
        """Score completions.

        Args:
            prompt_ids: (B, P) int64, left-padded.
            prompt_mask: (B, P) bool.
            completion_ids: (B, T) int64, right-padded.
            completion_mask: (B, T) bool.
            states: (B, P + T, d), what the trunk makes of them; None computes it.
            allowed: (B, T, ⌈V / 8⌉) uint8, the tokens that could be drawn, see `pack_bits`; None for all of them.
            groups: which completions share a prompt that is to be computed once, see `completion_logits`.
        """
        tokens = Tokens(prompt_ids, prompt_mask, completion_ids, completion_mask)
        if states is not None and self.is_gradient_checkpointing and torch.is_grad_enabled():
            # Reentrant checkpointing gives weights no gradient where nothing that enters their layer has one.
            states = states.detach().requires_grad_()
        trunk = None if states is None else Trunk(self.depth, states)
        logits, hidden = completion_logits(self.policy, tokens, trunk=trunk, groups=groups)
        options: dict[str, Any] = {
            "temperature": self.temperature,
            "early": EarlyTokens(self.support.eos_token_ids, self.support.min_new_tokens),
        }
        unmasked = None
        if allowed is not None:
            if not self.support.filtered:
                unmasked = chosen_logprobs(logits, completion_ids, **options)
            logits = only_members(logits, allowed)
        logprobs = chosen_logprobs(logits, completion_ids, **options)
        entropy = None
        if self.entropy_bonus or not torch.is_grad_enabled():
            entropy = token_entropy(logits, **options)
        return CompletionOutput(logprobs, self.values(tokens, hidden, states), entropy, unmasked)

    def values(self, tokens: Tokens, hidden: torch.Tensor, states: torch.Tensor | None = None) -> torch.Tensor | None:
        """Return the values before every completion token, (B, T) float32; None without a critic.

        Args:
            tokens: of prompts and completions.
            hidden: (B, T, d), what the policy's language-model head reads.
            states: as in `forward`.
        """
        values: torch.Tensor
        if self.value_head is not None:
            values = self.value_head(hidden)
            return values
        if self.value_model is None:
            return None
        trunk = Trunk(self.value_depth, states) if states is not None and self.value_depth else None
        values = classifier_scores(self.value_model, tokens, trunk=trunk)[:, :-1]
        config: Any = self.value_model.config
        return values * getattr(config, "genrlhf_reward_gain", 1.0) + getattr(config, "genrlhf_reward_bias", 0.0)

    @property
    def _no_split_modules(self) -> Any:
        """The layers of the policy, which FSDP shards one by one."""
        return getattr(inner_model(self.policy), "_no_split_modules", None)

    def enter_forward(self) -> None:
        """Do nothing; stands in for a forward pass where one is wanted for its hooks, see `genrlhf.models.gather`."""

    @property
    def config(self) -> Any:
        """The policy's config, which `transformers.Trainer` looks for on the model."""
        return self.policy.config

    @property
    def device(self) -> torch.device:
        """The device of the policy."""
        device: torch.device = next(self.policy.parameters()).device
        return device

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether the policy recomputes activations in the backward pass."""
        known = getattr(self.policy, "is_activation_checkpointing", None)
        # Its former name, which warns on stderr where there is the other.
        return bool(getattr(self.policy, "is_gradient_checkpointing", False) if known is None else known)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Switch on recomputation of activations in the backward pass."""
        for model in (self.policy, self.value_model):
            if model is not None:
                model.gradient_checkpointing_enable(**options)

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Do the same, under the name that newer versions of transformers call it by."""
        for model in (self.policy, self.value_model):
            if model is not None:
                model.activation_checkpointing_enable(**options)
