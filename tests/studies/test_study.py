"""A whole study at the smallest size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrlhf.data import Task, load_task
from genrlhf.errors import DataError, RunFolderError
from genrlhf.metrics import EAD
from genrlhf.metrics.preference import ScoreJudge
from genrlhf.sampling import TransformersSampler
from genrlhf.studies import Recipe, Study
from genrlhf.trainers import PPOTrainer

FEW: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 8, "save_strategy": "no", "learning_rate": 1e-3}
RECIPE = Recipe(
    sft=FEW,
    reward_model=FEW,
    ppo={"num_rollouts": 3, "num_ppo_epochs": 2, "per_device_train_batch_size": 8, "save_steps": 3},
    methods=("base", "sft", "ppo", "best_of_n"),
    n=3,
    max_new_tokens=8,
    outputs_per_input=2,
    diversity_inputs=3,
    preference_prompts=16,
    sampling_batch_size=16,
)


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("embedded", n_demonstrations=16, n_preferences=16, n_prompts=32, n_validation=6, n_evaluation=5)


def study(task: Task, folder: Path, recipe: Recipe = RECIPE) -> Study:
    assert task.gold is not None and task.model is not None
    return Study(task, task.model, folder, recipe, metrics=[EAD()], judge=ScoreJudge(task.gold))


def as_json(figures: dict[str, Any]) -> Any:
    return json.loads(json.dumps(figures["methods"], default=lambda estimate: estimate.to_dict()))


def test_study_measures_every_method_and_reproduces(task: Task, tmp_path: Path) -> None:
    first = as_json(study(task, tmp_path / "a").run())
    assert list(first) == ["base", "sft", "ppo", "best_of_n"]
    for method in first.values():
        assert set(method["pvr"]) == set(task.evaluation)
        assert method["diversity"]["per_input"]["ead"]["n"] == 3
    assert first["sft"]["kl"]["value"] == 0
    # log 3 − 2/3
    assert first["best_of_n"]["kl"]["value"] == pytest.approx(0.431946, abs=1e-6)
    assert first["best_of_n"]["reward"]["id"]["value"] > first["sft"]["reward"]["id"]["value"]
    written = json.loads((tmp_path / "a" / "figures.json").read_text(encoding="utf-8"))
    assert set(written["judge_validation"]) == {*task.evaluation, "all"}
    assert written["methods"] == first
    check_curve(written, read_rows(tmp_path / "a", "best_of_n-id-pool"), read_rows(tmp_path / "a", "best_of_n-id"))
    assert as_json(study(task, tmp_path / "b").run()) == first


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "outputs" / f"{name}.jsonl").open(encoding="utf-8")]


def check_curve(figures: dict[str, Any], pool: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    """Best-of-n of the first N = 3 samples of every input: all of them at n = 1, the measured outputs at n = N."""
    assert [len(row["outputs"]) for row in pool] == [len(row["rewards"]) for row in pool] == [6, 6, 6, 3, 3]
    for row, chosen in zip(pool, outputs, strict=True):
        best = row["rewards"].index(max(row["rewards"][:3]))
        assert (chosen["prompt"], chosen["outputs"][0]) == (row["prompt"], row["outputs"][best])
    curve = figures["best_of_n_curve"]
    assert [point["n"] for point in curve] == [1, 2, 3]
    # 0, log 2 − 1/2, log 3 − 2/3
    assert [point["kl"] for point in curve] == pytest.approx([0.0, 0.193147, 0.431946], abs=1e-6)
    rewards = [point["reward"]["value"] for point in curve]
    assert rewards[0] == pytest.approx(sum(sum(row["rewards"][:3]) for row in pool) / 15)
    # Scored in batches of another size, they agree up to rounding.
    assert rewards[-1] == pytest.approx(figures["methods"]["best_of_n"]["reward"]["id"]["value"], abs=1e-5)
    assert rewards[0] < rewards[1] < rewards[2]
    assert curve[-1]["preference"]["value"] == pytest.approx(figures["methods"]["best_of_n"]["pvr"]["id"]["value"])


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_samples_that_lie_on_disk_are_not_drawn_again(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    recipe = replace(RECIPE, methods=("best_of_n",))
    expected = study(task, tmp_path, recipe).run()
    pool, outputs = (tmp_path / "outputs" / f"best_of_n-id{part}.jsonl" for part in ("-pool", ""))
    written, lines = pool.read_bytes(), pool.read_text(encoding="utf-8").splitlines(keepends=True)
    pool.write_text("".join(lines[:kept]) + '{"prompt": "cut o', encoding="utf-8")
    outputs.unlink()
    asked: list[Any] = []
    generate = TransformersSampler.generate

    def note(self: TransformersSampler, prompts: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        asked.extend(prompts)
        return generate(self, prompts, *args, **kwargs)

    monkeypatch.setattr(TransformersSampler, "generate", note)
    again = study(task, tmp_path, recipe).run()
    assert asked == task.evaluation["id"]["prompt"][kept:]
    assert pool.read_bytes() == written
    assert again == expected


def test_an_interrupted_study_goes_on_and_ends_alike(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = as_json(study(task, tmp_path / "whole").run())
    saved = PPOTrainer._save_checkpoint

    def save_and_stop(self: PPOTrainer, *args: Any, **kwargs: Any) -> None:
        saved(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(PPOTrainer, "_save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        study(task, tmp_path / "cut").run()
    monkeypatch.setattr(PPOTrainer, "_save_checkpoint", saved)
    stamps = {
        stage: (tmp_path / "cut" / stage / "model.safetensors").stat().st_mtime_ns for stage in ("sft", "reward_model")
    }
    assert as_json(study(task, tmp_path / "cut").run()) == expected
    for stage, stamp in stamps.items():
        assert (tmp_path / "cut" / stage / "model.safetensors").stat().st_mtime_ns == stamp


def test_another_recipe_is_refused_in_the_same_folder(task: Task, tmp_path: Path) -> None:
    study(task, tmp_path)
    with pytest.raises(RunFolderError, match="seed is 0 there and 1 here"):
        study(task, tmp_path, replace(RECIPE, seed=1))


def preference_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "outputs" / "preferences.jsonl").open(encoding="utf-8")]


def test_preferences_are_rated_by_references_where_the_task_has_none(task: Task, tmp_path: Path) -> None:
    references = task.demonstrations.rename_column("completion", "reference")
    bare = replace(task, preferences=None, prompts=references, gold=None)
    assert task.model is not None
    run = Study(bare, task.model, tmp_path, replace(RECIPE, methods=("sft",)), metrics=[EAD()])
    assert run.run()["stages"]["reward_model"]["held_out_pairs"] >= 1
    assert [len(row["outputs"]) for row in preference_rows(tmp_path)] == [4] * 16


def test_preferences_are_those_of_the_gold_score_where_there_is_one(task: Task, tmp_path: Path) -> None:
    asked: list[str] = []

    def gold(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        asked.extend(prompts)
        return [float(len(text)) for text in completions]

    bare = replace(task, preferences=None, gold=gold)
    assert task.model is not None
    Study(bare, task.model, tmp_path, replace(RECIPE, methods=("sft",)), metrics=[EAD()]).run()
    rows = preference_rows(tmp_path)
    assert [len(row["outputs"]) for row in rows] == [4] * 16
    assert {row["prompt"] for row in rows} <= set(asked)


def test_neither_gold_score_nor_references(task: Task, tmp_path: Path) -> None:
    assert task.model is not None
    bare = replace(task, preferences=None, gold=None)
    with pytest.raises(DataError, match="neither preferences nor a gold score or references"):
        Study(bare, task.model, tmp_path, RECIPE, metrics=[EAD()]).run()
