from __future__ import annotations

import functools
import json
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainingArguments

from genrlhf.errors import ConfigError, RunFolderError
from genrlhf.rewards import WeightedReward, load_reward
from genrlhf.rewards.affine import Calibration, set_calibration
from genrlhf.trainers import RewardModelConfig, SFTConfig
from genrlhf.trainers.describe import Description, describe_reward
from genrlhf.trainers.run_folder import FREE, claim_folder, claim_output_dir
from genrlhf.types import HasSettings
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import ppo_trainer, prompt_rows, sft_trainer


def run(folder: Path, **settings: Any) -> Any:
    args = TrainingArguments(str(folder), use_cpu=True, **settings)
    args.overwrite_output_dir = False
    return SimpleNamespace(args=args)


def test_claim_writes_what_the_folder_holds(tmp_path: Path) -> None:
    assert claim_output_dir(run(tmp_path / "new", learning_rate=0.5), base_model="opt", resuming=False) is False
    written = json.loads((tmp_path / "new" / "genrlhf_run.json").read_text())
    assert written["trainer"] == "SimpleNamespace"
    assert written["base_model"] == {"digest": "opt", "name": "opt"}
    assert written["learning_rate"] == 0.5
    # Where and how often a run reports, and how long it is, may change; and no token belongs on the disk.
    assert not {"output_dir", "logging_steps", "max_steps", "hub_token", "report_to"} & set(written)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["genrlhf_run.json"]


def test_processes_that_do_not_know_of_each_other_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = run(tmp_path / "new")
    monkeypatch.setenv("WORLD_SIZE", "2")
    # A scheduler may set the one; a launcher sets both.
    claim_output_dir(trainer, base_model="opt", resuming=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match=r"started 2 processes, and the settings take each for one.*use_cpu=True"):
        claim_output_dir(trainer, base_model="opt", resuming=False)


def test_same_run_may_go_on(tmp_path: Path) -> None:
    claim_output_dir(run(tmp_path, learning_rate=0.5, max_steps=10), base_model="opt", resuming=False)
    again = run(tmp_path, learning_rate=0.5, max_steps=20, logging_steps=3, save_steps=7)
    assert claim_output_dir(again, base_model="opt", resuming=True) is False


