"""The forward pass that scores sampled completions token by token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

from genrlhf.models.families import forward_arguments, reads_left_padding
from genrlhf.models.freezing import inner_model
from genrlhf.models.packing import PackedText, Tokens, reads_packed
from genrlhf.models.trunk import at_last_positions, top_of
from genrlhf.ops import EarlyTokens, chosen_logprobs, only_members, token_entropy
from genrlhf.types import WHOLE_VOCABULARY, Support

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.models.heads import ScalarHead

__all__ = [
    "CompletionOutput",
    "PolicyWithValue",
    "Trunk",
    "classifier_scores",
    "completion_logits",
    "context_length",
]

ROWS_OF_LIKE_LENGTH = 32
"""Texts that go through a model at a time on a processor, which is as fast with these as with more."""


class Trunk(NamedTuple):
    """What the first layers of a model make of prompts and completions.

    Attributes:
        depth: the number of those layers.
        states: (B, P + T, d).
    """

    depth: int
    states: torch.Tensor


class CompletionOutput(NamedTuple):
    """What a policy says of sampled completions.

    Attributes:
        logprobs: (B, T) float32, of the sampled tokens, under the distribution that they were drawn from.
        values: (B, T) float32, predicted before each token; None without a critic.
        entropy: (B, T) float32, of the distribution they were drawn from; None while training without a bonus for it.
        unmasked_logprobs: (B, T) float32, what is compared with the reference; None where that is `logprobs`.
    """

    logprobs: torch.Tensor
    values: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    unmasked_logprobs: torch.Tensor | None = None


def context_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens fit the model's positions, None where its config sets no limit.

    RoBERTa and its relatives count positions from behind the padding index, which is 1 in all that are published: 514
    positions are 512 tokens.
    """
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    table = getattr(getattr(inner_model(model).base_model, "embeddings", None), "position_embeddings", None)
    before = getattr(table, "padding_idx", None)
    return int(length) - (0 if before is None else max(2, before + 1)) if length and length > 0 else None


