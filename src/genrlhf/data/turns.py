"""Which tokens of a conversation are the assistant's, and what of its turns is not among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from genrlhf.data.chat import Conversation, without_none
from genrlhf.data.templates import ends_turn, render
from genrlhf.data.token_ids import chat_ids
from genrlhf.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "AssistantTokens",
    "assistant_tokens",
    "common_length",
    "from_sharegpt",
    "has_markers",
    "leaves_out_end",
    "leaves_out_words",
]

_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
_REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message, or of a part of its content, that hold what a model thought."""
_SPEAKERS = {"human": "user", "gpt": "assistant", "function": "tool"}


class AssistantTokens(NamedTuple):
    """A conversation as a chat template writes it.

    Attributes:
        text: what it writes.
        ids: its tokens.
        mask: for each of them, whether the assistant writes it.
    """

    text: str
    ids: list[int]
    mask: list[bool]


def has_markers(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template says itself, by `{% generation %}`, what the assistant writes."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default", "")
    return bool(_MARKER.search(template or ""))


def assistant_tokens(
    tokenizer: PreTrainedTokenizerBase,
    messages: Conversation,
    options: Mapping[str, Any] | None = None,
    *,
    first: int = 0,
    template: str | None = None,
    where: str = "a conversation",
) -> AssistantTokens:
    """Return a conversation with its tokens, and for each of them whether the assistant writes it.

    A template with `{% generation %}` markers says so. Without them a turn reaches from where the prompt for it ends to
    where the conversation up to it ends, its closing tokens included: what a model writes, and stops at.

    Args:
        tokenizer: with the chat template.
        messages: the conversation.
        options: further arguments of the template.
        first: turns before this one do not count.
        template: a template with markers, in place of the tokenizer's own.
        where: the place of the conversation, which errors begin with.

    Raises:
        DataError: where no turn is the assistant's, or the template writes turns otherwise when others follow them, so
            that nothing tells where they end.
    """
    turns = [place for place in range(first, len(messages)) if messages[place]["role"] == "assistant"]
    if not turns:
        roles = ", ".join(sorted({str(message["role"]) for message in messages}))
        raise DataError(f"{where} has no turn of the role 'assistant' to learn, only {roles}; rename or drop it.")
    options = dict(options or {})
    if template is not None or has_markers(tokenizer):
        text = render(tokenizer, messages, options, where=where)  # errors of the template name the row
        marked = tokenizer.apply_chat_template(
            without_none(messages),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            **({"chat_template": template} if template is not None else {}),
            **options,
        )
        ids, mask = list(marked["input_ids"]), [bool(bit) for bit in marked["assistant_masks"]]
        if template is None or ids == chat_ids(tokenizer, text):
            start = _start(tokenizer, messages, turns[0], ids, options, where) if first else 0
            return AssistantTokens(text, ids, [bit and place >= start for place, bit in enumerate(mask)])
    text = render(tokenizer, messages, options, where=where)
    ids = chat_ids(tokenizer, text)
    mask = [False] * len(ids)
    for place in turns:
        start = _start(tokenizer, messages, place, ids, options, where)
        end = len(ids)
        if place + 1 < len(messages):
            until = render(tokenizer, messages[: place + 1], options, where=where)
            said = str(messages[place].get("content") or "").strip()
            if said and text[: common_length(text, until)].count(said) < until.count(said):
                raise DataError(
                    f"{where}: the chat template writes turn {place} otherwise when others follow it, so that its "
                    "tokens cannot be told; use a template with {% generation %} markers (chat_template_path), or rows "
                    "of prompt and completion."
                )
            end = common_length(ids, chat_ids(tokenizer, until))
        mask[start:end] = [True] * (end - start)
    return AssistantTokens(text, ids, mask)


def _start(
    tokenizer: PreTrainedTokenizerBase,
    messages: Conversation,
    place: int,
    ids: Sequence[int],
    options: Mapping[str, Any],
    where: str,
) -> int:
    """Return where the assistant begins to write turn `place` among the tokens of the whole conversation."""
    if place == 0:
        before = render(tokenizer, [{**messages[0], "content": ""}], options, where=where)
    else:
        before = render(tokenizer, messages[:place], options, generation_prompt=True, where=where)
    return common_length(ids, chat_ids(tokenizer, before))


def leaves_out_end(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], mask: Sequence[bool], turn_end: int | None
) -> bool:
    """Whether what ends the assistant's last turn is not among its tokens, so that nobody learns to end there.

    Args:
        tokenizer: of the ids.
        ids: of a conversation.
        mask: the assistant's among them.
        turn_end: what its chat template ends a turn with, see `genrlhf.data.templates.turn_end`; None for no such
            token.
    """
    if True not in mask or mask[-1]:
        return False
    end = len(mask) - list(reversed(mask)).index(True)
    following = next((token for token in ids[end:] if str(tokenizer.decode([token])).strip()), None)
    return not ends_turn(tokenizer, ids[:end]) or (following is not None and following == turn_end)


def leaves_out_words(messages: Sequence[Mapping[str, Any]], text: str) -> bool:
    """Whether a chat template has left out of its text what the assistant says or thinks in one of these messages.

    Blanks do not count, which templates put around what they write.
    """
    written = "".join(text.split())
    return any(
        "".join(words.split()) not in written
        for message in messages
        if message["role"] == "assistant"
        for words in (*_words(message.get("content")), *(w for name in _REASONING for w in _words(message.get(name))))
    )


def _words(content: Any) -> list[str]:
    """Return the texts of a content, or of a field beside it: itself, or those of its parts."""
    if isinstance(content, str):
        return [content]
    parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    return [words for part in parts for name in ("text", *_REASONING) for words in _words(part.get(name))]


def common_length(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Return how many items two sequences have in common at their start."""
    limit = min(len(a), len(b))
    return next((place for place in range(limit) if a[place] != b[place]), limit)


def from_sharegpt(messages: Any) -> Any:
    """Return messages of `from` and `value` as messages of `role` and `content`; others as they are."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) and "from" in m for m in messages):
        return messages
    return [
        {"role": _SPEAKERS.get(str(message["from"]), message["from"]), "content": message.get("value")}
        for message in messages
    ]
