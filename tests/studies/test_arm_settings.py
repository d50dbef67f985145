"""Settings of trainers and methods in a study."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from genrlhf.data import load_task
from genrlhf.errors import ConfigError
from genrlhf.studies import Study
from genrlhf.studies.canonical import canonical_text
from genrlhf.studies.code import named_digest
from genrlhf.studies.plan import Plan
from tests.helpers import save_model, tiny_llama, tiny_tokenizer


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


JUDGE = """
import own_words

LIMIT = 3

def judge(prompts, completions, **columns):
    # A comment.
    return [own_words.verdict(text, LIMIT) for text in completions]

def other(groups):
    return groups

class Ranks:
    def __call__(self, prompts, completions, instructions):
        return [[len(text)] for text in completions]
"""
WORDS = "def verdict(text, limit):\n    return 'right' if len(text) < limit else 'wrong'\n"


def known(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    for module in ("own_judge", "own_words"):
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    return plan(name, settings).settings[name].known()


@pytest.mark.parametrize("setting", ["feedback", "goal_reward"])
def test_code_that_a_setting_names_is_known_by_what_it_does(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no part of the path: modules lie in the current folder, as in a study of YAML
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    place = "own_judge:judge" if setting == "feedback" else "own_judge:Ranks"
    settings = {setting: place, "instructions": ["right", "wrong"]}

    def write(judge: str = JUDGE, words: str = WORDS) -> dict[str, Any]:
        (tmp_path / "own_judge.py").write_text(judge)
        (tmp_path / "own_words.py").write_text(words)
        return known("hir", settings)

    first = write()
    assert first["method"] == settings
    for same in (JUDGE.replace("A comment", "Another"), JUDGE.replace("return groups", "return []")):
        assert write(same) == first
    if setting == "feedback":
        for judge, words in ((JUDGE.replace("LIMIT = 3", "LIMIT = 4"), WORDS), (JUDGE, WORDS.replace("<", "<="))):
            assert write(judge, words) != first
    else:
        assert write(JUDGE.replace("[len(text)]", "[-len(text)]")) != first
    assert write() == first


def test_texts_that_name_nothing_stay_as_they_are_and_functions_are_what_they_do() -> None:
    texts = known("ilf", {"feedback": "policy", "refine_template": "{prompt}{draft}{feedback}", "refinements": 2})
    assert set(texts) == {"config", "method"}
    assert set(known("hir", {"feedback": "policy:no", "template": "{instruction}{prompt}"})) == {"config", "method"}
    keys = [
        canonical_text(known("hir", {"feedback": function}))
        for function in (lambda prompts, completions: completions, lambda prompts, completions: prompts)
    ]
    assert keys[0] != keys[1]


def test_a_model_that_a_setting_names_is_known_by_its_weights(tmp_path: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        save_model(tiny_llama(seed=seed), tiny_tokenizer(), tmp_path / "m")
        found.append(known("ilf", {"feedback": "policy", "refiner": str(tmp_path / "m")})["named"])
    assert found[0] == found[1] != found[2] and set(found[0]) == {"method.refiner"}
    assert named_digest(f"embedding:{tmp_path / 'm'}") == found[2]["method.refiner"]
