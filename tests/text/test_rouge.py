"""ROUGE-L, against the table of the longest common subsequence."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.text import (
    common_subsequence,
    rouge_l,
)


def lcs_by_table(a: str, b: str) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.text("abcd", max_size=90), st.text("abcde", max_size=90))
def test_common_subsequence_against_the_table(a: str, b: str) -> None:
    assert common_subsequence(a, b) == lcs_by_table(a, b)


def test_rouge_l_of_any_script() -> None:
    # 今天好 and 今天不好: 3 of 3 and 4 characters.
    assert rouge_l("今天好。", "今天不好") == pytest.approx(2 * 3 / 7)
    assert rouge_l("Он любит кошек.", "он ЛЮБИТ собак") == pytest.approx(2 * 2 / 6)
    assert rouge_l("snake_case", "snake case") == 1  # as the usual scorer has it


def test_long_texts_take_no_time() -> None:
    start = time.process_time()
    rouge_l("你好吗 " * 5000, "a 吗你 " * 5000)
    assert time.process_time() - start < 3
