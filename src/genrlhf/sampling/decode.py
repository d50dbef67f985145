"""Between text and the padded token ids that sampling works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.data.chat import ChatPrompt, Prompt
from genrlhf.data.templates import render
from genrlhf.data.token_ids import chat_ids, text_ids
from genrlhf.errors import DataError, excerpt
from genrlhf.sampling.stops import StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from genrlhf.types import Generation, SamplingParams

__all__ = [
    "Prompt",
    "check_prompt_length",
    "check_prompt_lengths",
    "decode_completions",
    "encode_prompts",
    "left_pad",
    "prompt_token_ids",
]


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, where: str = "a prompt") -> list[int]:
    """Return the token ids of one prompt; a conversation goes through the chat template.

    A BOS that the text begins with already is not put before it again, nor an EOS behind it, which would end the
    completion before it has begun.

    Raises:
        DataError: where there is no chat template, or it refuses the conversation; it begins with `where`.
    """
    if isinstance(prompt, str):
        ids = text_ids(tokenizer, prompt)
        eos = tokenizer.eos_token_id
        closed = eos is not None and ids[-1:] == [eos] and not prompt.endswith(str(tokenizer.eos_token))
        return ids[:-1] if closed else ids
    chat = prompt if isinstance(prompt, ChatPrompt) else ChatPrompt(prompt)
    text = render(tokenizer, chat.messages, chat.options, generation_prompt=True, where=where)
    return chat_ids(tokenizer, text)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_length: int | None = None,
    first_row: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the prompts as left-padded ids, (B, P) int64, and their mask, (B, P) bool.

    Raises:
        DataError: see `check_prompt_lengths`.
    """
    rows = check_prompt_lengths(tokenizer, prompts, max_length=max_length, first_row=first_row)
    return left_pad(rows, tokenizer.pad_token_id)


def left_pad(rows: Sequence[list[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ids as one tensor, (B, P) int64, and their mask, (B, P) bool."""
    width = max(len(ids) for ids in rows)
    input_ids = torch.tensor([[pad_token_id] * (width - len(ids)) + ids for ids in rows])
    mask = torch.tensor([[False] * (width - len(ids)) + [True] * len(ids) for ids in rows])
    return input_ids, mask


def check_prompt_lengths(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_length: int | None,
    source: str = "prompts",
    first_row: int = 0,
    remedy: str = "shorten or drop it, or lower max_new_tokens",
) -> list[list[int]]:
    """Return the token ids of every prompt.

    Raises:
        DataError: for a prompt without tokens, with more than `max_length`, or that the chat template refuses; it names
            `source` and the row, counted from `first_row`.
    """
    rows = [
        prompt_token_ids(tokenizer, prompt, where=f"{source}, row {number}, column 'prompt'")
        for number, prompt in enumerate(prompts, start=first_row)
    ]
    for number, (prompt, ids) in enumerate(zip(prompts, rows, strict=True), start=first_row):
        check_prompt_length(ids, prompt, max_length, where=f"{source}, row {number}", remedy=remedy)
    return rows


def check_prompt_length(ids: Sequence[int], prompt: Any, max_length: int | None, *, where: str, remedy: str) -> None:
    """Raise `DataError` for a prompt without tokens, or with more than `max_length`; it begins with `where`."""
    if not ids:
        raise DataError(f"{where}: the prompt {excerpt(prompt)} has no tokens; give at least one, or drop the row.")
    if max_length is not None and len(ids) > max_length:
        raise DataError(
            f"{where}: the prompt {excerpt(prompt)} has {len(ids)} tokens, and at most {max_length} leave room for the "
            f"completion in the model's context; {remedy}."
        )


def decode_completions(
    tokenizer: PreTrainedTokenizerBase, generation: Generation, params: SamplingParams | None = None
) -> list[str]:
    """Return the text of every completion, without special tokens and the stop string of `params` that it ends in."""
    lengths = generation.completion_mask.sum(-1).tolist()
    rows = [ids[:length] for ids, length in zip(generation.completion_ids.tolist(), lengths, strict=True)]
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    if params is None or not params.stop:
        return texts
    stops, ended = StopStrings(tokenizer, params.stop), generation.ended.tolist()
    return [stops.cut(ids) if end else text for ids, end, text in zip(rows, ended, texts, strict=True)]
