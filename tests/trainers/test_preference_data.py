"""Preferences as users bring them, and figures that do not depend on how pairs are batched."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset

from genrlhf.errors import ConfigError, DataError
from genrlhf.rewards import load_reward
from genrlhf.trainers import RewardModelConfig, RewardModelTrainer
from tests.helpers import tiny_reward_model, tiny_tokenizer
from tests.models.test_scoring import encoder
from tests.trainers.runs import QUIET, largest_difference, logged, weights
from tests.trainers.test_reward_model import preferences, reward_trainer

H = "\n\nHuman: q\n\nAssistant:"
Q, YES, NO = ({"role": r, "content": c} for r, c in (("user", "q"), ("assistant", "yes"), ("assistant", "no")))


def chosen_texts(folder: Path, rows: list[dict[str, Any]], tokenizer: Any, **settings: Any) -> list[str]:
    data = reward_trainer(folder, rows=rows, tokenizer=tokenizer, **settings).train_dataset
    return [tokenizer.decode(ids) for ids in data["chosen_ids"]]


def test_texts_that_hold_the_prompt_are_read_as_they_are(tmp_path: Path) -> None:
    rows = [{"chosen": H + " yes", "rejected": H + " no"}]
    assert chosen_texts(tmp_path, rows, tiny_tokenizer()) == [H + " yes<eos>"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": [Q, YES], "rejected": [Q, NO]},
        {"prompt": "q", "chosen": [YES], "rejected": [NO]},
        {"prompt": [Q], "chosen": [Q, YES], "rejected": "no"},
    ],
)
def test_forms_may_be_mixed_and_no_turn_comes_twice(tmp_path: Path, row: dict[str, Any]) -> None:
    # Arrow holds one type a column, so that what is mixed comes row by row.
    tokenizer = tiny_tokenizer(chat_template=True)
    assert chosen_texts(tmp_path, [row], tokenizer) == ["[user]q\n[assistant]yes<eos>"]


def test_tools_reach_the_template_in_training_and_scoring(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    tokenizer.chat_template = "{{ tools[0].name if tools else '' }}" + tokenizer.chat_template
    row = {"prompt": [Q], "chosen": [YES], "rejected": [NO], "tools": [{"name": "T"}]}
    assert chosen_texts(tmp_path, [row], tokenizer) == ["T[user]q\n[assistant]yes<eos>"]
    model = tiny_reward_model()
    reward = load_reward(model, tokenizer=tokenizer)
    ids = tokenizer("T[user]q\n[assistant]yes<eos>", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model(ids).logits.item()
    assert reward([[Q]], ["yes"], tools=[[{"name": "T"}]]) == pytest.approx([expected], abs=1e-5)


def test_a_template_that_refuses_names_the_row(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    tokenizer.chat_template = "{% if messages[0].content == 'bad' %}{{ raise_exception('no') }}{% endif %}x"
    bad = [{"role": "user", "content": "bad"}]
    rows = [{"prompt": [Q], "chosen": "a", "rejected": "b"}, {"prompt": bad, "chosen": "a", "rejected": "b"}]
    with pytest.raises(DataError, match="train_dataset, row 1: the chat template refuses .*no"):
        reward_trainer(tmp_path, rows=rows, tokenizer=tokenizer)
    with pytest.raises(DataError, match="train_dataset, row 0 is a conversation, and .* no chat template"):
        reward_trainer(tmp_path, rows=rows)


def test_prompts_that_all_completions_repeat_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": H, "chosen": H + " yes", "rejected": H + " no"}] * 2
    with caplog.at_level(logging.WARNING):
        reward_trainer(tmp_path, rows=rows)
    assert "read twice" in caplog.text
    caplog.clear()
    reward_trainer(tmp_path, rows=[*rows, {"prompt": H, "chosen": " yes", "rejected": " no"}])
    assert "read twice" not in caplog.text


def stream(rows: list[dict[str, Any]]) -> IterableDataset:
    return IterableDataset.from_generator(lambda: iter(rows))


def trainer_of(folder: Path, train: Any, **settings: Any) -> RewardModelTrainer:
    args = RewardModelConfig(str(folder), **{**QUIET, "logging_steps": 1, "learning_rate": 1e-2, **settings})
    return RewardModelTrainer(tiny_reward_model(), args, train, processing_class=tiny_tokenizer())


def test_a_stream_trains_as_its_rows_do(tmp_path: Path) -> None:
    rows = preferences(8)
    settings = {"max_steps": 2, "per_device_train_batch_size": 4, "train_sampling_strategy": "sequential"}
    of_rows = trainer_of(tmp_path / "a", Dataset.from_list(rows), **settings)
    of_stream = trainer_of(tmp_path / "b", stream(rows), **settings)
    for trainer in (of_rows, of_stream):
        trainer.train()
    assert largest_difference(weights(of_rows.model), weights(of_stream.model)) == 0
    figures = [t.evaluate(d)["eval_loss"] for t, d in ((of_rows, Dataset.from_list(rows)), (of_stream, stream(rows)))]
    assert figures[0] == pytest.approx(figures[1], abs=1e-6)


def test_a_stream_needs_an_end_and_good_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set max_steps"):
        trainer_of(tmp_path, stream(preferences(8)))
    with pytest.raises(DataError, match="train_dataset has no column 'rejected'"):
        trainer_of(tmp_path, stream([{"chosen": "a"}]), max_steps=1)
    with pytest.raises(DataError, match="train_dataset, row 0, column 'chosen' is empty"):
        trainer_of(tmp_path, stream([{"chosen": "", "rejected": "b"}]), max_steps=1)


ROWS = preferences(7, seed=3)


def figures_by_hand(rows: list[dict[str, Any]]) -> dict[str, float]:
    reward = load_reward(tiny_reward_model(), tokenizer=tiny_tokenizer())
    a, b = (torch.tensor(reward([r["prompt"] for r in rows], [r[s] for r in rows])) for s in ("chosen", "rejected"))
    both = torch.cat([a, b])
    return {
        "loss": float(torch.nn.functional.softplus(b - a).mean()),
        "accuracy": float((a > b).float().mean()),
        "margin": float((a - b).mean()),
        "mean_reward": float(both.mean()),
        "max_reward": float(both.max()),
        "min_reward": float(both.min()),
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_evaluation_is_a_mean_over_pairs(tmp_path: Path, size: int) -> None:
    trainer = reward_trainer(tmp_path, per_device_eval_batch_size=size, eval_dataset=Dataset.from_list(ROWS))
    figures = trainer.evaluate()
    for name, value in figures_by_hand(ROWS).items():
        assert figures[f"eval_{name}"] == pytest.approx(value, abs=1e-5), name


def test_every_set_has_its_own_figures(tmp_path: Path) -> None:
    sets = {"id": Dataset.from_list(ROWS), "ood": Dataset.from_list(ROWS[:3])}
    figures = reward_trainer(tmp_path, per_device_eval_batch_size=2, eval_dataset=sets).evaluate()
    for key, rows in (("id", ROWS), ("ood", ROWS[:3])):
        for name, value in figures_by_hand(rows).items():
            assert figures[f"eval_{key}_{name}"] == pytest.approx(value, abs=1e-5), (key, name)
    assert "eval_accuracy" not in figures


def test_training_figures_are_means_over_pairs_whatever_the_accumulation(tmp_path: Path) -> None:
    """Seven pairs as one batch, or as 3 + 3 + 1 in one optimizer step."""
    expected = figures_by_hand(ROWS)
    trained = []
    for size, steps in ((7, 1), (3, 3)):
        trainer = reward_trainer(
            tmp_path / str(size),
            rows=ROWS,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_steps=1,
        )
        trainer.train()
        for name, value in expected.items():
            assert logged(trainer, name)[0] == pytest.approx(value, abs=1e-4), (size, name)
        trained.append(weights(trainer.model))
    assert largest_difference(*trained) < 1e-5


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_encoders_are_trained_on_what_they_score(tmp_path: Path, kind: str) -> None:
    model, tokenizer = encoder(kind)
    rows = [{"prompt": "x" * 60, "chosen": " good", "rejected": " bad"}] * 4
    trainer = reward_trainer(tmp_path, model=model, tokenizer=tokenizer, rows=rows, max_steps=20, learning_rate=1e-3)
    ids = trainer.train_dataset[0]["chosen_ids"]
    assert len(ids) == 40 and ids[0] == tokenizer.cls_token_id and ids[-1] == tokenizer.sep_token_id
    trainer.train()
    reward = load_reward(trainer.model, tokenizer=tokenizer)
    a, b = reward(["x" * 60] * 2, [" good", " bad"])
    assert a - b == pytest.approx(trainer.evaluate(Dataset.from_list(rows))["eval_margin"], abs=1e-5)
    assert a > b


def test_a_row_without_a_margin_has_none(tmp_path: Path) -> None:
    rows = [{**row, "margin": margin} for row, margin in zip(preferences(4), (None, 0.5, None, 1), strict=True)]
    trainer = reward_trainer(tmp_path / "some", rows=rows, eval_dataset=Dataset.from_list(rows), max_steps=1)
    assert trainer.train_dataset["margin"][:] == [0.0, 0.5, 0.0, 1.0]
    zeros = Dataset.from_list([{**row, "margin": row["margin"] or 0.0} for row in rows])
    assert trainer.evaluate()["eval_loss"] == trainer.evaluate(zeros)["eval_loss"]
    stream = Dataset.from_list(rows).to_iterable_dataset()
    assert trainer.evaluate(stream)["eval_loss"] == trainer.evaluate(zeros)["eval_loss"]


@pytest.mark.parametrize("margin", [float("nan"), float("inf"), "wide", [1.0]])
def test_a_margin_that_is_no_finite_number_names_its_row(tmp_path: Path, margin: Any) -> None:
    rows = [{**row, "margin": margin} for row in preferences(4)]
    with pytest.raises(DataError, match="^train_dataset, row 0, column 'margin' is .*; give a finite number"):
        reward_trainer(tmp_path, rows=rows)
