"""Rewards that learn from each rollout, and are checkpointed with the run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import CheckpointError, ConfigError, GenRLHFError, RewardError, excerpt
from genrlhf.rewards import WeightedReward
from genrlhf.rewards.calls import CallableReward
from genrlhf.rewards.checks import reward_name
from genrlhf.trainers.checkpoint import readable
from genrlhf.trainers.state_files import (
    check_state,
    keeps_state,
    learns_along,
    load_state,
    save_state,
    state_digest,
)

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.rollout_record import Rollout

__all__ = ["LearningRewards"]

logger = logging.getLogger(__name__)

FOLDER = "rewards"


class LearningRewards:
    """The rewards of a run that have a method `update(rollout)`, those in weighted lists among them.

    Every process has its own, and all of them learn from the completions of all processes, in the same order: an
    update that does the same with the same numbers keeps them equal, which is checked before a checkpoint is written.

    Args:
        rewards: of completions and of groups; None is passed over, and an object that is there twice learns once.

    Raises:
        ConfigError: for an update that is asynchronous, or a state that no file can hold.
    """

    def __init__(self, *rewards: Any) -> None:
        found = {id(each): each for reward in rewards for each in _terms(reward) if learns_along(each)}
        self.rewards: list[Any] = list(found.values())
        for reward in self.rewards:
            self._check(reward)

    def __bool__(self) -> bool:
        return bool(self.rewards)

    def _check(self, reward: Any) -> None:
        name = reward_name(reward)
        if inspect.iscoroutinefunction(reward.update):
            raise ConfigError(f"update of the reward {name} is asynchronous; make it a plain method.")
        if keeps_state(reward) == "dict":
            check_state(reward.state_dict(), name=f"the reward {name}")
        elif keeps_state(reward) is None:
            logger.warning(
                "The reward %s learns, and a checkpoint cannot keep what it has learnt: a run that is resumed goes on "
                "with a fresh one. Give it state_dict() and load_state_dict(state), or save(folder) and load(folder).",
                name,
            )

    def update(self, rollout: Rollout) -> None:
        """Have each of them learn from a rollout, of all processes.

        Raises:
            RewardError: where one of them fails; it is named.
        """
        for reward in self.rewards:
            try:
                with torch.enable_grad():
                    reward.update(rollout)
            except GenRLHFError:
                raise
            except Exception as error:
                raise RewardError(
                    f"The reward {reward_name(reward)}, learning from rollout {rollout.index}, raised "
                    f"{excerpt(error, 200)}; see the traceback of that error for the place."
                ) from error

    def check_in_step(self, gather: Callable[[list[Any]], list[Any]]) -> None:
        """Raise `RewardError` where processes have come to differ in what their rewards have learnt.

        Args:
            gather: joins the lists of all processes.
        """
        for reward in self.rewards:
            if keeps_state(reward) != "dict":
                continue
            name = reward_name(reward)
            if len(set(gather([state_digest(reward.state_dict(), name=f"the reward {name}")]))) > 1:
                raise RewardError(
                    f"The reward {name} has learnt other things in one process than in another, though all were given "
                    "the same rollouts: draw what is random in update from a generator of its own, seeded alike."
                )

    def save(self, checkpoint: Path) -> None:
        """Write what each of them has learnt beside a checkpoint."""
        for number, reward in enumerate(self.rewards):
            folder = checkpoint / FOLDER / str(number)
            if keeps_state(reward) == "dict":
                save_state(reward.state_dict(), folder, name=f"the reward {reward_name(reward)}")
            elif keeps_state(reward) == "folder":
                folder.mkdir(parents=True, exist_ok=True)
                reward.save(folder)

    def load(self, checkpoint: Path) -> None:
        """Give each of them back what it had learnt.

        Raises:
            CheckpointError: where the checkpoint does not hold it, or it cannot be read.
        """
        for number, reward in enumerate(self.rewards):
            folder, kind = checkpoint / FOLDER / str(number), keeps_state(reward)
            if kind is None:
                continue
            if not folder.is_dir():
                raise CheckpointError(
                    f"{checkpoint} holds nothing of the reward {reward_name(reward)}, which learns; it was written by "
                    "a run with other rewards."
                )
            with readable(folder):
                if kind == "dict":
                    reward.load_state_dict(load_state(folder))
                else:
                    reward.load(folder)


def _terms(reward: Any) -> Iterator[Any]:
    """Yield what a user gave as a reward, one after the other of a list."""
    if isinstance(reward, WeightedReward):
        for term in reward.rewards:
            yield from _terms(term)
    elif isinstance(reward, CallableReward):
        yield reward.function
    elif reward is not None:
        yield reward
