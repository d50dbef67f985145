"""What a PPO checkpoint holds, and what is left when a run or the disk fails."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from genrlhf.errors import CheckpointError, RewardError
from genrlhf.trainers.checkpoint import newest_complete_checkpoint
from tests.trainers.runs import largest_difference, ppo_trainer, share_of_letters, weights

SAVING = {"save_strategy": "steps", "save_steps": 1}


def test_twenty_kills_end_in_the_weights_of_a_run_that_was_let_be(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.trainers.kills", str(tmp_path), "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    assert len(steps) == 20
    assert len({step % 3 for step in steps}) == 3, "kills between and within rollouts"


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


@pytest.mark.parametrize("writer", ["genrlhf.trainers.ppo.batches.save_file", "torch.save"])
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
