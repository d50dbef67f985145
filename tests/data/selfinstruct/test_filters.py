"""Every filter takes what it is for, in the order that is documented."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.data.selfinstruct.config import SelfInstructConfig
from genrlhf.data.selfinstruct.filters import InstructionFilters, filter_instances
from genrlhf.data.selfinstruct.seeds import Instance

SEEDS = ["Name one bird that cannot fly.", "Écris un poème sur la mer."]


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Name three birds.", "too_short"),
        ("Name three blue birds.", None),
        ("word " * 151, "too_long"),
        ("word " * 149 + "end.", None),
        (f"Name {'a' * 3000} of it.", "too_long"),
        ("Describe this picture, in words.", "keyword"),
        ("Describe the picturesque old town.", None),
        ("Please GO to the nearest shop.", "keyword"),
        ("Say where the goers to town went.", None),
        ("Write a program that sorts numbers.", "beginning"),
        ("Write a programme for the evening.", None),
        ("“Write a letter to my aunt.", "punctuation"),
        ("- write a letter to my aunt", "punctuation"),
        ("+ two and two make what", "punctuation"),
        ("7 words that rhyme with moon", None),
        ("写一首关于大海的诗。", "script"),
        ("Напиши короткое стихотворение о море", "script"),
        ("Élaborez un plan de voyage détaillé", None),
        # 5 of 6 and 5 words in common and in order: 10 / 11; 4 of 6 and 6: 2/3.
        ("Name one bird that cannot.", "rouge_l"),
        ("Name one fish that cannot swim.", None),
        ("Name one bird. Draw it.", "keyword"),
    ],
)
def test_instructions(instruction: str, reason: str | None) -> None:
    assert InstructionFilters(SEEDS, [], SelfInstructConfig()).judge(instruction).reason == reason


def test_a_score_at_the_threshold_is_dropped() -> None:
    # 7 words in common of 10 and 10.
    seed = "a b c d e f g h i j"
    for threshold, reason in ((0.7, "rouge_l"), (0.71, None)):
        filters = InstructionFilters([seed], [], SelfInstructConfig(max_rouge_l=threshold))
        found = filters.judge("a b c d e f g x y z")
        assert (found.reason, found.rouge_l, found.nearest) == (reason, 0.7, 0)


def test_what_is_kept_and_what_is_to_be_avoided_is_known() -> None:
    filters = InstructionFilters(SEEDS, ["Rank the planets by their size."], SelfInstructConfig())
    assert filters.judge("Rank the planets by their mass.") == ("rouge_l", pytest.approx(5 / 6), 2)
    assert filters.judge("Explain how a sail works.").reason is None
    assert filters.judge("Explain how a sail works.") == ("rouge_l", 1.0, 3)


def test_scripts_without_blanks_are_counted_and_compared_in_characters() -> None:
    filters = InstructionFilters(["说出一种不会飞的鸟。"], [], SelfInstructConfig(keywords=("画图",)))
    assert filters.judge("写诗。").reason == "too_short"
    assert filters.judge("请把这句话画图表示出来。").reason == "keyword"
    assert filters.judge("说出一种不会游的鸟。").reason == "rouge_l"
    assert filters.judge("把下面的句子翻译成法语。").reason is None
    assert filters.judge("Translate this sentence into French.").reason == "script"


def pairs(*texts: tuple[str, str] | None) -> list[Instance | None]:
    return [None if each is None else Instance(*each) for each in texts]


@pytest.mark.parametrize(
    ("given", "options", "reasons"),
    [
        ([("a", "b"), None], {}, [None, "incomplete"]),
        ([("a", "b"), ("c", "d")], {"ended": False}, [None, "unfinished"]),
        ([("a", "")], {}, ["empty"]),
        ([("a", "as follows:"), ("this：", "x")], {}, ["colon", "colon"]),
        ([("a", "a")], {}, ["same_as_input"]),
        ([("a", "b"), ("a", "b")], {}, [None, "repeated"]),
        ([("a", "b"), ("c", "d"), ("a", "e")], {}, ["contradicting", None, "contradicting"]),
        ([("", "b"), ("", "c"), ("", "b")], {}, [None, None, "repeated"]),
        ([("a", "b"), ("a", "c")], {"ended": False}, [None, "unfinished"]),
        ([("a", "1"), ("b", "2"), ("c", "3")], {"most": 2}, [None, None, "beyond"]),
        ([], {"ended": False}, []),
    ],
)
def test_instances(given: list[Any], options: dict[str, Any], reasons: list[str | None]) -> None:
    found = filter_instances(pairs(*given), options.pop("most", 5), **options)
    assert [reason for _, reason in found] == reasons
