"""Conversations: their messages, what their row hands to the chat template, and the text and token ids it makes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from genrlhf.errors import DataError, excerpt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "TEMPLATE_COLUMNS",
    "ChatPrompt",
    "Conversation",
    "Prompt",
    "chat_ids",
    "default_system",
    "ends_turn",
    "is_message",
    "prompt_of",
    "prompts_of",
    "render",
    "template_options",
    "text_ids",
    "turn_end",
    "unheard_end",
    "without_none",
]

Conversation: TypeAlias = list[dict[str, Any]]
"""Messages with `role` and `content`."""

TEMPLATE_COLUMNS = ("tools", "chat_template_kwargs")
"""Columns of a row that its chat template reads."""


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation with what its row hands to the chat template beside the messages.

    Attributes:
        messages: with `role` and `content`.
        options: arguments of the template: `tools`, and whatever `chat_template_kwargs` holds.
    """

    messages: Conversation
    options: Mapping[str, Any] = field(default_factory=dict)


Prompt: TypeAlias = str | Conversation | ChatPrompt
"""Plain text, a conversation as a list of messages, or one with arguments of its template."""


def is_message(value: Any) -> bool:
    """Whether `value` is a message: a role with a text, a list of parts, or calls of tools."""
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    content = value.get("content")
    return isinstance(content, str) or bool(content and isinstance(content, list)) or bool(value.get("tool_calls"))


def template_options(row: Mapping[str, Any], where: str = "the row") -> dict[str, Any]:
    """Return what the columns `tools` and `chat_template_kwargs` of a row hand to the chat template.

    Rows of one dataset share their fields, so that those which a row lacks are None in it; they are left out. `tools`
    may be the text of a JSON list, as other trainers take it too.

    Raises:
        DataError: where they are no list of tools and no dictionary; it begins with `where`.
    """
    tools, options = row.get("tools"), row.get("chat_template_kwargs")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except json.JSONDecodeError as error:
            raise DataError(f"{where}, column 'tools' is no JSON: {error}; give a list of tools.") from error
    if tools is not None and not isinstance(tools, list):
        raise DataError(f"{where}, column 'tools' is {excerpt(tools)}; give a list of tools, or its JSON.")
    if options is not None and not isinstance(options, Mapping):
        raise DataError(
            f"{where}, column 'chat_template_kwargs' is {excerpt(options)}; give a dictionary of arguments."
        )
    found = {name: value for name, value in (options or {}).items() if value is not None}
    if tools:  # Some templates write the preamble of an empty list.
        found["tools"] = [_without_none(tool) for tool in tools]
    return found


def prompt_of(row: Mapping[str, Any], where: str = "the row") -> Prompt:
    """Return the prompt of a row as samplers take it, with what the row hands to the chat template."""
    prompt: Prompt = row["prompt"]
    if isinstance(prompt, list) and (options := template_options(row, where)):
        return ChatPrompt(prompt, options)
    return prompt


def prompts_of(columns: Mapping[str, Sequence[Any]], *, source: str = "prompts", first_row: int = 0) -> list[Prompt]:
    """Return the prompts of rows that are given as columns, see `prompt_of`.

    Args:
        columns: `prompt` and others, as many values each.
        source: what the dataset is called in messages.
        first_row: the number of the first row in it.
    """
    there = [name for name in TEMPLATE_COLUMNS if name in columns]
    return [
        prompt_of({"prompt": prompt, **{name: columns[name][i] for name in there}}, f"{source}, row {first_row + i}")
        for i, prompt in enumerate(columns["prompt"])
    ]


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any] | None = None,
    *,
    generation_prompt: bool = False,
    where: str = "a conversation",
) -> str:
    """Return the text that the chat template makes of messages.

    Args:
        tokenizer: with the template.
        messages: with `role` and `content`.
        options: further arguments of the template.
        generation_prompt: open the assistant's turn behind them.
        where: the place of the messages, which errors begin with.

    Raises:
        DataError: where there is no template, or it refuses the messages.
    """
    if not tokenizer.chat_template and not (options or {}).get("chat_template"):
        raise DataError(
            f"{where} is a conversation, and the tokenizer has no chat template; set tokenizer.chat_template, or give "
            "the data as text."
        )
    try:
        text: str = tokenizer.apply_chat_template(
            without_none(messages),
            tokenize=False,
            add_generation_prompt=generation_prompt,
            **(options or {}),
        )
    except ImportError:
        raise
    except Exception as error:  # whatever the template's own code raises
        raise DataError(
            f"{where}: the chat template refuses {excerpt(list(messages), 120)}: {error}. Change the messages, drop "
            "the row, or use another template."
        ) from error
    return text


def default_system(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the system prompt that the chat template puts before a conversation without one; None for none.

    What stands in the place of a system message that is given, where none is.
    """
    if not tokenizer.chat_template:
        return None
    system, user = "It is Tuesday.", "Which day is it?"
    asked = [{"role": "user", "content": user}]
    try:
        given = render(tokenizer, [{"role": "system", "content": system}, *asked])
        bare = render(tokenizer, asked)
    except DataError:  # the template knows no system
        return None
    before, _, rest = given.partition(system)
    between, found, _ = rest.partition(user)
    if not found or not bare.startswith(before):
        return None
    said, found, _ = bare[len(before) :].partition(between + user)
    return said.strip() or None if found else None


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


def turn_end(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the special token that the chat template closes an assistant's turn with, None where it has none."""
    said = "genrlhf"
    messages = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": said}]
    try:
        tail = render(tokenizer, messages).rpartition(said)[2]
    except DataError:
        return None
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    first: str | None = next((t for t in tokenizer.tokenize(tail) if t in special), None)
    return first


def ends_turn(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> bool:
    """Whether the last of `ids` that is no blank is a special token, with which a template closes a turn."""
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    for token in reversed(ids):
        if token in special:
            return True
        if str(tokenizer.decode([token])).strip():
            return False
    return False


def unheard_end(tokenizer: PreTrainedTokenizerBase, stops: Sequence[int]) -> str | None:
    """Return what the chat template ends a turn with where sampling does not stop there, None where it does.

    Args:
        tokenizer: with the template.
        stops: ids that end a completion.
    """
    end = turn_end(tokenizer)
    return None if end is None or tokenizer.convert_tokens_to_ids(end) in stops else end


def without_none(messages: Sequence[Mapping[str, Any]]) -> Conversation:
    """Return messages without the fields that are None, which Arrow gives to those that lack them; `content` stays."""
    return [_without_none(message) for message in messages]


def _without_none(value: Any, *, top: bool = True) -> Any:
    """Return a message or tool without the fields that are None, which Arrow adds; `content` stays."""
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if item is not None or (top and key == "content")}
        return {key: _without_none(item, top=False) for key, item in kept.items()}
    return [_without_none(item, top=False) for item in value] if isinstance(value, list) else value
