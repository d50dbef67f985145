"""Prompts and conversations as rows hold them, and what these hand to the chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from genrlhf.errors import DataError, excerpt

__all__ = [
    "TEMPLATE_COLUMNS",
    "ChatPrompt",
    "Conversation",
    "Prompt",
    "is_message",
    "prompt_of",
    "prompts_of",
    "template_options",
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


def without_none(messages: Sequence[Mapping[str, Any]]) -> Conversation:
    """Return messages without the fields that are None, which Arrow gives to those that lack them; `content` stays."""
    return [_without_none(message) for message in messages]


def _without_none(value: Any, *, top: bool = True) -> Any:
    """Return a message or tool without the fields that are None, which Arrow adds; `content` stays."""
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if item is not None or (top and key == "content")}
        return {key: _without_none(item, top=False) for key, item in kept.items()}
    return [_without_none(item, top=False) for item in value] if isinstance(value, list) else value
