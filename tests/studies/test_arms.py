"""What the entries of a study are, and what they cannot be."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.data import Task, load_task
from genrlhf.errors import ConfigError, DataError
from genrlhf.methods import METHODS, get_method
from genrlhf.studies import Study
from genrlhf.studies.arms import Arm, ModelOf, resolve_arms
from genrlhf.studies.recipe import Entry

RM = {"reward_model": {"start": "sft"}}
PPO = {"ppo": {"start": "sft", "reward": "reward_model"}}


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("embedded", n_demonstrations=4, n_preferences=4, n_prompts=4, n_validation=2, n_evaluation=2)


def arms(task: Task, methods: dict[str, Any], **recipe: Any) -> dict[str, Arm]:
    study = Study(task=task, methods=methods, **recipe)
    return resolve_arms(study.recipe, task, task.model)


def test_what_entries_are(task: Task, tmp_path: Path) -> None:
    found = arms(
        task,
        {
            "base": {},
            "theirs": {"model": str(tmp_path), "label": "Theirs"},
            **PPO,
            **RM,
            "sft": {},
            "sharp": {"method": "sft", "start": "theirs"},
            "min_p": {"from": "sft", "sampling": {"min_p": 0.1}},
            "wise": {"interpolate": {"end": "ppo", "alpha": 0.3}},
        },
    )
    assert list(found) == ["base", "theirs", "sft", "reward_model", "ppo", "sharp", "min_p", "wise"]
    assert {name: arm.free for name, arm in found.items() if arm.free} == {"base": True, "min_p": True, "wise": True}
    assert [name for name, arm in found.items() if not arm.compare] == ["reward_model"]
    assert (found["base"].model, found["theirs"].model) == (ModelOf(name=task.model or ""), ModelOf(name=str(tmp_path)))
    assert (found["ppo"].start, found["ppo"].label, found["sharp"].label) == (ModelOf(arm="sft"), "PPO", "sharp")
    assert found["min_p"].model == ModelOf(arm="sft") and found["min_p"].sampling.min_p == 0.1
    assert found["wise"].ends == (ModelOf(arm="base"), ModelOf(arm="ppo"))
    assert found["theirs"].label == "Theirs" and found["sharp"].method is get_method("sft")


def test_carp_is_a_reward_that_a_reward_starts_from(task: Task, tmp_path: Path) -> None:
    methods: dict[str, Any] = {
        "sft": {},
        "carp": {"critique": "kind"},
        "coop": {"method": "coop_carp", "start": "carp", "target": "kind"},
        "ppo": {"start": "sft", "reward": "coop"},
    }
    with pytest.raises(DataError, match="methods.carp needs critiques, and the task 'embedded' has none"):
        arms(task, methods)
    rows = Dataset.from_list([{"passage": "a", "critique": "kind"}, {"passage": "b", "critique": "rude"}])
    found = arms(replace(task, critiques=rows), methods)
    assert list(found) == ["sft", "carp", "coop", "ppo"]
    assert [name for name, arm in found.items() if arm.makes_reward] == ["carp", "coop"]
    assert found["coop"].start == ModelOf(arm="carp") and found["ppo"].needed() == {"start": "sft", "reward 0": "coop"}
    # What is reported is the reward at the end.
    study = Study(task=replace(task, critiques=rows), methods=methods, output_dir=str(tmp_path))
    measured = [stage for stage in study.graph() if stage.name.startswith("reward/ppo")]
    (needs,) = [{need.name for need in stage.needs.values()} for stage in measured]
    assert "coop/seed-0" in needs and "carp/seed-0" not in needs


def test_nothing_is_trained_that_nothing_compared_needs(task: Task) -> None:
    assert list(arms(task, {"sft": {}, **RM, "gem": {"compare": False}})) == ["sft"]
    assert list(arms(task, {"sft": {"compare": False}, **RM, **PPO})) == ["sft", "reward_model", "ppo"]
    assert list(arms(task, {"sft": {}, **RM}, judge="reward:reward_model")) == ["sft", "reward_model"]
    assert list(arms(task, {"sft": {}, **RM}, reward="reward_model")) == ["sft", "reward_model"]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"stf": {}}, r"methods\.stf is no method of the registry; did you mean 'sft'"),
        ({"mine": {"method": "pppo"}}, r"methods\.mine\.method: .*did you mean 'ppo'"),
        ({"mine": {"method": "no_such_module:METHOD"}}, r"methods\.mine\.method: .*no_such_module"),
        ({"sft": {}, "ppo": {"start": "sfft", "reward": "gold"}}, r"methods\.ppo\.start is 'sfft'.*did you mean 'sft'"),
        ({"sft": {}, "ppo": {"start": "none/such/sft", "reward": "rm"}}, r"methods\.ppo\.reward is 'rm', which is no"),
        ({"ppo": {}}, r"methods\.ppo needs a reward; give `reward:`"),
        ({"sft": {"reward": "gold"}}, r"methods\.sft\.reward is given, and sft takes none"),
        ({"sft": {"start": "gem"}, "gem": {"start": "sft"}}, "Method .* needs itself: .*sft.* → .*gem"),
        ({"gem": {}, "x": {"from": "y"}, "y": {"from": "x"}}, "needs itself: x → y → x"),
        ({"sft": {}, **RM, "x": {"from": "reward_model"}}, r"methods\.x\.from is 'reward_model', a reward model"),
        ({"sft": {}, **RM, "x": {"interpolate": {"end": "reward_model"}}}, r"x\.interpolate\.end is 'reward_model'"),
        ({"sft": {}, **RM, "gem": {"start": "reward_model"}}, r"methods\.gem\.start is 'reward_model', a reward model"),
        ({"sft": {}, "ppo": {"reward": "sft"}}, r"methods\.ppo: the reward 'sft' is a model that writes"),
        ({"sft": {}, "reward_model": {"compare": True}}, r"methods\.reward_model\.compare is true"),
        ({"sft": {"compare": False}}, "nothing that is compared"),
        (
            {"base": {"learning_rate": 1}},
            r"methods\.base has learning_rate, and with the base model nothing is trained",
        ),
        ({"sft": {}, "x": {"from": "sft", "start": "base"}}, r"methods\.x has start, and with from nothing is trained"),
        ({"x": {"from": "base", "model": "y/z"}}, r"methods\.x has model and from; it is one or the other"),
        ({"sft": {}, "x": {"from": "sft", "sampling": {"best_of_n": 4}}}, r"x\.sampling has no reward, which chooses"),
        ({"sft": {}, "x": {"from": "sft", "sampling": {"reward": "gold"}}}, r"x\.sampling has no best_of_n"),
        (
            {
                "sft": {},
                "x": {"from": "sft", "sampling": {"best_of_n": 1, "reward": "gold", "group_reward": "darling"}},
            },
            r"x\.sampling\.group_reward compares samples; set best_of_n to 2 or more",
        ),
        (
            {"sft": {}, "x": {"from": "sft", "sampling": {"best_of_n": 2, "reward": "gold", "group_reward": "luck"}}},
            r"x\.sampling\.group_reward: by is 'luck'; give a function, or where one is",
        ),
        ({"ppo": {"reward": {"gold": "much"}}}, r"methods\.ppo\.reward\.gold is 'much'; it must be the weight"),
        ({"ppo": {"reward": 3}}, r"methods\.ppo\.reward is 3; give a reward model"),
        (
            {"ppo": {"reward": "no_such_module:reward"}},
            r"methods\.ppo\.reward, 'no_such_module:reward', cannot be loaded",
        ),
    ],
)
def test_what_cannot_be_is_said_with_its_field(task: Task, methods: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arms(task, methods)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "gone"}, "reference is 'gone', which is no method that writes"),
        ({"reference": "reward_model"}, "reference is 'reward_model'"),
        ({"judge": "reward:sft"}, "judge is 'sft', a model that writes"),
        ({"reward": "sft"}, "reward is 'sft', a model that writes"),
        ({"preferences": {"from": "gone"}}, "preferences.from is 'gone'"),
    ],
)
def test_what_the_study_names_is_there(task: Task, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arms(task, {"sft": {}, **RM, **PPO}, **changes)


def test_a_method_needs_what_the_task_has(task: Task) -> None:
    bare = replace(task, preferences=None, gold=None)
    with pytest.raises(DataError, match=r"methods\.reward_model needs preferences, and the task 'embedded' has none"):
        arms(bare, {"sft": {}, **RM})
    with pytest.raises(DataError, match=r"methods\.ppo is for the gold score, and the task 'embedded' has none"):
        arms(bare, {"ppo": {"reward": "gold"}})
    with pytest.raises(DataError, match="needs demonstrations"):
        arms(replace(task, demonstrations=task.demonstrations.select([])), {"sft": {}})
    # Preferences of the samples of what they train would go round in a circle.
    with pytest.raises(ConfigError, match="needs itself: .*ppo"):
        arms(bare, {"sft": {}, **RM, **PPO}, preferences={"from": "ppo"})
    assert "reward_model" in arms(bare, {"sft": {}, **RM, **PPO}, preferences={"from": "sft"})


def test_no_trainer_has_a_setting_of_the_name_of_a_field() -> None:
    ours = {field.alias or name for name, field in Entry.model_fields.items()}
    for name in METHODS:
        method = get_method(name)
        kinds = [method.config_class(), method.settings_class()]
        assert not ours & {each.name for kind in kinds if kind is not None for each in fields(kind)}, name
