"""Rewards that learn from each rollout: when, from what, and what a checkpoint keeps of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from torch import nn

from genrlhf.errors import CheckpointError, ConfigError, RewardError, RunFolderError
from genrlhf.trainers import PPOTrainer, Rollout
from tests.processes import run_in_two
from tests.trainers.runs import (
    StopAt,
    interrupted_and_whole,
    largest_difference,
    ppo_trainer,
    share_of_letters,
    weights,
)

LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
SAVING: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1}


def counts(text: str) -> list[float]:
    """How often each of the characters 0 … 15 (by their last four bits) stands in a text."""
    found = [0.0] * 16
    for char in text:
        found[ord(char) % 16] += 1.0
    return found


class Discriminator:
    """Tells samples from demonstrations, which have many of one character; its weights begin by chance."""

    def __init__(self) -> None:
        self.net = nn.Linear(16, 1)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.05)
        self.noise = torch.Generator().manual_seed(0)
        self.seen: list[Rollout] = []

    def __call__(self, prompts: Any, completions: Any) -> Any:
        with torch.no_grad():
            return self.net(torch.tensor([counts(text) for text in completions])).squeeze(-1).clamp(-2, 2)

    def update(self, rollout: Rollout) -> None:
        self.seen.append(rollout)
        fake = torch.tensor([counts(text) for text in rollout.completions])
        real = torch.zeros_like(fake)
        real[:, 1] = 4.0
        real = real + 0.1 * torch.rand(real.shape, generator=self.noise)
        loss = nn.functional.softplus(-(self.net(real) - self.net(fake))).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        noise = self.noise.get_state()
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "noise": noise}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.noise.set_state(state["noise"])


class ByFolder(Discriminator):
    """The same with files of its own."""

    state_dict = None  # type: ignore[assignment]

    def save(self, folder: Path) -> None:
        tensors = {**self.net.state_dict(), "noise": self.noise.get_state()}
        (folder / "own.json").write_text(json.dumps({key: each.tolist() for key, each in tensors.items()}))

    def load(self, folder: Path) -> None:
        found = json.loads((folder / "own.json").read_text())
        self.noise.set_state(torch.tensor(found.pop("noise"), dtype=torch.uint8))
        self.net.load_state_dict({key: torch.tensor(values) for key, values in found.items()})

    def update(self, rollout: Rollout) -> None:
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
        super().update(rollout)


class AsModule(nn.Module):
    """A reward that is a module of torch, whose state is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(16, 1)

    def forward(self, prompts: Any, completions: Any) -> Any:
        return self.net(torch.tensor([counts(text) for text in completions])).squeeze(-1).detach()

    def update(self, rollout: Rollout) -> None:
        grads = torch.autograd.grad(
            self(rollout.prompts, rollout.completions).sum() + self.net.weight.sum(), [self.net.weight]
        )
        with torch.no_grad():
            self.net.weight.sub_(0.1 * grads[0])


def trainer_with(folder: Path, reward: Any, **options: Any) -> PPOTrainer:
    given: dict[str, Any] = {"samples_per_prompt": 2, "num_rollouts": 3, "kl_coef": 0.01}
    return ppo_trainer(folder, reward=reward, **{**given, **options})


@pytest.mark.parametrize(
    "options", [{}, {"peft_config": LORA}, {"freeze_layers": 0.5}, {"advantage": "rloo", "num_mini_batches": 2}]
)
def test_it_learns_from_each_rollout_before_the_policy_does(options: dict[str, Any], tmp_path: Path) -> None:
    reward = Discriminator()
    start = [parameter.detach().clone() for parameter in reward.net.parameters()]
    trainer = trainer_with(tmp_path, reward, **options)
    policy, during = weights(trainer.policy), []
    learn = reward.update

    def update(rollout: Rollout) -> None:
        during.append(largest_difference(weights(trainer.policy), policy))
        assert torch.is_grad_enabled()
        expected = reward(rollout.prompts, rollout.completions)
        assert torch.allclose(rollout.scores, expected)  # of what it knew when they were scored
        learn(rollout)

    reward.update = update  # type: ignore[method-assign]
    trainer.train()
    assert [rollout.index for rollout in reward.seen] == [0, 1, 2]
    assert during[0] == 0 and during[1] > 0
    assert not all(torch.equal(a, b) for a, b in zip(start, reward.net.parameters(), strict=True))


