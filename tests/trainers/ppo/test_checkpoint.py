"""What a PPO checkpoint holds, and what is left when a run or the disk fails."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from genrlhf.errors import CheckpointError, RewardError
from genrlhf.trainers.checkpoint import newest_complete_checkpoint
from genrlhf.trainers.ppo.checkpoint import PPOCheckpoint
from genrlhf.trainers.ppo.state import PPOState
from tests.trainers.ppo.test_batches import rollout
from tests.trainers.runs import largest_difference, ppo_trainer, share_of_letters, weights

SAVING = {"save_strategy": "steps", "save_steps": 1}


def test_resuming_a_run_at_its_end_changes_nothing(tmp_path: Path) -> None:
    # The end lies within what the Trainer takes for an epoch, which is of two rollouts here.
    whole = ppo_trainer(tmp_path, **SAVING, num_rollouts=3)
    whole.train()
    again = ppo_trainer(tmp_path, **SAVING, num_rollouts=3)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == whole.state.global_step == 6
    assert largest_difference(weights(whole.policy), weights(again.policy)) == 0


def test_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    ppo_trainer(tmp_path, **SAVING, num_rollouts=2).train()
    state = tmp_path / "checkpoint-4" / "trainer_state.json"
    state.write_text(state.read_text()[:50])
    (tmp_path / "checkpoint-5").mkdir()
    with pytest.warns(UserWarning, match=r"checkpoint-4 has a damaged trainer_state.json of 50 bytes"):
        assert newest_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    again = ppo_trainer(tmp_path, **SAVING, num_rollouts=2)
    with pytest.warns(UserWarning, match="checkpoint-5 was cut off while it was written"):
        again.train(resume_from_checkpoint=True)
    whole = ppo_trainer(tmp_path / "whole", num_rollouts=2)
    whole.train()
    assert largest_difference(weights(whole.policy), weights(again.policy)) == 0
    assert newest_complete_checkpoint(tmp_path / "whole") is None
    with pytest.raises(CheckpointError, match="There is no complete checkpoint in"):
        whole.train(resume_from_checkpoint=True)


@pytest.mark.parametrize("writer", ["genrlhf.trainers.ppo.checkpoint.save_file", "torch.save"])
def test_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, writer: str) -> None:
    trainer = ppo_trainer(tmp_path, **SAVING, num_rollouts=2, num_ppo_epochs=4)
    module, _, name = writer.rpartition(".")
    real, calls = getattr(sys.modules[module], name), []

    def full(*args: Any, **options: Any) -> None:
        calls.append(1)
        if trainer.state.global_step == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args, **options)

    with patch(writer, full), pytest.raises(CheckpointError, match=r"checkpoint-3 could not be written \(.*No space"):
        trainer.train()
    assert calls
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    again = ppo_trainer(tmp_path, **SAVING, num_rollouts=2, num_ppo_epochs=4)
    again.train(resume_from_checkpoint=True)
    whole = ppo_trainer(tmp_path / "whole", num_rollouts=2, num_ppo_epochs=4)
    whole.train()
    assert largest_difference(weights(whole.policy), weights(again.policy)) == 0


@pytest.mark.parametrize(("wrong", "message"), [("nan", "gave nan to the completion"), ("raise", "service is down")])
def test_failing_reward_leaves_the_last_good_checkpoint(tmp_path: Path, wrong: str, message: str) -> None:
    def reward(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
        calls.append(1)
        if len(calls) == 3 and wrong == "raise":
            raise ConnectionError("the service is down")
        return [float("nan")] * len(completions) if len(calls) == 3 else share_of_letters(prompts, completions)

    calls: list[int] = []
    trainer = ppo_trainer(tmp_path, reward=reward, **SAVING, num_rollouts=4)
    with pytest.raises(RewardError, match=message):
        trainer.train()
    assert newest_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    again = ppo_trainer(tmp_path, reward=reward, **SAVING, num_rollouts=4)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 8
    assert all(torch.isfinite(p).all() for p in again.policy.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kl_coef": "0.1"}, "has kl_coef '0.1', which must be a finite number"),
        ({"kl_coef": float("nan")}, "has kl_coef nan, which must be a finite number"),
        ({"score_count": True}, "has score_count True, which must be a finite number"),
        ({"stopped": 1}, "has stopped 1, which must be true or false"),
        ({"__class__": 1.0}, "has the unknown fields __class__"),
        (None, "lacks entropy_coef, kl_coef, score_count, score_mean, score_squares, stopped"),
        ([1], r"holds \[1\] in place of the state of a run"),
    ],
)
def test_state_has_the_known_fields_only(tmp_path: Path, change: Any, message: str) -> None:
    state, file = PPOState(0.5), tmp_path / "ppo_state.json"
    state.save(file)
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **change} if isinstance(change, dict) else (change or {})))
    with pytest.raises(CheckpointError, match=f"ppo_state.json {message}"):
        state.load(file)
    assert state == PPOState(0.5)


def test_rollout_of_another_shape_or_a_lost_one_is_refused(tmp_path: Path) -> None:
    ppo_trainer(tmp_path / "a", **SAVING).train()
    within = tmp_path / "a" / "checkpoint-1"
    # From a folder of its own, which knows nothing of the settings that wrote the checkpoint.
    other = ppo_trainer(tmp_path / "b", **SAVING, num_mini_batches=2)
    with pytest.raises(CheckpointError, match="rollout-0.safetensors holds 16 completions, and a rollout of .* has 32"):
        other.train(resume_from_checkpoint=str(within))
    (within / "rollout-0.safetensors").unlink()
    with pytest.raises(CheckpointError, match="checkpoint-1 has lost its rollout-0.safetensors"):
        ppo_trainer(tmp_path / "a", **SAVING).train(resume_from_checkpoint=str(within))
    (within / "genrlhf_checkpoint.json").unlink()
    with pytest.raises(CheckpointError, match="the rollout is not beside it"):
        ppo_trainer(tmp_path / "a", **SAVING).train(resume_from_checkpoint=str(within))


def test_saved_rollout_comes_back(tmp_path: Path) -> None:
    checkpoint = PPOCheckpoint(tmp_path, 0)
    checkpoint.save(PPOState(0.0), rollout(), None, main=False)
    # With an index, as the device of one of several processes has it.
    again = checkpoint.load_rollout(torch.device("cpu", 0), rows=len(rollout().completion_ids))
    for name, tensor in vars(rollout()).items():
        found = getattr(again, name)
        if tensor is None:
            assert found is None
            continue
        assert torch.equal(found, tensor)
        assert found.dtype == tensor.dtype
