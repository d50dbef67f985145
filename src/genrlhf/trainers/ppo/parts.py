"""What a PPO run is made of, once the Trainer has its device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from genrlhf.models.precision import is_low_precision
from genrlhf.sampling import TransformersSampler
from genrlhf.trainers.ppo.buffer import RolloutBuffer
from genrlhf.trainers.ppo.learning import LearningRewards
from genrlhf.trainers.ppo.loss import PPOLoss
from genrlhf.trainers.ppo.masking import LaggingPolicy
from genrlhf.trainers.ppo.observers import Observers
from genrlhf.trainers.ppo.other_sampler import as_own
from genrlhf.trainers.ppo.phases import Phases
from genrlhf.trainers.ppo.policy_loss import checked_policy_loss
from genrlhf.trainers.ppo.report import RunHealth
from genrlhf.trainers.ppo.rollout import RolloutCollector
from genrlhf.trainers.ppo.shaping import Shaping
from genrlhf.trainers.ppo.state import PPOState
from genrlhf.trainers.tally import Tally, sum_over_processes

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.hooks import Hooks
    from genrlhf.trainers.ppo.models import PPOModels
    from genrlhf.trainers.ppo.trainer import PPOTrainer
    from genrlhf.types import TokenSampler

__all__ = ["PPOParts", "make_parts"]


@dataclass(frozen=True)
class PPOParts:
    """What one step of training hands to the next.

    Attributes:
        state: figures that a checkpoint keeps.
        tally: figures of training that are still to be logged.
        health: warns.
        loss: of a micro-batch.
        collector: samples, scores and estimates advantages.
        learning: the rewards that learn from rollouts.
        buffer: holds the rollout that is in use, and deals it out.
    """

    state: PPOState
    tally: Tally
    health: RunHealth
    loss: PPOLoss
    collector: RolloutCollector
    learning: LearningRewards
    buffer: RolloutBuffer


def make_parts(trainer: PPOTrainer, models: PPOModels, sampler: TokenSampler | None, hooks: Hooks) -> PPOParts:
    """Return the parts of a run.

    Args:
        trainer: with its accelerator.
        models: of the run; the reference goes where the policy is.
        sampler: draws completions; None for the policy itself.
        hooks: what a method hands to the loop.
    """
    args, accelerator = trainer.args, trainer.accelerator
    state, tally = PPOState(args.kl_coef, args.entropy_coef), Tally()
    masking = LaggingPolicy(models.policy, args.mask_top_p) if args.mask_top_p is not None else None
    # Not args.bf16: `accelerate launch` may have set the precision.
    low_precision = is_low_precision(models.policy, accelerator.mixed_precision)
    health = RunHealth(low_precision=low_precision)
    function = None if hooks.policy_loss is None else partial(checked_policy_loss, hooks.policy_loss)
    loss = PPOLoss(args, state, tally, health, function)
    if sampler is None:
        sampler = TransformersSampler(models.policy, models.tokenizer, batch_size=args.sampling_batch_size)
    models.reference.to(accelerator.device)
    reduce = partial(sum_over_processes, accelerator)
    collector = RolloutCollector(
        models=models,
        sampler=as_own(sampler, models.trained.support, masked=masking is not None),
        masking=masking.masking if masking is not None else None,
        support=models.trained.support,
        tokenizer=models.tokenizer,
        args=args,
        shaping=Shaping(args, state, hooks, reduce),
        low_precision=low_precision,
        reduce=reduce,
        autocast=accelerator.autocast,
        tally=tally,
        phase=Phases(trainer.callback_handler, tally),
    )
    learning = LearningRewards(models.reward, hooks.group_reward, hooks.shape_reward, tally=tally)
    observers = Observers(trainer, learning)
    processes = accelerator.process_index, accelerator.num_processes
    buffer = RolloutBuffer(collector, loss, masking, observers, *processes)
    return PPOParts(state, tally, health, loss, collector, learning, buffer)
