"""What callbacks of the rollout loop are told of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from genrlhf.trainers.ppo.rollout_record import Rollout

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

    from genrlhf.trainers.ppo.config import PPOConfig

__all__ = ["RolloutCallback"]


class RolloutCallback(TrainerCallback):
    """A callback of `PPOTrainer` that sees rollouts, beside all that a `transformers.TrainerCallback` sees.

    The base class is for its docstrings: any callback that has one of these methods is called. Each process calls its
    own with what it has drawn itself. Keywords are those of the other events (`model`, `processing_class`, …) and those
    named here; take `**kwargs`. Evaluation has no rollouts.
    """

    def on_rollout_start(
        self,
        args: PPOConfig,
        state: TrainerState,
        control: TrainerControl,
        *,
        index: int,
        prompts: Sequence[Any],
        **kwargs: Any,
    ) -> TrainerControl | None:
        """Before completions are drawn.

        Args:
            args: the settings.
            state: of the Trainer.
            control: of the Trainer; `control.should_training_stop = True` ends training after the next update.
            index: of the rollout, from 0.
            prompts: that completions are drawn of, `samples_per_prompt` of each.
            kwargs: what all events get.
        """

    def on_rollout_end(
        self, args: PPOConfig, state: TrainerState, control: TrainerControl, *, rollout: Rollout, **kwargs: Any
    ) -> TrainerControl | None:
        """Once advantages are known and rewards that learn have learnt, before the policy's first update.

        Args:
            args: the settings.
            state: of the Trainer.
            control: of the Trainer.
            rollout: what was drawn, a copy: nothing done to it changes what is trained on.
            kwargs: what all events get.
        """
