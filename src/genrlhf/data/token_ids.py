"""Token ids of whole texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["chat_ids", "text_ids"]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of a text with the special tokens that its tokenizer puts around it, none of them twice.

    A text that a chat template wrote begins with BOS already; models have never seen two.
    """
    ids: list[int] = list(tokenizer(text)["input_ids"])
    first = tokenizer.convert_ids_to_tokens(ids[0]) if len(ids) > 1 and ids[0] == ids[1] else None
    if first is not None and first in tokenizer.all_special_tokens and text.startswith(first):
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids[1:] if len(bare) < len(ids) else ids
    return ids


def chat_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of what a chat template wrote, special tokens included."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
