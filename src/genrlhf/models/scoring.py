"""The one way in which prompt and completion reach a reward model, in training and in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.data.pairs import as_pair
from genrlhf.data.templates import render
from genrlhf.data.token_ids import chat_ids, text_ids
from genrlhf.errors import ModelError
from genrlhf.models.structure import inner_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["encode_pair", "encode_pairs", "keep_end", "reads_at_eos", "refuse_reading_padding", "score_batch"]

READS_PADDING = 0.05
"""Of the largest score: a score that moves by more beside longer texts has read the padding; rounding is far below."""


def reads_at_eos(model: Any) -> bool:
    """Whether a sequence classifier reads its score at the last token, as decoders do.

    Encoders such as BERT read it at their first token, and encoder-decoders where their tokenizer has put an EOS; they
    get a text as their tokenizer makes it.
    """
    inner = inner_model(model)
    return hasattr(inner, "score") or inner.config.model_type in _DECODERS_WITH_A_CLASSIFIER


_DECODERS_WITH_A_CLASSIFIER = frozenset({"ctrl", "modernbert-decoder"})
"""Those whose head has the name that encoders give to theirs."""


def encode_pair(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Any,
    completion: Any,
    *,
    max_length: int | None = None,
    options: Mapping[str, Any] | None = None,
    close: bool = True,
    where: str = "a row",
) -> list[int]:
    """Return the token ids of prompt + completion + EOS.

    Text is joined and tokenised once. A conversation, or a text completion of one, goes through the chat template.
    Where there are more than `max_length` tokens the start is cut off, so that the completion and the EOS behind it,
    where the score is read, stay; so does a first token that all texts begin with, BOS or [CLS].

    Args:
        tokenizer: of the model that scores.
        prompt: text or messages.
        completion: text or messages.
        max_length: tokens at most; None for no limit.
        options: arguments of the chat template, see `genrlhf.data.chat.template_options`.
        close: put EOS behind it; False for a model that does not read its score there, see `reads_at_eos`.
        where: the place of the row, which errors begin with.

    Raises:
        DataError: where prompt and completion do not go together, or the chat template refuses them.
    """
    prompt, completion = as_pair(prompt, completion, where=where)
    if isinstance(prompt, str):
        ids = text_ids(tokenizer, prompt + completion)
    else:
        text = render(tokenizer, [*prompt, *completion], options, where=where).rstrip("\n")
        ids = chat_ids(tokenizer, text) if close else text_ids(tokenizer, text)
    if close and (not ids or ids[-1] != tokenizer.eos_token_id):
        ids.append(int(tokenizer.eos_token_id))
    return ids if max_length is None else keep_end(tokenizer, ids, max_length)


def keep_end(tokenizer: PreTrainedTokenizerBase, ids: list[int], max_length: int) -> list[int]:
    """Return at most `max_length` ids, the last ones, behind a BOS or [CLS] that they begin with."""
    if len(ids) <= max_length:
        return ids
    first = ids[:1] if max_length > 1 and ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id) else []
    return first + ids[len(ids) - max_length + len(first) :]


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    max_length: int | None = None,
    options: Sequence[Mapping[str, Any] | None] | None = None,
    close: bool = True,
    places: Sequence[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Return `input_ids`, (B, L) int64, and `attention_mask`, (B, L) bool, right-padded; see `encode_pair`."""
    rows = [
        encode_pair(
            tokenizer,
            prompt,
            completion,
            max_length=max_length,
            options=options[i] if options else None,
            close=close,
            where=places[i] if places else "a row",
        )
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
    width = max(len(ids) for ids in rows)
    pad = tokenizer.pad_token_id
    return {
        "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids in rows]),
        "attention_mask": torch.tensor([[True] * len(ids) + [False] * (width - len(ids)) for ids in rows]),
    }


@torch.no_grad()
def score_batch(model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the score of every text, (B,) float32.

    A decoder reads it at the last token, and finds that as the last one that is not padding, which needs a pad token
    other than EOS: see `genrlhf.models.tokens.ensure_pad_token`.

    Args:
        model: a sequence classifier with one label.
        input_ids: (B, L) int64, right-padded.
        attention_mask: (B, L) bool.
    """
    output = model(input_ids=input_ids, attention_mask=attention_mask.long())
    scores: torch.Tensor = output.logits.squeeze(-1).float()
    return scores


@torch.no_grad()
def refuse_reading_padding(model: PreTrainedModel, pad_token_id: int) -> None:
    """Raise `ModelError` for a classifier that gives a text another score beside longer ones.

    Tried on four texts, where the model is, in float32: convolutions over a text (ConvBERT), landmarks of it
    (Nyströmformer) and neighbours of a token (MobileBERT) take in padding, whatever the mask says.

    Args:
        model: a sequence classifier with one label.
        pad_token_id: fills the shorter texts.
    """
    if model.dtype != torch.float32:
        return
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = (torch.arange(1, 13, device=model.device) * vocabulary) // 14
    ids = torch.where(ids == pad_token_id, (ids + 1) % vocabulary, ids)
    lengths = torch.tensor([3, 5, 8, 12], device=model.device)
    mask = torch.arange(12, device=model.device) < lengths.unsqueeze(-1)
    batch = torch.where(mask, ids, pad_token_id)
    was_training = model.training
    model.eval()
    try:
        beside = score_batch(model, batch, mask)
        alone = torch.cat(
            [score_batch(model, row[None, :n], m[None, :n]) for row, m, n in zip(batch, mask, lengths, strict=True)]
        )
    except (RuntimeError, ValueError, IndexError):
        # Some take no text as short as these.
        return
    finally:
        model.train(was_training)
    if (beside - alone).abs().max() > READS_PADDING * alone.abs().max():
        raise ModelError(
            f"The reward model ({type(inner_model(model)).__name__}) gives a text another score beside longer ones: it "
            "reads their padding, so that a score depends on the other texts of a batch. Give one of another family."
        )
