"""The TL;DR prompt format, written and read back."""

from __future__ import annotations

import time

import pytest

from genrlhf.data import as_completion, parse_tldr_prompt, tldr_prompt
from genrlhf.data.embedded.language import parse_prompt
from genrlhf.errors import DataError

PROMPT = "SUBREDDIT: r/pets\n\nTITLE: the couch\n\nPOST: my cat clawed the couch.\n\nIt was new.\n\nTL;DR:"


def test_prompt_has_the_published_form() -> None:
    assert tldr_prompt("pets", "the couch", "my cat clawed the couch.\n\nIt was new.") == PROMPT


def test_parser_is_the_inverse() -> None:
    assert parse_tldr_prompt(PROMPT) == ("pets", "the couch", "my cat clawed the couch.\n\nIt was new.")
    assert tldr_prompt(*parse_tldr_prompt(PROMPT)) == PROMPT


@pytest.mark.parametrize(
    "parts",
    [
        ("pets", "TITLE: of a title", "a post with\n\nPOST: and TL;DR: and\n\nTL;DR:\n\nin it"),
        ("a/b c", "POST: x", "SUBREDDIT: r/dogs\n\nTITLE: no"),
        ("pets", "", ""),
    ],
)
def test_marks_inside_the_parts_survive(parts: tuple[str, str, str]) -> None:
    assert parse_tldr_prompt(tldr_prompt(*parts)) == parts


def test_line_breaks_and_blanks_do_not_break_the_form() -> None:
    assert tldr_prompt(" pets\n", "a\n\nPOST: title ", "\n post \n") == (
        "SUBREDDIT: r/pets\n\nTITLE: a POST: title\n\nPOST: post\n\nTL;DR:"
    )


def test_reads_what_the_embedded_task_writes() -> None:
    prompt = "SUBREDDIT: r/pets\n\nTITLE: the couch\n\nPOST: my cat clawed the couch.\n\nTL;DR:"
    post = parse_prompt(prompt)
    assert parse_tldr_prompt(prompt).subreddit == post.subreddit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Summarise this.",
        PROMPT.removesuffix("TL;DR:"),
        PROMPT.replace("TITLE", "HEADLINE"),
        PROMPT.replace("POST", "TEXT"),
        PROMPT.replace("r/pets", "pets"),
        "SUBREDDIT: r/pets\n\nand more\n\nTITLE: a\n\nPOST: b\n\nTL;DR:",
        [{"role": "user", "content": "hello"}],
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"is no TL;DR prompt; it must read 'SUBREDDIT: r/"):
        parse_tldr_prompt(text)


@pytest.mark.parametrize("unit", ["SUBREDDIT: r/", "\n", "\nTITLE:", "TL;DR:\n"])
def test_hostile_prompts_take_no_time(unit: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError):
        parse_tldr_prompt("SUBREDDIT: r/" + unit * 100_000)
    assert time.process_time() - start < 1


def test_completions_begin_with_one_blank() -> None:
    assert [as_completion(text) for text in ("a b", "  a b\n", " a b")] == [" a b"] * 3
