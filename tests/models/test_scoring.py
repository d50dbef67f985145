"""A reward model reads its score at the EOS behind the completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
)

from genrlhf.errors import ModelError
from genrlhf.models import encode_pairs, ensure_pad_token, score_batch
from genrlhf.models.scoring import encode_pair, reads_at_eos, refuse_reading_padding
from genrlhf.rewards import load_reward
from tests.decoders.configs import DECODERS, build_classifier, known
from tests.helpers import EOS, EOS_ID, PAD_ID, VOCAB_SIZE, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import reward_model_trainer

PROMPTS = ["a", "a longer prompt", "xy"]
COMPLETIONS = [" one", " 2", " the third one"]


def tiny_gpt2_reward_model() -> GPT2ForSequenceClassification:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=64,
        num_labels=1,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        initializer_range=0.3,
    )
    return GPT2ForSequenceClassification(config).eval()


@pytest.fixture(params=[tiny_reward_model, tiny_gpt2_reward_model], ids=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param()


@torch.no_grad()
def score_at_eos(model: Any, ids: list[int]) -> float:
    """Return the score of the last of `ids`, from the hidden states of the text alone."""
    assert ids[-1] == EOS_ID
    hidden = model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return float(hidden[-1] @ model.score.weight[0])


def test_pairs_are_prompt_completion_eos(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = encode_pairs(tokenizer, ["ab", "c"], ["d", ""])
    a, b, c, d = (tokenizer.get_vocab()[letter] for letter in "abcd")
    assert batch["input_ids"].tolist() == [[a, b, d, EOS_ID], [c, EOS_ID, PAD_ID, PAD_ID]]
    assert batch["attention_mask"].tolist() == [[True] * 4, [True, True, False, False]]
    assert batch["input_ids"].dtype == torch.int64
    assert batch["attention_mask"].dtype == torch.bool


def test_eos_is_not_doubled(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = encode_pair(tokenizer, "a", "b")
    assert encode_pair(tokenizer, "a", f"b{EOS}") == ids
    assert ids.count(EOS_ID) == 1
    assert encode_pair(tokenizer, "", "") == [EOS_ID]


def test_truncation_keeps_the_end(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = encode_pair(tokenizer, "abcdef", "ghi", max_length=5)
    assert tokenizer.decode(ids) == f"fghi{EOS}"
    assert encode_pair(tokenizer, "ab", "c", max_length=4) == encode_pair(tokenizer, "ab", "c")
    batch = encode_pairs(tokenizer, ["abcdef", "a"], ["ghi", ""], max_length=5)
    assert batch["input_ids"].shape == (2, 5)


def test_conversations_go_through_the_chat_template(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = [{"role": "user", "content": "hi"}]
    ids = encode_pair(chat_tokenizer, prompt, "yes")
    assert chat_tokenizer.decode(ids) == f"[user]hi\n[assistant]yes{EOS}"
    assert encode_pair(chat_tokenizer, prompt, [{"role": "assistant", "content": "yes"}]) == ids


def test_score_is_read_at_eos(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = encode_pairs(tokenizer, PROMPTS, COMPLETIONS)
    scores = score_batch(model, **batch)
    assert scores.shape == (3,)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    expected = [score_at_eos(model, encode_pair(tokenizer, p, c)) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert scores.std().item() > 0.1


def test_padding_changes_nothing(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = encode_pairs(tokenizer, PROMPTS, COMPLETIONS)
    scores = score_batch(model, **batch)
    wider = {
        "input_ids": torch.nn.functional.pad(batch["input_ids"], (0, 5), value=PAD_ID),
        "attention_mask": torch.nn.functional.pad(batch["attention_mask"], (0, 5), value=False),
    }
    assert torch.allclose(score_batch(model, **wider), scores, atol=1e-5)
    with torch.no_grad():
        model.get_input_embeddings().weight[PAD_ID] += 3.0
    assert torch.allclose(score_batch(model, **batch), scores, atol=1e-5)


def test_what_stands_before_eos_and_eos_itself_change_the_score(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = encode_pairs(tokenizer, PROMPTS, COMPLETIONS)
    scores = score_batch(model, **batch)
    for row, length in enumerate(batch["attention_mask"].sum(-1).tolist()):
        for position in (0, length - 2, length - 1):
            changed = batch["input_ids"].clone()
            changed[row, position] = 99
            assert abs(score_batch(model, changed, batch["attention_mask"])[row] - scores[row]).item() > 1e-3


def test_with_pad_equal_to_eos_the_score_is_read_at_eos_all_the_same(model: Any) -> None:
    """As many published tokenizers come: there, without a pad token of its own, the model scores one token early."""
    tokenizer = tiny_tokenizer(pad_token=EOS)
    model.config.pad_token_id = EOS_ID
    ids = encode_pair(tokenizer, "ab", "c")
    early = score_batch(model, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)).item()
    expected = score_at_eos(model, ids)
    assert early != pytest.approx(expected, abs=1e-3)
    ensure_pad_token(tokenizer, model)
    scores = score_batch(model, **encode_pairs(tokenizer, ["ab", "a much longer one"], ["c", "d"]))
    assert scores[0].item() == pytest.approx(expected, abs=1e-5)


def test_low_precision_scores_come_in_float32(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_reward_model().bfloat16()
    assert score_batch(model, **encode_pairs(tokenizer, PROMPTS, COMPLETIONS)).dtype == torch.float32


ENCODERS = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "camembert": {"pad_token_id": 1},
    "mpnet": {"pad_token_id": 1},
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "deberta": {"pooler_hidden_size": 16},
    "deberta-v2": {"pooler_hidden_size": 16},
    "modernbert": {"global_attn_every_n_layers": 1},
}


def encoder(kind: str) -> tuple[Any, PreTrainedTokenizerFast]:
    """A reward model of that family with 40 positions, and a tokenizer that puts [CLS] before and [SEP] behind."""
    tokenizer = tiny_tokenizer()
    roberta = ENCODERS[kind].get("pad_token_id") == 1
    cls, sep = ("<s>", "</s>") if roberta else ("[CLS]", "[SEP]")
    tokenizer.add_special_tokens({"cls_token": cls, "sep_token": sep})
    # RoBERTa's tokenizers call [SEP] their EOS, BERT's have none.
    tokenizer.eos_token = sep if roberta else None
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(t, tokenizer.convert_tokens_to_ids(t)) for t in (cls, sep)]
    )
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 42 if roberta else 40,
        "num_labels": 1,
        "pad_token_id": PAD_ID,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**settings, **ENCODERS[kind]})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    if roberta:
        tokenizer.pad_token = "<eos>"  # id 1, as RoBERTa's padding index
    return model, tokenizer


@pytest.mark.parametrize("kind", ENCODERS)
@torch.no_grad()
def test_encoders_score_as_their_library_does(kind: str) -> None:
    model, tokenizer = encoder(kind)
    assert not reads_at_eos(model)
    prompts, completions = ["a", "some longer prompt", "x" * 60], ["b", " and its end", "the end"]
    rows = [tokenizer(p + c)["input_ids"] for p, c in zip(prompts, completions, strict=True)]
    rows[2] = [rows[2][0], *rows[2][-39:]]  # [CLS] is where the score is read
    plain = [model(torch.tensor([ids])).logits.item() for ids in rows]
    reward = load_reward(model, tokenizer=tokenizer)
    assert reward(prompts, completions) == pytest.approx(plain, abs=1e-5)
    assert len({round(value, 3) for value in plain}) == 3


def test_a_first_bos_stays_where_a_text_is_cut() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 258)])
    assert tokenizer.decode(encode_pair(tokenizer, "abcdef", "ghi", max_length=5)) == f"<s>ghi{EOS}"
    assert encode_pair(tokenizer, "abc", "d", max_length=1) == [EOS_ID]


def classifier(kind: str, **settings: Any) -> Any:
    """A tiny encoder with a score, none of whose weights is 0."""
    small = {"vocab_size": 258, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_labels": 1}
    config = AutoConfig.for_model(
        kind, **{**small, "num_attention_heads": 4, "max_position_embeddings": 80, **settings}
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("kind", ["convbert", "nystromformer", "mobilebert"])
def test_a_classifier_that_reads_padding_is_refused(kind: str, tmp_path: Path) -> None:
    model = classifier(kind, **({"embedding_size": 32} if kind != "nystromformer" else {}))
    for load in (
        lambda: load_reward(model, tokenizer=tiny_tokenizer()),
        lambda: reward_model_trainer(tmp_path, model=model),
    ):
        with pytest.raises(ModelError, match=rf"{type(model).__name__}\) gives a text another score"):
            load()


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "modernbert", "mpnet"])
def test_a_classifier_that_heeds_the_mask_is_taken(kind: str) -> None:
    refuse_reading_padding(classifier(kind, **({"pad_token_id": 0} if kind == "modernbert" else {})), 0)


@pytest.mark.parametrize("name", map(known, [name for name in DECODERS if name != "xlnet"]))
def test_no_decoders_classifier_reads_padding(name: str) -> None:
    model: Any = build_classifier(name)
    if model is not None:
        refuse_reading_padding(model.train(), PAD_ID)
        assert model.training
