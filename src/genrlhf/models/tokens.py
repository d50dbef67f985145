"""A pad token of its own for every tokenizer, and the token that ends a text."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken

from genrlhf.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["ensure_pad_token", "set_eos_token"]

logger = logging.getLogger(__name__)

PAD_TOKEN = "<|genrlhf_pad|>"
SPARE_NAMES = ("pad", "reserved", "unused", "extra", "dummy", "filler")
FOREIGN_NAMES = ("image", "audio", "video")
"""In the names of special tokens that text never has: Gemma 3's 1B model has no row for its tokenizer's image token."""


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase, *models: Any, wanted: str | None = None) -> None:
    """Give a tokenizer a pad token that is not EOS, and tell the models its id.

    Where padding and EOS are one token, a reward model takes the EOS of a completion for padding and reads its score
    one token early, and a policy never learns to stop. The embeddings are not resized, so the id lies in their range.
    The first of these that exists is taken: the tokenizer's own pad token; a spare special token of the vocabulary; a
    new token, where the embeddings have a row for it; the unknown token; a byte that never occurs in UTF-8 text.

    Args:
        tokenizer: changed in place.
        models: whose configs get `pad_token_id`.
        wanted: the pad token that a user asks for; one that is EOS or BOS is not taken, which a warning says.

    Raises:
        ModelError: where none of these exists, `wanted` is no token, or the embeddings lack rows for other tokens.
    """
    rows = min((model.get_input_embeddings().weight.shape[0] for model in models), default=len(tokenizer))
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    if wanted is not None:
        if wanted not in tokenizer.get_vocab():
            raise ModelError(f"The pad token {wanted!r} is no token of the tokenizer; give one that is, or none.")
        tokenizer.pad_token = wanted
    _refuse_more_tokens_than(rows, tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in taken or tokenizer.pad_token_id >= rows:
        _choose(tokenizer, rows, taken)
        if wanted is not None:
            logger.warning(
                "The pad token %r cannot be told from the end or start of a text; %r is used in its place.",
                wanted,
                tokenizer.pad_token,
            )
    for model in models:
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        generation_config = getattr(model, "generation_config", None)
        if generation_config is not None:
            generation_config.pad_token_id = tokenizer.pad_token_id


def _refuse_more_tokens_than(rows: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise where a text could have a token without a row: an index error at best, on a GPU the end of the process."""
    vocabulary = tokenizer.get_vocab()
    special = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    beyond = [
        token
        for token, index in vocabulary.items()
        if index >= rows
        and token != tokenizer.pad_token
        and not (token in special and any(name in token.lower() for name in FOREIGN_NAMES))
    ]
    if beyond:
        count = max(vocabulary.values()) + 1
        raise ModelError(
            f"The tokenizer has {count} tokens, {beyond[0]!r} among them, but the embeddings have {rows} rows; call "
            f"model.resize_token_embeddings({count}), or use the model's own tokenizer."
        )


def _choose(tokenizer: PreTrainedTokenizerBase, rows: int, taken: set[int | None]) -> None:
    vocabulary = tokenizer.get_vocab()
    special = {**tokenizer.get_added_vocab(), **{t: vocabulary[t] for t in tokenizer.all_special_tokens}}
    for token, index in sorted(special.items(), key=lambda item: item[1]):
        if index < rows and index not in taken and any(name in token.lower() for name in SPARE_NAMES):
            tokenizer.pad_token = token
            return
    if max(vocabulary.values()) + 1 < rows:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        return
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in taken:
        tokenizer.pad_token = tokenizer.unk_token
        return
    # Byte 0xFF is no part of any UTF-8 text. Byte-level vocabularies write it "ÿ", byte fallback "<0xFF>".
    for token in ("<0xFF>", "ÿ"):
        if token in vocabulary and vocabulary[token] < rows:
            # As a special token its name is looked for in texts: not inside of words, where "ÿ" may be a letter.
            added = AddedToken(token, special=True, normalized=False, single_word=True)
            tokenizer.add_special_tokens({"pad_token": added})
            return
    raise ModelError(
        f"The tokenizer has no token to spare for padding: all {rows} rows of the embeddings are in use. Add one with "
        "tokenizer.add_special_tokens({'pad_token': '<pad>'}) and model.resize_token_embeddings(len(tokenizer))."
    )


def set_eos_token(tokenizer: PreTrainedTokenizerBase, model: Any, token: str) -> None:
    """Make a token of the vocabulary the EOS of tokenizer and model; what ended samples before still does.

    Args:
        tokenizer: changed in place.
        model: whose config gets it as `eos_token_id`, and whose generation config in front of the others.
        token: such as "<|im_end|>".

    Raises:
        ConfigError: where the vocabulary does not have it.
    """
    if token not in tokenizer.get_vocab():
        raise ConfigError(f"eos_token={token!r} is no token of the tokenizer; give one of its vocabulary.")
    tokenizer.eos_token = token
    model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
    generation_config = getattr(model, "generation_config", None)
    if generation_config is not None:
        before = generation_config.eos_token_id
        others = before if isinstance(before, list) else [] if before is None else [before]
        ends = [tokenizer.eos_token_id, *(end for end in others if end != tokenizer.eos_token_id)]
        generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
