"""Tokenizers that a user names."""

from __future__ import annotations

import functools
from typing import Any

from genrlhf.errors import ModelError, excerpt
from genrlhf.metrics.checks import for_encoder
from genrlhf.metrics.diversity.ngrams import Tokenizer
from genrlhf.text import characters, has_words, words

__all__ = ["how_words_count", "named_tokenizer"]


def named_tokenizer(name: str) -> Tokenizer:
    """Return what splits texts into words: "words", "characters", or a tokenizer of transformers by its name or folder.

    "words" is what metrics start from: words where a script has blanks between them, characters where it has none (see
    `genrlhf.text`). "characters" takes the characters of every script, with their marks. Tokens of a tokenizer are
    without those that begin and end a text, and one that it does not know stands for itself. A text without a letter or
    digit has no words by any of them.

    Raises:
        ModelError: there is no such tokenizer.

    Example:
        >>> named_tokenizer("characters")("Hi, 你好")
        ['H', 'i', ',', '你', '好']
    """
    return {"words": words, "characters": _characters}.get(name) or _of_transformers(name)


def how_words_count(tokenizer: str | None, script: str | None, without_blanks: bool) -> str:
    """Say how the words of texts in a script are counted.

    Args:
        tokenizer: what the user named, if anything.
        script: as `genrlhf.text.script` names it.
        without_blanks: whether it has no blanks between words.
    """
    if tokenizer is not None and tokenizer not in ("words", "characters"):
        return f"words are the tokens of {tokenizer}"
    if tokenizer == "characters":
        return "every character counts as a word"
    if without_blanks:
        return f"{script} has no blanks between words, so every character counts as one (--tokenizer takes others)"
    return "words by nltk's NLTKWordTokenizer on blank-separated pieces"


def _characters(text: str) -> list[str]:
    return characters(text) if has_words(text) else []


class _Tokens:
    """Splits texts by a tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: str) -> list[str]:
        if not has_words(text):
            return []
        shown = for_encoder(text)
        fast = self.tokenizer.is_fast
        encoded = self.tokenizer(shown, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)
        ids = encoded["input_ids"]
        tokens: list[str] = self.tokenizer.convert_ids_to_tokens(ids)
        unknown = self.tokenizer.unk_token_id
        if fast and unknown is not None and unknown in ids:
            places = zip(tokens, ids, encoded["offset_mapping"], strict=True)
            return [shown[start:end] if number == unknown else token for token, number, (start, end) in places]
        return tokens


# One object a name, so that metrics know that they split alike.
@functools.cache
def _of_transformers(name: str) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"There is no tokenizer at {name!r}: {excerpt(str(error), 200)}. Give 'words', 'characters', or the folder "
            "of a saved tokenizer or its name on the hub (and mind HF_HUB_OFFLINE)."
        ) from error
    return _Tokens(tokenizer)