def completion_logits(
    model: PreTrainedModel,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    *,
    trunk: Trunk | None = None,
    groups: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits that predict every completion token, and the hidden states they are read from.

    Only response positions go through the language-model head. Prompts that several completions share are computed
    once, where the model can. On a processor other texts of like length go through the model together, so that little
    padding does. Logits behind the end of a completion mean nothing.

    Args:
        model: a causal language model, in or out of a PEFT wrapper.
        prompt_ids: (B, P) int64, left-padded.
        prompt_mask: (B, P) bool.
        completion_ids: (B, T) int64, right-padded.
        completion_mask: (B, T) bool.
        trunk: what the model's first layers make of the tokens, if that is known.
        groups: of each of the B completions the number of its prompt, the same for those that share one; None for
            prompts that are not shared.

    Returns:
        logits, (B, T, V), and hidden states, (B, T, d), in the model's dtype.
    """
    tokens = (prompt_ids, prompt_mask, completion_ids, completion_mask)
    length = completion_ids.shape[1]
    if groups is not None and len(set(groups)) < len(groups) and not _is_sharded(model):
        text = PackedText.of(model, tokens, groups)
        if text is not None and reads_packed(model, partial(_passes, model)):
            return _packed_logits(model, text, length, trunk)
    # Elsewhere the host would have to wait for the lengths.
    if trunk is None and prompt_ids.device.type == "cpu" and reads_left_padding(model) and not _is_sharded(model):
        return _logits_by_length(model, *tokens)
    view = model if trunk is None else top_of(model, *trunk, last=length + 1)
    return _head_logits(model, view, _Text.of(model, *tokens), length)


def _is_sharded(model: Any) -> bool:
    return isinstance(inner_model(model), (FSDPModule, FullyShardedDataParallel))


def _packed_logits(
    model: Any, text: PackedText, length: int, trunk: Trunk | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `completion_logits` does, from prompts with all of their completions behind them."""
    if trunk is None:
        view = at_last_positions(model, text.last)
    else:
        view = top_of(model, trunk.depth, text.states(trunk.states), last=text.last)
    return _head_logits(model, view, text, length)


def _passes(model: Any, tokens: Tokens, groups: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of completions behind prompts that they share and in whole texts, see `reads_packed`."""
    text = PackedText.of(model, tokens, groups, always=True)
    assert text is not None
    return _packed_logits(model, text, tokens[2].shape[1])[0], completion_logits(model, *tokens)[0]


def _logits_by_length(
    model: PreTrainedModel,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `completion_logits` does, from passes over rows of like length without the padding between them."""
    order = (prompt_mask.sum(-1) + completion_mask.sum(-1)).argsort(stable=True)
    found = []
    for rows in order.split(ROWS_OF_LIKE_LENGTH):
        text = _Text.packed(model, prompt_ids[rows], prompt_mask[rows], completion_ids[rows], completion_mask[rows])
        length = max(1, int(completion_mask[rows].sum(-1).max()))
        part = _head_logits(model, at_last_positions(model, length + 1), text, length)
        found.append([nn.functional.pad(each, (0, 0, 0, completion_ids.shape[1] - length)) for each in part])
    back = order.argsort()
    logits, hidden = (torch.cat(parts)[back] for parts in zip(*found, strict=True))
    return logits, hidden


def _head_logits(model: Any, view: Any, text: _Text | PackedText, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits that predict `length` tokens behind the prompts, and what they are read from, see there.

    Args:
        model: a causal language model.
        view: what is run of it, see `top_of`.
        text: what it is run on.
        length: T.
    """
    captured: list[torch.Tensor] = []

    # The input of the head is the last hidden state in every family, whatever norm or projection comes before it. Cut
    # here, no logit is made in vain, nor a gradient of 0 for it; not contiguous, it would be multiplied row by row.
    def capture(_module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        captured.append(text.after_prompt(args[0], length).contiguous())
        return (captured[0],)

    handle = inner_model(model).get_output_embeddings().register_forward_pre_hook(capture)
    try:
        output = view(**text.arguments)
    finally:
        handle.remove()
    return output.logits, captured[0]


def classifier_scores(
    model: PreTrainedModel,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    *,
    trunk: Trunk | None = None,
) -> torch.Tensor:
    """Return the score that a sequence classifier reads at the last prompt token and every completion token.

    Args:
        model: a sequence classifier with one label and a head called `score`.
        prompt_ids: (B, P) int64, left-padded.
        prompt_mask: (B, P) bool.
        completion_ids: (B, T) int64, right-padded.
        completion_mask: (B, T) bool.
        trunk: what the model's first layers make of the tokens, if that is known.

    Returns:
        (B, T + 1) float32.
    """
    last = completion_ids.shape[1] + 1
    view: Any = model if trunk is None else top_of(model, *trunk, last=last)
    text = _Text.of(view.base_model, prompt_ids, prompt_mask, completion_ids, completion_mask)
    hidden = text.after_prompt(view.base_model(**text.arguments).last_hidden_state, last)
    scores: torch.Tensor = view.score(hidden).squeeze(-1).float()
    return scores


class _Text(NamedTuple):
    """Prompts and completions as one text each, and where the completions begin.

    Attributes:
        arguments: of the model's forward pass.
        back: how far from the end of the tensor the last prompt tokens stand, a number or (B, 1).
    """

    arguments: dict[str, Any]
    back: int | torch.Tensor

    @classmethod
    def of(
        cls,
        model: nn.Module,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        completion_ids: torch.Tensor,
        completion_mask: torch.Tensor,
    ) -> _Text:
        """Join prompts and completions for a model that may or may not read left-padded text."""
        ids = torch.cat([prompt_ids, completion_ids], dim=1)
        mask = torch.cat([prompt_mask, completion_mask], dim=1)
        back = completion_ids.shape[1] + 1
        if reads_left_padding(model):
            return cls(forward_arguments(model, ids, mask), back)
        # With all padding on the right nothing depends on what a causal model makes of it, nor on how it counts.
        padding = (~prompt_mask).sum(-1, keepdim=True)
        places = torch.arange(ids.shape[1], device=ids.device) + padding
        inside = places < ids.shape[1]
        places = places.clamp(max=ids.shape[1] - 1)
        ids, mask = ids.gather(1, places), mask.gather(1, places) & inside
        return cls(forward_arguments(model, ids, mask, positions=False), back + padding)

    @classmethod
    def packed(
        cls,
        model: nn.Module,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        completion_ids: torch.Tensor,
        completion_mask: torch.Tensor,
    ) -> _Text:
        """Join them without a gap, with all padding on the left, as wide as the longest text."""
        ids = torch.cat([prompt_ids, completion_ids], dim=1)
        mask = torch.cat([prompt_mask, completion_mask], dim=1)
        places = mask.int().argsort(dim=-1, stable=True)[:, -max(1, int(mask.sum(-1).max())) :]
        return cls(
            forward_arguments(model, ids.gather(1, places), mask.gather(1, places)),
            completion_mask.sum(-1, keepdim=True) + 1,
        )

    def after_prompt(self, hidden: torch.Tensor, count: int) -> torch.Tensor:
        """Return (B, count, d) of hidden states (B, L, d): of the last prompt token and what follows it."""
        # From the end, as some adapters put states of their own before the text.
        if isinstance(self.back, int):
            return hidden[:, -self.back :][:, :count]
        places = hidden.shape[1] - self.back + torch.arange(count, device=hidden.device)
        # Behind the end of a completion anything will do.
        places = places.clamp(max=hidden.shape[1] - 1)
        return hidden.gather(1, places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


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
        tokens = (prompt_ids, prompt_mask, completion_ids, completion_mask)
        if states is not None and self.is_gradient_checkpointing and torch.is_grad_enabled():
            # Reentrant checkpointing gives weights no gradient where nothing that enters their layer has one.
            states = states.detach().requires_grad_()
        trunk = None if states is None else Trunk(self.depth, states)
        logits, hidden = completion_logits(self.policy, *tokens, trunk=trunk, groups=groups)
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

    def values(
        self,
        tokens: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
        hidden: torch.Tensor,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Return the values before every completion token, (B, T) float32; None without a critic.

        Args:
            tokens: ids and mask of prompts, ids and mask of completions.
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
        values = classifier_scores(self.value_model, *tokens, trunk=trunk)[:, :-1]
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
        return bool(getattr(self.policy, "is_gradient_checkpointing", False))

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
