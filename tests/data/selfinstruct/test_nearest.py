"""The nearest text is the one that comparing with all of them finds."""

from __future__ import annotations

import random

import pytest

from genrlhf.data.selfinstruct.nearest import NearestText
from genrlhf.text import rouge_l

WORDS = ("a", "the", "the", "bird", "sings", "not", "猫", "鱼", "งู", "é", "7")


@pytest.mark.parametrize("seed", range(4))
def test_the_index_agrees_with_comparing_all(seed: int) -> None:
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(0, 12))) for _ in range(300)]
    known = NearestText(texts[:150])
    for text in texts[150:]:
        scores = [rouge_l(text, other) for other in texts[: len(known)]]
        found, place = known.nearest(text)
        assert found == max(scores)
        assert place is None if found == 0 else scores[place] == found  # type: ignore[index]
        known.add(text)
    assert len(known) == 300


def test_order_and_repeated_words_count() -> None:
    known = NearestText(["one two three", "two two two"])
    # LCS 1 of 3 + 3 words with the first, 1 of 6 with the second.
    assert known.nearest("three two one") == (1 / 3, 0)
    assert known.nearest("two two") == (0.8, 1)
    assert NearestText().nearest("two") == (0.0, None)
    assert known.nearest("...") == (0.0, None)


def test_characters_are_the_words_of_scripts_without_blanks() -> None:
    # 给出一个例子 and 给出两个例子 share 5 of 6 characters in their order.
    assert NearestText(["给出一个例子"]).nearest("给出两个例子") == (pytest.approx(10 / 12), 0)