def test_what_a_rollout_holds(tmp_path: Path) -> None:
    reward = Discriminator()
    trainer = trainer_with(
        tmp_path,
        reward,
        num_rollouts=1,
        num_ppo_epochs=1,
        length_penalty=0.25,
        kl_coef=0.3,
        max_new_tokens=20,
        stop=["e"],
    )
    trainer.train()
    (rollout,) = reward.seen
    size, width = rollout.completion_mask.shape
    assert (size, rollout.samples_per_prompt) == (16, 2)
    assert len(rollout.prompts) == len(rollout.completions) == 16 and rollout.columns == {}
    assert rollout.prompts[::2] == rollout.prompts[1::2]
    assert [list(group) for group in rollout.groups] == [rollout.completions[i : i + 2] for i in range(0, 16, 2)]
    lengths = rollout.completion_mask.sum(-1)
    assert [len(ids) for ids in rollout.token_ids] == lengths.tolist() and int(lengths.max()) == width > int(
        lengths.min()
    )
    for name in ("logprobs", "ref_logprobs", "log_ratio", "kl", "advantages", "values"):
        tensor = getattr(rollout, name)
        assert tensor.shape == (size, width) and tensor.device.type == "cpu"
        assert (tensor[~rollout.completion_mask] == 0).all()
    for name in ("ended", "scores", "shaped_scores", "rewards"):
        assert getattr(rollout, name).shape == (size,)
    assert torch.allclose(rollout.shaped_scores, rollout.scores - 0.25 * lengths)
    assert torch.allclose(rollout.rewards, rollout.shaped_scores - 0.3 * rollout.kl.sum(-1), atol=1e-5)


def test_nothing_done_to_a_rollout_changes_what_is_trained_on(tmp_path: Path) -> None:
    class Vandal(Discriminator):
        def update(self, rollout: Rollout) -> None:
            for tensor in (value for value in vars(rollout).values() if isinstance(value, torch.Tensor)):
                tensor.zero_()
            rollout.prompts.clear()

    torch.manual_seed(0)
    left = trainer_with(tmp_path / "left", Vandal())
    left.train()
    torch.manual_seed(0)

    class Quiet(Discriminator):
        def update(self, rollout: Rollout) -> None:
            pass

    alone = trainer_with(tmp_path / "alone", Quiet())
    alone.train()
    assert largest_difference(weights(left.policy), weights(alone.policy)) == 0


@pytest.mark.parametrize("stop", [2, 3])
@pytest.mark.parametrize("kind", [Discriminator, ByFolder, AsModule])
def test_resumed_bit_for_bit(kind: Any, stop: int, tmp_path: Path) -> None:
    """At the end of a rollout, and within one; the resumed run makes its reward anew, from other random numbers."""
    rewards: list[Any] = []

    def make(folder: Path, callbacks: Any) -> PPOTrainer:
        torch.manual_seed(3 if len(rewards) < 2 else 4)
        rewards.append(kind())
        return trainer_with(folder, rewards[-1], callbacks=callbacks, **SAVING)

    resumed, whole = interrupted_and_whole(make, tmp_path, stop)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    assert largest_difference(_net(rewards[2]), _net(rewards[0])) == 0
    assert not list((tmp_path / "resumed").glob("checkpoint-*/rewards/**/*.p*"))


def _net(reward: Any) -> dict[str, torch.Tensor]:
    return weights(reward if isinstance(reward, nn.Module) else reward.net)


