"""Objectives that keep something from batch to batch: it is resumed with the run."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import CheckpointError, ConfigError
from genrlhf.trainers.objective import Objective, as_objective
from genrlhf.trainers.objective_state import ObjectiveState, as_given
from genrlhf.trainers.supervised_batch import SupervisedBatch
from tests.trainers.runs import interrupted_and_whole, largest_difference, weights
from tests.trainers.test_objective import trainer


class Forgetful(Objective):
    """Rows above the mean of all rows' losses so far are left out; forgotten when a run is cut off."""

    across_positions = True

    def __init__(self) -> None:
        self.losses: list[float] = []

    def settings(self) -> dict[str, Any]:
        return {}

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        losses = -batch.logprobs()
        means = batch.mean_by_row(losses.detach())
        bound = sum(self.losses) / len(self.losses) if self.losses else float("inf")
        if batch.training:
            self.losses += means.tolist()
        return losses * (means <= bound)[batch.rows]


class Truncated(Forgetful):
    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses = state["losses"]


class InFiles(Forgetful):
    def save(self, folder: Path) -> None:
        (folder / "losses.json").write_text(json.dumps(self.losses), encoding="utf-8")

    def load(self, folder: Path) -> None:
        self.losses = json.loads((folder / "losses.json").read_text(encoding="utf-8"))


class PlainlyCalled:
    """No `Objective`, and with a tensor, which changes in its place."""

    def __init__(self) -> None:
        self.calls = torch.zeros(())

    def settings(self) -> dict[str, Any]:
        return {}

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        self.calls += batch.training
        return -batch.logprobs() * (1 + self.calls)

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


@pytest.mark.parametrize("kind", [Truncated, InFiles, PlainlyCalled, Forgetful])
def test_what_it_keeps_is_resumed(kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make(folder: Path, callbacks: Any) -> Any:
        # The losses of a step are those of plain gradient descent, which every scale of the loss tells apart.
        made = trainer(
            folder, kind(), optim="sgd", per_device_train_batch_size=2, save_strategy="steps", save_steps=1, max_steps=4
        )
        for callback in callbacks or ():
            made.add_callback(callback)
        return made

    with caplog.at_level(logging.WARNING):
        resumed, whole = interrupted_and_whole(make, tmp_path, 2)
    difference = largest_difference(weights(resumed.model), weights(whole.model))
    warned = "The attribute losses of the objective Forgetful changes while it trains" in caplog.text
    if kind is Forgetful:
        assert difference > 0 and warned
        return
    assert difference == 0 and "changes while it trains" not in caplog.text
    # Of each process, and listed with its digest as every file of a checkpoint.
    files = list((tmp_path / "whole" / "checkpoint-4" / "objective" / "0").iterdir())
    listed = (tmp_path / "whole" / "checkpoint-4" / "genrlhf_checkpoint.json").read_text(encoding="utf-8")
    assert files and all(f"objective/0/{file.name}" in listed for file in files)


def test_a_state_that_is_not_there(tmp_path: Path) -> None:
    kept = ObjectiveState(Truncated(), process=1)
    kept.save(tmp_path)
    assert (tmp_path / "objective" / "1").is_dir()
    kept.load(tmp_path)
    shutil.rmtree(tmp_path / "objective")
    with pytest.raises(CheckpointError, match="holds nothing of the objective Truncated, which keeps a state"):
        kept.load(tmp_path)


def test_a_state_that_no_file_can_hold(tmp_path: Path) -> None:
    objective = Truncated()
    objective.state_dict = lambda: {"losses": {1.0}}  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"objective Truncated holds a builtins.set at state_dict\(\)\['losses'\]"):
        trainer(tmp_path, objective)


def test_a_round_begins_with_the_objective_as_it_was_given() -> None:
    given = Truncated()
    of_a_round = as_given(given)
    assert of_a_round is not given and of_a_round is not None
    of_a_round.losses.append(1.0)  # type: ignore[attr-defined]
    assert given.losses == []
    plain = as_objective(PlainlyCalled())
    assert as_given(plain).function is not plain.function  # type: ignore[union-attr]
    stateless = Forgetful()
    assert as_given(stateless) is stateless
