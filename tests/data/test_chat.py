"""Conversations, and what their rows hand to the chat template."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from genrlhf.data.chat import ChatPrompt, prompt_of, template_options
from genrlhf.data.templates import render
from genrlhf.data.token_ids import text_ids
from genrlhf.errors import DataError
from genrlhf.sampling.decode import check_prompt_lengths, prompt_token_ids
from tests.helpers import CHAT_TEMPLATE, EOS_ID, tiny_tokenizer

CHAT = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"city": {"type": "string"}}}}
SHOWING = "{{ mood or '' }}{% for tool in tools or [] %}<{{ tool.function.name }}>{% endfor %}" + CHAT_TEMPLATE


def adding_tokenizer(single: str, **roles: str) -> Any:
    """A tokenizer that puts special tokens around every text, as `single` says."""
    tokenizer = tiny_tokenizer(chat_template=True)
    tokenizer.add_special_tokens(roles)
    tokens = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "<eos>") if token in single]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=tokens)
    return tokenizer


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL])], ids=["list", "JSON"])
def test_tools_and_arguments_of_the_template_reach_the_prompt(tools: Any) -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    tokenizer.chat_template = SHOWING
    prompt = prompt_of({"prompt": CHAT, "tools": tools, "chat_template_kwargs": {"mood": "CALM", "other": None}})
    assert prompt == ChatPrompt(CHAT, {"mood": "CALM", "tools": [TOOL]})
    assert tokenizer.decode(prompt_token_ids(tokenizer, prompt)) == "CALM<weather>[user]hi\n[assistant]"


@pytest.mark.parametrize("row", [{}, {"tools": None}, {"tools": []}, {"tools": " "}, {"chat_template_kwargs": None}])
def test_rows_without_any_keep_their_prompt(row: dict[str, Any]) -> None:
    assert prompt_of({"prompt": CHAT, **row}) is CHAT
    assert prompt_of({"prompt": "text", "tools": [TOOL]}) == "text"


@pytest.mark.parametrize(
    ("row", "word"), [({"tools": "{"}, "tools"), ({"tools": 3}, "tools"), ({"chat_template_kwargs": "x"}, "kwargs")]
)
def test_columns_that_are_something_else_are_refused(row: dict[str, Any], word: str) -> None:
    with pytest.raises(DataError, match=f"mine, row 3, column '.*{word}'"):
        template_options(row, "mine, row 3")


def test_fields_that_only_other_rows_have_are_left_out() -> None:
    """Arrow gives every message of a dataset the fields of all of them, None where they have none."""
    tokenizer = tiny_tokenizer(chat_template=True)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if 'tool_calls' in m %}calls{% for c in m.tool_calls %}{{ c.function | tojson }}"
        "{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    call = {"function": {"name": "f", "arguments": {"x": 1, "y": None}}}
    messages = [
        {"role": "user", "content": "a", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    assert render(tokenizer, messages) == 'acalls{"name": "f", "arguments": {"x": 1}}'


def test_what_the_template_refuses_is_named_by_row() -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    prompts: list[Any] = [CHAT, [{"role": "system", "content": "s"}, *CHAT]]
    with pytest.raises(DataError, match=r"train.jsonl, row 8, column 'prompt': the chat template refuses .*no system"):
        check_prompt_lengths(tokenizer, prompts, max_length=None, source="train.jsonl", first_row=7)
    tokenizer.chat_template = "{{ 1 / 0 }}"
    with pytest.raises(DataError, match="row 7.*division"):
        check_prompt_lengths(tokenizer, prompts, max_length=None, first_row=7)
    tokenizer.chat_template = None
    with pytest.raises(DataError, match="row 7.*no chat template"):
        check_prompt_lengths(tokenizer, prompts, max_length=None, first_row=7)


def test_a_text_that_begins_with_bos_has_one() -> None:
    tokenizer = adding_tokenizer("<s> $A", bos_token="<s>")
    bos, a = tokenizer.convert_tokens_to_ids(["<s>", "a"])
    assert prompt_token_ids(tokenizer, "a") == [bos, a]
    assert prompt_token_ids(tokenizer, "<s>a") == [bos, a]
    # Two that the user wrote are what the user wrote.
    plain = tiny_tokenizer()
    plain.add_special_tokens({"bos_token": "<s>"})
    assert text_ids(plain, "<s><s>a") == [bos, bos, a]


def test_a_prompt_is_not_ended_by_its_tokenizer() -> None:
    tokenizer = adding_tokenizer("$A <eos>")
    a = tokenizer.convert_tokens_to_ids("a")
    assert prompt_token_ids(tokenizer, "a") == [a]
    assert prompt_token_ids(tokenizer, "a<eos>") == [a, EOS_ID, EOS_ID]
