"""What trainers logged stays beside the models that they made."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrlhf.studies.training_log import TrainingLog, read_training_log
from tests.methods import everything


@pytest.mark.parametrize(
    ("name", "options", "runs"),
    [("sft", {}, ["."]), ("best_of_n", {"num_iterations": 2}, ["iteration-0", "iteration-1"])],
)
def test_every_run_of_a_trainer_is_kept(name: str, options: dict[str, int], runs: list[str], tmp_path: Path) -> None:
    made = everything.trainer(name, tmp_path, logging_steps=1, **options)
    TrainingLog.attach(made, tmp_path)
    made.train()
    log = read_training_log(tmp_path)
    assert sorted(log) == runs
    for logged in log.values():
        assert [each["step"] for each in logged if "loss" in each] == [1, 2]
        assert "train_runtime" in logged[-1]


def test_where_nothing_was_logged_nothing_is_read(tmp_path: Path) -> None:
    assert read_training_log(tmp_path) == {}
    (tmp_path / "training.json").write_text("{", encoding="utf-8")
    assert read_training_log(tmp_path) == {}
