"""Encoders of any family as a CARP model: pooling, projections, classes with context, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from torch.nn.functional import normalize
from transformers import RobertaConfig, RobertaModel, T5Config, T5ForConditionalGeneration

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.carp import CARPModel, class_names
from genrlhf.models.encoders import Encoder, load_encoder, padded, pooled, text_tokens
from tests.helpers import VOCAB_SIZE, save_model, tiny_bert, tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer


def tiny_roberta() -> RobertaModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return RobertaModel(RobertaConfig(vocab_size=VOCAB_SIZE, max_position_embeddings=66, **sizes)).eval()


FAMILIES: dict[str, Any] = {
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "llama": tiny_llama,
    "gpt2": tiny_gpt2,
    "opt": tiny_opt,
}


def made(family: str = "bert", **settings: Any) -> tuple[CARPModel, Encoder]:
    encoder = load_encoder(FAMILIES[family](), tokenizer=tiny_tokenizer())
    return CARPModel.of(encoder, encoder, **{"latent_size": 8, "text_length": 60, **settings}).eval(), encoder


def units(model: CARPModel, texts: list[str], side: str = "passage") -> torch.Tensor:
    ids, mask = padded(text_tokens(tiny_tokenizer(), texts, max_length=None))
    return model.encode(side, ids, mask).detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_saving_change_nothing(family: str, tmp_path: Path) -> None:
    model, _ = made(family)
    texts = ["abc", "", "a longer text by far"]
    together = units(model, texts)
    assert (together.norm(dim=-1) - 1).abs().max() < 1e-6
    for place, text in enumerate(texts):
        assert (units(model, [text])[0] - together[place]).abs().max() < 1e-5
    learning = model.with_context(3, ["kind", "rude"]).eval()
    learning.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    loaded = CARPModel.from_pretrained(tmp_path, trust_remote_code=False).eval()
    names = class_names(tiny_tokenizer(), ["kind", "rude"], max_length=None)
    assert torch.equal(learning.encode_classes(names), loaded.encode_classes(names))
    assert torch.equal(together, units(loaded, texts)) and loaded.config.classes == ["kind", "rude"]


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_without_context_are_their_names(family: str) -> None:
    model, _ = made(family)
    names = class_names(tiny_tokenizer(), ["kind", "quite rude"], max_length=None)
    zero_shot = model.encode_classes(names)
    assert (zero_shot - units(model, ["kind", "quite rude"], "critique")).abs().max() < 1e-6
    # By embeddings and not by tokens, where there is context: with none of it, the same.
    embedded = model.critique.get_input_embeddings()(names.input_ids)
    assert (model._units("critique", names.mask, inputs_embeds=embedded) - zero_shot).abs().max() < 1e-6
    learning = model.with_context(3, ["kind", "quite rude"]).eval()
    assert (learning.encode_classes(names, context=False) - zero_shot).abs().max() < 1e-6
    assert [name for name, each in learning.named_parameters() if each.requires_grad] == ["context"]
    learning.encode_classes(names).sum().backward()
    assert learning.context.grad is not None and learning.context.grad.abs().max() > 0
    # Vectors of context that are the embeddings of letters read as these letters do.
    with torch.no_grad():
        letters = tiny_tokenizer()("so ")["input_ids"]
        learning.context.copy_(model.critique.get_input_embeddings()(torch.tensor(letters)))
    written = units(model, ["so kind", "so quite rude"], "critique")
    assert (learning.encode_classes(names) - written).abs().max() < 1e-5


def test_context_lies_behind_bos() -> None:
    tokenizer = tiny_tokenizer()
    ids = class_names(tokenizer, ["kind", "rude"], max_length=None)
    assert ids.begin == 0  # this one has no BOS

    class WithBOS:
        all_special_ids = [1]  # noqa: RUF012
        eos_token_id = pad_token_id = 1

        def __call__(self, texts: list[str], **options: Any) -> dict[str, Any]:
            return {"input_ids": [[1, *map(ord, text), 1] for text in texts]}

    assert class_names(WithBOS(), ["kind", "kid"], max_length=None).begin == 1  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="classes 'kind' and 'kind' are the same tokens"):
        class_names(tokenizer, ["kind", "kind"], max_length=None)
    with pytest.raises(ModelError, match="'kind one' and 'kind two' are the same tokens"):
        class_names(tokenizer, ["kind one", "kind two"], max_length=4)
    with pytest.raises(ModelError, match="There are 1 classes"):
        class_names(tokenizer, ["kind"], max_length=None)


def test_the_sum_over_tokens_has_the_direction_of_their_mean() -> None:
    model, encoder = made()
    ids, mask = padded(text_tokens(tiny_tokenizer(), ["ab", "abcdef"], max_length=None))
    states = encoder.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    summed = normalize((states * mask.unsqueeze(-1)).sum(1) @ model.passage_projection.weight.T, dim=-1)
    assert (summed - model.encode("passage", ids, mask)).abs().max() < 1e-6


def test_poolings() -> None:
    states = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert pooled(states, mask, "mean").tolist() == [[1, 2], [8, 9]]
    assert pooled(states, mask, "cls").tolist() == [[0, 1], [6, 7]]
    assert pooled(states, mask, "last").tolist() == [[2, 3], [10, 11]]
    assert pooled(-states, mask, "max").tolist() == [[0, -1], [-6, -7]]


def test_encoders_of_sentence_transformers(tmp_path: Path) -> None:
    saved = save_model(tiny_bert(), tiny_tokenizer(), tmp_path / "bert")
    for mode, ours in (("mean", "mean"), ("cls", "cls"), ("max", "max")):
        encoder = SentenceTransformer(modules=[Transformer(str(saved)), Pooling(16, mode)], device="cpu")
        folder = tmp_path / mode
        encoder.save(str(folder))
        # Without projections it is what the encoder says, up to its length.
        both = encoder.encode(["abc", "a longer text"], normalize_embeddings=True, batch_size=1)
        expected = torch.from_numpy(both)
        for source in (str(folder), encoder):
            loaded = load_encoder(source)
            assert loaded.pooling == ours
            model = CARPModel.of(loaded, loaded, latent_size=None).eval()
            assert (units(model, ["abc", "a longer text"]) - expected).abs().max() < 1e-5
    assert load_encoder(str(tmp_path / "cls"), pooling="mean").pooling == "mean"


def test_what_is_no_encoder(tmp_path: Path) -> None:
    both = T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(ModelError, match=r"\(t5\) has an encoder and a decoder; give an encoder alone"):
        load_encoder(both, tokenizer=tiny_tokenizer())
    with pytest.raises(ModelError, match=r"\(t5\) has an encoder and a decoder"):
        load_encoder(str(save_model(both, None, tmp_path / "t5")))
    with pytest.raises(ModelError, match="There is no model at"):
        load_encoder(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="Sequential is no encoder"):
        load_encoder(torch.nn.Sequential(torch.nn.Identity()))
    with pytest.raises(ConfigError, match="pooling is 'sum'; it must be auto"):
        load_encoder(tiny_bert(), tokenizer=tiny_tokenizer(), pooling="sum")
    small, large = (load_encoder(tiny_bert(hidden_size=d), tokenizer=tiny_tokenizer()) for d in (16, 32))
    with pytest.raises(ConfigError, match="passages have 16 numbers and those of critiques 32"):
        CARPModel.of(small, large, latent_size=None)
    assert CARPModel.of(small, large, latent_size=8).critique_projection.in_features == 32
