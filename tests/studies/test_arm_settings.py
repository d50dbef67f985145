"""Settings of trainers and methods in a study."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.data import load_task
from genrlhf.errors import ConfigError
from genrlhf.studies import Study
from genrlhf.studies.plan import Plan


def plan(name: str, settings: dict[str, Any], **recipe: Any) -> Plan:
    task = load_task("embedded", n_demonstrations=2, n_preferences=2, n_prompts=2, n_validation=2, n_evaluation=2)
    return Study(task=task, methods={name: settings}, **recipe).plan


def test_settings_go_to_the_trainer_or_the_method() -> None:
    found = plan("gem", {"beta": 0.5, "max_steps": 3, "lr_scheduler_type": "linear"}).settings["gem"]
    assert dict(found.method) == {"beta": 0.5}
    # Over those of the method's recipe.
    assert (found.config["max_steps"], found.config["num_train_epochs"]) == (3, 3.0)
    config, own = found.build(plan("gem", {}).arms["gem"], "here", seed=5)
    assert (config.output_dir, config.seed, config.lr_scheduler_type, own.beta) == ("here", 5, "linear", 0.5)


def test_trainers_that_sample_draw_as_the_study_does() -> None:
    found = plan("ppo", {"reward": "gold"}, sampling={"max_new_tokens": 9, "batch_size": 4}).settings["ppo"]
    assert (found.config["max_new_tokens"], found.config["sampling_batch_size"]) == (9, 4)
    own = plan("ppo", {"reward": "gold", "max_new_tokens": 5}, sampling={"max_new_tokens": 9}).settings["ppo"]
    assert own.config["max_new_tokens"] == 5
    assert "max_new_tokens" not in plan("sft", {}).settings["sft"].config


def test_what_changes_no_model_is_no_part_of_what_is_known() -> None:
    known = plan("sft", {"logging_steps": 3, "save_steps": 9, "learning_rate": 1e-3}).settings["sft"].known()
    assert known == {"config": {"learning_rate": 1e-3}, "method": {}}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ppo", {"kl_coeff": 0.1}, r"methods\.ppo\.kl_coeff is no setting of ppo; did you mean 'kl_coef'\?"),
        ("ppo", {"xyz": 0.1}, r"methods\.ppo\.xyz is no setting of ppo; genrlhf train ppo --help lists them"),
        ("gem", {"bta": 0.1}, r"methods\.gem\.bta is no setting of gem; did you mean 'beta'"),
        ("sft", {"strat": "base"}, r"methods\.sft\.strat is no setting of sft; did you mean 'start'"),
        ("ppo", {"kl_coef": "much"}, r"methods\.ppo\.kl_coef is 'much': input should be a valid number"),
        ("ppo", {"num_rollouts": 2.5}, r"methods\.ppo\.num_rollouts is 2.5: "),
        ("ppo", {"kl_coef": True}, r"methods\.ppo\.kl_coef is True; it must be a number"),
        ("sft", {"seed": 3}, r"methods\.sft\.seed cannot be set here: it is one of the study's seeds"),
        ("sft", {"output_dir": "x"}, r"methods\.sft\.output_dir cannot be set here"),
        ("sft", {"peft": {"rank": 3}}, r"methods\.sft\.peft cannot be read by PEFT"),
    ],
)
def test_what_cannot_be_is_said_with_its_field(name: str, settings: dict[str, Any], message: str) -> None:
    reward = {"reward": "gold"} if name == "ppo" else {}
    with pytest.raises(ConfigError, match=message):
        plan(name, {**reward, **settings})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gem", {"beta": -1.0}, r"methods\.gem: beta is -1.0; it must be above 0"),
        ("ppo", {"lam": 2.0}, r"methods\.ppo: .*lam"),
        ("sft", {"lr_scheduler_type": "steep"}, r"methods\.sft.*steep"),
    ],
)
def test_settings_are_built_before_the_work(name: str, settings: dict[str, Any], message: str) -> None:
    reward = {"reward": "gold"} if name == "ppo" else {}
    with pytest.raises(ConfigError, match=message):
        plan(name, {**reward, **settings}).check()


def test_a_number_that_came_as_a_text_is_one() -> None:
    assert plan("sft", {"learning_rate": "1e-3"}).settings["sft"].config["learning_rate"] == 1e-3
