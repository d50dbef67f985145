"""Models and tokenizers from folders and modules, and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    FNetConfig,
    FNetForMaskedLM,
    FNetForSequenceClassification,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from genrlhf.errors import ModelError
from genrlhf.models import load_causal_lm, load_for_reward_training, load_reward_model, load_tokenizer
from tests.helpers import (
    EOS,
    EOS_ID,
    VOCAB_SIZE,
    save_model,
    tiny_gpt2,
    tiny_llama,
    tiny_opt,
    tiny_reward_model,
    tiny_tokenizer,
)

IDS = torch.tensor([[40, 50, 60, 70, EOS_ID]])
SMALL_BERT = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}


def tiny_bert() -> BertForMaskedLM:
    return BertForMaskedLM(BertConfig(**SMALL_BERT))


def tiny_t5() -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


def save_adapter(base: PreTrainedModel, folder: Path, *, task_type: str, seed: int = 1) -> PeftModel:
    """Save a LoRA adapter that does something, with a trained score where there is one, and return the model."""
    torch.manual_seed(seed)
    config = LoraConfig(task_type=task_type, r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(base, config).eval()
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS).logits


@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2, tiny_opt])
def test_causal_lm_from_a_folder(build: Callable[[], PreTrainedModel], tmp_path: Path) -> None:
    model = build()
    loaded = load_causal_lm(str(save_model(model, None, tmp_path)))
    assert type(loaded) is type(model)
    assert torch.equal(logits(loaded.eval()), logits(model))


def test_float32_unless_told_otherwise(tmp_path: Path) -> None:
    folder = str(save_model(tiny_llama().bfloat16(), None, tmp_path / "lm"))
    assert load_causal_lm(folder).dtype == torch.float32
    assert load_causal_lm(folder, model_init_kwargs={"dtype": "bfloat16"}).dtype == torch.bfloat16
    reward = str(save_model(tiny_reward_model().bfloat16(), None, tmp_path / "rm"))
    assert load_reward_model(reward).dtype == torch.float32
    assert load_reward_model(reward, model_init_kwargs={"dtype": "bfloat16"}).dtype == torch.bfloat16
    assert load_for_reward_training(reward).dtype == torch.float32


def test_modules_are_returned_as_they_are() -> None:
    model = tiny_llama()
    wrapped = get_peft_model(tiny_llama(), LoraConfig(task_type="CAUSAL_LM", r=2))
    assert load_causal_lm(model) is model
    assert load_causal_lm(wrapped) is wrapped
    reward = tiny_reward_model()
    assert load_reward_model(reward) is reward
    assert load_for_reward_training(reward) is reward


@pytest.mark.parametrize(
    ("build", "kind"), [(tiny_bert, "bert"), (tiny_t5, "t5"), (lambda: BertModel(BertConfig(**SMALL_BERT)), "bert")]
)
def test_what_does_not_generate_left_to_right_is_refused(build: Any, kind: str, tmp_path: Path) -> None:
    folder = str(save_model(build(), None, tmp_path))
    message = f"{re.escape(repr(folder))} is a {kind} model, which is no causal language model; give a decoder"
    with pytest.raises(ModelError, match=f"^{message}"):
        load_causal_lm(folder)
    with pytest.raises(ModelError, match=rf"^The model \(\w+\) is a {kind} model, which is no causal"):
        load_causal_lm(build())


def test_an_encoder_that_was_made_a_decoder_is_accepted(tmp_path: Path) -> None:
    model = BertLMHeadModel(BertConfig(**SMALL_BERT, is_decoder=True))
    assert isinstance(load_causal_lm(str(save_model(model, None, tmp_path))), BertLMHeadModel)


def test_models_without_a_language_model_head_are_refused(reward_model_folder: Path) -> None:
    for headless in (tiny_reward_model(), LlamaModel(tiny_llama().config)):
        with pytest.raises(ModelError, match=f"is a {type(headless).__name__}, which has no language-model head"):
            load_causal_lm(headless)
    # From a folder, transformers would load it with a head drawn at random.
    with pytest.raises(ModelError, match="LlamaForSequenceClassification, which has no language-model head"):
        load_causal_lm(str(reward_model_folder))


@pytest.mark.parametrize("load", [load_causal_lm, load_reward_model, load_for_reward_training])
def test_a_missing_model_is_named(load: Any, tmp_path: Path) -> None:
    for name in (str(tmp_path / "nowhere"), "nobody/nothing"):
        with pytest.raises(ModelError, match=f"^There is no model at {re.escape(repr(name))}: .*HF_HUB_OFFLINE"):
            load(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="There is no model at"):
        load(str(tmp_path / "empty"))


def test_an_adapter_is_merged_into_its_base(tmp_path: Path) -> None:
    base = tiny_llama()
    save_model(base, tiny_tokenizer(), tmp_path / "base")
    before = logits(base)
    adapted = save_adapter(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "lora", task_type="CAUSAL_LM"
    )
    loaded = load_causal_lm(str(tmp_path / "lora"))
    assert type(loaded) is LlamaForCausalLM
    assert torch.allclose(logits(loaded.eval()), logits(adapted), atol=1e-5)
    assert (logits(loaded) - before).abs().max().item() > 1e-2
    assert all(p.requires_grad for p in loaded.parameters())
    # The adapter folder has no tokenizer of its own: the base's is found, by name and by module.
    assert load_tokenizer(str(tmp_path / "lora")).eos_token == EOS
    assert load_tokenizer(loaded).eos_token == EOS


def test_reward_training_from_a_causal_lm_starts_at_its_layers(causal_lm_folder: Path) -> None:
    torch.manual_seed(3)
    model = load_for_reward_training(str(causal_lm_folder))
    assert isinstance(model, LlamaForSequenceClassification)
    assert model.config.num_labels == 1
    expected = tiny_llama().model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in model.model.state_dict().items())
    torch.manual_seed(3)
    assert torch.equal(load_for_reward_training(str(causal_lm_folder)).score.weight, model.score.weight)


def test_reward_training_from_a_causal_lm_draws_the_score_as_published(tmp_path: Path) -> None:
    folder = save_model(tiny_llama(initializer_range=1e-4, hidden_size=64), None, tmp_path)
    score = load_for_reward_training(str(folder)).score.weight
    assert score.std().item() == pytest.approx(1 / math.sqrt(65), rel=0.4)  # not 1e-4


def test_reward_training_from_a_reward_model_keeps_its_score(reward_model_folder: Path) -> None:
    model = load_for_reward_training(str(reward_model_folder))
    assert torch.equal(logits(model.eval()), logits(tiny_reward_model()))


def test_reward_training_from_an_adapter_of_a_causal_lm(tmp_path: Path) -> None:
    save_model(tiny_llama(), None, tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    adapted = save_adapter(base, tmp_path / "lora", task_type="CAUSAL_LM")
    model = load_for_reward_training(str(tmp_path / "lora"))
    assert isinstance(model, LlamaForSequenceClassification)
    assert model.config.num_labels == 1
    with torch.no_grad():
        expected = adapted.get_base_model().model(IDS).last_hidden_state
        assert torch.allclose(model.eval().model(IDS).last_hidden_state, expected, atol=1e-5)
        assert model.score.weight.abs().sum().item() > 0
    assert all(p.requires_grad for p in model.parameters())


def test_reward_model_from_a_folder(reward_model_folder: Path) -> None:
    assert torch.equal(logits(load_reward_model(str(reward_model_folder)).eval()), logits(tiny_reward_model()))


@pytest.mark.parametrize("base_is_classifier", [True, False])
def test_reward_model_from_an_adapter(base_is_classifier: bool, tmp_path: Path) -> None:
    save_model(tiny_reward_model() if base_is_classifier else tiny_llama(), None, tmp_path / "base")
    base = LlamaForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    adapted = save_adapter(base, tmp_path / "lora", task_type="SEQ_CLS")
    loaded = load_reward_model(str(tmp_path / "lora"))
    assert type(loaded) is LlamaForSequenceClassification
    assert torch.allclose(logits(loaded.eval()), logits(adapted), atol=1e-5)
    again = load_for_reward_training(str(tmp_path / "lora"))
    assert torch.allclose(logits(again.eval()), logits(adapted), atol=1e-5)
    assert all(p.requires_grad for p in again.parameters())


def test_reward_model_from_the_adapter_of_a_causal_lm_is_refused(tmp_path: Path) -> None:
    save_model(tiny_llama(), None, tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "lora", task_type="CAUSAL_LM")
    with pytest.raises(ModelError, match="no trained score"):
        load_reward_model(str(tmp_path / "lora"))


@pytest.mark.parametrize("load", [load_reward_model, load_for_reward_training])
def test_two_labels_are_refused(load: Any, tmp_path: Path) -> None:
    model = tiny_reward_model(num_labels=2)
    with pytest.raises(ModelError, match=r"LlamaForSequenceClassification.* has 2 labels, but a reward model has one"):
        load(model)
    folder = str(save_model(model, None, tmp_path))
    with pytest.raises(ModelError, match=f"^{re.escape(repr(folder))} has 2 labels"):
        load(folder)


def test_a_causal_lm_is_no_reward_model(causal_lm_folder: Path) -> None:
    with pytest.raises(ModelError, match="holds a LlamaForCausalLM, which has no trained score"):
        load_reward_model(str(causal_lm_folder))
    one_label = tiny_llama(num_labels=1)
    with pytest.raises(ModelError, match="LlamaForCausalLM.* no (trained )?score"):
        load_reward_model(one_label)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="LlamaForCausalLM.* no (trained )?score"):
        load_for_reward_training(one_label)


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (tiny_bert, "BertForMaskedLM) is a masked language model"),
        (lambda: BertForPreTraining(BertConfig(**SMALL_BERT)), "BertForPreTraining) is a masked language model"),
        (lambda: BertLMHeadModel(BertConfig(**SMALL_BERT, is_decoder=True)), "BertLMHeadModel) is a language model"),
        (tiny_t5, "T5ForConditionalGeneration) is a language model"),
        (lambda: BertModel(BertConfig(**SMALL_BERT, num_labels=1)), "BertModel) is no sequence classifier"),
        (lambda: LlamaModel(tiny_llama(num_labels=1).config), "LlamaModel) is no sequence classifier"),
        (
            lambda: BertForTokenClassification(BertConfig(**SMALL_BERT, num_labels=1)),
            "BertForTokenClassification) is no sequence classifier",
        ),
        (
            lambda: get_peft_model(tiny_llama(), LoraConfig(task_type="CAUSAL_LM")),
            "LlamaForCausalLM) is a language model",
        ),
    ],
)
def test_a_module_without_a_score_is_called_what_it_is(build: Callable[[], Any], what: str) -> None:
    trained = f"The reward model ({what} and has no trained score; train one from it with RewardModelTrainer, or give"
    with pytest.raises(ModelError, match=re.escape(trained)):
        load_reward_model(build())
    fresh = f"The reward model ({what} and has no score; load it with AutoModelForSequenceClassification, num_labels=1"
    with pytest.raises(ModelError, match=re.escape(fresh)):
        load_for_reward_training(build())


def test_a_scorer_with_code_of_its_own_may_be_called_anything() -> None:
    class Scorer(LlamaForSequenceClassification):
        pass

    model = tiny_reward_model()
    model.__class__ = Scorer
    assert load_reward_model(model) is model


def test_tokenizer_lies_with_the_model(causal_lm_folder: Path) -> None:
    assert load_tokenizer(str(causal_lm_folder)).get_vocab() == tiny_tokenizer().get_vocab()
    model = AutoModelForCausalLM.from_pretrained(causal_lm_folder)
    assert load_tokenizer(model).get_vocab() == tiny_tokenizer().get_vocab()
    own = tiny_tokenizer()
    assert load_tokenizer(str(causal_lm_folder), own) is own


def test_tokenizer_that_is_missing_or_cannot_end(tmp_path: Path) -> None:
    folder = str(save_model(tiny_llama(), None, tmp_path))
    for source in (folder, tiny_llama()):
        with pytest.raises(ModelError, match=r"^No tokenizer lies with the model .*; pass one as processing_class"):
            load_tokenizer(source)
    endless = tiny_tokenizer()
    endless.eos_token = None
    with pytest.raises(ModelError, match="has no EOS token"):
        load_tokenizer(folder, endless)


def test_helpers_are_as_small_as_they_say() -> None:
    for build in (tiny_llama, tiny_gpt2, tiny_opt, tiny_reward_model):
        model = build()
        assert sum(p.numel() for p in model.parameters()) <= 50_000
        assert model.get_input_embeddings().weight.shape[0] == VOCAB_SIZE == len(tiny_tokenizer())
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), build().parameters(), strict=True))


def test_a_family_that_reads_scores_at_padding_is_refused() -> None:
    model = XLNetForSequenceClassification(XLNetConfig(vocab_size=32, d_model=16, n_layer=1, n_head=2, num_labels=1))
    for load in (load_reward_model, load_for_reward_training):
        with pytest.raises(ModelError, match="is an XLNet, whose class reads the score of a shorter text at its pad"):
            load(model)


@pytest.mark.parametrize("kind", [FNetForSequenceClassification, FNetForMaskedLM])
def test_a_family_without_an_attention_mask_is_refused(tmp_path: Path, kind: Any) -> None:
    model = kind(FNetConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, intermediate_size=16, num_labels=1))
    with pytest.raises(ModelError, match="is an FNet, which takes no attention mask and reads padding as text"):
        load_for_reward_training(str(save_model(model, None, tmp_path)))
