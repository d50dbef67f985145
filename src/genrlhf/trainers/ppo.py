"""PPO on the Trainer of transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, set_seed
from transformers.trainer_utils import EvalLoopOutput

from genrlhf.errors import ConfigError
from genrlhf.models import ScalarHead, disable_dropout, ensure_pad_token, freeze_layers, load_causal_lm, load_tokenizer
from genrlhf.models.completions import PolicyWithValue
from genrlhf.models.reference import frozen_copy
from genrlhf.models.weights import load_weights
from genrlhf.ops import clipped_policy_loss, clipped_value_loss
from genrlhf.rewards import RewardSource, load_reward
from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.choose import sample_seeds
from genrlhf.trainers._common import (
    check_prompts,
    claim_output_dir,
    named_datasets,
    refuse_adapter_with_frozen_layers,
)
from genrlhf.trainers._rollout import Metrics, RolloutCollector, record_objective
from genrlhf.trainers._rollout_data import RolloutSampler, load_rollout, minibatch, save_rollout
from genrlhf.trainers.ppo_config import PPOConfig
from genrlhf.types import Rollout, TokenSampler

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["PPOTrainer"]

VALUE_HEAD_FILE = "value_head.safetensors"


def _identity(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows


class PPOTrainer(Trainer):
    """Trains a policy against a reward by proximal policy optimisation.

    Schulman et al. 2017, "Proximal Policy Optimization Algorithms", in the form of Ziegler et al. 2019 and Stiennon et
    al. 2020: the reward of a completion is its score minus β times the KL divergence from the model it started as.

    Everything that `transformers.Trainer` does (checkpoints, resume, callbacks, loggers, mixed precision, gradient
    accumulation, several processes) works as usual. What it saves loads with plain transformers; the value head lies
    beside it in `value_head.safetensors`.

    Args:
        model: the policy to start from, usually an SFT model: a name, a folder or a module.
        reward: what to maximise: the name or folder of a sequence-classification model with one label, such a module,
            a callable `(prompts, completions, **columns) -> list[float]`, or a list of `(reward, weight)`.
        args: the settings.
        train_dataset: rows with a `prompt`, text or messages; further columns reach the reward.
        eval_dataset: the same, for `evaluate`.
        processing_class: the policy's tokenizer; by default the one saved with it.
        reward_processing_class: the reward model's tokenizer; by default the one saved with it.
        ref_model: the model that the KL is taken against; by default the policy as it starts.
        sampler: draws the completions, such as a `VLLMSampler`; by default the policy itself, see
            `TransformersSampler`.
        peft_config: train an adapter of this kind instead of the model itself.
        callbacks: further callbacks.
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

    # The loss is a sum over tokens divided by their number in the whole optimizer step, whatever the accumulation.
    loss_is_scaled_for_ga = True

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
        sampler: TokenSampler | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
    ) -> None:
        args = args if args is not None else PPOConfig("ppo")
        refuse_adapter_with_frozen_layers(args.freeze_layers, peft_config, model)
        set_seed(args.seed)
        load: dict[str, Any] = {
            "model_init_kwargs": args.model_init_kwargs,
            "trust_remote_code": args.trust_remote_code,
        }
        policy = load_causal_lm(model, **load)
        tokenizer = load_tokenizer(
            model if isinstance(model, str) else policy, processing_class, trust_remote_code=args.trust_remote_code
        )
        reference = load_causal_lm(ref_model, **load) if ref_model is not None else None
        ensure_pad_token(tokenizer, policy, *([reference] if reference is not None else []))
        for name, dataset in named_datasets(train_dataset, eval_dataset):
            check_prompts(dataset, name, model=policy, tokenizer=tokenizer, max_new_tokens=args.max_new_tokens)
        if args.disable_dropout:
            disable_dropout(policy)
        freeze_layers(policy, args.freeze_layers)
        reference = frozen_copy(policy if reference is None else reference, share_all=peft_config is not None)
        if peft_config is not None:
            from peft import get_peft_model

            policy = get_peft_model(policy, peft_config)
        self._base_name = str(getattr(policy.config, "_name_or_path", ""))
        width = policy.get_output_embeddings().weight.shape[1]
        wrapped = PolicyWithValue(policy, ScalarHead(width, init="zeros"), temperature=args.temperature)
        super().__init__(
            model=wrapped,
            args=args,
            data_collator=_identity,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self.model_accepts_loss_kwargs = True
        self.can_return_loss = False
        self._train_metrics = Metrics()
        self._rollout: Rollout | None = None
        self._resumed_from: Path | None = None
        self.collector = RolloutCollector(
            model=wrapped,
            sampler=sampler or TransformersSampler(policy, tokenizer, batch_size=args.sampling_batch_size),
            reference=reference.to(self.accelerator.device),
            reward=load_reward(
                reward,
                tokenizer=reward_processing_class,
                batch_size=args.reward_batch_size,
                device=self.accelerator.device,
                trust_remote_code=args.trust_remote_code,
            ),
            tokenizer=tokenizer,
            args=args,
            reduce=self._sum_over_processes,
            autocast=self.accelerator.autocast,
            metrics=self._train_metrics,
        )

    @property
    def policy(self) -> PreTrainedModel:
        """The policy, without its value head."""
        policy: PreTrainedModel = self.collector.model.policy
        return policy

    def _sum_over_processes(self, tensor: torch.Tensor) -> torch.Tensor:
        reduced: torch.Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return reduced

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
        """
        if self.train_dataset is None:
            raise ConfigError("train() needs prompts; pass train_dataset to PPOTrainer.")
        claim_output_dir(
            self, base_model=self._base_name, resuming=bool(resume_from_checkpoint), reward=self.collector.reward
        )
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader that yields the prompts of each rollout, see `RolloutSampler`."""
        sampler = RolloutSampler(
            len(self.train_dataset),
            batch_size=self.args.rollout_batch_size,
            num_processes=self.accelerator.num_processes,
            repeats=self.args.gradient_accumulation_steps * self.args.updates_per_rollout,
            seed=self.args.data_seed if self.args.data_seed is not None else self.args.seed,
        )
        loader = DataLoader(
            self.train_dataset,
            batch_size=self.args.rollout_batch_size,
            sampler=sampler,
            collate_fn=self.data_collator,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """Return the micro-batches of the next optimizer step, after a new rollout where the last one is used up."""
        rows = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        if not rows:
            return [], None
        index, update = divmod(self.state.global_step, self.args.updates_per_rollout)
        if update == 0:
            first = (index * self.accelerator.num_processes + self.accelerator.process_index) * len(rows[0])
            seeds = sample_seeds(self.args.seed, range(first, first + len(rows[0])), 1)
            self._rollout = self.collector.collect(rows[0], seeds)
        elif self._rollout is None:
            self._rollout = self._restore_rollout()
        epoch, part = divmod(update, self.args.num_mini_batches)
        size = self.args.per_device_train_batch_size
        generator = torch.Generator().manual_seed(sample_seeds(self.args.seed, [index], epoch + 1)[epoch])
        order = torch.randperm(self.args.rollout_batch_size, generator=generator).split(size)
        steps = self.args.gradient_accumulation_steps
        micro_batches = [minibatch(self._rollout, chunk) for chunk in order[part * steps : (part + 1) * steps]]
        tokens = torch.stack([batch["completion_mask"].sum() for batch in micro_batches]).sum()
        return micro_batches, self._sum_over_processes(tokens)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the PPO loss: clipped policy loss plus `vf_coef` times clipped value loss, a mean over tokens."""
        mask = inputs["completion_mask"]
        output = model(inputs["prompt_ids"], inputs["prompt_mask"], inputs["completion_ids"], mask)
        policy = clipped_policy_loss(
            output.logprobs, inputs["logprobs"], inputs["advantages"], clip_range=self.args.clip_range
        )
        value = clipped_value_loss(
            output.values, inputs["values"], inputs["returns"], clip_range=self.args.value_clip_range
        )
        per_token = (policy.loss + self.args.vf_coef * value.loss) * mask
        tokens = num_items_in_batch if num_items_in_batch is not None else self._sum_over_processes(mask.sum())
        # Gradients are averaged over processes, while the number of tokens is that of all of them.
        loss = per_token.sum() / tokens * self.accelerator.num_processes
        log_ratio = (output.logprobs - inputs["logprobs"]).detach()
        for name, figure in (
            ("policy/loss", policy.loss),
            ("policy/clip_fraction", policy.clipped),
            ("policy/approx_kl", torch.expm1(log_ratio) - log_ratio),
            ("policy/ratio", log_ratio.exp()),
            ("value/loss", value.loss),
            ("value/clip_fraction", value.clipped),
        ):
            self._train_metrics.add(name, figure, mask)
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log `logs` and, while training, the means of what happened since the last time."""
        if "loss" in logs:
            logs = {**logs, **self._train_metrics.means(self._sum_over_processes)}
        super().log(logs, start_time)

    def evaluate(self, eval_dataset: Any = None, **kwargs: Any) -> dict[str, float]:
        """Sample one completion for every prompt of `eval_dataset`, by default the trainer's, and return the means.

        Keys: `eval_objective/…`, of scores, kl, entropy, completion_length and ended.
        """
        if isinstance(eval_dataset, (Dataset, dict)):
            options = {"tokenizer": self.processing_class, "max_new_tokens": self.args.max_new_tokens}
            for name, dataset in named_datasets(None, eval_dataset):
                check_prompts(dataset, name, model=self.policy, **options)
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
        """Sample one completion for every prompt and return mean score, KL, entropy and length."""
        metrics, total = Metrics(), self.num_examples(dataloader)
        self.collector.model.eval()
        for number, rows in enumerate(dataloader):
            batch = number * self.accelerator.num_processes + self.accelerator.process_index
            first = batch * self.args.per_device_eval_batch_size
            seeds = sample_seeds(self.args.seed + 1, range(first, first + len(rows)), 1)
            scored = self.collector.sample_and_score(rows, seeds)
            # Several processes get batches of one size, the last ones filled up with rows that were there before.
            own = max(0, min(len(rows), total - first))
            record_objective(metrics, {name: tensor[:own] for name, tensor in scored.items()})
        means = {f"{metric_key_prefix}_{k}": v for k, v in metrics.means(self._sum_over_processes).items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=means, num_samples=total)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        target = Path(output_dir if output_dir is not None else self.args.output_dir)
        if not self.args.should_save:
            return
        target.mkdir(parents=True, exist_ok=True)
        state = self.collector.model.state_dict() if state_dict is None else state_dict
        policy = {k.removeprefix("policy."): v for k, v in state.items() if k.startswith("policy.")}
        head = {k.removeprefix("value_head."): v.contiguous() for k, v in state.items() if k.startswith("value_head.")}
        self.policy.save_pretrained(target, state_dict=policy)
        save_file(head, target / VALUE_HEAD_FILE)
        self.processing_class.save_pretrained(target)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        load_weights(self.policy, folder)
        self.collector.model.value_head.load_state_dict(load_file(folder / VALUE_HEAD_FILE))
        self._resumed_from = folder

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _rollout_file(self, folder: Path) -> Path:
        return folder / f"rollout-{self.accelerator.process_index}.safetensors"

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._rollout is not None and self.state.global_step % self.args.updates_per_rollout:
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            os.makedirs(folder, exist_ok=True)
            save_rollout(self._rollout, self._rollout_file(folder))
        super()._save_checkpoint(model, trial)

    def _restore_rollout(self) -> Rollout:
        """Read the rollout that was in use when the checkpoint was written."""
        if self._resumed_from is None or not self._rollout_file(self._resumed_from).is_file():
            raise ConfigError(
                f"The checkpoint {self._resumed_from} lies between two updates of one rollout, but the rollout is not "
                "beside it; resume from another checkpoint, with the number of processes that wrote it."
            )
        return load_rollout(self._rollout_file(self._resumed_from), self.accelerator.device)
