"""Rewards that learn from each rollout, and are checkpointed with the run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

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
    on_cpu,
    save_state,
    state_digest,
)

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.rollout_record import Rollout
    from genrlhf.trainers.tally import Tally

__all__ = ["LearningRewards"]

logger = logging.getLogger(__name__)

FOLDER = "rewards"


class LearningRewards:
    """The rewards of a run that have a method `update(rollout)`, those in weighted lists among them.

    Every process has its own, and all of them learn from the completions of all processes, in the same order, so that
    they stay equal where an update does the same with the same numbers. Where it does not, the main process's counts.

    Args:
        rewards: of completions and of groups; None is passed over, and an object that is there twice learns once.
        tally: where figures go of those that have `figures()`, as `reward/…`.

    Raises:
        ConfigError: for an update that is asynchronous, or a state that no file can hold.
    """

    def __init__(self, *rewards: Any, tally: Tally | None = None) -> None:
        self.tally = tally
        found = {id(each): each for reward in rewards for each in _terms(reward) if learns_along(each)}
        self.rewards: list[Any] = list(found.values())
        self._told = False
        for reward in self.rewards:
            self._check(reward)

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
            self._log(reward)
        self.bring_into_step()

    def _log(self, reward: Any) -> None:
        for name, value in getattr(reward, "figures", dict)().items():
            try:
                number = float(value)
            except (TypeError, ValueError) as error:
                raise RewardError(
                    f"figures() of the reward {reward_name(reward)} has {excerpt(value)} as {name!r}; want a number."
                ) from error
            if self.tally is not None:
                self.tally.add(f"reward/{name}", torch.tensor([number]))

    def bring_into_step(self) -> None:
        """Have all processes go on with what the main one's rewards know, where theirs is anything else."""
        if PartialState().num_processes == 1:
            return
        for reward in self.rewards:
            if keeps_state(reward) != "dict":
                continue
            name = f"the reward {reward_name(reward)}"
            if len(set(gather_object([state_digest(reward.state_dict(), name=name)]))) == 1:
                continue
            if not self._told:
                logger.warning(
                    "The reward %s knows other things in one process than in another, though all are given the same: "
                    "all go on with those of the main process. Draw what is random from a generator seeded alike.",
                    reward_name(reward),
                )
                self._told = True
            state = broadcast_object_list([on_cpu(reward.state_dict())])[0]
            if not PartialState().is_main_process:
                reward.load_state_dict(state)

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
