"""Longest common subsequences of many pairs against one at a time, and against the usual table."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.metrics.diversity import subsequences
from genrlhf.metrics.diversity.subsequences import common_subsequences
from genrlhf.text import common_subsequence


def by_table(a: str, b: str) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.lists(st.text("abc", max_size=8), min_size=2, max_size=5))
def test_against_the_table(texts: list[str]) -> None:
    pairs = np.array([(i, j) for i in range(len(texts)) for j in range(len(texts))])
    assert common_subsequences(texts, pairs).tolist() == [by_table(texts[i], texts[j]) for i, j in pairs]


@pytest.mark.parametrize("cells", [1, 50, 4_000_000])
def test_long_texts_and_any_share_of_the_memory(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsequences, "_CELLS_AT_ONCE", cells)
    draw = random.Random(0)
    sizes = [0, 1, 63, 64, 65, 127, 128, 129, 192, 200, 260, 64]
    texts = [draw.choices(range(3 if size % 2 else 40), k=size) for size in sizes]
    texts += [[1] * 300, list(range(150)), list(range(150)), [7] * 64, [7] * 65]
    pairs = np.array([(i, j) for i in range(len(texts)) for j in range(len(texts))])
    expected = [common_subsequence(texts[i], texts[j]) for i, j in pairs.tolist()]
    assert common_subsequences(texts, pairs).tolist() == expected


def test_no_pairs() -> None:
    assert common_subsequences(["a"], np.zeros((0, 2), dtype=np.int64)).tolist() == []
