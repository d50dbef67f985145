"""`genrlhf train` and `genrlhf methods`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from genrlhf.cli import main
from genrlhf.cli.train import _kept, _set_defaults
from genrlhf.data import write_rows
from genrlhf.methods import METHODS, get_method
from genrlhf.trainers.run_folder import RUN_FILE
from tests.helpers import save_model, tiny_llama, tiny_tokenizer

FEW = ["--max_steps", "1", "--per_device_train_batch_size", "4", "--use_cpu", "--report_to", "none"]


REWARDS = """
def short(prompts, completions, **columns):
    return [float(len(c) < 4) for c in completions]

def parity(prompts, completions, **columns):
    return [float(sum(map(ord, c)) % 2) for c in completions]

def asked(prompts, completions, **columns):
    return ["good" if sum(map(ord, c)) % 2 else "bad" for c in completions]

def advice(prompts, completions, **columns):
    return ["shorter" for c in completions]

def scores(prompts, drafts, feedback, refinements, **columns):
    return [-float(len(text)) for text in refinements]

def lengths(texts):
    return [[1.0, float(len(text))] for text in texts]
"""

OWN = {
    "unlikelihood": "--prefix 1 --seq_share 0",
    "coop_carp": "--model carp --train_file classes.jsonl",
    "hir": "--feedback my_rewards:asked --instructions good bad --max_new_tokens 4",
    "ilf": "--feedback my_rewards:advice --scorer my_rewards:scores --refine_template {prompt}{draft}{feedback} "
    "--max_new_tokens 4",
    "prompt_distillation": "--max_new_tokens 4",
    "spin": "--max_new_tokens 4",
    "dqo": "--encoder my_rewards:lengths",
    # A sample that was cut off is no link, and an untrained model seldom ends by itself.
    "chain_of_hindsight_sampled": "--reward my_rewards:parity --n 8 --good g: --bad b: --max_new_tokens 12 --stop "
    + " ".join("abcdefghijklmnopqrstuvwxyz0123456789"),
}
"""What a method is given where its defaults ask for more than the rows have."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path_factory.mktemp("base") / "model"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with rows of every kind, and a reward."""
    monkeypatch.chdir(tmp_path)
    pair = {
        "prompt": "q",
        "completion": "ab",
        "chosen": "a",
        "rejected": "b",
        "label": True,
        "context": "c",
        "critique": "d",
    }
    write_rows([pair] * 8, "rows.jsonl")
    write_rows([{"passage": "ab", "label": "good"}, {"passage": "ba", "label": "bad"}], "classes.jsonl")
    Path("my_rewards.py").write_text(REWARDS, encoding="utf-8")
    return tmp_path