def test_several_in_lists_and_as_rewards_of_groups(tmp_path: Path) -> None:
    class Counting:
        def __init__(self) -> None:
            self.rollouts = 0

        def __call__(self, prompts: Any, completions: Any, rewards: Any) -> Any:
            return rewards + self.rollouts

        def update(self, rollout: Rollout) -> None:
            self.rollouts += 1

        def state_dict(self) -> dict[str, int]:
            return {"rollouts": self.rollouts}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.rollouts = state["rollouts"]

    found: list[tuple[Discriminator, Discriminator, Counting]] = []

    def make(folder: Path, callbacks: Any) -> PPOTrainer:
        torch.manual_seed(len(found) // 2)
        one, other, counting = Discriminator(), Discriminator(), Counting()
        found.append((one, other, counting))
        rewards = [(one, 1.0), (share_of_letters, 0.5), ([(other, 1.0), (one, 0.5)], -0.5)]
        return trainer_with(folder, rewards, group_reward=counting, callbacks=callbacks, **SAVING)

    resumed, whole = interrupted_and_whole(make, tmp_path, 3)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    assert [len(each.seen) for each in found[0][:2]] == [3, 3]
    assert [each[2].rollouts for each in found] == [3, 2, 3]


def test_what_it_has_learnt_belongs_to_the_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trainer_with(tmp_path / "a", Discriminator(), callbacks=[StopAt(2)], **SAVING).train()

    class Wider(Discriminator):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(16, 1, bias=False)

    with pytest.raises(RunFolderError, match="reward"):
        trainer_with(tmp_path / "a", Wider(), **SAVING).train(resume_from_checkpoint=True)
    plain = tmp_path / "b"
    trainer_with(plain, share_of_letters, callbacks=[StopAt(2)], **SAVING).train()
    # From a folder of its own, which knows nothing of the run that wrote the checkpoint.
    with pytest.raises(CheckpointError, match="holds nothing of the reward Discriminator, which learns"):
        trainer_with(tmp_path / "c", Discriminator()).train(resume_from_checkpoint=str(plain / "checkpoint-2"))
    state = tmp_path / "a" / "checkpoint-2" / "rewards" / "0" / "state.json"
    state.write_text("[")
    with pytest.raises(CheckpointError, match="has a damaged rewards/0/state.json"):
        trainer_with(tmp_path / "d", Discriminator()).train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))


def test_refused_before_the_work(tmp_path: Path) -> None:
    class Array(Discriminator):
        def state_dict(self) -> dict[str, Any]:
            return {"table": np.zeros(2)}

    class Later(Discriminator):
        async def update(self, rollout: Rollout) -> None:  # type: ignore[override]
            pass

    with pytest.raises(
        ConfigError, match=r"The state of the reward Array holds a numpy.ndarray at state_dict\(\)\['table'\]"
    ):
        trainer_with(tmp_path, Array())
    with pytest.raises(ConfigError, match="update of the reward Later is asynchronous"):
        trainer_with(tmp_path, Later())


def test_an_update_that_fails_is_named(tmp_path: Path) -> None:
    class Broken(Discriminator):
        def update(self, rollout: Rollout) -> None:
            raise KeyError("no such class")

    with pytest.raises(RewardError, match="The reward Broken, learning from rollout 0, raised KeyError"):
        trainer_with(tmp_path, Broken()).train()

    class Wordy(Discriminator):
        def figures(self) -> dict[str, Any]:
            return {"norm": "large"}

    with pytest.raises(RewardError, match=r"figures\(\) of the reward Wordy has 'large' as 'norm'; want a number"):
        trainer_with(tmp_path / "wordy", Wordy()).train()


def test_one_that_no_checkpoint_keeps_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful:
        def __call__(self, prompts: Any, completions: Any) -> Any:
            return [0.0] * len(completions)

        def update(self, rollout: Rollout) -> None:
            pass

    with caplog.at_level(logging.WARNING):
        trainer_with(tmp_path, Forgetful())
    assert "The reward Forgetful learns, and a checkpoint cannot keep what it has learnt" in caplog.text


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    torch.manual_seed(1)
    reward = Discriminator()
    one = trainer_with(tmp_path / "one", reward, max_grad_norm=0.0, optim="sgd", max_new_tokens=12)
    one.train()
    run_in_two("tests.trainers.ppo.two_learning_rewards", str(tmp_path / "two"))
    apart: list[dict[str, torch.Tensor]] = []
    for process in (0, 1):
        two = torch.load(tmp_path / "two" / f"found-{process}.pt", weights_only=True)
        assert largest_difference(weights(one.model), two["policy"]) < 1e-5
        assert largest_difference(weights(reward.net), two["reward"]) < 1e-5
        assert two["texts"] == reward.seen[-1].completions
        assert two["resumed"]
        apart.append(two["apart"])
    # Where they part, the main process's counts: 1 a rollout, and not 2.
    assert largest_difference(*apart) == 0
    assert 2 < float(apart[0]["weight"].mean()) < 4
