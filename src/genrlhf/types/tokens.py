"""Prompts and completions as token ids, and what goes with them.

Masks are boolean, True where a position counts. Shapes, here and wherever sequences are meant::

    B    completions of a batch; the n samples of a prompt lie side by side
    P    tokens of the longest prompt; prompts are left-padded
    T    tokens of the longest completion; completions are right-padded
    V    tokens of the vocabulary; ⌈V / 8⌉ bytes hold a set of them, see `genrlhf.ops.token_sets.pack_bits`
    d    width of a hidden state
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from typing_extensions import Self

__all__ = ["WHOLE_VOCABULARY", "Generation", "MaskingPolicy", "Support", "TokenBatch", "Tokens", "TrunkStates"]


@dataclass(frozen=True)
class Support:
    """Which tokens a log-probability of a completion ranges over, where these are not the whole vocabulary.

    Both distributions of a comparison are renormalised over the same tokens: p(a) = π(a) / Σ_{b in the set} π(b).

    Attributes:
        eos_token_ids: what cannot be drawn at the first `min_new_tokens` places.
        min_new_tokens: 0 leaves it in.
        filtered: the tokens that top-k, top-p, min-p and a masking policy left, as `Generation.allowed` has them, count
            in the comparison with the reference too; otherwise a masking policy's count in ratios only, and those of
            the filters nowhere.
    """

    eos_token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    filtered: bool = False


WHOLE_VOCABULARY = Support()


class Tokens(NamedTuple):
    """Ids and masks of B prompts and of their completions.

    Attributes:
        prompt_ids: (B, P) int64, left-padded.
        prompt_mask: (B, P) bool.
        completion_ids: (B, T) int64, right-padded.
        completion_mask: (B, T) bool; counts every sampled token up to and including the first EOS.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    completion_ids: torch.Tensor
    completion_mask: torch.Tensor

    def at(self, rows: slice | torch.Tensor) -> Tokens:
        """Return those of some of the completions."""
        return Tokens(*(each[rows] for each in self))

    def joined(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask of whole texts, (B, P + T) each."""
        import torch  # which is heavy, and whoever only names records needs none of it

        ids = torch.cat([self.prompt_ids, self.completion_ids], dim=1)
        return ids, torch.cat([self.prompt_mask, self.completion_mask], dim=1)


@dataclass(frozen=True)
class TokenBatch:
    """Prompts and completions as token ids, and what goes with them in classes of this one; fields as of `Tokens`."""

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    completion_ids: torch.Tensor
    completion_mask: torch.Tensor

    @property
    def tokens(self) -> Tokens:
        """Ids and masks alone."""
        return Tokens(self.prompt_ids, self.prompt_mask, self.completion_ids, self.completion_mask)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The fields that are tensors, those that are None left out."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in found.items() if hasattr(value, "dtype")}

    def to(self, device: Any) -> Self:
        """Return the same with every tensor on `device`."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Generation(TokenBatch):
    """Completions of a batch of prompts, as they were drawn.

    Attributes:
        ended: (B,) bool; True where the completion ends in EOS or a stop string.
        logprobs: (B, T) float32, see `Sample.logprobs`, 0 behind the end; None if they were not asked for, and so are
            the next two. With `allowed` or a `Support`, those of the distribution renormalised over its tokens.
        entropy: (B, T) float32, in nats, of the distribution that `logprobs` are taken under.
        last_hidden: (B, T, d), what the language-model head read each token's logits from; None where the back end does
            not see it.
        trunk: what the layers up to a boundary made of prompts and completions; None if it was not asked for.
        allowed: (B, T, ⌈V / 8⌉) uint8, the tokens that could be drawn: those that a masking policy let through and,
            with `Support.filtered`, the filters; all of them behind the end. None where there was neither.
        unmasked_logprobs: (B, T) float32, what `logprobs` would be without a masking policy; None without one, and with
            `Support.filtered`.
    """

    ended: torch.Tensor
    logprobs: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    last_hidden: torch.Tensor | None = None
    trunk: TrunkStates | None = None
    allowed: torch.Tensor | None = None
    unmasked_logprobs: torch.Tensor | None = None


@dataclass(frozen=True)
class TrunkStates:
    """Hidden states that enter one layer of a model, the same for all models that share the layers before it.

    Attributes:
        prompt: (B / n, P, d), of every prompt once, whatever the number of its samples.
        completion: (B, T, d), of every sampled token, the last one included; undefined behind a completion's end.
        closing: (B, d), of an EOS put behind completions that were cut off at `max_new_tokens`; None if it was put
            behind none of them.
        closed: (B,) bool, where `closing` is defined: not behind completions that ended, nor where the model's context
            had no room for one token more, which may differ from one decoded batch to the next.
    """

    prompt: torch.Tensor
    completion: torch.Tensor
    closing: torch.Tensor | None
    closed: torch.Tensor


@dataclass(frozen=True)
class MaskingPolicy:
    """A model whose nucleus limits what another one draws (Ramamurthy et al. 2022, NLPO).

    Attributes:
        model: a causal language model with the vocabulary of the one that draws.
        top_p: probability of its nucleus, at the sampling temperature.
    """

    model: PreTrainedModel
    top_p: float
