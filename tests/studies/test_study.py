"""Whole studies at the smallest size: every kind of method, growth, and what makes a stage another."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from safetensors.torch import load_file, save_file

from genrlhf.data import Task, load_task
from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.sampling import TransformersSampler
from genrlhf.studies import Study, load_study, write_report
from genrlhf.studies.results import to_json
from genrlhf.studies.running import run
from genrlhf.trainers import PPOTrainer
from tests.helpers import save_model, tiny_llama, tiny_tokenizer
from tests.processes import run_in_two
from tests.studies.in_processes import run_study

FEW: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 8, "save_strategy": "no", "learning_rate": 1e-3}
PPO: dict[str, Any] = {"num_rollouts": 3, "num_ppo_epochs": 2, "per_device_train_batch_size": 8, "save_steps": 3}
METHODS: dict[str, Any] = {
    "base": {},
    "sft": FEW,
    "reward_model": {**FEW, "start": "sft"},
    "ppo": {**PPO, "start": "sft", "reward": "reward_model"},
    "best_of_n": {"from": "sft", "sampling": {"best_of_n": 3, "reward": "reward_model"}},
}
SAMPLING = {"max_new_tokens": 8, "outputs_per_input": 2, "diversity_inputs": 3, "batch_size": 16}
TASK = {"n_demonstrations": 16, "n_preferences": 16, "n_prompts": 32, "n_validation": 6, "n_evaluation": 5}


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("embedded", **TASK)


def study(task: Any, folder: Path, methods: dict[str, Any] | None = None, **recipe: Any) -> Study:
    given = {"sampling": SAMPLING, "methods": METHODS if methods is None else methods, **recipe}
    return Study(task=task, output_dir=str(folder), **given)


def made_by(found: Study) -> list[str]:
    """Run a study and return the stages that it made."""
    before = set(found.records())
    found.run()
    return [name for name in found.records() if name not in before]


def figures(found: Study) -> Any:
    return to_json(found.run()["methods"])


def test_every_method_is_measured_and_a_second_start_makes_nothing(task: Task, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"forgetting": {"texts": "demonstrations", "limit": 4}, "checker": {"gold": 0.2}}
    first = study(task, tmp_path / "a", **asked)
    result = figures(first)
    assert list(result) == ["base", "sft", "ppo", "best_of_n"]
    for method in result.values():
        found = method["temperatures"]["1.0"]
        assert set(found["pvr"]) == set(found["gold"]) == set(found["reward"]) == set(task.evaluation)
        assert found["diversity"]["per_input"]["ead"]["n"] == 3
        assert set(found["seeds"]) == {"0"}
    kl = {name: method["temperatures"]["1.0"]["kl"]["value"] for name, method in result.items()}
    # log 3 − 2/3; of the others a measured one.
    assert (kl["sft"], kl["best_of_n"]) == (0, pytest.approx(0.431946, abs=1e-6)) and kl["base"] != 0 != kl["ppo"]
    reward = {name: method["temperatures"]["1.0"]["reward"]["id"]["value"] for name, method in result.items()}
    assert reward["best_of_n"] > reward["sft"]
    written = json.loads((tmp_path / "a" / "results.json").read_text(encoding="utf-8"))
    assert written["methods"] == result and written["quality"] == "pvr" and written["reference"] == "sft"
    assert set(written["curves"]) == set(result)
    assert set(written["shifts"]) == set(task.evaluation) - {"id"} and set(written["shifts"]["ood"]) == {
        "words",
        "length",
    }
    assert set(result["sft"]["temperatures"]["1.0"]["gap_per_shift"]) == {"words", "length"}
    for output in written["outputs"]:
        rows = [json.loads(line) for line in (tmp_path / "a" / output["file"]).open(encoding="utf-8")]
        assert [len(row["outputs"]) for row in rows] == ([2, 2, 2, 1, 1] if output["set"] == "id" else [1] * 5)
    check_pool(first)
    check_forgetting_and_crossing({name: method["temperatures"]["1.0"] for name, method in result.items()})
    assert made_by(study(task, tmp_path / "a", **asked)) == []
    # The same in another folder, to the bit.
    assert figures(study(task, tmp_path / "b", **asked)) == result


def test_a_study_that_is_not_finished_has_the_results_of_what_is_measured(task: Task, tmp_path: Path) -> None:
    found = study(task, tmp_path, {"sft": FEW, "base": {}}, seeds=[0, 1])
    empty = found.so_far()
    assert empty["methods"] == empty["curves"] == {} and empty["outputs"] == []
    assert empty["warnings"][0].startswith("This study is not finished: 0 of ")
    first = [stage.name for stage in found.graph() if "sft" in stage.name and stage.name.endswith("seed-0")]
    run(found.graph(), tmp_path, only=first)
    part = found.so_far()
    assert list(part["methods"]) == ["sft"] and set(part["methods"]["sft"]["temperatures"]["1.0"]["seeds"]) == {"0"}
    assert {(entry["method"], entry["seed"]) for entry in part["outputs"]} == {("sft", 0)}
    assert set(part["stages"]) == set(found.records()) and not (tmp_path / "results.json").exists()
    whole = found.run()
    assert "not finished" not in " ".join(found.so_far()["warnings"])
    # What a report would notice had it changed.
    assert all(len(entry["sha256"]) == 64 for entry in whole["outputs"])
    assert set(whole["stages"]) == {stage.name for stage in found.graph()} - {"results"}
    assert found.so_far()["methods"].keys() == whole["methods"].keys()
    report = write_report(tmp_path)
    assert report["inputs"]["id"] == {"shown": 5, "total": 5} and (tmp_path / "report.html").is_file()


def check_forgetting_and_crossing(found: dict[str, Any]) -> None:
    """The base is what others come from; best-of-n samples the model of SFT."""
    assert [name for name in found if "forgetting" not in found[name]] == ["base"]
    assert found["best_of_n"]["forgetting"] == found["sft"]["forgetting"] != found["ppo"]["forgetting"]
    assert found["ppo"]["forgetting"]["loss"]["n"] == 4 and found["ppo"]["forgetting"]["forward_kl"]["value"] > 0
    assert [name for name in found if "crossing" not in found[name]] == ["base"]
    for figures in found.values():
        assert set(figures["pass_at_k"]) == {"1", "2"} and figures["pass_at_k"]["1"]["n"] == 3
        assert "verdicts" not in figures and "verdicts" not in figures["seeds"]["0"]
    assert {found[name]["crossing"]["base"] for name in ("sft", "ppo", "best_of_n")} == {"base"}


def check_pool(found: Study) -> None:
    """The best of every three samples, and best-of-n for n up to 3 from the first three of every input."""
    folder = found.folder_of("sample/best_of_n@1.0/id/seed-0")
    pool, outputs = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")] for name in ("pool", "outputs")
    )
    assert [len(row["outputs"]) for row in pool] == [len(row["rewards"]) for row in pool] == [6, 6, 6, 3, 3]
    for row, chosen in zip(pool, outputs, strict=True):
        best = row["rewards"].index(max(row["rewards"][:3]))
        assert (chosen["prompt"], chosen["outputs"][0]) == (row["prompt"], row["outputs"][best])
    measured = found.records()["measure/best_of_n@1.0/seed-0"].figures
    curve = measured["best_of_n_curve"]
    assert [point["n"] for point in curve] == [1, 2, 3]
    assert [point["kl"] for point in curve] == pytest.approx([0.0, 0.193147, 0.431946], abs=1e-6)
    rewards = [point["reward"]["value"] for point in curve]
    assert rewards[0] == pytest.approx(sum(sum(row["rewards"][:3]) for row in pool) / 15)
    assert rewards[0] < rewards[1] < rewards[2]
    assert curve[-1]["preference"]["value"] == pytest.approx(measured["pvr"]["id"]["value"])


def test_a_method_a_seed_or_a_temperature_costs_its_own_stages(task: Task, tmp_path: Path) -> None:
    methods: dict[str, Any] = {"base": {}, "sft": FEW}
    made_by(study(task, tmp_path, methods))
    grown = {
        **methods,
        "gem": {**FEW, "beta": 0.7},
        "lora": {**FEW, "method": "sft", "peft": {"r": 2}},
        "min_p": {"from": "sft", "sampling": {"min_p": 0.2}},
        "wise": {"interpolate": {"start": "base", "end": "gem"}},
    }
    new = made_by(study(task, tmp_path, grown))
    assert {name.split("/")[0] for name in new} == {"gem", "lora", "wise", "sample", "kl", "measure", "results"}
    assert not [name for name in new if "/base@" in name or "/sft@" in name]
    # What is drawn from fewer tokens has no KL from a model that was not.
    assert "kl/min_p@1.0/seed-0" not in new and "kl/wise@1.0/seed-0" in new
    lora = study(task, tmp_path, grown).folder_of("lora/seed-0")
    assert (lora / "adapter_model.safetensors").is_file() and not (lora / "model.safetensors").exists()
    seeds = made_by(study(task, tmp_path, methods, seeds=[0, 1]))
    assert [name for name in seeds if not name.endswith("seed-1")] == ["results"]
    warm = made_by(study(task, tmp_path, methods, sampling={**SAMPLING, "temperatures": [1.0, 0.5]}))
    assert [name for name in warm if "@0.5/" not in name] == ["results"]
    # The results are those of the study that was asked for last, though nothing had to be made for it.
    result = study(task, tmp_path, methods).run()
    assert (list(result["methods"]), list(result["methods"]["sft"]["temperatures"])) == (["base", "sft"], ["1.0"])


@pytest.fixture(scope="module")
def keys(task: Task, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return keys_of(study(task, tmp_path_factory.mktemp("keys")))


def keys_of(found: Study) -> dict[str, str]:
    return {stage.name: stage.key for stage in found.graph()}


def others(found: Study, keys: dict[str, str]) -> set[str]:
    """Return the kinds of the stages that are not the same, with what is sampled."""
    changed = [stage.name for stage in found.graph() if keys.get(stage.name) != stage.key]
    return {"/".join(name.split("/")[: 1 if name.count("/") == 1 else 2]) for name in changed}


def test_what_makes_a_stage_another(task: Task, tmp_path: Path, keys: dict[str, str]) -> None:
    after_ppo = {"ppo", "sample/ppo@1.0", "kl/ppo@1.0", "reward/ppo@1.0", "measure/ppo@1.0", "results"}
    kl_coef = {**METHODS, "ppo": {**METHODS["ppo"], "kl_coef": 0.1}}
    assert others(study(task, tmp_path, kl_coef), keys) == after_ppo
    watched = {**METHODS, "ppo": {**METHODS["ppo"], "logging_steps": 1, "save_steps": 2}}
    assert others(study(task, tmp_path, watched), keys) == set()
    again = load_task("embedded", **TASK)
    assert others(study(again, tmp_path), keys) == set()
    prompts = replace(task, prompts=task.prompts.select(range(31)))
    assert others(study(prompts, tmp_path), keys) == after_ppo
    inputs = {**task.evaluation, "ood": task.evaluation["ood"].select(range(4))}
    changed = others(study(replace(task, evaluation=inputs), tmp_path), keys)
    assert {name.split("/")[0] for name in changed} == {"pool", "sample", "reward", "measure", "shifts", "results"}
    measured = others(study(task, tmp_path, metrics=["distinct"]), keys)
    assert {name.split("/")[0] for name in measured} == {"measure", "results"}
    assert "sft" in others(study(task, tmp_path, model=str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path))), keys)


def test_weights_count_and_not_their_place(task: Task, tmp_path: Path) -> None:
    for folder, seed in (("one/sft", 0), ("moved/sft", 0), ("two/sft", 1)):
        save_model(tiny_llama(seed=seed), tiny_tokenizer(), tmp_path / folder)
    one, moved, two = (
        keys_of(study(task, tmp_path / "study", {"sft": FEW}, model=str(tmp_path / folder)))
        for folder in ("one/sft", "moved/sft", "two/sft")
    )
    assert one == moved and one["sft/seed-0"] != two["sft/seed-0"]


def test_weights_are_read_once_for_all_stages(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("genrlhf.studies.ingredients.model_fingerprint", lambda name: asked.append(name) or name)
    keys_of(study(task, tmp_path, {"base": {}, "sft": FEW}, model="a/model", seeds=[0, 1]))
    assert asked == ["a/model"]


def test_an_interrupted_study_goes_on_and_ends_alike(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = figures(study(task, tmp_path / "whole"))
    saved, generate = PPOTrainer._save_checkpoint, TransformersSampler.generate
    drawn: list[int] = []

    def save_and_stop(self: PPOTrainer, *args: Any, **kwargs: Any) -> None:
        saved(self, *args, **kwargs)
        raise KeyboardInterrupt

    def stop(self: TransformersSampler, prompts: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        if len(drawn) == 1:
            raise KeyboardInterrupt
        drawn.append(len(prompts))
        return generate(self, prompts, *args, **kwargs)

    for name, function in ((("_save_checkpoint"), save_and_stop), ("generate", stop)):
        owner = PPOTrainer if name == "_save_checkpoint" else TransformersSampler
        monkeypatch.setattr(owner, name, function)
        with pytest.raises(KeyboardInterrupt):
            study(task, tmp_path / "cut").run()
        monkeypatch.undo()
    cut = study(task, tmp_path / "cut")
    done = {name: cut.folder_of(name) / "stage.json" for name in cut.records()}
    stamps = {name: file.stat().st_mtime_ns for name, file in done.items()}
    assert figures(cut) == expected
    assert {name: file.stat().st_mtime_ns for name, file in done.items()} == stamps


def preferences(found: Study) -> list[dict[str, Any]]:
    file = found.folder_of("preferences/seed-0") / "samples.jsonl"
    return [json.loads(line) for line in file.open(encoding="utf-8")]


MADE = {"from": "sft", "prompts": 16}


def test_preferences_are_rated_by_references_where_the_task_has_none(task: Task, tmp_path: Path) -> None:
    references = task.demonstrations.rename_column("completion", "reference")
    bare = replace(task, preferences=None, prompts=references, gold=None)
    found = study(
        bare, tmp_path, {"sft": FEW, "reward_model": METHODS["reward_model"]}, preferences=MADE, reward="reward_model"
    )
    result = found.run()
    assert (result["quality"], result["methods"]["sft"]["temperatures"]["1.0"].get("pvr")) == ("reward", None)
    assert found.records()["preferences/seed-0"].figures["held_out_pairs"] >= 1
    assert [len(row["outputs"]) for row in preferences(found)] == [4] * 16


def test_preferences_are_those_of_the_gold_score_where_there_is_one(task: Task, tmp_path: Path) -> None:
    asked: list[str] = []

    def gold(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        asked.extend(prompts)
        return [float(len(text)) for text in completions]

    bare = replace(task, preferences=None, gold=gold)
    found = study(
        bare, tmp_path, {"sft": FEW, "reward_model": METHODS["reward_model"]}, preferences=MADE, reward="reward_model"
    )
    found.run()
    assert {row["prompt"] for row in preferences(found)} <= set(asked)
    # In parts, side by side, they are the same, and the model is trained on them once more, and not otherwise.
    parted = study(
        bare,
        tmp_path / "parted",
        {"sft": FEW, "reward_model": METHODS["reward_model"]},
        preferences={**MADE, "parts": 2},
        reward="reward_model",
    )
    parted.run(jobs=2, threads=1)
    assert preferences(parted) == preferences(found)
    names = [name for name in parted.records() if name.startswith("preferences")]
    assert names == ["preferences/seed-0/part-1", "preferences/seed-0/part-2", "preferences/seed-0"]
    assert parted.records()["reward_model/seed-0"].figures == found.records()["reward_model/seed-0"].figures


def test_neither_gold_score_nor_references(task: Task, tmp_path: Path) -> None:
    bare = replace(task, preferences=None, gold=None)
    with pytest.raises(DataError, match="neither preferences nor a gold score or references"):
        study(bare, tmp_path, preferences=MADE).graph()


def test_several_rewards_and_best_of_n_by_a_function(task: Task, tmp_path: Path) -> None:
    methods = {
        **{name: METHODS[name] for name in ("sft", "reward_model")},
        "ppo": {**METHODS["ppo"], "reward": {"reward_model": 1.0, "gold": 0.5}},
        "longest": {"from": "sft", "sampling": {"best_of_n": 2, "reward": longest}},
    }
    found = study(task, tmp_path, methods, judge="reward:reward_model", metrics=["ead", {"distinct": {}}])
    result = found.run()["methods"]
    rows = found.folder_of("sample/longest@1.0/id/seed-0") / "pool.jsonl"
    for line in rows.open(encoding="utf-8"):
        row = json.loads(line)
        assert row["rewards"] == [len(text) for text in row["outputs"]]
    assert set(result["ppo"]["temperatures"]["1.0"]["diversity"]["per_input"]) == {"ead", "distinct_n"}


def test_what_best_of_n_chooses_from_waits_for_no_reward_and_is_drawn_once(task: Task, tmp_path: Path) -> None:
    methods = {
        **{name: METHODS[name] for name in ("sft", "reward_model")},
        "longest": {"from": "sft", "sampling": {"best_of_n": 2, "reward": longest}},
        "best": {"from": "sft", "sampling": {"best_of_n": 2, "reward": "reward_model"}},
        "of_three": {"from": "sft", "sampling": {"best_of_n": 3, "reward": longest}},
    }
    graph = study(task, tmp_path, methods).graph()
    pools = {name: graph[f"pool/{name}@1.0/id/seed-0"] for name in ("longest", "best", "of_three")}
    assert [need.name for need in pools["best"].needed] == ["sft/seed-0"]
    assert pools["best"].key == pools["longest"].key != pools["of_three"].key
    assert graph["sample/best@1.0/id/seed-0"].key != graph["sample/longest@1.0/id/seed-0"].key


def longest(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


OWN = """
from dataclasses import dataclass, field

