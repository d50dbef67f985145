"""What a chat template makes of messages, and how it ends a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.data.chat import without_none
from genrlhf.errors import DataError, excerpt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["default_system", "ends_turn", "render", "turn_end", "unheard_end"]


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
