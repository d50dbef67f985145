"""The rollout that is in use, from when it is sampled to its last update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError
from genrlhf.models.gather import unsharded
from genrlhf.sampling.choose import sample_seeds
from genrlhf.trainers.ppo.batches import minibatch, minibatch_rows

if TYPE_CHECKING:
    import torch

    from genrlhf.trainers.ppo.checkpoint import PPOCheckpoint
    from genrlhf.trainers.ppo.loss import PPOLoss
    from genrlhf.trainers.ppo.masking import LaggingPolicy
    from genrlhf.trainers.ppo.observers import Observers
    from genrlhf.trainers.ppo.records import MicroBatch, RolloutTensors
    from genrlhf.trainers.ppo.rollout import RolloutCollector

__all__ = ["RolloutBuffer"]


@dataclass
class RolloutBuffer:
    """Has a rollout sampled when the last one is used up, and deals it out to updates.

    Attributes:
        collector: samples and scores.
        loss: of the updates; it is told of the first one of a rollout, and says how far they have gone.
        masking: limits what is drawn; None for no limit.
        observers: are told of every rollout.
        process_index: of this process.
        num_processes: how many there are.
        rollout: in use; None before the first one, and after a resume until it is asked for.
        resumed_from: the checkpoint that it lies beside then.
    """

    collector: RolloutCollector
    loss: PPOLoss
    masking: LaggingPolicy | None
    observers: Observers
    process_index: int
    num_processes: int
    rollout: RolloutTensors | None = None
    resumed_from: PPOCheckpoint | None = None

    def micro_batches(self, rows: list[dict[str, Any]], step: int, device: torch.device) -> list[MicroBatch]:
        """Return what an optimizer step trains on, of a new rollout where it is the first one of that.

        Args:
            rows: the prompts of the step's rollout on this process.
            step: of the whole training, from 0.
            device: where a rollout that was in use when the run was cut off goes.

        Raises:
            CheckpointError: where that rollout is not beside the checkpoint.
        """
        args = self.collector.args
        index, update = divmod(step, args.updates_per_rollout)
        self.loss.first_update = update == 0
        if update == 0:
            self.collect(rows, index)
        elif self.rollout is None:
            if self.resumed_from is None:
                raise ConfigError("There is no rollout to go on with; start from a checkpoint, or from the first step.")
            self.rollout = self.resumed_from.load_rollout(device, rows=args.rollout_batch_size)
        rollout = self.rollout
        assert rollout is not None
        self.decide_early_stop()
        epoch, part = divmod(update, args.num_mini_batches)
        mine = minibatch_rows(
            args.rollout_batch_size,
            args.num_mini_batches,
            seed=sample_seeds(args.seed, [index], epoch + 1)[epoch],
            process=self.process_index,
            num_processes=self.num_processes,
        )[part]
        samples, size = self.collector.shared_samples, args.per_device_train_batch_size
        return [minibatch(rollout, chosen, samples=samples) for chosen in mine.split(size)]

    def collect(self, rows: list[dict[str, Any]], index: int) -> None:
        """Sample and score rollout number `index`."""
        args = self.collector.args
        self.observers.start(index, rows)
        self.loss.state.stopped = False
        self.loss.update_kl.zero_()
        if self.masking is not None:
            self.masking.follow()
            if index % args.mask_sync_rollouts == 0:
                with unsharded(self.collector.model):
                    self.masking.synchronise()
        first = (index * self.num_processes + self.process_index) * len(rows)
        seeds = sample_seeds(args.seed, range(first, first + len(rows)), args.samples_per_prompt)
        # The last rollout goes before the next one comes.
        self.rollout = None
        self.rollout, scored = self.collector.collect(rows, seeds)
        self.observers.end(index, scored, self.rollout)

    def decide_early_stop(self) -> None:
        """Skip what is left of a rollout's updates where the last one went too far from the policy that sampled."""
        limit, state = self.collector.args.early_stop_kl, self.loss.state
        if limit is None or state.stopped:
            return
        total, count = self.collector.reduce(self.loss.update_kl).tolist()
        self.loss.update_kl.zero_()
        state.stopped = count > 0 and total / count > limit
