"""Who is told of a rollout: rewards that learn, and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object

from genrlhf.trainers.ppo.rollout_record import joined, public_rollout

if TYPE_CHECKING:
    from transformers import Trainer

    from genrlhf.trainers.ppo.learning import LearningRewards
    from genrlhf.trainers.ppo.records import RolloutTensors, ScoredBatch

__all__ = ["Observers"]


class Observers:
    """Tells rewards that learn, and callbacks, of each rollout.

    Args:
        trainer: whose callbacks these are.
        learning: the rewards.
    """

    def __init__(self, trainer: Trainer, learning: LearningRewards) -> None:
        self.trainer = trainer
        self.learning = learning
        self._begun = False

    def start(self, index: int, rows: Sequence[dict[str, Any]]) -> None:
        """Tell callbacks that a rollout begins."""
        if self.learning.rewards and not self._begun:
            # Weights may have been drawn by chance.
            self.learning.bring_into_step()
            self._begun = True
        self._tell("on_rollout_start", index=index, prompts=[row["prompt"] for row in rows])

    def end(self, index: int, scored: ScoredBatch, tensors: RolloutTensors) -> None:
        """Have rewards learn from a rollout, and tell callbacks of it."""
        if not self.learning.rewards and not self._methods("on_rollout_end"):
            return
        rollout = public_rollout(index, self.trainer.args.samples_per_prompt, scored, tensors)
        if self.learning.rewards:
            self.learning.update(joined(gather_object([rollout])))
        self._tell("on_rollout_end", rollout=rollout)

    def _methods(self, event: str) -> list[Callable[..., Any]]:
        found = (getattr(callback, event, None) for callback in self.trainer.callback_handler.callbacks)
        return [method for method in found if callable(method)]

    def _tell(self, event: str, **facts: Any) -> None:
        trainer, handler = self.trainer, self.trainer.callback_handler
        names = ("model", "processing_class", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader")
        for method in self._methods(event):
            known = {name: getattr(handler, name, None) for name in names}
            control = method(trainer.args, trainer.state, trainer.control, **known, **facts)
            trainer.control = trainer.control if control is None else control
