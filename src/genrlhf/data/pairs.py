"""Prompt and completion in one form: both text or both conversations, every turn once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from genrlhf.data.chat import Conversation
from genrlhf.errors import DataError, excerpt

__all__ = ["Preference", "Text", "as_pair", "as_preference"]

Text = str | Conversation
"""Plain text, or messages."""


class Preference(NamedTuple):
    """A prompt and two completions, all text or all conversations."""

    prompt: Any
    chosen: Any
    rejected: Any


def as_pair(prompt: Text, completion: Text, *, where: str = "the row", column: str = "completion") -> tuple[Any, Any]:
    """Return prompt and completion as two texts or as two conversations without a turn in common.

    - Text completes a conversation as the assistant's turn.
    - Messages complete a text as the conversation in which it is the user's: where one of their turns says it, the
      prompt ends there, otherwise it is put before an assistant's turn.
    - Messages that begin with the last turns of the prompt lose them.

    Raises:
        DataError: where no conversation can be made of them; it begins with `where`, and names `column`.
    """
    if isinstance(prompt, str) and isinstance(completion, str):
        return prompt, completion
    if isinstance(completion, str):
        return prompt, [{"role": "assistant", "content": completion}]
    if isinstance(prompt, str):
        prompt, completion = _around(prompt, completion, where, column)
    else:
        completion = _without_repeated(prompt, completion)
    if not completion:
        raise DataError(f"{where}, column {column!r} adds no turn to the prompt; give what follows it.")
    return prompt, completion


def as_preference(row: Mapping[str, Any], *, where: str = "the row") -> Preference:
    """Return the preference of a row, in which the prompt may be what both completions begin with.

    Args:
        row: `chosen` and `rejected`, and maybe `prompt`, each text or messages.
        where: its place, which errors begin with.

    Raises:
        DataError: where prompt and completions cannot go together.
    """
    chosen, rejected = row["chosen"], row["rejected"]
    prompt = row.get("prompt")
    if not prompt:
        if type(chosen) is not type(rejected):
            raise DataError(
                f"{where}: 'chosen' is {_kind(chosen)} and 'rejected' is {_kind(rejected)}; without a prompt both must "
                "be text, or both messages."
            )
        shared = _shared_length(chosen, rejected)
        return Preference(chosen[:shared], chosen[shared:], rejected[shared:])
    first, chosen = as_pair(prompt, chosen, where=where, column="chosen")
    second, rejected = as_pair(prompt, rejected, where=where, column="rejected")
    if first == second:
        return Preference(first, chosen, rejected)
    if isinstance(first, list) and isinstance(second, list):
        # One side holds the turns before the prompt, the other does not.
        longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
        if _spoken(longer[len(longer) - len(shorter) :]) == _spoken(shorter):
            return Preference(longer, chosen, rejected)
    raise DataError(
        f"{where}: the prompt {excerpt(prompt)} leads to other turns in 'chosen' than in 'rejected'; make both answer "
        "one conversation."
    )


def _around(prompt: str, completion: Conversation, where: str, column: str) -> tuple[Conversation, Conversation]:
    """Return the conversation that a text prompt and messages make, cut behind the turn that says the text."""
    for place, message in enumerate(completion[:-1]):
        if message["role"] != "assistant" and str(message.get("content") or "").strip() == prompt.strip():
            return completion[: place + 1], completion[place + 1 :]
    if completion[0]["role"] == "assistant":
        return [{"role": "user", "content": prompt}], completion
    raise DataError(
        f"{where}, column 'prompt' is the text {excerpt(prompt)}, which no turn of column {column!r} says, and that "
        f"begins with a turn of {completion[0]['role']!r}; give the prompt as messages, or leave the column out."
    )


def _without_repeated(prompt: Conversation, completion: Conversation) -> Conversation:
    """Return the messages of a completion without those that end the prompt already."""
    before, after = _spoken(prompt), _spoken(completion)
    for length in range(min(len(prompt), len(completion)), 0, -1):
        if before[-length:] == after[:length]:
            return completion[length:]
    return completion


def _spoken(messages: Conversation) -> list[dict[str, Any]]:
    return [{key: value for key, value in message.items() if value is not None} for message in messages]


def _shared_length(chosen: Any, rejected: Any) -> int:
    """Return how much both begin with, something of both left over; a text is cut before a blank."""
    limit = min(len(chosen), len(rejected)) - (0 if isinstance(chosen, str) else 1)
    shared = next((i for i in range(limit) if chosen[i] != rejected[i]), limit)
    if isinstance(chosen, str):
        if shared == min(len(chosen), len(rejected)):
            return 0
        if shared and chosen[shared - 1] == " ":
            shared -= 1
    return shared


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "messages"
