"""What of the assistant's turns a chat template, or its markers, leave out."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.data.turns import leaves_out_end, leaves_out_words
from tests.helpers import EOS_ID, tiny_tokenizer

USER = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    ("text", "learnt", "left_out"),
    [
        ("[a]yo<eos>\n", "yo<eos>\n", False),
        ("[a]yo<eos>\n", "yo<eos>", False),
        ("[a]yo<eos>\n", "yo", True),
        ("[a]yo <eos>\n", "yo", True),
        ("[a]yo\n", "yo", True),
        ("[a]yo\n", "yo\n", False),
        ("[a]yo<call><eos>", "yo<call>", True),
        ("[a]yo<call><end>[a]no", "yo<call><end>", False),
        ("[a]yo<eos>[u]more<eos>[a]no<eos>", "no", True),
        ("[u]more", "", False),
    ],
)
def test_ends_that_are_not_learnt(text: str, learnt: str, left_out: bool) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<call>", "<end>"])
    ids, part = tokenizer(text)["input_ids"], tokenizer(learnt)["input_ids"]
    start = next(place for place in reversed(range(len(ids))) if ids[place : place + len(part)] == part)
    mask = [start <= place < start + len(part) for place in range(len(ids))]
    assert leaves_out_end(tokenizer, ids, mask, EOS_ID) == left_out


@pytest.mark.parametrize(
    ("message", "text", "left_out"),
    [
        ({"content": "a  b\n"}, "[x]a b", False),
        ({"content": "<think>\nwhy\n</think>\n\nso"}, "<think>why</think>so", False),
        ({"content": "<think>\nwhy\n</think>\n\nso"}, "[x]so", True),
        ({"content": "so", "reasoning_content": "why"}, "[x]so", True),
        ({"content": "so", "reasoning_content": "why"}, "[x]<think>why</think>so", False),
        ({"content": "so", "reasoning": "why"}, "[x]so", True),
        ({"content": "so", "thinking": "why"}, "[x]so", True),
        ({"content": "so", "reasoning_content": None}, "[x]so", False),
        ({"content": "so", "reasoning_content": " "}, "[x]so", False),
        ({"content": [{"type": "text", "text": "so"}]}, "[x]so", False),
        ({"content": [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "so"}]}, "[x]so", True),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}]}, "[x]so", True),
        ({"content": None, "tool_calls": [{"function": {"name": "f"}}]}, "f", False),
    ],
)
def test_words_that_a_template_leaves_out(message: dict[str, Any], text: str, left_out: bool) -> None:
    assert leaves_out_words([USER, {"role": "assistant", **message}], text) == left_out
    # What others say is their template's business.
    assert not leaves_out_words([{"role": "user", **message}], text)
