"""Sentence-BERT diversity against a double loop over pairs and hand-made embeddings."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer

from genrlhf.errors import DataError, ModelError
from genrlhf.metrics import SentenceBERT
from tests.helpers import save_model, tiny_bert, tiny_tokenizer


def letters(texts: list[str]) -> np.ndarray:
    """Embed a text by how often it has each of four letters."""
    return np.array([[text.count(letter) for letter in "abcd"] for text in texts])


def double_loop(embeddings: np.ndarray) -> float:
    similarities = []
    for one, other in itertools.combinations(embeddings, 2):
        lengths = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
        similarities.append(sum(x * y for x, y in zip(one, other, strict=True)) / lengths if lengths else 0.0)
    return 1 - sum(similarities) / len(similarities)


sets = st.lists(st.text("abcd", max_size=6), min_size=2, max_size=7)


@given(sets)
def test_closed_form_against_a_double_loop(texts: list[str]) -> None:
    assert SentenceBERT(letters)(texts) == pytest.approx(double_loop(letters(texts)), abs=1e-12)


def test_by_hand() -> None:
    metric = SentenceBERT(letters)
    assert metric(["a", "aaa"]) == pytest.approx(0, abs=1e-15)
    assert metric(["a", "b"]) == 1
    # cosines of a, ab: 1/√2; a, b: 0; ab, b: 1/√2
    assert metric(["a", "ab", "b"]) == pytest.approx(1 - 2 / 3 / math.sqrt(2), rel=1e-12)
    assert SentenceBERT(lambda texts: [[1.0], [-1.0]])(["yes", "no"]) == 2


def test_fewer_than_two_texts_are_undefined() -> None:
    metric = SentenceBERT(letters)
    assert math.isnan(metric(["a"]))
    assert math.isnan(metric([]))
    assert [math.isnan(value) for value in metric.batch([[], ["a", "b"], ["a"]])] == [True, False, True]


@given(st.lists(sets, min_size=1, max_size=4))
def test_batch_is_one_encoder_call_with_the_same_values(many: list[list[str]]) -> None:
    calls: list[list[str]] = []

    def encoder(texts: list[str]) -> np.ndarray:
        calls.append(texts)
        return letters(texts)

    values = SentenceBERT(encoder).batch(many)
    assert len(calls) == 1
    assert len(calls[0]) == len(set(calls[0]))
    assert values == pytest.approx([double_loop(letters(texts)) for texts in many], abs=1e-12)


@given(st.lists(st.text("abcd", max_size=6), min_size=4, max_size=9))
def test_leave_out_is_the_metric_of_the_rest(texts: list[str]) -> None:
    blocks = [[0, 3], [1], [2, 3]]
    value, without = SentenceBERT(letters).leave_out(texts, blocks)
    assert value == pytest.approx(double_loop(letters(texts)), abs=1e-12)
    for block, left in zip(blocks, without, strict=True):
        rest = [text for index, text in enumerate(texts) if index not in block]
        assert left == pytest.approx(double_loop(letters(rest)), abs=1e-12)


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        (lambda texts: np.zeros((1, 3)), ModelError, r"shape \(1, 3\) for 2 texts"),
        (lambda texts: np.zeros(2), ModelError, r"shape \(2,\) for 2 texts"),
        (lambda texts: [[1.0], [math.nan]], DataError, "embedding of 'b' is not finite"),
    ],
)
def test_bad_embeddings(encoder: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SentenceBERT(encoder)(["a", "b"])


def test_bad_texts() -> None:
    with pytest.raises(DataError, match="set 0 is 'ab'"):
        SentenceBERT(letters)("ab")


def test_a_folder_and_a_module_of_sentence_transformers(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "right"  # BERT's positions are absolute
    save_model(tiny_bert(initializer_range=0.5), tokenizer, tmp_path / "bert")
    transformer = Transformer(str(tmp_path / "bert"))
    model = SentenceTransformer(modules=[transformer, Pooling(16, "mean")], device="cpu")
    model.save(str(tmp_path / "sbert"))
    texts = ["a cat", "the dog ran", "!", "a cat"]
    expected = double_loop(np.stack([model.encode([text])[0] for text in texts]).astype(np.float64))
    assert 0 < expected < 2
    assert SentenceBERT(model)(texts) == pytest.approx(expected, abs=1e-5)
    assert SentenceBERT(str(tmp_path / "sbert"), device="cpu", batch_size=2)(texts) == pytest.approx(expected, abs=1e-5)


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelError, match="no sentence encoder at 'nowhere/to-be-found'"):
        SentenceBERT("nowhere/to-be-found")(["a", "b"])
