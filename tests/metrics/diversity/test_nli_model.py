"""A real classifier with labels in another order, against one forward pass a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase, RobertaForSequenceClassification

from genrlhf.errors import ModelError
from genrlhf.metrics import NLIDiversity
from genrlhf.metrics.diversity.nli_model import NLIModel
from tests.helpers import save_model, tiny_reward_model, tiny_tokenizer

LABELS = {0: "ENTAILMENT", 1: "neutral", 2: "Contradiction"}
PREMISES = ["a cat", "the dog ran away", "", "a cat", "x"]
HYPOTHESES = ["a dog", "no", "it", "a cat", "a rather long hypothesis"]


def save(folder: Path, labels: dict[int, str]) -> str:
    model = tiny_reward_model(
        num_labels=len(labels), id2label=labels, label2id={label: number for number, label in labels.items()}
    )
    return str(save_model(model, tiny_tokenizer(), folder))


def one_by_one(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[list[float]]:
    rows = []
    for premise, hypothesis in zip(PREMISES, HYPOTHESES, strict=True):
        ids = torch.tensor([tokenizer(premise)["input_ids"] + tokenizer(hypothesis)["input_ids"]])
        with torch.no_grad():
            entailment, neutral, contradiction = model(input_ids=ids).logits[0].double().exp().tolist()
        total = entailment + neutral + contradiction
        rows.append([contradiction / total, neutral / total, entailment / total])
    return rows


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_probabilities_in_the_stated_order(tmp_path: Path, batch_size: int) -> None:
    scorer = NLIModel(save(tmp_path, LABELS), batch_size=batch_size, max_length=64, device="cpu")
    expected = one_by_one(scorer.model, scorer.tokenizer)
    assert np.ptp(expected, axis=0).min() > 0.01
    assert scorer(PREMISES, HYPOTHESES) == pytest.approx(np.array(expected), abs=1e-5)
    assert scorer([], []).shape == (0, 3)


def test_batches_keep_to_the_tokens_they_may_have(tmp_path: Path) -> None:
    scorer = NLIModel(save(tmp_path, LABELS), max_batch_tokens=40, max_length=64, device="cpu")
    shapes: list[tuple[int, int]] = []
    scorer.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    expected = one_by_one(scorer.model, scorer.tokenizer)
    shapes.clear()
    assert scorer(PREMISES, HYPOTHESES) == pytest.approx(np.array(expected), abs=1e-5)
    assert sum(rows for rows, _ in shapes) == len(PREMISES)
    assert all(rows * width <= 40 for rows, width in shapes)
    assert 1 < len(shapes) < len(PREMISES)


def test_the_longer_sentence_is_cut(tmp_path: Path) -> None:
    scorer = NLIModel(save(tmp_path, LABELS), max_length=12, device="cpu")
    assert scorer(["abc"], ["x" * 500]) == pytest.approx(scorer(["abc"], ["x" * 9]), abs=1e-6)


@pytest.mark.parametrize(
    ("family", "padding"), [(BertForSequenceClassification, 0), (RobertaForSequenceClassification, 1)]
)
def test_a_classifier_of_few_positions(family: Any, padding: int, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 10**30
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = family.config_class(
        vocab_size=len(tokenizer), max_position_embeddings=34, pad_token_id=padding, id2label=LABELS, **sizes
    )
    scorer = NLIModel(str(save_model(family(config), tokenizer, tmp_path)), device="cpu")
    assert scorer.max_length == (32 if padding else 34)
    assert np.isfinite(scorer(["a cat"], ["x" * 500])).all() and scorer.remarks(["x" * 500])


def test_the_metric_loads_a_folder(tmp_path: Path) -> None:
    folder = save(tmp_path, LABELS)
    texts = ["a cat", "a dog", "it rained"]
    expected = NLIDiversity(NLIModel(folder, device="cpu"))(texts)
    assert -2 <= expected <= 2
    assert NLIDiversity(folder)(texts) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"},
        {0: "entailment", 1: "not_entailment"},
        {0: "entailment", 1: "neutral", 2: "contradiction", 3: "other"},
        {0: "entailment", 1: "neutral", 2: "contradiction", 3: "Neutral"},
    ],
)
def test_labels_that_are_not_those_of_nli(tmp_path: Path, labels: dict[int, str]) -> None:
    with pytest.raises(ModelError, match="not contradiction, neutral and entailment; set id2label"):
        NLIModel(save(tmp_path, labels))


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelError, match="no NLI model at 'nowhere/to-be-found'"):
        NLIDiversity("nowhere/to-be-found")(["a", "b"])
