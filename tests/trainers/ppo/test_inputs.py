"""What PPO accepts and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import BertConfig, BertForMaskedLM

from genrlhf.errors import ConfigError, DataError, ModelError, RewardError, RunFolderError
from genrlhf.rewards import load_reward
from genrlhf.trainers import PPOConfig
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import logged, ppo_trainer, prompt_rows, share_of_a


def constant(value: float) -> Any:
    return lambda prompts, completions, **columns: [value] * len(completions)


def test_further_columns_reach_the_reward(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"prompt": f"p{i}", "number": i, "topic": {"name": str(i)}} for i in range(16)])
    calls: list[tuple[list[str], dict[str, Any]]] = []

    def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        calls.append((list(prompts), columns))
        return [0.0] * len(completions)

    ppo_trainer(tmp_path, reward=reward, train_dataset=rows, num_rollouts=1).train()
    ((prompts, columns),) = calls
    assert set(columns) == {"number", "topic", "completion_ids", "ended"}
    assert sorted(columns["number"]) == list(range(16))
    assert prompts == [f"p{number}" for number in columns["number"]]
    assert [topic["name"] for topic in columns["topic"]] == [str(number) for number in columns["number"]]


def test_conversations_go_through_the_chat_template(tmp_path: Path) -> None:
    conversation = [{"role": "user", "content": "hi"}]
    rows = Dataset.from_list([{"prompt": conversation}] * 16)
    seen: list[Any] = []

    def reward(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
        seen.extend(prompts)
        return [0.0] * len(completions)

    tokenizer = tiny_tokenizer(chat_template=True)
    trainer = ppo_trainer(tmp_path, reward=reward, train_dataset=rows, tokenizer=tokenizer, num_rollouts=1)
    trainer.train()
    assert seen == [conversation] * 16
    assert trainer.buffer.rollout is not None
    assert tokenizer.decode(trainer.buffer.rollout.prompt_ids[0]) == "[user]hi\n[assistant]"


def test_missing_eos_score_replaces_the_score(tmp_path: Path) -> None:
    # min_new_tokens keeps EOS away, so that every completion ends without it.
    settings: dict[str, Any] = {"min_new_tokens": 8, "num_rollouts": 1, "num_ppo_epochs": 1, "kl_coef": 0.0}
    replaced = ppo_trainer(tmp_path / "a", reward=constant(3.0), missing_eos_score=-1.0, **settings)
    replaced.train()
    assert logged(replaced, "objective/rlhf_reward") == [-1.0]
    assert logged(replaced, "objective/scores") == [3.0]
    assert logged(replaced, "objective/ended") == [0.0]
    left = ppo_trainer(tmp_path / "b", reward=constant(3.0), missing_eos_score=None, **settings)
    left.train()
    assert logged(left, "objective/rlhf_reward") == [3.0]


def test_score_of_an_ended_completion_stays(tmp_path: Path) -> None:
    trainer = ppo_trainer(
        tmp_path, reward=constant(3.0), missing_eos_score=-1.0, num_rollouts=1, num_ppo_epochs=1, max_new_tokens=40
    )
    trainer.train()
    (ended,) = logged(trainer, "objective/ended")
    assert 0 < ended < 1
    assert logged(trainer, "objective/rlhf_reward") == pytest.approx([3 * ended - (1 - ended)], abs=1e-5)


def test_weighted_rewards(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, reward=[(constant(2.0), 0.5), (constant(3.0), -1.0)])
    assert trainer.evaluate(prompt_rows(4))["eval_objective/scores"] == -2.0


def test_reward_model_folder_and_module(tmp_path: Path) -> None:
    folder = save_model(tiny_reward_model(), tiny_tokenizer(), tmp_path / "rm")
    by_name = ppo_trainer(tmp_path / "a", reward=str(folder)).evaluate(prompt_rows(8))
    module = load_reward(str(folder))
    by_call = ppo_trainer(tmp_path / "b", reward=module).evaluate(prompt_rows(8))
    assert by_name["eval_objective/scores"] == pytest.approx(by_call["eval_objective/scores"], abs=1e-6)
    assert by_name["eval_objective/scores"] != 0


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda prompts, completions, **columns: [1.0], "returned 1 values for 16 completions"),
        (constant(float("nan")), "gave nan to the completion"),
        (constant(float("inf")), "gave inf to the completion"),
        (lambda prompts, completions, **columns: 1.0, "must return one number for each of the 16 completions"),
    ],
)
def test_bad_rewards_stop_the_run(tmp_path: Path, reward: Any, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        ppo_trainer(tmp_path, reward=reward).train()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompts": "a"}] * 16, r"train_dataset has no column 'prompt', only 'prompts'. Did you mean 'prompts'\?"),
        ([{"text": "a"}] * 16, "train_dataset has no column 'prompt', only 'text'"),
        ([{"prompt": "a"}, {"prompt": " \n"}], "train_dataset, row 1, column 'prompt' is empty"),
        ([{"prompt": 5}], "train_dataset, row 0, column 'prompt' is 5, which is no text"),
        ([{"prompt": "a"}, {"prompt": "b" * 57}], r"train_dataset, row 1: the prompt .* has 57 tokens, and at most 56"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ppo_trainer(tmp_path, train_dataset=Dataset.from_list(rows))
    with pytest.raises(DataError, match=message.replace("train", "eval")):
        ppo_trainer(tmp_path).evaluate(Dataset.from_list(rows))


def test_bad_datasets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train_dataset is empty"):
        ppo_trainer(tmp_path, train_dataset=Dataset.from_dict({"prompt": []}))
    with pytest.raises(DataError, match=r"train_dataset is a list; give a datasets.Dataset"):
        ppo_trainer(tmp_path, train_dataset=[{"prompt": "a"}])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"eval_dataset\['ood'\], row 0, column 'prompt' is empty"):
        ppo_trainer(tmp_path, eval_dataset={"ood": Dataset.from_list([{"prompt": ""}])})
    with pytest.raises(ConfigError, match="train_dataset has 15 prompts, but a rollout samples 16 at a time"):
        ppo_trainer(tmp_path, train_dataset=prompt_rows(15)).train()
    with pytest.raises(ConfigError, match="max_new_tokens=64 leaves no room for a prompt in the model's context of 64"):
        ppo_trainer(tmp_path, max_new_tokens=64)
    trainer = ppo_trainer(tmp_path)
    trainer.train_dataset = None
    with pytest.raises(ConfigError, match=r"train\(\) needs prompts"):
        trainer.train()


def test_bad_models(tmp_path: Path) -> None:
    bert = BertForMaskedLM(
        BertConfig(vocab_size=258, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    with pytest.raises(ModelError, match="is a bert model, which is no causal language model"):
        ppo_trainer(tmp_path, model=bert)
    with pytest.raises(ModelError, match="There is no model at 'nowhere/at-all'"):
        ppo_trainer(tmp_path, model="nowhere/at-all")
    two = save_model(tiny_reward_model(num_labels=2), tiny_tokenizer(), tmp_path / "two")
    with pytest.raises(ModelError, match="has 2 labels, but a reward model has one"):
        ppo_trainer(tmp_path, reward=str(two))
    policy = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "policy")
    with pytest.raises(ModelError, match="LlamaForCausalLM, which has no trained score"):
        ppo_trainer(tmp_path, reward=str(policy))
    with pytest.raises(ConfigError, match="reward must be a model name or folder"):
        ppo_trainer(tmp_path, reward=5)


def test_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    first = ppo_trainer(tmp_path, num_rollouts=1, save_strategy="steps", save_steps=2)
    first.train()
    files = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert json.loads((tmp_path / "genrlhf_run.json").read_text())["kl_coef"] == 0.05
    assert (tmp_path / "checkpoint-2").is_dir()
    with pytest.raises(
        RunFolderError, match=r"Cannot train in .*: it holds another run \(kl_coef is 0.05 there and 0.1"
    ):
        ppo_trainer(tmp_path, kl_coef=0.1).train()
    with pytest.raises(RunFolderError, match=r"Cannot resume in .*reward is 'share_of_letters' there and 'share_of_a'"):
        ppo_trainer(tmp_path, reward=share_of_a).train(resume_from_checkpoint=True)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == files
    # A longer run, and other habits of reporting, are the same run.
    longer = ppo_trainer(tmp_path, num_rollouts=2, logging_steps=7)
    longer.train(resume_from_checkpoint=True)
    assert longer.state.global_step == 4
    ppo_trainer(tmp_path, kl_coef=0.1, num_rollouts=1, overwrite_output_dir=True).train()
    assert json.loads((tmp_path / "genrlhf_run.json").read_text())["kl_coef"] == 0.1


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("num_ppo_epochs", 0, "num_ppo_epochs must be at least 1, not 0"),
        ("num_mini_batches", 0, "num_mini_batches must be at least 1"),
        ("max_new_tokens", 0, "max_new_tokens must be at least 1"),
        ("sampling_batch_size", 0, "sampling_batch_size must be at least 1"),
        ("reward_batch_size", -3, "reward_batch_size must be at least 1, not -3"),
        ("gamma", 1.5, r"gamma must be in \[0, 1\], not 1.5"),
        ("lam", -0.1, r"lam must be in \[0, 1\], not -0.1"),
        ("lam", float("nan"), r"lam must be in \[0, 1\], not nan"),
        ("clip_range", 0.0, "clip_range must be above 0, and finite, not 0.0"),
        ("value_clip_range", -1.0, "value_clip_range must be above 0"),
        ("temperature", 0.0, "temperature must be above 0"),
        ("kl_coef", -0.1, "kl_coef must be 0 or more, and finite, not -0.1"),
        ("kl_coef", float("nan"), "kl_coef must be 0 or more, and finite, not nan"),
        ("vf_coef", float("inf"), "vf_coef must be 0 or more, and finite, not inf"),
        ("kl_estimator", "k4", "kl_estimator must be one of k1, k2, k3, not 'k4'"),
        ("min_new_tokens", 49, r"min_new_tokens must lie between 0 and max_new_tokens \(48\), not 49"),
        ("freeze_layers", 1.0, r"freeze_layers must be in \[0, 1\), not 1.0"),
        ("num_rollouts", 0, "num_rollouts must be at least 1, not 0"),
        ("kl_target", 0.0, "kl_target must be above 0, and finite, not 0.0"),
        ("entropy_coef", -1.0, "entropy_coef must be 0 or more"),
        ("mask_top_p", 1.5, "mask_top_p must be above 0 and at most 1, not 1.5"),
        ("samples_per_prompt", 3, r"samples_per_prompt \(3\) does not divide"),
        ("missing_eos_penalty", 1.0, "missing_eos_score replaces a score and missing_eos_penalty lowers it"),
        ("kl_in_loss", True, "kl_in_loss needs kl_estimator k2 or k3"),
        ("stop", "\n", "stop must be a sequence of strings"),
        ("remove_unused_columns", True, "remove_unused_columns must stay False"),
    ],
)
def test_bad_settings(tmp_path: Path, setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PPOConfig(str(tmp_path), **{setting: value})


def test_arithmetic_of_a_rollout(tmp_path: Path) -> None:
    config = PPOConfig(
        str(tmp_path),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=3,
        num_mini_batches=2,
        num_ppo_epochs=5,
        num_rollouts=7,
    )
    assert config.rollout_batch_size == 24
    assert config.updates_per_rollout == 10
    assert config.max_steps == 70
    assert PPOConfig(str(tmp_path)).max_steps == -1
    assert PPOConfig(str(tmp_path), value_clip_range=None).value_clip_range is None


def test_length_from_the_epochs(tmp_path: Path) -> None:
    # 40 prompts are two rollouts of 16 an epoch; the other 8 wait for the order of the next one.
    trainer = ppo_trainer(tmp_path, train_dataset=prompt_rows(40), num_rollouts=None, num_train_epochs=2)
    trainer.train()
    assert trainer.state.global_step == 2 * 2 * 2
