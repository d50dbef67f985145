"""A reward that sees all completions of a prompt: what it gets, when, and what it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

from genrlhf.errors import ConfigError, DataError, RewardError, RunFolderError
from genrlhf.trainers import PPOTrainer
from tests.helpers import tiny_llama
from tests.processes import run_in_two
from tests.trainers.runs import largest_difference, logged, ppo_trainer, prompt_rows, share_of_letters, weights

LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])


def rarer(prompts: Any, completions: Any, rewards: Any) -> Any:
    """Shares a reward among those of the same first character."""
    classes = [[text[:1] for text in group] for group in completions]
    counts = torch.tensor([[group.count(each) for each in group] for group in classes])
    return rewards / counts


def group_trainer(folder: Path, group_reward: Any = rarer, **options: Any) -> PPOTrainer:
    given: dict[str, Any] = {"samples_per_prompt": 4, "advantage": "rloo", "kl_coef": 0.0, **options}
    return ppo_trainer(folder, group_reward=group_reward, **given)


def test_it_sees_whole_groups_with_columns_and_rewards_behind_the_rule_for_cut_off_ones(tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    def group_reward(rewards: Any, completions: Any, prompts: Any, **columns: Any) -> Any:
        calls.append({"prompts": prompts, "completions": completions, "rewards": rewards.clone(), **columns})
        return rewards * 2

    rows = Dataset.from_list([{"prompt": "q" + "x" * (number % 5), "topic": number} for number in range(32)])
    trainer = group_trainer(
        tmp_path,
        group_reward,
        train_dataset=rows,
        missing_eos_score=-3.0,
        length_penalty=0.5,
        kl_coef=0.2,
        max_new_tokens=40,
        stop=["a", "e", "i"],
    )
    tensors, scored = trainer.collector.collect([rows[i] for i in range(4)], list(range(16)))
    (call,) = calls
    assert call["prompts"] == [rows[i]["prompt"] for i in range(4)] and list(call["topic"]) == [0, 1, 2, 3]
    assert [len(group) for group in call["completions"]] == [4] * 4
    assert [text for group in call["completions"] for text in group] == scored.texts
    assert [ended for group in call["ended"] for ended in group] == scored.ended.tolist()
    lengths = scored.completion_mask.sum(-1)
    assert [len(ids) for group in call["completion_ids"] for ids in group] == lengths.tolist()
    expected = torch.where(scored.ended, scored.scores, -3.0)
    assert 0 < int(scored.ended.sum()) < 16
    assert torch.equal(call["rewards"].flatten(), expected)
    reward = 2 * expected - 0.5 * lengths - 0.2 * scored.kl.sum(-1)
    mean_of_others = (reward.view(4, 4).sum(-1, keepdim=True) - reward.view(4, 4)) / 3
    advantages = (reward - mean_of_others.flatten()).unsqueeze(-1) * scored.completion_mask
    assert (tensors.advantages - advantages).abs().max() < 1e-5


@pytest.mark.parametrize(
    "kind",
    [lambda t: t.tolist(), lambda t: t.numpy(), lambda t: t.double(), list, lambda t: np.asarray(t).astype("f2")],
)
def test_what_it_may_return(kind: Any, tmp_path: Path) -> None:
    trainer = group_trainer(tmp_path, lambda prompts, completions, rewards: kind(rewards + 1), length_penalty=0.0)
    scored = trainer.collector.sample_and_score(list(prompt_rows(4)), list(range(16)))
    found = trainer.collector.shaping.scores(scored, trainer._parts.tally)
    assert found.dtype == torch.float32 and (found - scored.scores - 1).abs().max() < 1e-3


def test_it_may_be_asynchronous(tmp_path: Path) -> None:
    async def twice(prompts: Any, completions: Any, rewards: Any) -> Any:
        return 2 * rewards

    trainer = group_trainer(tmp_path, twice)
    scored = trainer.collector.sample_and_score(list(prompt_rows(4)), list(range(16)))
    assert torch.equal(trainer.collector.shaping.scores(scored, trainer._parts.tally), 2 * scored.scores)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda prompts, completions, rewards: rewards[:2],
            r"returned \(2, 4\); it must return one",
        ),
        (
            lambda prompts, completions, rewards: rewards.flatten(),
            r"returned \(16,\); it must .* of the 4 prompts",
        ),
        (lambda prompts, completions, rewards: rewards[:, 1:], "returned 3 values for 4 completions"),
        (lambda prompts, completions, rewards: rewards.sum(-1), r"returned .*; it must return one number"),
        (lambda prompts, completions, rewards: None, "returned None; it must return"),
        (lambda prompts, completions, rewards: rewards / 0, "gave (nan|inf) to the completion '.*' of the prompt 'q"),
        (lambda prompts, completions, rewards: 1 / 0, "asked for the rewards of 4 groups, raised ZeroDivisionError"),
    ],
)
def test_what_it_may_not_return(function: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=words):
        group_trainer(tmp_path, function, num_rollouts=1).train()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"samples_per_prompt": 1, "advantage": "gae"}, ConfigError, "group_reward=rarer .* samples_per_prompt is 1"),
        (
            {"advantage": "pass_at_k", "kl_coef": 0, "reward": lambda *_: []},
            ConfigError,
            "which group_reward=rarer would change",
        ),
        ({"group_reward": 3}, ConfigError, "group_reward is 3; give a function"),
        ({"group_reward": dict}, ConfigError, "give a function"),
        ({"group_reward": lambda prompts, completions, rewards, answer: 0}, RewardError, "wants 'answer'"),
        ({"train_dataset": prompt_rows().add_column("rewards", [0] * 32)}, DataError, "has a column 'rewards'"),
        ({"eval_dataset": prompt_rows().add_column("rewards", [0] * 32)}, DataError, "eval_dataset has a column"),
    ],
)
def test_refused_before_the_work(options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        group_trainer(tmp_path, **options)


@pytest.mark.parametrize("options", [{"peft_config": LORA}, {"freeze_layers": 0.5}, {"advantage": "gae"}, {}])
def test_trains_and_says_how_alike_groups_are(options: dict[str, Any], tmp_path: Path) -> None:
    trainer = group_trainer(tmp_path, eval_dataset=prompt_rows(3), num_rollouts=2, **options)
    start = weights(trainer.model)
    trainer.train()
    assert largest_difference(weights(trainer.model), start) > 0
    for key in ("equal_groups", "distinct_completions", "group_rewards"):
        assert len(logged(trainer, f"objective/{key}")) == 2
    assert all(1 <= count <= 4 for count in logged(trainer, "objective/distinct_completions"))


def test_evaluation_draws_groups_too(tmp_path: Path) -> None:
    groups: list[list[list[str]]] = []

    def group_reward(prompts: Any, completions: Any, rewards: Any) -> Any:
        groups.append([list(group) for group in completions])
        return rewards + 1

    trainer = group_trainer(tmp_path, group_reward, reward=share_of_letters, per_device_eval_batch_size=2)
    figures = trainer.evaluate(prompt_rows(3))
    assert [[len(group) for group in call] for call in groups] == [[4, 4], [4]]
    drawn = [group for call in groups for group in call]
    scores = [sum(share_of_letters([], group)) / 4 for group in drawn]
    assert figures["eval_objective/scores"] == pytest.approx(sum(scores) / 3, abs=1e-6)
    assert figures["eval_objective/group_rewards"] == pytest.approx(sum(scores) / 3 + 1, abs=1e-6)
    distinct = sum(len(set(group)) for group in drawn) / 3
    assert figures["eval_objective/distinct_completions"] == pytest.approx(distinct)
    one = ppo_trainer(tmp_path / "one").evaluate(prompt_rows(3))
    assert "eval_objective/equal_groups" not in one and "eval_objective/distinct_completions" not in one


def test_equal_groups_are_those_whose_rewards_are_all_equal(tmp_path: Path) -> None:
    def first_group_equal(prompts: Any, completions: Any, rewards: Any) -> Any:
        return [[1.0] * 4, *([float(i) for i in range(4)] for _ in prompts[1:])]

    trainer = group_trainer(tmp_path, first_group_equal, kl_coef=0.3, ref_model=tiny_llama(seed=3), num_rollouts=1)
    trainer.train()
    assert logged(trainer, "objective/equal_groups") == [0.25]


def test_another_group_reward_is_another_run(tmp_path: Path) -> None:
    group_trainer(tmp_path, num_rollouts=1).train()
    with pytest.raises(RunFolderError, match="group_reward"):
        group_trainer(tmp_path, lambda prompts, completions, rewards: rewards, num_rollouts=1).train()


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    options: dict[str, Any] = {"num_rollouts": 2, "max_grad_norm": 0.0, "optim": "sgd"}
    one = group_trainer(tmp_path / "one", **options)
    one.train()
    figures = one.evaluate(prompt_rows(3))
    run_in_two("tests.trainers.ppo.two_group_rewards", str(tmp_path / "two"))
    two = torch.load(tmp_path / "two" / "found.pt", weights_only=True)
    assert largest_difference(weights(one.model), two["weights"]) < 1e-5
    for key in ("scores", "group_rewards", "equal_groups", "distinct_completions"):
        assert two["figures"][f"eval_objective/{key}"] == pytest.approx(figures[f"eval_objective/{key}"], abs=1e-5)
