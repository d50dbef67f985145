"""The registry of methods: what each says of itself, and where others come from."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import genrlhf.methods
from genrlhf.cli import main
from genrlhf.errors import ConfigError
from genrlhf.methods import METHODS, Method, get_method, method_names, registry
from genrlhf.studies import Study
from tests.trainers.runs import share_of_letters

MINE = Method("mine", "Mine", "nobody", "rollout", ("prompts", "reward"), "nowhere:Trainer", "nowhere:Config")


@dataclasses.dataclass(frozen=True)
class Even:
    """A reward of groups that changes nothing."""

    def __call__(self, prompts: Any, completions: Any, rewards: Any) -> Any:
        return rewards


def short(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A verifier that every method can use."""
    return [float(len(completion) < 4) for completion in completions]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name: str) -> None:
    method = get_method(name)
    assert method.name == name and method.label and method.paper
    config = {field.name for field in dataclasses.fields(method.config_class())}
    assert set(method.recipe) <= config
    settings = method.settings_class()
    own = {field.name for field in dataclasses.fields(settings)} if settings else set()
    assert not own & config
    # The command line reads them, those of the classes above too.
    assert own <= set(get_type_hints(settings) if settings else ())
    lines = (Path(genrlhf.methods.__file__).parent / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120


def test_every_file_of_a_method_is_listed() -> None:
    files = {file.stem for file in Path(genrlhf.methods.__file__).parent.glob("*.py")}
    assert files - {"__init__", "alike", "building", "checks", "method", "registry"} == set(METHODS)


def test_methods_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_package")
    module.MINE, module.WRONG = MINE, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_package", module)
    points = [
        EntryPoint("theirs", "my_package:MINE", registry.ENTRY_POINTS),
        EntryPoint("broken", "my_package:NOTHING", registry.ENTRY_POINTS),
        EntryPoint("sft", "my_package:WRONG", registry.ENTRY_POINTS),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert method_names() == [*METHODS, "broken", "theirs"]
    assert get_method("theirs") is MINE
    assert get_method("my_package:MINE") is MINE
    # The package's own come first.
    assert get_method("sft").trainer == "genrlhf.trainers:SFTTrainer"
    with pytest.raises(ConfigError, match="'broken' of an installed package cannot be loaded"):
        get_method("broken")
    with pytest.raises(ConfigError, match=r"'my_package:WRONG' is a int; it must be a genrlhf\.methods\.Method"):
        get_method("my_package:WRONG")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pp", "There is no method 'pp'; did you mean 'ppo'"),
        ("no.such.module:METHOD", "cannot be loaded: No module named"),
        ("genrlhf:METHOD", "cannot be loaded"),
        (":", "cannot be loaded"),
        (".relative:METHOD", "cannot be loaded"),
    ],
)
def test_names_of_nothing(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        get_method(name)


BROKEN = {
    "def (:": "SyntaxError: invalid syntax",
    "raise RuntimeError('no\\nGPU')": "RuntimeError: no GPU",
    "import sys; sys.exit(3)": "SystemExit: 3",
    "assert False": "AssertionError",
    "def __getattr__(name): raise KeyError(name)": "KeyError: 'METHOD'",
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_module_is_one_line(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"broken_{list(BROKEN).index(code)}"
    (tmp_path / f"{name}.py").write_text(f"print('hello')\n{code}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"The method '{name}:METHOD' cannot be loaded: {BROKEN[code]}") as raised:
        get_method(f"{name}:METHOD")
    assert "\n" not in str(raised.value)
    # Standard output is the command's, which may be asked for one object of JSON.
    assert capsys.readouterr().out == ""
    # An installed package that is broken takes the others out of no list.
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("theirs", f"{name}:METHOD", group)])
    assert main(["methods", "--json"]) == 0
    shown = capsys.readouterr()
    assert list(json.loads(shown.out)) == list(METHODS) and "'theirs' of an installed package" in shown.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loop": "magic"}, "has loop 'magic'"),
        ({"needs": "prompts"}, "has needs='prompts', a text"),
        ({"needs": ()}, "needs nothing"),
        ({"needs": ("luck",)}, "'luck'"),
    ],
)
def test_a_method_that_cannot_be(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(MINE, **change)


def test_a_trainer_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="names 'nowhere:Trainer', which cannot be loaded"):
        MINE.build("model", None, None, reward=share_of_letters)


def test_a_loop_has_a_trainer() -> None:
    for loop, like in (("supervised", "gem"), ("sample_and_tune", "rrhf"), ("rollout", "ppo")):
        method, known = Method("mine", "Mine", "nobody", loop, ("prompts",)), get_method(like)
        assert (method.trainer, method.config) == (known.trainer, known.config)
        method.check()
    with pytest.raises(ConfigError, match="'pairs' needs trainer and config; name both"):
        Method("mine", "Mine", "nobody", "pairs", ("preferences",))
    with pytest.raises(ConfigError, match="names one of trainer and config"):
        Method("mine", "Mine", "nobody", "supervised", ("prompts",), trainer="genrlhf.trainers:SFTTrainer")


class Undecorated:
    """Settings without the decorator that makes them some."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainer": "genrlhf.trainers:SFTTrainr"}, "cannot be loaded: module 'genrlhf.trainers' has no attribute"),
        ({"argument": "objectiv"}, "has argument='objectiv', which genrlhf.trainers:SFTTrainer does not take"),
        ({"settings": f"{__name__}:Undecorated"}, "is no dataclass; put @dataclass"),
        ({"recipe": {"max_stepss": 3}}, "recipe of 'gem' has 'max_stepss', which is no setting"),
        ({"config": "genrlhf.trainers:PPOConfig"}, "the settings of genrlhf.trainers:SFTTrainer are SFTConfig"),
    ],
)
def test_a_method_whose_parts_do_not_fit_is_told_before_the_work(
    change: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = dataclasses.replace(get_method("gem"), **change)
    with pytest.raises(ConfigError, match=words):
        method.check()
    with pytest.raises(ConfigError, match=words):
        method.build("no-model", None, None)
    with pytest.raises(ConfigError, match=rf"methods\.mine: .*{words}"):
        Study(task="embedded", methods={"mine": {"method": method}}, output_dir=str(tmp_path)).graph()


@pytest.mark.parametrize("name", METHODS)
def test_the_parts_of_a_method_fit(name: str) -> None:
    get_method(name).check()


def test_what_a_trainer_refuses_of_functions_is_told_before_a_study(tmp_path: Path) -> None:
    method = dataclasses.replace(get_method("ppo"), settings=f"{__name__}:Even", argument="group_reward")
    entry = {"method": method, "reward": "gold", "samples_per_prompt": 1}
    study = Study(task="embedded", methods={"sft": {}, "mine": entry}, output_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"methods\.mine: With group_reward=Even .* samples_per_prompt is 1"):
        study.check()


def test_a_reward_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match="'mine' needs a reward"):
        MINE.build("model", None, None)
    with pytest.raises(ConfigError, match="'sft' takes no reward"):
        get_method("sft").build("model", None, None, reward=share_of_letters)
