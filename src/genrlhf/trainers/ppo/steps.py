"""What the Trainer of transformers asks for in one optimizer step: from prompts to a loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.trainers.ppo.loss import loss_items

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.buffer import RolloutBuffer
    from genrlhf.trainers.ppo.parts import PPOParts
    from genrlhf.trainers.ppo.records import MicroBatch
    from genrlhf.trainers.ppo.rollout import RolloutCollector
    from genrlhf.trainers.ppo.state import PPOState

__all__ = ["RolloutSteps"]


class RolloutSteps:
    """The steps of PPO: a mixin in front of `transformers.Trainer`."""

    args: Any
    accelerator: Any
    state: Any
    buffer: RolloutBuffer
    collector: RolloutCollector
    ppo_state: PPOState
    _parts: PPOParts

    # The loss is a sum over tokens divided by their number in the whole optimizer step, whatever the accumulation.
    loss_is_scaled_for_ga = True

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """Return the micro-batches of the next optimizer step, after a new rollout where the last one is used up."""
        rows = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        if not rows:
            return [], None
        micro_batches = self.buffer.micro_batches(rows[0], self.state.global_step, self.accelerator.device)
        items = torch.stack([loss_items(batch.completion_mask, self.args) for batch in micro_batches]).sum()
        # The Trainer wants dictionaries; what it does with tensors in them (dtypes of DeepSpeed) is not for these.
        return [{"rollout": batch} for batch in micro_batches], self.collector.reduce(items)

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Take one forward and backward pass; none where the rollout's updates were stopped early."""
        if self.ppo_state.stopped:
            # No gradients: the optimizer finds nothing to do.
            self._parts.tally.add("policy/stopped", torch.ones(1))
            return torch.zeros((), device=self.accelerator.device)
        if self.args.early_stop_kl is not None:
            self._parts.tally.add("policy/stopped", torch.zeros(1))
        with self.collector.phase("training"):
            loss: torch.Tensor = super().training_step(  # type: ignore[misc]
                model, inputs, num_items_in_batch
            )
        return loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, MicroBatch],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the PPO loss: clipped policy loss plus `vf_coef` times clipped value loss; see `loss_mean`."""
        batch = inputs["rollout"].to(self.args.device)
        mask = batch.completion_mask
        output = model(*batch.tokens, batch.states, batch.allowed, batch.groups)
        per_token = torch.where(mask, self._parts.loss(output, batch), 0.0)
        if self.args.loss_mean == "sequence":
            per_token = per_token / mask.sum(-1, keepdim=True)
        count = num_items_in_batch
        if count is None:
            count = self.collector.reduce(loss_items(mask, self.args))
        # Gradients are averaged over processes, while the number of tokens is that of all of them.
        loss = per_token.sum() / count * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss
