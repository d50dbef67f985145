"""BERTScore of a small encoder against the equation, text by text, and against the package `bert-score`."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertModel,
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertModel,
)

from genrlhf.errors import ConfigError, ModelError
from genrlhf.metrics import Homogenisation
from genrlhf.metrics.diversity.bert_score import BERTScorer
from genrlhf.metrics.diversity.bert_score_layers import known_layer

LINE = "the cat sat on a mat dog ran fast and slow rain sun it was not very good bad happy sad house tree"
WORDS = LINE.split()
TEXTS = [
    "the cat sat on a mat",
    " a dog ran fast\n",
    "rain and sun",
    "it was not very unknown",
    "the [SEP] cat",
    "tree " * 20,
]
PAIRS = list(itertools.combinations(TEXTS, 2))

# What bert-score 0.3.13 gives for PAIRS with the encoder of `make_bert`, one pair a batch, idf and rescaling off: its
# larger batches take the similarity to padding, 0, for a match where all others are negative.
_PACKAGE = {
    1: """
        0.89279705 0.92010266 0.97852641 0.84621269 0.93067962 0.95662367 0.94250715 0.88980901 0.81008649
        0.94010258 0.86214864 0.84063429 0.87318122 0.90430260 0.79238522
    """,
    2: """
        0.93777812 0.96133238 0.98286366 0.90678620 0.95660549 0.97883707 0.96451980 0.94418037 0.91509765
        0.96643597 0.94639295 0.92288095 0.92387938 0.95742422 0.89902920
    """,
    3: """
        0.94821185 0.97231060 0.98685938 0.94512761 0.96310425 0.99022537 0.96528482 0.97375441 0.92049545
        0.98195809 0.97030336 0.93910974 0.96819282 0.96469611 0.94884658
    """,
}
PACKAGE = {layer: [float(number) for number in numbers.split()] for layer, numbers in _PACKAGE.items()}


def make_tokenizer(folder: Path) -> BertTokenizerFast:
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), encoding="utf-8")
    return BertTokenizerFast(vocab_file=str(vocabulary), model_max_length=16)


def save(model: Any, folder: Path) -> str:
    """Save a model whose weights no version of torch or transformers draws differently, and a tokenizer of words."""
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = torch.from_numpy(generator.normal(size=tuple(weight.shape))).float()
            weight.copy_(1 + 0.1 * drawn if "LayerNorm.weight" in name or "layer_norm.weight" in name else 0.3 * drawn)
    model.save_pretrained(folder)
    make_tokenizer(folder).save_pretrained(folder)
    return str(folder)


def make_bert() -> BertModel:
    return BertModel(
        BertConfig(
            vocab_size=len(WORDS) + 5,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(make_bert(), tmp_path_factory.mktemp("bert"))


def by_hand(model: Any, tokenizer: Any, layer: int, a: str, b: str) -> float:
    """The equation, a text at a time through the whole model: [CLS] and [SEP] match, and have no weight."""
    found = []
    for text in (a, b):
        ids = tokenizer(text.strip(), truncation=True)["input_ids"]
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
        found.append((states, [token not in (2, 3) for token in ids]))
    (x, w), (y, v) = found
    best = torch.tensor([[float(torch.cosine_similarity(p, q, dim=0)) for q in y] for p in x])
    precision = float(best.max(dim=1).values[torch.tensor(w)].mean())
    recall = float(best.max(dim=0).values[torch.tensor(v)].mean())
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_against_the_package(folder: str, layer: int) -> None:
    assert BERTScorer(folder, layer=layer)(PAIRS) == pytest.approx(PACKAGE[layer], abs=1e-6)


@pytest.mark.parametrize("layer", [2, 3, None])
def test_against_the_equation(folder: str, layer: int | None, tmp_path: Path) -> None:
    model, tokenizer = BertModel.from_pretrained(folder).eval(), make_tokenizer(tmp_path)
    expected = [by_hand(model, tokenizer, layer or 3, a, b) for a, b in PAIRS]
    scores = BERTScorer(folder, layer=layer, batch_size=2)(PAIRS)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert BERTScorer(folder, layer=layer)([(b, a) for a, b in PAIRS]) == pytest.approx(scores, abs=1e-6)
    assert BERTScorer(folder)([("the cat", "the cat ")]) == pytest.approx([1], abs=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: DistilBertModel(
            DistilBertConfig(vocab_size=size, dim=16, n_layers=3, n_heads=2, hidden_dim=32, max_position_embeddings=32)
        ),
        lambda size: AlbertModel(
            AlbertConfig(
                vocab_size=size,
                embedding_size=8,
                hidden_size=16,
                num_hidden_layers=3,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=32,
            )
        ),
        lambda size: BartModel(
            BartConfig(
                vocab_size=size,
                d_model=16,
                encoder_layers=3,
                decoder_layers=1,
                encoder_attention_heads=2,
                encoder_ffn_dim=32,
                max_position_embeddings=32,
                pad_token_id=0,
                eos_token_id=3,
                bos_token_id=2,
            )
        ),
    ],
    ids=["distilbert", "albert", "bart"],
)
def test_other_families(make: Any, tmp_path: Path) -> None:
    model = make(len(WORDS) + 5).eval()
    saved = save(model, tmp_path)
    whole = model.get_encoder() if model.config.is_encoder_decoder else model
    for layer in (1, 3):
        expected = [by_hand(whole, make_tokenizer(tmp_path), layer, a, b) for a, b in PAIRS]
        assert BERTScorer(saved, layer=layer)(PAIRS) == pytest.approx(expected, abs=1e-5)


def test_texts_without_tokens_have_no_score(folder: str) -> None:
    scores = BERTScorer(folder)([("", "a cat"), (" \n", ""), ("[SEP]", "a cat"), ("a cat", "a cat")])
    assert [math.isnan(score) for score in scores] == [True, True, True, False]
    assert Homogenisation("bert_score", model=folder)(["a cat", "a cat", ""]) == pytest.approx(1, abs=1e-6)


def test_layers_of_known_models() -> None:
    assert known_layer("roberta-large") == known_layer("FacebookAI/roberta-large") == 17
    assert known_layer("distilbert/distilbert-base-uncased") == known_layer("models/distilbert-base-uncased/") == 5
    assert known_layer("microsoft/deberta-xlarge-mnli") == 40
    assert known_layer("somebody/else") is None


def test_the_layer_of_a_known_model_is_taken(folder: str, tmp_path: Path) -> None:
    named = tmp_path / "bert_uncased_L-2_H-128_A-2"  # the package takes its first layer
    BertModel.from_pretrained(folder).save_pretrained(named)
    make_tokenizer(tmp_path).save_pretrained(named)
    assert BERTScorer(str(named))(PAIRS) == pytest.approx(PACKAGE[1], abs=1e-6)


def test_homogenisation_by_bert_score(folder: str) -> None:
    metric = Homogenisation("bert_score", model=folder, layer=2)
    assert metric.name == "homogenisation_bert_score"
    assert metric(TEXTS) == pytest.approx(np.mean(PACKAGE[2]), abs=1e-6)


def test_what_there_is_not(folder: str) -> None:
    with pytest.raises(ModelError, match="There is no encoder at 'no/where'"):
        BERTScorer("no/where")([("a", "b")])
    with pytest.raises(ModelError, match="has 3 layers, and none is number 4"):
        BERTScorer(folder, layer=4)([("a", "b")])
    with pytest.raises(ConfigError, match="layer is 0"):
        BERTScorer(folder, layer=0)
