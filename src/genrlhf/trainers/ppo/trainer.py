"""PPO on the Trainer of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from genrlhf.errors import ConfigError
from genrlhf.models import load_causal_lm
from genrlhf.models.gather import FIRST_FSDP
from genrlhf.models.model_set import load_to_train
from genrlhf.models.precision import with_precision_of
from genrlhf.rewards import RewardSource
from genrlhf.rewards.weighted import check_arguments
from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.autoregressive import check_masking
from genrlhf.sampling.comparable import refuse_unless_comparable
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.checkpoint import ResumableTrainer, readable
from genrlhf.trainers.ppo.advantage import GroupAdvantage
from genrlhf.trainers.ppo.batches import as_they_are, rollout_loader
from genrlhf.trainers.ppo.checkpoint import PPOCheckpoint, load_trained, save_trained
from genrlhf.trainers.ppo.config import PPOConfig
from genrlhf.trainers.ppo.evaluation import objective_figures
from genrlhf.trainers.ppo.hooks import check_hooks
from genrlhf.trainers.ppo.models import build_models
from genrlhf.trainers.ppo.parts import make_parts
from genrlhf.trainers.ppo.policy_loss import PolicyLoss
from genrlhf.trainers.ppo.report import CompletionPrinter
from genrlhf.trainers.ppo.steps import RolloutSteps
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.saving import LeavesModel
from genrlhf.trainers.sharding import refuse_sharded_sampling
from genrlhf.trainers.shared import (
    check_name,
    check_prompts,
    device_for_trials,
    make_output_dir,
    named_datasets,
    shows_bars,
)
from genrlhf.types import GroupRewardFunction, TokenSampler

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["PPOTrainer"]


class PPOTrainer(LeavesModel, ResumableTrainer, RolloutSteps, Trainer):
    """Trains a policy against a reward by proximal policy optimisation.

    Schulman et al. 2017, "Proximal Policy Optimization Algorithms", in the form of Ziegler et al. 2019 and Stiennon et
    al. 2020: the reward of a completion is its score minus β times the KL divergence from the model it started as.

    Everything that `transformers.Trainer` does (checkpoints, resume, callbacks, loggers, mixed precision, gradient
    accumulation, several processes) works as usual. What it saves loads with plain transformers; the value head lies
    beside it in `value_head.safetensors`.

    Args:
        model: the policy to start from, usually an SFT model: a name, a folder or a module.
        reward: what to maximise: the name or folder of a sequence-classification model with one label (loaded in the
            policy's dtype), such a module, a callable `(prompts, completions, **columns) -> list[float]`, or a list of
            `(reward, weight)`.
        args: the settings.
        train_dataset: rows with a `prompt`, text or messages; further columns reach the reward.
        eval_dataset: the same, for `evaluate`.
        processing_class: the policy's tokenizer; by default the one saved with it.
        reward_processing_class: the reward model's tokenizer; by default the one saved with it.
        ref_model: the model that the KL is taken against; by default the policy as it starts.
        value_model: what predicts the values: None for a head on the policy; "reward" for a model of its own that
            starts as the reward model; or the name, folder or module of a sequence-classification model with one label.
        sampler: draws the completions, such as a `VLLMSampler`; by default the policy itself, see
            `TransformersSampler`.
        peft_config: train an adapter of this kind instead of the model itself.
        callbacks: further callbacks.
        group_reward: a callable `(prompts, completions, rewards, **columns)` that sees the `samples_per_prompt`
            completions of each of G prompts, as a list of texts for every prompt, with their rewards, (G, n), and
            returns what takes their place, (G, n).
        shape_reward: such a callable that gets log-probabilities, `(prompts, completions, rewards, logprobs,
            ref_logprobs, kl_coef)`, and acts last, before the KL penalty.
        policy_loss: in place of the clipped surrogate, a function `(logprobs, old_logprobs, advantages, mask)`, each
            (B, T), that returns the loss of every token, (B, T).
        advantage: in place of `PPOConfig.advantage`, a function of the rewards of the n completions of each of G
            prompts, (G, n), that returns their advantages, (G, n); there is no critic then. Parameters called
            `completions`, `completion_ids` and `ended` get these, as G lists of n.
        optimizers: an optimizer and a scheduler of your own.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that is no causal language model, or a reward model with more than one label.
        ConfigError: for settings that cannot work together.

    Example:
        >>> from genrlhf import PPOConfig, PPOTrainer, load_task
        >>> task = load_task("embedded", n_demonstrations=8, n_preferences=8, n_prompts=64)
        >>> def brevity(prompts, completions, **columns):
        ...     return [-len(completion.split()) / 10 for completion in completions]
        >>> trainer = PPOTrainer(
        ...     model=task.model,
        ...     reward=brevity,
        ...     args=PPOConfig("ppo", num_rollouts=1, max_new_tokens=8, disable_tqdm=True, save_strategy="no"),
        ...     train_dataset=task.prompts,
        ... )  # doctest: +SKIP
    """

    made_by = MadeBy("ppo", "PPO", "Schulman et al. 2017, arXiv 1707.06347; Kirk et al. 2024, arXiv 2310.06452")

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        reward: RewardSource,
        args: PPOConfig | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        reward_processing_class: PreTrainedTokenizerBase | None = None,
        ref_model: str | PreTrainedModel | None = None,
        value_model: str | PreTrainedModel | None = None,
        sampler: TokenSampler | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        advantage: GroupAdvantage | None = None,
        group_reward: GroupRewardFunction | None = None,
        shape_reward: GroupRewardFunction | None = None,
        policy_loss: PolicyLoss | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
    ) -> None:
        args = args if args is not None else PPOConfig("ppo")
        hooks = check_hooks(
            args,
            advantage=advantage,
            group_reward=group_reward,
            shape_reward=shape_reward,
            policy_loss=policy_loss,
        )
        refuse_sharded_sampling(args, type(self).__name__, gathers=True)
        make_output_dir(args)
        policy = load_to_train(model, load_causal_lm, args, processing_class=processing_class, peft_config=peft_config)
        own_draws = sampler is None or isinstance(sampler, TransformersSampler)
        refuse_unless_comparable(policy.model, own_draws=own_draws, device=device_for_trials(args))
        datasets = named_datasets(train_dataset, eval_dataset)
        options: dict[str, Any] = {"max_new_tokens": args.max_new_tokens, "progress": shows_bars(args)}
        for name, dataset in datasets:
            check_prompts(dataset, name, model=policy.model, tokenizer=policy.tokenizer, **options)
        args = with_precision_of(policy.model, args)
        hooks.prepare(reward, policy.model, policy.tokenizer, args, train_dataset)
        models = build_models(
            policy,
            reward,
            args,
            reward_tokenizer=reward_processing_class,
            ref_model=ref_model,
            value_model=value_model,
            peft_config=peft_config,
            critic=hooks.estimate is None,
        )
        for name, dataset in datasets:
            check_arguments(models.reward, dataset.column_names)
            hooks.check_columns(dataset.column_names, source=name)
        self._base_name, self.adapter_base = policy.name, policy.adapter_base
        self._arguments: dict[str, Any] = {
            **{"ref_model": ref_model, "value_model": value_model, "sampler": sampler, "optimizers": optimizers},
            **hooks.given,
        }
        super().__init__(
            model=models.trained,
            args=args,
            data_collator=as_they_are,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=policy.tokenizer,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self._refuse_what_cannot_sample()
        if args.mask_top_p is not None and sampler is None:
            check_masking(models.policy, models.policy)
        self.model_accepts_loss_kwargs = True
        self.can_return_loss = False
        self._parts = make_parts(self, models, sampler, hooks)
        self.ppo_state, self.collector, self.buffer = self._parts.state, self._parts.collector, self._parts.buffer
        if args.log_completions_rollouts:
            self.add_callback(CompletionPrinter())

    @staticmethod
    def check_functions(args: PPOConfig, **functions: Any) -> None:
        """Raise `ConfigError` where functions, such as `advantage`, cannot go with settings; other arguments pass."""
        hooks = ("advantage", "group_reward", "shape_reward", "policy_loss")
        check_hooks(args, **{name: function for name, function in functions.items() if name in hooks})

    def _refuse_what_cannot_sample(self) -> None:
        """Raise `ConfigError` for ways to spread a model over processes that only the accelerator tells of."""
        if self.is_deepspeed_enabled and self.args.early_stop_kl is not None:
            raise ConfigError("early_stop_kl skips optimizer steps, which DeepSpeed cannot; set it to None.")
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is not None and plugin.fsdp_version == 1:
            raise ConfigError(FIRST_FSDP)

    @property
    def policy(self) -> PreTrainedModel:
        """The policy, without its value head."""
        policy: PreTrainedModel = self.collector.model.policy
        return policy

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        if self.train_dataset is None:
            raise ConfigError("train() needs prompts; pass train_dataset to PPOTrainer.")
        claim_output_dir(
            self,
            base_model=self._base_name,
            resuming=bool(resume_from_checkpoint),
            data=self.train_dataset,
            reward=self.collector.reward,
            arguments=self._arguments,
        )
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader that yields the prompts of each rollout, see `rollout_loader`."""
        loader = rollout_loader(self.train_dataset, self.args, self.accelerator.num_processes)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log `logs` and, while training and at its end, the means of what happened since the last time."""
        # The last entry of a run has "train_loss": what a run shorter than `logging_steps` has found goes there.
        if "loss" in logs or "train_loss" in logs:
            means = self._parts.tally.figures(self.collector.reduce)
            self._parts.loss.judge_first_ratios()
            if "objective/ended" in means:
                self._parts.health.ended(means["objective/ended"])
            if "value/explained_variance" in means:
                self._parts.health.explained_variance(means["value/explained_variance"])
            logs = {**logs, **means}
        super().log(logs, start_time)

    def evaluate(self, eval_dataset: Any = None, **kwargs: Any) -> dict[str, float]:
        """Sample the prompts of `eval_dataset`, by default the trainer's, as a rollout does, and return the means.

        `samples_per_prompt` completions of each. Keys: `eval_objective/…`, of scores, kl, entropy, completion_length
        and ended; of several completions also of equal_groups and distinct_completions.
        """
        check_name(eval_dataset, self.eval_dataset)
        if isinstance(eval_dataset, (Dataset, dict)):
            options = {"tokenizer": self.processing_class, "max_new_tokens": self.args.max_new_tokens}
            for name, dataset in named_datasets(None, eval_dataset):
                check_prompts(dataset, name, model=self.policy, progress=shows_bars(self.args), **options)
        figures: dict[str, float] = super().evaluate(eval_dataset, **kwargs)
        return figures

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Sample `samples_per_prompt` completions of every prompt and return the means, see `evaluate`."""
        total, accelerator = self.num_examples(dataloader), self.accelerator
        processes = {"process": accelerator.process_index, "processes": accelerator.num_processes}
        found = objective_figures(self.collector, dataloader, total=total, **processes)
        means = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=means, num_samples=total)

    def _adapted_model(self) -> Any:
        return self.policy

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        target = Path(output_dir if output_dir is not None else self.args.output_dir)
        if self.args.should_save:
            target.mkdir(parents=True, exist_ok=True)
            self._name_base(target)
            save_trained(self.collector.model, self.processing_class, target, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        with readable(folder):
            load_trained(self.collector.model, folder)
        checkpoint = self._checkpoint_of(folder)
        checkpoint.load_state(self.ppo_state, self.buffer.masking)
        self._parts.learning.load(folder)
        self.buffer.resumed_from = checkpoint

    def _load_best(self, folder: Path) -> None:
        load_trained(self.collector.model, folder)

    def _checkpoint_of(self, folder: Path) -> PPOCheckpoint:
        return PPOCheckpoint(folder, self.accelerator.process_index)

    def _save_beside(self, folder: Path) -> None:
        self.buffer.decide_early_stop()
        in_use = self.state.global_step % self.args.updates_per_rollout != 0
        self._checkpoint_of(folder).save(
            self.ppo_state, self.buffer.rollout if in_use else None, self.buffer.masking, main=self.args.should_save
        )
        if self.args.should_save:
            self._parts.learning.save(folder)
