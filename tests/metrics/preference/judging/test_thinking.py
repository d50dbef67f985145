"""Where a reasoning model's answer begins."""

from __future__ import annotations

import time

import pytest

from genrlhf.metrics.preference.judging.thinking import behind_thinking

MARKS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<THINK>", "</THINK>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<longcat_think>", "</longcat_think>"),
    ('<think time="3">', "</think>"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
    ("<|think|>", "<|/think|>"),
    ("<scratch_pad>", "</scratch_pad>"),
    ("<deliberation>", "</deliberation>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]


@pytest.mark.parametrize(("opening", "closing"), MARKS)
@pytest.mark.parametrize("start", ["", "\n", "  "])
def test_the_answer_is_behind_the_reasoning(opening: str, closing: str, start: str) -> None:
    assert behind_thinking(f"{start}{opening}\nM? m?\n{closing}\n\nM") == ("M", True)
    assert behind_thinking(f"{start}{opening}{closing}M") == ("M", True)
    # Templates that put the opening mark into the prompt leave the closing one alone.
    assert behind_thinking(f"m? No.{closing}M") == ("M", True)


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_reasoning_that_was_cut_off_has_no_answer(opening: str, closing: str) -> None:
    assert behind_thinking(f"{opening}\nIt may be M, or") == (None, True)
    assert behind_thinking(f"{opening}a{closing}M\n{opening} m?") == (None, True)
    assert behind_thinking(f"I shall think first.\n{opening} m, then") == (None, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("M", ("M", False)),
        ("", ("", False)),
        ("<think>all of it</think>", ("", True)),
        # What is judged may hold marks, and reasoning quotes it.
        ("<think>It says '</think> m'. So?</think>M", ("M", True)),
        ("<think><think>a</think>b</think>M", ("M", True)),
        ("The first writes <think> without an end. [[B]]", ("The first writes <think> without an end. [[B]]", False)),
        ("analysisWe compare them.assistantfinalM", ("M", True)),
        ("analysis of both: M", ("analysis of both: M", False)),
        ("<think>a</think><answer>M</answer>", ("M", True)),
        ("<think>a</think><answer><|begin_of_box|>M<|end_of_box|></answer>", ("M", True)),
        ("Here is my thought process:\nm?\n\nHere is my response:\nM", ("M", True)),
        ("Here's my thought process: m, or", (None, True)),
        ("Here is my response: M", ("Here is my response: M", False)),
        ("<answer>\nM\n</answer>\n", ("\nM\n", False)),
        ("<answer>M", ("M", False)),
        ("M<|im_end|>", ("M", False)),
        ("M</s> \n", ("M", False)),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>M<|return|>", ("M", True)),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>M<|end_of_solution|>", ("M", True)),
        ("<think>a</think>\n<|begin_of_box|>M<|end_of_box|>", ("M", True)),
        ("<thinker> is a tag of theirs. [[A]]", ("<thinker> is a tag of theirs. [[A]]", False)),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>M<|END_RESPONSE|>", ("M", True)),
    ],
)
def test_what_answers_look_like(text: str, expected: tuple[str | None, bool]) -> None:
    assert behind_thinking(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 500_000,
        "</think>" * 500_000,
        "<" * 3_000_000,
        " " * 3_000_000 + "x",
        "\n" * 3_000_000,
        "<answer>" + " " * 3_000_000 + "x",
        "analysis" * 300_000,
        "<|channel|>" * 300_000,
    ],
    ids=lambda text: repr(text[:9]),
)
def test_megabytes_take_no_time(text: str) -> None:
    start = time.process_time()
    behind_thinking(text)
    assert time.process_time() - start < 10
