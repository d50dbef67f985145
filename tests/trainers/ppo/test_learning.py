from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import CheckpointError
from genrlhf.trainers import PPOTrainer
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt
from tests.trainers.runs import (
    interrupted_and_whole,
    largest_difference,
    logged,
    ppo_trainer,
    prompt_rows,
    share_of_a,
    weights,
)


def test_learns_to_write_what_is_rewarded(tmp_path: Path) -> None:
    trainer = ppo_trainer(
        tmp_path,
        reward=share_of_a,
        train_dataset=prompt_rows(256),
        eval_dataset=prompt_rows(64),
        learning_rate=0.01,
        num_rollouts=40,
        num_ppo_epochs=2,
        vf_coef=1.0,
        per_device_train_batch_size=256,
        min_new_tokens=8,
        kl_coef=0.0,
        logging_steps=80,
    )
    assert trainer.evaluate()["eval_objective/scores"] < 0.1
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_objective/scores"] >= 0.95
    assert after["eval_objective/kl"] > 5
    assert after["eval_objective/completion_length"] == 8


def test_same_seed_same_run_and_another_seed_another(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
        trainer = ppo_trainer(tmp_path / name, seed=seed)
        trainer.train()
        timings = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
        logs = [
            {k: v for k, v in entry.items() if k not in timings and not k.startswith("time/")}
            for entry in trainer.state.log_history
        ]
        return weights(trainer.collector.model), logs

    (first, first_logs), (again, again_logs), (other, other_logs) = run("a", 1), run("b", 1), run("c", 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first_logs == again_logs
    assert largest_difference(first, other) > 1e-3
    assert other_logs != first_logs


@pytest.mark.parametrize("stop", [6, 8], ids=["within a rollout", "between rollouts"])
def test_resumed_run_ends_as_the_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    def make(folder: Path, callbacks: Any) -> PPOTrainer:
        # Four updates a rollout, two rollouts an epoch: the third comes from a second pass over the prompts.
        return ppo_trainer(
            folder,
            callbacks=callbacks,
            per_device_train_batch_size=8,
            num_mini_batches=2,
            num_rollouts=3,
            lr_scheduler_type="linear",
        )

    resumed, whole = interrupted_and_whole(make, tmp_path, stop)
    assert largest_difference(weights(resumed.collector.model), weights(whole.collector.model)) == 0
    assert logged(resumed, "objective/scores") == logged(whole, "objective/scores")
    assert len(logged(whole, "objective/scores")) == 3


def test_resume_within_a_rollout_wants_the_rollout(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, save_strategy="steps", save_steps=1, max_steps=1, num_rollouts=None)
    trainer.train()
    (tmp_path / "checkpoint-1" / "rollout-0.safetensors").unlink()
    longer = ppo_trainer(tmp_path, num_rollouts=1)
    with pytest.raises(CheckpointError, match=r"checkpoint-1 has lost its rollout-0.safetensors"):
        longer.train(resume_from_checkpoint=True)


def test_splits_of_a_batch_agree(tmp_path: Path) -> None:
    results = []
    for size, steps in ((16, 1), (8, 2), (4, 4)):
        trainer = ppo_trainer(
            tmp_path / str(size), per_device_train_batch_size=size, gradient_accumulation_steps=steps, optim="sgd"
        )
        trainer.train()
        results.append((weights(trainer.collector.model), logged(trainer, "loss"), logged(trainer, "policy/ratio")))
    start = weights(ppo_trainer(tmp_path / "start").collector.model)
    assert largest_difference(results[0][0], start) > 1e-3
    for parameters, losses, ratios in results[1:]:
        assert largest_difference(results[0][0], parameters) < 1e-5
        assert losses == pytest.approx(results[0][1], abs=1e-5)
        assert ratios == pytest.approx(results[0][2], abs=1e-5)


def test_minibatches_are_a_partition_of_the_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[int, ...]]] = []
    original = PPOTrainer.compute_loss

    def recording(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        batch = inputs["rollout"]
        lengths = batch.completion_mask.sum(-1).tolist()
        ids = batch.completion_ids.tolist()
        seen.append([tuple(row[:length]) for row, length in zip(ids, lengths, strict=True)])
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(PPOTrainer, "compute_loss", recording)
    trainer = ppo_trainer(
        tmp_path,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_mini_batches=2,
        num_ppo_epochs=3,
        num_rollouts=1,
    )
    trainer.train()
    assert trainer.state.global_step == 6
    assert [len(batch) for batch in seen] == [4] * 12
    rollout = trainer.buffer.rollout
    assert rollout is not None
    lengths = rollout.completion_mask.sum(-1).tolist()
    everything = sorted(tuple(row[:n]) for row, n in zip(rollout.completion_ids.tolist(), lengths, strict=True))
    assert len(set(everything)) == 16
    orders = set()
    for epoch in range(3):
        rows = [row for batch in seen[4 * epoch : 4 * epoch + 4] for row in batch]
        assert sorted(rows) == everything
        orders.add(tuple(rows))
    assert len(orders) == 3


@pytest.mark.parametrize("family", [tiny_llama, tiny_gpt2, tiny_opt])
def test_first_ratio_and_kl_are_those_of_an_unchanged_policy(tmp_path: Path, family: Any) -> None:
    # GPT-2 and OPT have absolute positions, which left padding must not shift, and dropout 0.1 in their configs.
    trainer = ppo_trainer(tmp_path, model=family(), num_ppo_epochs=1, num_rollouts=1)
    trainer.train()
    assert logged(trainer, "policy/ratio") == pytest.approx([1.0], abs=1e-5)
    assert logged(trainer, "policy/clip_fraction") == [0.0]
    assert logged(trainer, "policy/approx_kl") == pytest.approx([0.0], abs=1e-6)
    assert logged(trainer, "objective/kl") == pytest.approx([0.0], abs=1e-4)


def test_dropout_can_be_left_on(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, model=tiny_gpt2(), num_ppo_epochs=1, num_rollouts=1, disable_dropout=False)
    trainer.train()
    # Not the mean ratio, which is 1 in expectation.
    assert logged(trainer, "policy/approx_kl")[0] > 1e-2


def test_reference_runs_in_the_precision_of_the_policy(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, num_ppo_epochs=1, num_rollouts=1, bf16=True)
    trainer.train()
    assert logged(trainer, "objective/kl") == [0.0]
    assert logged(trainer, "policy/ratio") == pytest.approx([1.0], abs=1e-5)
    assert {parameter.dtype for parameter in trainer.policy.parameters()} == {torch.float32}


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    results = []
    for checkpointing in (False, True):
        trainer = ppo_trainer(
            tmp_path / str(checkpointing), gradient_checkpointing=checkpointing, freeze_layers=0.5, optim="sgd"
        )
        trainer.train()
        assert trainer.policy.is_gradient_checkpointing is checkpointing
        results.append(weights(trainer.collector.model))
    assert largest_difference(*results) < 1e-6