def output(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", [name for name in METHODS if "reward" not in get_method(name).needs])
def test_trains_on_a_file_of_rows(name: str, base: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", base, "--train_file", "rows.jsonl", *FEW]
    if name == "coop_carp":
        assert main(["train", "carp", *given, "--json"]) == 0 and output(capsys)
    given += OWN.get(name, "").split()
    assert main(["train", name, *given, "--json"]) == 0
    found = output(capsys)
    rounds = get_method(name).recipe.get("num_iterations", 1)
    assert (found["method"], found["output_dir"], found["steps"]) == (name, name, rounds)
    assert found["figures"]["train_loss"] > 0
    assert (folder / name / "model.safetensors").is_file()


@pytest.mark.parametrize("name", [name for name in METHODS if "reward" in get_method(name).needs])
def test_trains_against_a_function_by_name(
    name: str, base: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", base, "--train_file", "rows.jsonl", "--reward", "my_rewards:short", "--max_new_tokens", "4"]
    given += [*FEW, "--per_device_train_batch_size", "8", *OWN.get(name, "").split()]
    assert main(["train", "--json", name, *given]) == 0
    assert output(capsys)["steps"] == 1
    AutoModelForCausalLM.from_pretrained(folder / name)


def test_settings_of_a_file_under_those_of_the_command(
    base: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.yaml").write_text(
        f"model: {base}\ntrain_file: rows.jsonl\neval_file: rows.jsonl\nmax_steps: 3\nbeta: 0.5\nlora_r: 2\n"
        "use_peft: true\nlora_target_modules: [q_proj]\noutput_dir: elsewhere\nreport_to: none\nuse_cpu: true\n"
        "save_strategy: 'no'\n",
        encoding="utf-8",
    )
    assert main(["train", "gem", "--config", "run.yaml", "--max_steps", "2", "--json"]) == 0
    found = output(capsys)
    assert (found["steps"], found["output_dir"]) == (2, "elsewhere")
    assert "eval_cross_entropy" in found["figures"]
    run = json.loads((folder / "elsewhere" / RUN_FILE).read_text(encoding="utf-8"))
    assert run["objective"]["settings"] == {"beta": 0.5}
    # The model is there without checkpoints, too.
    assert not list((folder / "elsewhere").glob("checkpoint-*"))
    # The recipe's, where nothing else is said.
    assert run["learning_rate"] == get_method("gem").recipe["learning_rate"]
    assert json.loads((folder / "elsewhere" / "adapter_config.json").read_text(encoding="utf-8"))["r"] == 2


def test_a_method_of_the_users_own(base: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    Path("my_methods.py").write_text(code, encoding="utf-8")
    given = ["--model", base, "--train_file", "rows.jsonl", "--gamma", "1.5", *FEW, "--use_peft", "--json"]
    given += ["--lora_target_modules", "all-linear"]
    assert main(["train", "my_methods:FOCAL", *given]) == 0
    assert output(capsys)["output_dir"] == "focal"
    adapter = json.loads((folder / "focal" / "adapter_config.json").read_text(encoding="utf-8"))
    assert {"q_proj", "down_proj"} <= {name.rpartition(".")[2] for name in adapter["target_modules"]}
    run = json.loads((folder / "focal" / RUN_FILE).read_text(encoding="utf-8"))
    assert run["objective"]["settings"] == {"gamma": 1.5}


def test_a_transform_of_the_users_own(base: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my_transforms.py").write_text(
        "from dataclasses import dataclass, field\n"
        "from genrlhf.methods import Method\n"
        "@dataclass(frozen=True)\n"
        "class Neighbours:\n"
        "    step: int = field(default=1, metadata={'help': 'From one to the other.'})\n"
        "    tune = 'pairwise'\n"
        "    def __call__(self, groups):\n"
        "        return [group.pair(0, self.step) for group in groups]\n"
        "METHOD = Method('neighbours', 'Neighbours', 'nobody', 'sample_and_tune', ('prompts',),\n"
        "    'genrlhf.trainers:SampleAndTuneTrainer', 'genrlhf.trainers:SampleAndTuneConfig', {'n': 3},\n"
        "    'my_transforms:Neighbours', 'transform')\n",
        encoding="utf-8",
    )
    given = ["--model", base, "--train-file", "rows.jsonl", "--max_new_tokens", "4", "--pairwise", '{"beta": 0.5}']
    assert main(["train", "my_transforms:METHOD", *given, "--step", "2", *FEW, "--json"]) == 0
    assert output(capsys)["figures"]["train_loss"] == pytest.approx(math.log(2), abs=1e-5)
    drawn = [json.loads(line) for line in Path("neighbours/groups-0.jsonl").read_text().splitlines()]
    made = [json.loads(line) for line in Path("neighbours/rows.jsonl").read_text().splitlines()]
    drawn.sort(key=lambda line: line["row"])
    assert [row["rejected"]["genrlhf_completion"] for row in made] == [line["completions"][2] for line in drawn]
    assert json.loads(Path("neighbours", RUN_FILE).read_text())["pairwise"] == {"beta": 0.5}


def test_a_task_brings_its_model_and_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", "--task", "embedded", *FEW]) == 0
    assert capsys.readouterr().out.startswith("SFT: 1 steps, sft\n")


def test_resumes(base: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "train",
        "sft",
        "--model",
        base,
        "--train_file",
        "rows.jsonl",
        *FEW,
        "--max_steps",
        "2",
        "--save_steps",
        "1",
    ]
    assert main(given) == 0
    shutil.rmtree(folder / "sft" / "checkpoint-2")
    assert main([*given, "--resume_from_checkpoint", "true", "--json"]) == 0
    assert "checkpoint-1" in capsys.readouterr().err or (folder / "sft" / "checkpoint-2").is_dir()


@pytest.mark.parametrize("name", METHODS)
def test_help_has_every_setting(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main(["train", name, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    method = get_method(name)
    for kind in filter(None, (method.config_class(), method.settings_class())):
        for field in dataclasses.fields(kind):
            assert not field.init or field.name.startswith("_") or f"--{field.name}" in shown


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        (["nothing"], 1, "There is no method 'nothing'"),
        (["sft", "--learning_rat", "1"], 2, "--learning_rat, which is no setting; did you mean --learning_rate?"),
        (["sft", "--seed", "-1"], 2, "argument --seed: must be a whole number from 0 to 4294967295, not '-1'"),
        (["sft", "--data-seed", "4294967296"], 2, "argument --data_seed: must be a whole number"),
        (["sft", "--config", "seed.yaml"], 2, "argument --seed: must be a whole number"),
        (["sft", "--learning_rate", "fast"], 2, "invalid float value: 'fast'"),
        (["ppo", "--kl_coef", "-1"], 1, "The settings of ppo cannot be read: kl_coef must be 0 or more"),
        (["sft"], 1, "Give one of --task, --train_file and --dataset_name."),
        (["sft", "--task", "embedded", "--train_file", "rows.jsonl"], 1, "not task and train_file"),
        (["sft", "--train_file", "rows.jsonl"], 1, "Give --model"),
        (["sft", "--train_file", "none.jsonl", "--model", "x"], 1, "none.jsonl does not exist"),
        (["sft", "--dataset_name", "no/such", "--model", "x"], 1, "The dataset 'no/such' cannot be loaded"),
        (["sft", "--task", "embedded", "--reward", "x"], 1, "The method 'sft' takes no reward"),
        (["ppo", "--task", "embedded"], 1, "Give --reward"),
        (["ppo", "--task", "embedded", "--reward", "a", "b", "--reward_weights", "1"], 1, "2 rewards and 1"),
        (["ppo", "--task", "embedded", "--reward", "my_rewards:digits"], 1, "'my_rewards:digits' cannot be loaded"),
        (["sft", "--config", "none.yaml"], 1, "none.yaml"),
        (["sft", "--config", "twice.yaml"], 1, "'seed' is there twice; name each field once"),
        (["sft", "--config"], 1, "cannot be read"),
        (["sft", "--config", "list.yaml"], 1, "mapping"),
        (["sft", "--config", "wrong.yaml"], 1, "The file of --config has --learning_rat, which is no setting"),
        (["sft", "--config", "broken.yaml"], 1, "broken.yaml is no YAML that can be read"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    given: list[str], status: int, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"list": "- 1\n", "wrong": "learning_rat: 1\n", "seed": "seed: -1\n", "broken": "a: [\n"}
    for name, text in {**texts, "twice": "seed: 1\nbeta: 2\nseed: 2\n"}.items():
        Path(f"{name}.yaml").write_text(text, encoding="utf-8")
    try:
        found = main(["train", *given])
    except SystemExit as stopped:
        found = int(str(stopped.code))
    shown = capsys.readouterr()
    assert found == status and words in shown.err and "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("model: 2020-01-01", "model in the file of --config must be a text, not datetime.date(2020, 1, 1)"),
        ("model: {a: b}", "model in the file of --config must be a text"),
        ("train_file: [rows.jsonl]", "train_file in the file of --config must be a text"),
        ("max_steps: 1.5", "max_steps in the file of --config must be a whole number, not 1.5"),
        ("learning_rate: [1]", "learning_rate in the file of --config must be a number"),
        ("use_peft: 3", "use_peft in the file of --config must be true or false"),
        ("seed: null", "seed in the file of --config must be a whole number, not None"),
        ("reward: 5", "reward in the file of --config must be a list of which each is a text"),
        ("reward_weights: [a]", "reward_weights in the file of --config must be a list"),
        ("[" * 5000, "run.yaml is no YAML that can be read"),
        # One reward without brackets is one, and not one a letter.
        ("reward: my_rewards:digits\nreward_weights: 1e-1", "The reward 'my_rewards:digits' cannot be loaded"),
    ],
)
def test_values_of_a_file_that_do_not_fit_are_one_line(
    line: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.yaml").write_text(line, encoding="utf-8")
    given = ["--train_file", "rows.jsonl"] if "train_file" not in line else []
    given += ["--model", "x"] if "model" not in line else []
    assert main(["train", "ppo", "--config=run.yaml", *given]) == 1
    shown = capsys.readouterr()
    assert words in shown.err and shown.out == ""


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    found = output(capsys)
    assert list(found)[: len(METHODS)] == list(METHODS)
    assert found["ppo"]["needs"] == ["prompts", "reward"]
    assert main(["methods"]) == 0
    assert "Li et al. 2024" in capsys.readouterr().out


def test_a_task_of_the_users_own(base: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my_tasks.py").write_text(
        "from dataclasses import replace\n"
        "from genrlhf import load_task\n"
        "def small():\n"
        "    few = dict(n_demonstrations=8, n_preferences=2, n_prompts=2, n_validation=2, n_evaluation=2)\n"
        "    return replace(load_task('embedded', **few), preferences=None)\n",
        encoding="utf-8",
    )
    assert main(["train", "sft", "--task", "my_tasks:small", *FEW, "--json"]) == 0
    assert output(capsys)["steps"] == 1
    assert main(["train", "dpo", "--task", "my_tasks:small", *FEW]) == 1
    assert "has no preferences, which dpo needs" in capsys.readouterr().err


class Defaults(dict[str, Any]):
    """In place of a parser: keeps what it is told."""

    def set_defaults_with_config(self, **values: Any) -> list[str]:
        self.update(values)
        return []


def test_processes_of_a_launcher_find_each_other_without_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    for accelerator, processes, expected in ((False, "2", True), (True, "2", None), (False, "1", None)):
        monkeypatch.setattr("genrlhf.models.processes.has_accelerator", lambda found=accelerator: found)
        monkeypatch.setenv("LOCAL_RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", processes)
        defaults = Defaults()
        _set_defaults(defaults, get_method("sft"))
        assert defaults.get("use_cpu") is expected


def test_a_method_goes_by_what_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["--betta", "1"]):
        with pytest.raises(SystemExit):
            main(["train", "genrlhf.methods.gem:METHOD", *words])
        shown = capsys.readouterr()
        assert "genrlhf train genrlhf.methods.gem:METHOD" in shown.out + shown.err


def test_interrupted_it_names_the_newest_checkpoint_of_a_run_or_of_its_last_round(tmp_path: Path) -> None:
    args = argparse.Namespace(output_dir=str(tmp_path))
    assert _kept(args) is None
    for name in ("checkpoint-9", "checkpoint-10", "iteration-old/checkpoint-99"):
        (tmp_path / name).mkdir(parents=True)
    assert str(_kept(args)).startswith(f"{tmp_path}/checkpoint-10 is the newest checkpoint; ")
    for name in ("iteration-9/checkpoint-8", "iteration-10/checkpoint-2", "iteration-11"):
        (tmp_path / name).mkdir(parents=True)
    assert str(_kept(args)).startswith(f"{tmp_path}/iteration-10/checkpoint-2 is the newest checkpoint;")
