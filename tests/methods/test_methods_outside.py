"""The methods that docs/methods.md adds outside the package, by the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from genrlhf.cli import main
from genrlhf.trainers.run_folder import RUN_FILE
from genrlhf.trainers.state_files import load_state
from tests.helpers import save_model, tiny_llama, tiny_tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
FEW = [
    *("--max_steps", "2", "--per_device_train_batch_size", "8", "--num_ppo_epochs", "1", "--max_new_tokens", "8"),
    *("--missing_eos_score", "None", "--report_to", "none", "--use_cpu", "true", "--disable_tqdm", "true"),
    *("--save_steps", "1", "--learning_rate", "1e-3"),
]
REWARD = "def vowels(prompts, completions):\n    return [sum(text.count(c) for c in 'aeiou') for text in completions]\n"


def blocks() -> list[str]:
    return [part.split("```")[0] for part in PAGE.read_text(encoding="utf-8").split("```python\n")[1:]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path_factory.mktemp("base")))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with the page's methods, in the folder where one is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rows = [{"prompt": "q" + "x" * (i % 5), "completion": "aaaa", "number": i} for i in range(16)]
    Dataset.from_list(rows).to_json("rows.jsonl")
    # One module of all blocks, as the page's reader would have it; the last block trains.
    name = f"outside_{abs(hash(tmp_path.name))}"
    code = REWARD + "\n".join(blocks()[:-1]).replace("my_methods:", f"{name}:")
    Path(f"{name}.py").write_text(code, encoding="utf-8")
    return name


@pytest.mark.parametrize("block", blocks()[:-1])
def test_a_method_takes_25_lines(block: str) -> None:
    assert len([line for line in block.splitlines() if line.strip()]) <= 25


def train(base: str, capsys: pytest.CaptureFixture[str], method: str, *options: str) -> dict[str, Any]:
    given = ["--model", base, "--train_file", "rows.jsonl", *FEW, "--json", *options]
    assert main(["train", method, *given]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def same(one: str, other: str) -> bool:
    models = [AutoModelForCausalLM.from_pretrained(place).state_dict() for place in (one, other)]
    return all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_leave_one_out_is_rloo(base: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    reward = ["--reward", f"{module}:vowels"]
    train(base, capsys, f"{module}:LEAVE_ONE_OUT", *reward, "--output_dir", "ours")
    like = ["--samples_per_prompt", "4", "--loss_mean", "token", "--learning_rate", "1e-3"]
    train(base, capsys, "rloo", *reward, *like, "--output_dir", "theirs")
    models = [AutoModelForCausalLM.from_pretrained(place).state_dict() for place in ("ours", "theirs")]
    assert max(float((models[0][name] - models[1][name]).abs().max()) for name in models[0]) < 1e-5
    assert not same("ours", base)


def test_all_samples_are_taught_by_their_reward(base: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = [
        "--model",
        base,
        "--train_file",
        "rows.jsonl",
        "--output_dir",
        "rwr",
        "--n",
        "2",
        *FEW[:2],
        *FEW[6:8],
        *FEW[10:],
    ]
    options = ["--reward", f"{module}:vowels", "--beta", "2", "--json"]
    assert main(["train", f"{module}:RWR", *few, *options]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    rows = [json.loads(line) for line in (Path() / "rwr" / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [row["completion"]["genrlhf_completion"]["text"] for row in rows]
    assert [row["weight"] for row in rows] == [math.exp(sum(text.count(c) for c in "aeiou") / 2) for text in texts]
    assert not same("rwr", base)


def test_rarity_has_a_setting_of_its_own(base: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--reward", f"{module}:vowels", "--power", "0.5", "--use_peft", "true", "--output_dir", "rare"]
    train(base, capsys, f"{module}:RARITY", *options)
    run = json.loads((Path() / "rare" / RUN_FILE).read_text(encoding="utf-8"))
    assert run["group_reward"]["settings"] == {"power": 0.5}
    assert (Path() / "rare" / "adapter_config.json").is_file()


def test_the_discriminator_learns_and_resumes(base: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    train(base, capsys, f"{module}:IMITATION", "--output_dir", "whole")
    train(base, capsys, f"{module}:IMITATION", "--output_dir", "cut")
    shutil.rmtree(Path() / "cut" / "checkpoint-2")
    train(base, capsys, f"{module}:IMITATION", "--output_dir", "cut", "--resume_from_checkpoint", "true")
    assert same("whole", "cut")
    states = [load_state(Path() / place / "checkpoint-2" / "rewards" / "0")["weights"] for place in ("whole", "cut")]
    assert torch.equal(*states) and int(states[0].argmax()) == 0  # demonstrations are all "a"


def test_a_trainer_of_ones_own_adds_a_loss(base: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    train(base, capsys, f"{module}:SEQUENCE_RLOO", "--reward", f"{module}:vowels", "--output_dir", "both")
    run = json.loads((Path() / "both" / RUN_FILE).read_text(encoding="utf-8"))
    assert {"advantage_function", "policy_loss"} <= set(run)
    assert not same("both", base)
