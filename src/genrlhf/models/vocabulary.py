"""Whether token ids mean the same to two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError, excerpt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["check_same_vocabulary"]


def check_same_vocabulary(
    role: str, model: Any, own: PreTrainedTokenizerBase | None, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raise unless a model that is to read the policy's token ids reads them as the policy does.

    The pad token may be another, since it is masked. Tokens that only the model's own tokenizer has do no harm.

    Args:
        role: of the model, for messages, such as "The value model".
        model: reads the policy's ids.
        own: its tokenizer; None where it is not known, and only numbers can be compared.
        tokenizer: of the policy.

    Raises:
        ConfigError: naming both vocabularies.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    label = f"{role} ({getattr(model.config, '_name_or_path', '') or type(model).__name__})"
    policy = f"the policy's tokenizer ({tokenizer.name_or_path or type(tokenizer).__name__})"
    remedy = "Token ids mean nothing across tokenizers: give a model with the policy's vocabulary"
    vocabulary = tokenizer.get_vocab()
    by_index = sorted(vocabulary.items(), key=lambda item: item[1])
    read = {token: index for token, index in by_index if index != tokenizer.pad_token_id}
    largest = max((*read.values(), tokenizer.pad_token_id or 0))
    if largest >= rows:
        raise ConfigError(
            f"{label} has embeddings for {rows} tokens, but {policy} has {len(vocabulary)}, with ids up to {largest}. "
            f"{remedy}."
        )
    if own is None:
        return
    theirs = own.get_vocab()
    other = next((token for token, index in read.items() if theirs.get(token) != index), None)
    if other is not None:
        there = f"{theirs[other]} there" if other in theirs else "not a token there"
        raise ConfigError(
            f"{label} reads another vocabulary, of {len(theirs)} tokens, than {policy}, of {len(vocabulary)}: "
            f"{excerpt(other)} is token {vocabulary[other]} of the policy, and {there}. {remedy}."
        )
