"""Demonstrations as users bring them, tokenised once, with a label where something is learnt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from datasets import Dataset

from genrlhf.data.chat import is_message, template_options
from genrlhf.data.pairs import as_pair
from genrlhf.data.schema import check_text
from genrlhf.data.templates import ends_turn, render
from genrlhf.data.token_ids import chat_ids, text_ids
from genrlhf.data.turns import (
    AssistantTokens,
    assistant_tokens,
    common_length,
    from_sharegpt,
    has_markers,
    leaves_out_end,
    leaves_out_words,
)
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.sampling.decode import check_prompt_length, prompt_token_ids
from genrlhf.trainers.rows import Rows, columns_of, encode_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "DemonstrationEncoder",
    "Encoded",
    "encode_demonstrations",
    "is_conversational",
    "refuse_options",
    "training_template",
]

logger = logging.getLogger(__name__)

_CONVERSATIONS = ("messages", "conversations")


class Encoded(NamedTuple):
    """The tokens of a row, before they are cut, and what is to be said of it.

    Attributes:
        ids: of the whole row.
        mask: what is learnt of them.
        merged: prompt and completion make other tokens together than the prompt alone.
        wordless: the chat template leaves out what the assistant says or thinks.
        endless: what ends the assistant's turn is not learnt.
    """

    ids: list[int]
    mask: list[bool]
    merged: bool = False
    wordless: bool = False
    endless: bool = False


_LENGTH, _LEARNT = "genrlhf_length", "genrlhf_learnt"
_NOTED = {name: f"genrlhf_{name}" for name in Encoded._fields[2:]}
"""Columns of what is said of a row, until it has been said."""


@dataclass(frozen=True)
class DemonstrationEncoder:
    """Makes `input_ids` and `labels` of a row.

    Attributes:
        tokenizer: of the model.
        max_length: tokens of prompt and completion; None for no limit.
        keep_end: a row that is too long loses its start, not its end.
        text_field: the column of plain text.
        everything: prompts and the turns of others are learnt too.
        formatting_func: makes plain text of a row.
        template: a chat template with markers of the assistant's turns, in place of one without; None for none.
        kept: columns that go on to the objective as they are.
        turn_end: the token that the chat template ends a turn with; None where it has none.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int | None = None
    keep_end: bool = False
    text_field: str = "text"
    everything: bool = False
    formatting_func: Callable[[dict[str, Any]], str] | None = None
    template: str | None = None
    kept: tuple[str, ...] = ()
    turn_end: int | None = None

    def wanted(self, columns: list[str]) -> list[str]:
        """Return the columns that rows of these columns are made of."""
        return [*self._sources(columns), *self.kept]

    def _sources(self, columns: list[str]) -> list[str]:
        if self.formatting_func is not None:
            return []
        if "prompt" not in columns:
            for name in (*_CONVERSATIONS, self.text_field):
                if name in columns:
                    return [name]
        return ["prompt", "completion"]

    def __call__(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the columns, the number of tokens before they are cut, and what is to be said of them.

        Raises:
            DataError: where the row has nothing to train on; it begins with `where`.
        """
        return {**{name: row[name] for name in self.kept}, **self._encoded(row, where)}

    def _encoded(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        if self.formatting_func is not None:
            text = self.formatting_func(dict(row))
            if not isinstance(text, str):
                raise DataError(f"{where}: formatting_func returned {excerpt(text)}; it must return a string.")
            return self._cut(self.text(text, f"{where}, what formatting_func made of it"))
        name, *pair = self._sources(list(row))
        if pair:
            for column in (name, *pair):
                check_text(row[column], f"{where}, column {column!r}")
            prompt, completion = as_pair(row["prompt"], row["completion"], where=where)
            return self._cut(self.tokens(prompt, completion, template_options(row, where), where))
        value = from_sharegpt(row[name])
        check_text(value, f"{where}, column {name!r}")
        if isinstance(value, str):
            return self._cut(self.text(value, where))
        return self._cut(self._conversation(value, template_options(row, where), where))

    def tokens(self, prompt: Any, completion: Any, options: dict[str, Any], where: str) -> Encoded:
        """Return the tokens of a prompt and a completion, both text or both messages, before they are cut.

        Args:
            prompt: what the model is asked.
            completion: what it is to write.
            options: arguments of the chat template.
            where: what errors begin with.
        """
        if isinstance(prompt, str):
            return self._pair(prompt, completion, where)
        return self._dialogue(prompt, completion, options, where)

    def text(self, text: str, where: str) -> Encoded:
        """Return the tokens of a text, all of which are learnt, with EOS behind them."""
        check_text(text, where)
        ids = self._closed(text_ids(self.tokenizer, text))
        return Encoded(ids, [True] * len(ids))

    def _pair(self, prompt: str, completion: str, where: str) -> Encoded:
        before = self._prompt(prompt_token_ids(self.tokenizer, prompt), prompt, where)
        ids = self._closed(text_ids(self.tokenizer, prompt + completion))
        start = common_length(before, ids)
        return Encoded(ids, [place >= start for place in range(len(ids))], merged=start < len(before))

    def _dialogue(self, prompt: Any, completion: Any, options: dict[str, Any], where: str) -> Encoded:
        asked = render(self.tokenizer, prompt, options, generation_prompt=True, where=where)
        before = self._prompt(chat_ids(self.tokenizer, asked), prompt, where)
        messages = [*prompt, *completion]
        if all(message["role"] == "assistant" for message in completion) and not has_markers(self.tokenizer):
            text = render(self.tokenizer, messages, options, where=where)
            ids = chat_ids(self.tokenizer, text)
            start = common_length(before, ids)
            found = AssistantTokens(text, ids, [place >= start for place in range(len(ids))])
        else:
            found = assistant_tokens(
                self.tokenizer, messages, options, first=len(prompt), template=self.template, where=where
            )
        return self._ended(found, completion, merged=common_length(before, found.ids) < len(before))

    def _conversation(self, messages: Any, options: dict[str, Any], where: str) -> Encoded:
        if self.everything:
            text = render(self.tokenizer, messages, options, where=where)
            ids = chat_ids(self.tokenizer, text)
            found = AssistantTokens(text, ids, [True] * len(ids))
        else:
            found = assistant_tokens(self.tokenizer, messages, options, template=self.template, where=where)
        return self._ended(found, messages)

    def _prompt(self, ids: list[int], prompt: Any, where: str) -> list[int]:
        """Return the ids of a prompt; one that fills the context leaves nothing to learn from."""
        limit = None if self.max_length is None or self.keep_end else self.max_length - 1
        check_prompt_length(ids, prompt, limit, where=where, remedy="shorten it, drop the row, or raise max_length")
        return ids

    def _closed(self, ids: list[int]) -> list[int]:
        eos = self.tokenizer.eos_token_id
        return ids if ids[-1:] == [eos] else [*ids, int(eos)]

    def _ended(self, found: AssistantTokens, learnt: Sequence[Mapping[str, Any]], *, merged: bool = False) -> Encoded:
        """Close a conversation with EOS where its template ends turns with no token that could end a sample."""
        text, ids, mask = found
        if mask[-1:] == [True] and not ends_turn(self.tokenizer, ids):
            closed = self._closed(ids)
            ids, mask = closed, mask + [True] * (len(closed) - len(ids))
        endless = leaves_out_end(self.tokenizer, ids, mask, self.turn_end)
        return Encoded(ids, mask, merged, wordless=leaves_out_words(learnt, text), endless=endless)

    def _cut(self, row: Encoded) -> dict[str, Any]:
        ids = row.ids
        kept = slice(None) if self.max_length is None else slice(0, self.max_length)
        if self.keep_end and self.max_length is not None:
            kept = slice(max(0, len(ids) - self.max_length), None)
        learnt = [self.everything or bit for bit in row.mask]
        labels = [token if bit else -100 for token, bit in zip(ids, learnt, strict=True)][kept]
        # The first token of a row is predicted from nothing.
        some = any(label != -100 for label in labels[1:])
        return {"input_ids": ids[kept], "labels": labels, **self._notes([row], some)}

    def _notes(self, texts: Sequence[Encoded], learnt: bool = True) -> dict[str, Any]:
        """Return what is said of a row with these texts."""
        noted = {column: any(getattr(text, name) for text in texts) for name, column in _NOTED.items()}
        return {_LENGTH: max(len(text.ids) for text in texts), _LEARNT: learnt, **noted}


_SAID = {
    "merged": "the tokens of the prompt are not those that its end and the completion make together; what is learnt "
    "begins where they differ, and a model asked with the prompt alone sees other tokens there. End prompts where a "
    "word ends, or use a chat template that writes a prompt the same way alone.",
    "wordless": "the chat template leaves out what the assistant says or thinks (reasoning_content, what stands in "
    "<think> tags), so that it is not learnt. Use a template that writes it (chat_template_path), or write prompt and "
    "completion as text.",
    "endless": "what ends the assistant's turn is not learnt, so that samples would run on to max_new_tokens. Move "
    "{% endgeneration %} of the chat template behind it, or use a template that ends turns with a special token.",
}


def encode_demonstrations(dataset: Rows, encoder: DemonstrationEncoder, *, source: str, args: Any) -> Rows:
    """Return `input_ids` and `labels` of every row, and say how many were cut off or left out.

    Raises:
        DataError: for rows that cannot be used, and where none is left.
    """
    encoded = encode_rows(dataset, encoder, encoder.wanted(columns_of(dataset)), source=source, args=args)
    notes = [_LENGTH, _LEARNT, *_NOTED.values()]
    if not isinstance(encoded, Dataset):
        return encoded.filter(lambda row: row[_LEARNT]).remove_columns(notes)
    lengths, learnt = encoded[_LENGTH][:], encoded[_LEARNT][:]
    counts = {name: sum(encoded[column][:]) for name, column in _NOTED.items()}
    encoded = encoded.remove_columns(notes)
    limit = encoder.max_length
    if limit is not None and (cut := sum(length > limit for length in lengths)):
        lost = "their starts are cut off" if encoder.keep_end else "their ends are cut off, the EOS included"
        logger.warning(
            "%d of %d rows of %s are longer than max_length=%d tokens; %s.", cut, len(lengths), source, limit, lost
        )
    for name, count in counts.items():
        if count:
            logger.warning("In %d of %d rows of %s %s", count, len(lengths), source, _SAID[name])
    if all(learnt):
        return encoded
    kept = [row for row, some in enumerate(learnt) if some]
    logger.warning(
        "%d of %d rows of %s have nothing to learn within max_length=%s tokens and are left out.",
        len(learnt) - len(kept),
        len(learnt),
        source,
        limit,
    )
    if not kept:
        raise DataError(f"No row of {source} has anything to learn within max_length={limit} tokens; raise it.")
    return encoded.select(kept)


def is_conversational(dataset: Any) -> bool:
    """Whether the first row has a conversation where text is trained on."""
    row: Mapping[str, Any] = next(iter(dataset), {})
    names = ("prompt", "completion", *_CONVERSATIONS)
    values = [from_sharegpt(row[name]) for name in names if name in row]
    return any(isinstance(value, list) and bool(value) and is_message(value[0]) for value in values)


def refuse_options(args: Any, dataset: Any, formatting_func: Any) -> None:
    """Raise `ConfigError` for settings that contradict the rows, as TRL does."""
    if dataset is None or columns_of(dataset) == [] or "input_ids" in columns_of(dataset):
        return
    pairs = {"prompt", "completion"} <= set(columns_of(dataset))
    if formatting_func is not None and (args.completion_only_loss or (pairs and args.completion_only_loss is None)):
        raise ConfigError(
            "formatting_func makes one text of a row, which has no completion to learn alone; set "
            "completion_only_loss=False, or apply the function to the dataset and leave it out."
        )
    if args.assistant_only_loss and (formatting_func is not None or not is_conversational(dataset)):
        raise ConfigError("assistant_only_loss=True needs conversations, and train_dataset has text; leave it out.")
    if args.completion_only_loss and not pairs and not is_conversational(dataset):
        logger.warning("completion_only_loss=True has no effect on text: all of its tokens are learnt.")


def training_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return TRL's version, with markers, of a chat template that has none; None where TRL does not know it."""
    if not tokenizer.chat_template or has_markers(tokenizer):
        return None
    try:
        from trl.chat_template_utils import get_training_chat_template

        template: str | None = get_training_chat_template(tokenizer)
    except Exception:  # of any kind where the template is none of those that TRL knows
        return None
    return template
