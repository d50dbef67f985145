"""Unlikelihood: its identities on batches and steps."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods import Unlikelihood
from genrlhf.trainers import SFTConfig, SFTTrainer, SupervisedBatch
from tests.helpers import tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, largest_difference, logged, weights
from tests.trainers.test_objective import likelihood

ROWS = [{"prompt": "ab" + "x" * (n % 3), "completion": "abcabcab"[: 3 + n % 5]} for n in range(6)]


def trainer(folder: Path, objective: Any, rows: Any = ROWS, *, model: Any = None, **given: Any) -> SFTTrainer:
    settings = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 2, "logging_steps": 1}
    data = Dataset.from_list(list(rows))
    return SFTTrainer(
        tiny_llama() if model is None else model,
        SFTConfig(str(folder), **{**QUIET, **settings, "per_device_train_batch_size": 6, **given}),
        data,
        data,
        processing_class=tiny_tokenizer(),
        objective=objective,
    )


def batch_of(texts: list[tuple[str, str]], *, step: int = 0, model: Any = None) -> SupervisedBatch:
    """A batch of prompts and completions, padded on the right."""
    encode = tiny_tokenizer()
    rows = [(encode(x)["input_ids"], encode(y + "<eos>")["input_ids"]) for x, y in texts]
    length = max(len(x) + len(y) for x, y in rows)
    pads = [length - len(x) - len(y) for x, y in rows]
    inputs = {
        "input_ids": torch.tensor([x + y + [0] * pad for (x, y), pad in zip(rows, pads, strict=True)]),
        "labels": torch.tensor([[-100] * len(x) + y + [-100] * pad for (x, y), pad in zip(rows, pads, strict=True)]),
        "attention_mask": torch.tensor([[1] * (length - pad) + [0] * pad for pad in pads]),
    }
    model = (tiny_llama() if model is None else model).train()
    return SupervisedBatch(model, model, inputs, step=step, seed=0, tokenizer=encode)


TEXTS = [("ab", "abca"), ("b", "ccb"), ("abc", "d"), ("q", "qqqqqq")]


@pytest.mark.parametrize("of_prompt", [True, False])
def test_the_loss_of_tokens_is_that_of_a_loop(of_prompt: bool) -> None:
    found = Unlikelihood(0.7, 0.0, of_prompt=of_prompt)(batch_of(TEXTS))
    expected, encode, model = [], tiny_tokenizer(), tiny_llama()
    for x, y in TEXTS:
        asked, answer = encode(x)["input_ids"], encode(y + "<eos>")["input_ids"]
        p = model(torch.tensor([asked + answer])).logits[0].softmax(-1)
        for t, token in enumerate(answer):
            before = set((asked if of_prompt else []) + answer[:t]) - {token}
            now = p[len(asked) + t - 1]
            expected.append(float(-now[token].log() - 0.7 * sum((1 - now[c]).log() for c in before)))
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_rows_of_a_batch_do_not_interact() -> None:
    for share in (0.0, 1.0):
        objective = Unlikelihood(1.0, share, 2, 3, 8)
        whole = objective(batch_of(TEXTS)).tolist()
        alone = [value for text in TEXTS for value in objective(batch_of([text])).tolist()]
        assert whole == pytest.approx(alone, abs=1e-5)


def gpt2() -> Any:
    """Without the dropout that the trainer takes off."""
    return tiny_gpt2(attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)


@pytest.mark.parametrize("make", [tiny_llama, gpt2])
def test_the_loss_of_sequences_is_that_of_a_loop(make: Any) -> None:
    objective = Unlikelihood(1.0, 1.0, 2, 3, 8)
    batch = batch_of(TEXTS, model=make())
    found = objective(batch)
    encode, model, expected, rates = tiny_tokenizer(), make(), [], []
    for x, y in TEXTS:
        ids = encode(x + y + "<eos>")["input_ids"]
        labels = len(encode(y + "<eos>")["input_ids"])
        text = ids[:3]
        while len(text) < 11 and text[-1] != 1:
            text = [*text, int(model(torch.tensor([text])).logits[0, -1].argmax())]
        drawn, p = text[3:], model(torch.tensor([text])).logits[0].softmax(-1)
        grams = list(itertools.pairwise(drawn))
        again = [gram in grams[:i] for i, gram in enumerate(grams)]
        costs = [
            float(-(1 - p[t + 2, token]).log()) if any(again[max(0, t - 1) : t + 1]) else 0.0
            for t, token in enumerate(drawn)
        ]
        rates.append(sum(again) / len(again))
        expected += [sum(costs) / len(drawn)] * labels
    assert found.tolist() == pytest.approx(expected, abs=1e-4) and max(expected) > 0
    assert batch.logged["seq_rep"].tolist() == pytest.approx(rates)
    assert batch.logged["seq_rep/data"].tolist()[3] == pytest.approx(1 - 2 / 4)
    found.sum().backward()
    assert any(each.grad is not None and each.grad.abs().max() > 0 for each in batch.model.parameters())
    assert batch.model.training


def test_alpha_of_zero_is_sft(tmp_path: Path) -> None:
    runs = []
    for name, objective in (("sft", None), ("likelihood", likelihood), ("ours", Unlikelihood(0.0, 0.0))):
        made = trainer(tmp_path / name, objective)
        made.train()
        runs.append((weights(made.model), logged(made, "loss")))
    assert largest_difference(runs[1][0], runs[2][0]) == 0 and runs[1][1] == runs[2][1]
    assert largest_difference(runs[0][0], runs[2][0]) < 1e-6


def test_steps_look_at_sequences_as_often_as_asked_and_evaluations_never(tmp_path: Path) -> None:
    made = trainer(tmp_path, Unlikelihood(1.0, 0.5, 2, 3, 8), seed=44, max_steps=3)
    made.train()
    of_sequences = [random.Random(f"44 {step}").random() < 0.5 for step in range(3)]
    assert of_sequences == [True, False, False]
    assert len(logged(made, "seq_rep")) == len(logged(made, "seq_rep/data")) == 1
    assert len(logged(made, "unlikelihood")) == 2
    figures = made.evaluate()
    assert "eval_unlikelihood" in figures and "eval_seq_rep" not in figures


def test_rows_too_short_to_be_continued(tmp_path: Path, caplog: Any) -> None:
    trainer(tmp_path, Unlikelihood(prefix=8))
    assert "3 of 6 rows have no more than prefix=8 tokens, and are not continued." in caplog.text
    with pytest.raises(DataError, match="None of 6 rows is longer than prefix=50 tokens; lower it"):
        trainer(tmp_path, Unlikelihood())
    trainer(tmp_path, Unlikelihood(seq_share=0.0))
    assert not Unlikelihood(1.0, 1.0, 2, 40, 8)(batch_of(TEXTS)).any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"alpha": -1.0}, "alpha must be 0 or more"),
        ({"seq_share": 1.5}, r"seq_share must be in \[0, 1\]"),
        ({"ngram": 1}, "ngram is 1; it must be at least 2"),
        ({"ngram": 200}, "ngram is 200; it must be"),
        ({"prefix": 0}, "prefix must be at least 1"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Unlikelihood(**given)


def test_no_room_and_no_packing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 tokens are to be continued by 100, and the model's context has 64"):
        Unlikelihood(1.0, 1.0, 2, 3, 100)(batch_of(TEXTS))
    with pytest.raises(ConfigError, match="packing=True makes one row of several"):
        trainer(tmp_path, Unlikelihood(prefix=3), packing=True)