from genrlhf.methods import Method
from genrlhf.trainers import Objective


@dataclass(frozen=True)
class Focal(Objective):
    gamma: float = field(default=2.0, metadata={"help": "0 is the cross-entropy."})

    def __call__(self, batch):
        logprobs = batch.logprobs()
        return -((1 - logprobs.exp()) ** self.gamma) * logprobs


FOCAL = Method(
    name="focal",
    label="Focal loss",
    paper="Lin et al. 2017, arXiv 1708.02002",
    loop="supervised",
    needs=("demonstrations",),
    trainer="genrlhf.trainers:SFTTrainer",
    config="genrlhf.trainers:SFTConfig",
    settings="focal_of_mine:Focal",
)
"""

YAML = """
task: {name: embedded, n_demonstrations: 16, n_preferences: 2, n_prompts: 2, n_validation: 2, n_evaluation: 4}
output_dir: out
sampling: {max_new_tokens: 8, outputs_per_input: 2, diversity_inputs: 2, batch_size: 16}
methods:
  base:
  mine: {method: "focal_of_mine:FOCAL", gamma: 1, max_steps: 2, save_strategy: "no", per_device_train_batch_size: 8}
"""


def test_a_method_of_ones_own_beside_the_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len([line for line in OWN.splitlines() if line.strip()]) <= 25
    (tmp_path / "focal_of_mine.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "study.yaml").write_text(YAML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        found = load_study("study.yaml", output_dir="other", seeds=None)
        result = found.run()
    finally:
        sys.modules.pop("focal_of_mine", None)
    assert found.folder == Path("other") and (tmp_path / "other" / "results.json").is_file()
    mine = result["methods"]["mine"]
    assert (mine["label"], mine["paper"], mine["loop"]) == ("mine", "Lin et al. 2017, arXiv 1708.02002", "supervised")
    before = keys_of(found)
    # Another gamma is another method; other code, too.
    assert others(load_of(tmp_path, YAML.replace("gamma: 1", "gamma: 3"), OWN), before) >= {"mine", "sample/mine@1.0"}
    changed = others(load_of(tmp_path, YAML, OWN.replace("-((1 -", "-((1.5 -")), before)
    assert {name for name in changed if name.startswith(("mine", "sample", "measure"))} == {
        "mine",
        "sample/mine@1.0",
        "measure/mine@1.0",
    }
    assert others(load_of(tmp_path, YAML, OWN + "\n# a remark\n"), before) == set()


def load_of(folder: Path, yaml: str, code: str) -> Study:
    """Return a study in a process that has not seen its module before."""
    (folder / "focal_of_mine.py").write_text(textwrap.dedent(code), encoding="utf-8")
    (folder / "study.yaml").write_text(yaml, encoding="utf-8")
    sys.modules.pop("focal_of_mine", None)
    found = load_study("study.yaml")
    found.graph()
    sys.modules.pop("focal_of_mine", None)
    return found


def test_changed_data_weights_or_code_make_anew_what_has_them(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert task.model is not None
    task = replace(task, evaluation={"id": task.evaluation["id"]})
    base, other = (shutil.copytree(task.model, tmp_path / name) for name in ("base", "other"))
    few = {**FEW, "max_steps": 1}
    mine = {"method": "focal_of_mine:FOCAL", "start": "sft", **few}
    methods = {"base": {}, "sft": few, "mine": mine, "other": {"model": str(other)}}

    def made(task: Task, code: str) -> set[str]:
        (tmp_path / "focal_of_mine.py").write_text(code, encoding="utf-8")
        sys.modules.pop("focal_of_mine", None)
        try:
            return set(made_by(study(task, tmp_path / "study", methods, model=str(base))))
        finally:
            sys.modules.pop("focal_of_mine", None)

    def of(*arms: str) -> set[str]:
        return {name for name in every if any(f"/{arm}@" in name or name.startswith(f"{arm}/") for arm in arms)}

    every = made(task, OWN)
    distances = {name for name in every if name.startswith("kl/")}
    assert len(every) == 2 + 4 * 3 + 1 and made(task, OWN) == set()
    changed = OWN.replace("-((1 -", "-((1.5 -")
    assert made(task, changed) == of("mine") | {"results"}
    rows = task.demonstrations.to_list()
    rows[3]["completion"] += "."
    other_row = replace(task, demonstrations=Dataset.from_list(rows))
    # The KL of all of them is that from SFT.
    assert made(other_row, changed) == of("sft", "mine") | distances | {"results"}
    weights = load_file(base / "model.safetensors")
    save_file({name: weight * 1.01 for name, weight in weights.items()}, base / "model.safetensors", {"format": "pt"})
    assert made(other_row, changed) == every - (of("other") - distances)


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ({"judge": "gold", "task": {"gold": None}}, DataError, "judge is gold, and the task 'embedded' has no true"),
        ({"judge": "the best"}, ConfigError, "judge is 'the best'; it may be gold"),
        ({"judge": {"openai": {}}}, ConfigError, "give openai or local, with a model"),
        ({"metrics": ["eda"]}, ConfigError, r"there is no metric 'eda'; did you mean 'ead'\?"),
        ({"metrics": [3]}, ConfigError, "metrics has 3"),
        ({"task": "embeded"}, ConfigError, "there is no task 'embeded'"),
        ({"task": {"name": "embedded", "n_promts": 3}}, ConfigError, "no option 'n_promts'; did you mean 'n_prompts'"),
        ({"task": "no_such_module:task"}, ConfigError, "no_such_module"),
        ({"task": 3}, ConfigError, "task is 3"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(
    task: Task, tmp_path: Path, recipe: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = dict(recipe)
    own = given.pop("task", task)
    changed = replace(task, **own) if isinstance(own, dict) and "gold" in own else own
    with pytest.raises(error, match=message):
        study(changed, tmp_path, {"sft": FEW}, **given).graph()
    assert not list(tmp_path.iterdir())


def test_what_is_made_anew_is_said_with_its_reason(task: Task, tmp_path: Path) -> None:
    study(task, tmp_path, {"sft": FEW}).run()
    said: list[str] = []
    study(task, tmp_path, {"sft": {**FEW, "learning_rate": 2e-3}}).run(said.append)
    (begins,) = [line for line in said if line.startswith("sft/seed-0: ") and "there and" in line]
    assert "learning_rate is 0.001 there and 0.002 here" in begins


def test_two_processes_train_and_draw_together_and_one_writes(tmp_path: Path) -> None:
    run_in_two("tests.studies.in_processes", str(tmp_path / "two"))
    one = run_study(tmp_path / "one", steps=1)
    two = json.loads((tmp_path / "two" / "results.json").read_text(encoding="utf-8"))
    for output in two["outputs"]:
        rows = [json.loads(line) for line in (tmp_path / "two" / output["file"]).open(encoding="utf-8")]
        assert [len(row["outputs"]) for row in rows] == ([2, 2, 2, 1, 1] if output["set"] == "id" else [1] * 5)
    # Two processes with half the rows each take the same steps, up to rounding, and so draw the same.
    for name, method in to_json(one["methods"]).items():
        figures = method["temperatures"]["1.0"]["gold"]["id"]["value"]
        assert two["methods"][name]["temperatures"]["1.0"]["gold"]["id"]["value"] == pytest.approx(figures, abs=1e-6)
    assert not list((tmp_path / "two").rglob("*process-*"))


def test_models_are_looked_at_before_the_work(task: Task, tmp_path: Path) -> None:
    larger = tiny_tokenizer()
    larger.add_tokens(["more"])
    for name, model, tokenizer in (
        ("one", tiny_llama(), tiny_tokenizer()),
        ("two", tiny_llama(vocab_size=300), larger),
    ):
        save_model(model, tokenizer, tmp_path / name)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    wise = {"sft": FEW, "wise": {"interpolate": {"start": two, "end": "sft"}}}
    for methods, message in (
        ({"sft": FEW, "theirs": {"model": str(tmp_path / "none")}}, "no model at"),
        (wise, "their vocabularies differ"),
    ):
        with pytest.raises(ModelError, match=message):
            study(task, tmp_path / "study", methods, model=one).run()
    assert not (tmp_path / "study").exists()
    empty = replace(task, evaluation={**task.evaluation, "ood": task.evaluation["ood"].select([])})
    with pytest.raises(DataError, match="the evaluation set 'ood' of the task 'embedded' is empty"):
        study(empty, tmp_path / "study", {"sft": FEW}).run()