@pytest.mark.parametrize(
    ("settings", "base_model", "message"),
    [
        ({"learning_rate": 0.25}, "opt", r"learning_rate is 0.5 there and 0.25 here"),
        ({"learning_rate": 0.5}, "gpt2", r"base_model is 'opt' \(digest opt\) there and 'gpt2' \(digest gpt2\) here"),
        ({"learning_rate": 0.5, "seed": 7}, "opt", r"seed is 42 there and 7 here"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, settings: dict[str, Any], base_model: str, message: str) -> None:
    claim_output_dir(run(tmp_path, learning_rate=0.5), base_model="opt", resuming=False)
    before = (tmp_path / "genrlhf_run.json").read_bytes()
    other = run(tmp_path, **settings)
    with pytest.raises(RunFolderError, match=message):
        claim_output_dir(other, base_model=base_model, resuming=False)
    assert (tmp_path / "genrlhf_run.json").read_bytes() == before
    other.args.overwrite_output_dir = True
    assert claim_output_dir(other, base_model=base_model, resuming=False) is True
    assert claim_output_dir(other, base_model=base_model, resuming=False) is False


def test_what_an_older_version_did_not_write_down_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.warns(UserWarning, match=r"has checkpoints and no genrlhf_run.json, .* not known, and not compared"):
        claim_output_dir(run(tmp_path), base_model="opt", resuming=True)
    file = tmp_path / "genrlhf_run.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in written.items() if name not in ("data", "tokenizer")}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        claim_output_dir(run(tmp_path), base_model="opt", resuming=True)
        claim_output_dir(run(tmp_path), base_model="opt", resuming=True)
    assert [record.message.split(", ", 1)[1] for record in caplog.records] == [
        "of another version, does not say data, tokenizer: that is not compared."
    ]


def test_claim_folder_names_what_is_tried_and_the_remedy(tmp_path: Path) -> None:
    claim_folder(tmp_path, {"n": 1}, act="go on", remedy="Choose another.")
    with pytest.raises(
        RunFolderError, match=r"^Cannot go on in .*: it holds another run \(n is 1 there and 2 here\). Ch"
    ):
        claim_folder(tmp_path, {"n": 2}, act="go on", remedy="Choose another.")
    claim_folder(tmp_path / "unwritten", {"n": 1}, act="go on", remedy="", write=False)
    assert not (tmp_path / "unwritten").exists()


def test_digests_count_and_names_do_not(tmp_path: Path) -> None:
    words: dict[str, str] = {"act": "go on", "remedy": ""}
    claim_folder(tmp_path, {"model": {"name": "a", "digest": "1"}, "gone": 1}, **words)
    assert not claim_folder(tmp_path, {"model": {"name": "b", "digest": "1"}}, **words)
    with pytest.raises(RunFolderError, match=r"model is 'b' \(digest 1\) there and 'b' \(digest 2\) here"):
        claim_folder(tmp_path, {"model": {"name": "b", "digest": "2"}}, **words)
    claim_folder(tmp_path, {"peft": {"r": 8, "only": 1}, "none": None}, **words)
    with pytest.raises(RunFolderError, match=r"none is None there and 3 here; peft.only is 1 there and None here"):
        claim_folder(tmp_path, {"none": 3, "peft": {"r": 8}}, **words)
    (tmp_path / "genrlhf_run.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"genrlhf_run.json is no JSON object \(.*remove the file"):
        claim_folder(tmp_path, {}, **words)


def of_length(weight: float, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [weight * len(text) for text in completions]


class Length:
    """An object with a setting, a counter that calls change, and a list."""

    def __init__(self, weight: float) -> None:
        self.weight, self.calls, self.seen = weight, 0, []

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        self.calls += 1
        return of_length(self.weight, prompts, completions)


class Told(Length):
    def settings(self) -> dict[str, Any]:
        return {"seen": self.seen}


def other_rows() -> Dataset:
    rows = prompt_rows(32)["prompt"]
    return Dataset.from_dict({"prompt": [*rows[:-1], "another"]})


def trained(value: float) -> Any:
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[-1].mlp.down_proj.weight[0, 0] += value
    return model


def templated() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages }}"
    return tokenizer


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "weights": ({"model": trained(0.5)}, "base_model is "),
    "data": ({"train_dataset": other_rows()}, "data is '32 rows of prompt' "),
    "order of the data": ({"train_dataset": prompt_rows().select(range(31, -1, -1))}, "data is "),
    "chat template": ({"tokenizer": templated()}, "tokenizer is "),
    "adapter": ({"peft_config": LoraConfig(r=4, target_modules=["q_proj"])}, "peft_config is None there"),
    "partial": ({"reward": functools.partial(of_length, 2.0)}, r"reward.args is \[1.0\] there and \[2.0\] here"),
    "reference": ({"ref_model": trained(0.5)}, "ref_model is None there and {'name'"),
    "value model": ({"value_model": tiny_reward_model()}, "value_model is None there"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_changes_the_result_makes_another_run(tmp_path: Path, other: str) -> None:
    options: dict[str, Any] = {"reward": functools.partial(of_length, 1.0), "num_rollouts": 1}
    claimed = claim(ppo_trainer(tmp_path, **options))
    # A copy of everything, under another name and on other terms that change nothing.
    again = tiny_llama()
    again.config._name_or_path = "elsewhere"
    same = {
        "model": again,
        "train_dataset": prompt_rows(),
        "dataloader_num_workers": 0,
        "ddp_timeout": 7,
        "run_name": "x",
    }
    assert claim(ppo_trainer(tmp_path, **{**options, **same})) == claimed is False
    changed, message = OTHERS[other]
    with pytest.raises(RunFolderError, match=message):
        claim(ppo_trainer(tmp_path, **{**options, **changed}))


def claim(trainer: Any) -> bool:
    return claim_output_dir(
        trainer,
        base_model=trainer._base_name,
        resuming=True,
        data=trainer.train_dataset,
        reward=trainer.collector.reward,
        arguments=trainer._arguments,
    )


def test_functions_of_the_trainer_count_as_another_run(tmp_path: Path) -> None:
    sft_trainer(tmp_path, max_steps=1).train()

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        return outputs["logits"].mean()

    optimizer = (torch.optim.SGD, {"lr": 0.1})
    for options, message in (
        ({"compute_loss_func": loss}, "compute_loss_func is None there and {'name': 'loss'"),
        ({"optimizer_cls_and_kwargs": optimizer}, r"optimizer_cls_and_kwargs is None there and \['SGD', {'lr': 0.1}\]"),
    ):
        with pytest.raises(RunFolderError, match=message):
            sft_trainer(tmp_path, max_steps=1, **options).train()
    sft_trainer(tmp_path / "sgd", max_steps=1, optimizer_cls_and_kwargs=optimizer).train()
    other = (torch.optim.SGD, {"lr": 0.2})
    with pytest.raises(RunFolderError, match="optimizer_cls_and_kwargs is .*'lr': 0.1.* there and .*'lr': 0.2"):
        sft_trainer(tmp_path / "sgd", max_steps=1, optimizer_cls_and_kwargs=other).train()


def test_a_trainer_that_has_trained_is_still_the_run_that_it_was(tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    trainer.args.max_steps = 2
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 2


def described(reward: Any) -> tuple[Any, list[str]]:
    description = Description()
    found = describe_reward(load_reward(reward), description)
    return json.loads(json.dumps(found)), description.unknown


def test_rewards_are_told_apart_by_what_they_depend_on(tmp_path: Path) -> None:
    @dataclass
    class Fields:
        weight: float

        def __call__(self, prompts: Any, completions: Any) -> list[float]:
            return of_length(self.weight, prompts, completions)

    def captured(weight: float) -> Any:
        seen: list[str] = []
        return lambda prompts, completions, **columns: [weight + 0 * len(seen) for _ in completions]

    for make in (
        Length,
        Fields,
        captured,
        lambda weight: Length(weight).__call__,
        lambda w: functools.partial(of_length, w),
    ):
        assert described(make(1.0)) == described(make(1.0))
        assert described(make(1.0)) != described(make(-1.0))
    counted = Length(1.0)
    counted([], ["a"])
    assert described(counted) == described(Length(1.0)), "a counter is no setting"
    assert described(Length(1.0))[1] == ["seen"]
    assert described(captured(1.0))[1] == ["seen"]
    assert described(Told(1.0)) == ({"name": "Told", "settings": {"seen": []}}, [])
    assert isinstance(Told(1.0), HasSettings)
    told = Told(1.0)
    told.seen.append("a")
    assert described(told) != described(Told(1.0))
    with pytest.warns(UserWarning, match=r"keeps seen, which cannot be compared .* a method settings\(\)"):
        claim(ppo_trainer(tmp_path, reward=Length(1.0)))


FACTOR = 2.0


def test_code_and_constants_of_functions_count() -> None:
    def twice(prompts: Any, completions: Any) -> list[float]:
        """Multiply."""
        return [FACTOR * len(text) for text in completions]

    before = described(twice)
    assert before[0]["captured"] == {"FACTOR": 2.0}

    def twice(prompts: Any, completions: Any) -> list[float]:  # type: ignore[no-redef]
        """Multiply, in other words."""
        # As before.
        return [FACTOR * len(text) for text in completions]

    assert described(twice) == before

    def twice(prompts: Any, completions: Any) -> list[float]:  # type: ignore[no-redef]
        return [-FACTOR * len(text) for text in completions]

    assert described(twice) != before


def test_reward_models_are_known_by_weights_and_calibration(tmp_path: Path) -> None:
    folder, copied = (
        str(save_model(tiny_reward_model(), tiny_tokenizer(), tmp_path / name)) for name in ("rm", "copy")
    )
    model = load_reward(folder)
    found, _ = described(folder)
    assert found == {"name": folder, "digest": found["digest"], "gain": 1, "bias": 0, "max_length": 64}
    assert described(copied)[0]["digest"] == found["digest"]
    both = describe_reward(WeightedReward([model, of_length], [1, -0.5]), Description())
    assert [term["weight"] for term in both] == [1, -0.5]
    assert [term["reward"]["name"] for term in both] == [folder, "of_length"]
    set_calibration(model.model.config, Calibration(0.5, -2.0))
    assert described_of(model)["gain"] == 0.5 and described_of(model)["bias"] == -2


def described_of(reward: Any) -> Any:
    return describe_reward(reward, Description())


def test_every_field_of_the_installed_versions_is_sorted() -> None:
    changes_the_result = set(
        """
        per_device_train_batch_size learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio optim
        optim_args weight_decay adam_beta1 adam_beta2 adam_epsilon optim_target_modules gradient_accumulation_steps
        average_tokens_across_devices max_grad_norm label_smoothing_factor bf16 fp16 tf32 half_precision_backend
        fp16_opt_level fp16_backend neftune_noise_alpha auto_find_batch_size ignore_data_skip seed data_seed
        accelerator_config dataloader_drop_last dataloader_in_order remove_unused_columns label_names
        train_sampling_strategy group_by_length length_column_name fsdp fsdp_config deepspeed
        model_init_kwargs router_aux_loss_coef dataset_text_field dataset_kwargs eos_token max_length truncation_mode
        shuffle_dataset packing packing_strategy padding_free pad_to_multiple_of completion_only_loss
        assistant_only_loss loss_type pad_token disable_dropout center_rewards_coefficient freeze_layers overlong
        weight_column
        """.split()  # noqa: SIM905
    )
    installed = {f.name for config in (SFTConfig, RewardModelConfig) for f in fields(config)}
    assert installed - FREE - changes_the_result == set(), "sort the new fields: may they change in a run that goes on?"
    assert not FREE & changes_the_result


def test_what_cannot_be_compared_goes_by_its_name() -> None:
    held = object()

    def reward(completions: Any, scale: float = 2.0, table: Any = held, *, other: Any = held) -> list[float]:
        return [scale] * len(completions)

    description = Description()
    assert description.of(reward)["defaults"] == {"scale": 2.0}
    assert description.unknown == ["other", "table"]
