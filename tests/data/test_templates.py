"""What chat templates say of turns and of the system."""

from __future__ import annotations

import pytest

from genrlhf.data.templates import default_system, turn_end
from tests.helpers import CHAT_TEMPLATE, tiny_tokenizer


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (CHAT_TEMPLATE, "<eos>"),
        (CHAT_TEMPLATE.replace("eos_token", "'<end>'"), "<end>"),
        ("{{ messages }}", None),
        (None, None),
    ],
)
def test_the_token_that_ends_a_turn(template: str | None, end: str | None) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    tokenizer.chat_template = template
    assert turn_end(tokenizer) == end


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (CHAT_TEMPLATE, None),
        ("{% if messages[0].role != 'system' %}[system] Be kind. \n{% endif %}" + CHAT_TEMPLATE, "Be kind."),
        # A date that stands before every system message is no system prompt in its place.
        ("[system]Today.\n" + CHAT_TEMPLATE, None),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHAT_TEMPLATE, None),
        (None, None),
    ],
)
def test_the_system_prompt_of_a_template(template: str | None, said: str | None) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    assert default_system(tokenizer) == said
