from __future__ import annotations

import json
from pathlib import Path

import pytest

from genrlhf.models import load_causal_lm
from tests.processes import run_in_two
from tests.trainers import two_processes_figures
from tests.trainers.runs import best_of_n, largest_difference, logged, ppo_trainer, prompt_rows, weights
from tests.trainers.two_processes import SETTINGS
from tests.trainers.two_processes_failing import PARTS


def test_two_processes_train_and_resume_as_one(tmp_path: Path) -> None:
    alone = ppo_trainer(tmp_path / "one", per_device_train_batch_size=16, **SETTINGS)
    alone.train()
    figures = alone.evaluate(prompt_rows(7))
    start = weights(ppo_trainer(tmp_path / "start").policy)
    assert largest_difference(weights(alone.policy), start) > 1e-3

    best = best_of_n(tmp_path / "best", train_dataset=prompt_rows(7))
    drawn = best.sample_training_set()[:]

    run_in_two("tests.trainers.two_processes", str(tmp_path / "two"))

    trained = load_causal_lm(str(tmp_path / "two" / "trained"))
    assert largest_difference(weights(trained), weights(alone.policy)) < 1e-5
    assert largest_difference(weights(load_causal_lm(str(tmp_path / "two" / "distilled"))), weights(best.model)) > 1e-3
    drawn_by = [len((tmp_path / "two" / "best" / f"best_of_n-{i}.jsonl").read_text().splitlines()) for i in (0, 1)]
    assert drawn_by == [4, 3]
    for process in (0, 1):
        report = json.loads((tmp_path / "two" / f"report-{process}.json").read_text())
        assert report["processes"] == 2
        assert report["resumed"] is True
        assert report["best"] == drawn
        for key in (
            "objective/scores",
            "objective/kl",
            "objective/kl_coef",
            "policy/ratio",
            "value/explained_variance",
            "loss",
        ):
            there = [entry[key] for entry in report["logs"] if key in entry]
            assert there == pytest.approx(logged(alone, key), abs=1e-5), key
        for key in ("eval_objective/scores", "eval_objective/kl", "eval_objective/entropy"):
            assert report["eval"][key] == pytest.approx(figures[key], abs=1e-5), key


def test_figures_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    alone = two_processes_figures.figures(tmp_path / "one", 4)
    run_in_two("tests.trainers.two_processes_figures", str(tmp_path / "two"))
    for process in (0, 1):
        found = json.loads((tmp_path / "two" / f"figures-{process}.json").read_text())
        for name, right in alone.items():
            for key in ("loss", "accuracy", "margin", "mean_reward", "max_reward", "entropy", "mean_token_accuracy"):
                assert found[name]["logged"].get(key) == pytest.approx(right["logged"].get(key), abs=1e-5), key
            assert found[name]["evaluated"] == pytest.approx(right["evaluated"], abs=1e-5)


def test_a_checkpoint_that_one_process_cannot_write_ends_both(tmp_path: Path) -> None:
    printed = run_in_two("tests.trainers.two_processes_failing", str(tmp_path))
    assert {part: printed.count(f"{part}: agreed") for part in PARTS} == dict.fromkeys(PARTS, 2)
