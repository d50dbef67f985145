"""BERTScore of a small encoder against the equation, text by text."""

from __future__ import annotations

import pytest
import torch
from transformers import BertModel

from genrlhf.errors import ModelError
from genrlhf.metrics import Homogenisation
from genrlhf.metrics.diversity.bert_score import BERTScorer
from tests.helpers import save_model, tiny_bert, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tiny_bert(num_hidden_layers=2), tiny_tokenizer(), tmp_path_factory.mktemp("bert")))


def by_hand(folder: str, a: str, b: str) -> float:
    model, tokenizer = BertModel.from_pretrained(folder).eval(), tiny_tokenizer()
    with torch.no_grad():
        x, y = (model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0] for text in (a, b))
    best = torch.tensor([[float(torch.cosine_similarity(p, q, dim=0)) for q in y] for p in x])
    precision, recall = float(best.max(dim=1).values.mean()), float(best.max(dim=0).values.mean())
    return 2 * precision * recall / (precision + recall)


def test_against_the_equation(folder: str) -> None:
    pairs = [("a cat", "the dog"), ("a", "a long text about nothing"), ("same", "same")]
    scores = BERTScorer(folder, batch_size=2)(pairs)
    assert scores == pytest.approx([by_hand(folder, a, b) for a, b in pairs], abs=1e-5)
    assert scores[2] == pytest.approx(1, abs=1e-5)
    assert BERTScorer(folder)([(b, a) for a, b in pairs]) == pytest.approx(scores, abs=1e-5)


def test_homogenisation_by_bert_score(folder: str) -> None:
    metric = Homogenisation("bert_score", model=folder)
    assert metric.name == "homogenisation_bert_score"
    texts = ["a cat", "the dog", "rain"]
    expected = (by_hand(folder, *texts[:2]) + by_hand(folder, *texts[1:]) + by_hand(folder, *texts[::2])) / 3
    assert metric(texts) == pytest.approx(expected, abs=1e-5)


def test_a_missing_encoder() -> None:
    with pytest.raises(ModelError, match="There is no encoder at 'no/where'"):
        BERTScorer("no/where")([("a", "b")])
