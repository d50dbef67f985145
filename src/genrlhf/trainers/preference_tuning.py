"""Tuning a policy on preferences by the trainers of TRL: DPO on pairs, KTO on labelled completions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import trl
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainerCallback

from genrlhf.data.templates import turn_end
from genrlhf.errors import ConfigError, GenRLHFError
from genrlhf.models import load_causal_lm
from genrlhf.models.model_set import changes_base, load_to_train, make_trainable
from genrlhf.models.precision import with_precision_of
from genrlhf.models.reference import Snapshot
from genrlhf.models.structure import context_length, inner_model
from genrlhf.ops import widened
from genrlhf.sampling.comparable import refuse_reading_ahead
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.checkpoint import ResumableTrainer
from genrlhf.trainers.counting import CountsRows, WeightedEvaluation
from genrlhf.trainers.fine_tuning_settings import FineTuningSettings
from genrlhf.trainers.lm_head import drop_fused_head, keep_whole_head
from genrlhf.trainers.pair_data import LabelEncoder, PairEncoder, check_room, unpaired, with_kl_completions
from genrlhf.trainers.rows import Rows, columns_of, refuse_endless, shown_bars
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.saving import LeavesModel
from genrlhf.trainers.sft_data import DemonstrationEncoder, encode_demonstrations, training_template
from genrlhf.trainers.shared import (
    NoTelemetry,
    check_name,
    device_for_trials,
    make_output_dir,
    named_datasets,
    shorter,
    source_of,
    trl_args,
)

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["DPOConfig", "DPOTrainer", "KTOConfig", "KTOTrainer"]


@dataclass
class DPOConfig(FineTuningSettings, trl.DPOConfig):
    """Settings of `DPOTrainer`, on top of every field of `trl.DPOConfig`."""

    learning_rate: float = field(default=1e-6, metadata={"help": "Peak learning rate of AdamW."})
    alpha: float | None = field(
        default=None,
        metadata={
            "help": "Weight of the policy's log-probabilities, beta then being that of the reference's alone (soft "
            "preference learning): above beta the optimum is flatter than DPO's, below it sharper; None is beta."
        },
    )


@dataclass
class KTOConfig(FineTuningSettings, trl.KTOConfig):
    """Settings of `KTOTrainer`, on top of every field of `trl.KTOConfig`."""

    learning_rate: float = field(default=1e-6, metadata={"help": "Peak learning rate of AdamW."})


class _PreferenceTuning(NoTelemetry, LeavesModel, ResumableTrainer, CountsRows, WeightedEvaluation):
    """What our trainers on preferences add to those of TRL, which the loss is of.

    Rows are checked and tokenised as they are asked and answered in all trainers, the reference is the model as it was
    given, in memory, of which frozen weights are not held twice, and layers may be frozen.
    """

    model: Any
    processing_class: Any
    eval_dataset: Any
    ref_model: Any
    state: Any
    _metrics: dict[str, dict[str, list[float]]]
    _wanted = "prompt, chosen and rejected"

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: Any = None,
        train_dataset: Rows | None = None,
        eval_dataset: Rows | dict[str, Rows] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        ref_model: str | PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        args = args if args is not None else self._default_args()
        self._refuse(args, model, ref_model)
        make_output_dir(args)
        loaded = load_to_train(model, load_causal_lm, args, processing_class=processing_class, peft_config=peft_config)
        refuse_reading_ahead(loaded.model, device=device_for_trials(args))
        drop_fused_head(loaded.model)
        self._base_name, self.adapter_base = loaded.name, loaded.adapter_base
        self._preferences, self._beta = train_dataset, args.beta
        self._arguments = kwargs if ref_model is None else {**kwargs, "ref_model": ref_model}
        args = with_precision_of(loaded.model, args)
        self._max_length = shorter(args.max_length, context_length(loaded.model))
        if train_dataset is None:
            raise ConfigError(f"{type(self).__name__} needs train_dataset: rows of {self._wanted}.")
        self._sources = named_datasets(train_dataset, eval_dataset, streams=True)
        refuse_endless(train_dataset, args.max_steps)
        # Sharded weights are moved, and synchronised ones changed, in place: not those of the policy.
        own_memory = device_for_trials(args) is None or args.sync_ref_model
        start = None
        if ref_model is None:
            start = Snapshot(loaded.model, apart=own_memory or changes_base(peft_config))
            reference = inner_model(start.model)
        else:
            trust = args.trust_remote_code
            reference = inner_model(load_causal_lm(ref_model, trust_remote_code=trust)).requires_grad_(False).eval()
        forwards = inner_model(loaded.model).forward, reference.forward
        with self._refusals():
            super().__init__(  # type: ignore[call-arg]
                model=loaded.model,
                ref_model=reference,
                args=trl_args(
                    args, max_length=self._max_length, pad_token=loaded.tokenizer.pad_token, **self._for_trl(args)
                ),
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=loaded.tokenizer,
                # PEFT writes into what it is given, and the next run would begin with that.
                peft_config=copy.deepcopy(peft_config),
                callbacks=callbacks,
                **kwargs,
            )
        for name in self._for_trl(args):
            setattr(self.args, name, getattr(args, name))
        self.model_accepts_loss_kwargs = True
        # Only now is there an adapter, where there is one.
        make_trainable(self.model, args)
        for each, forward in zip((self.model, self.ref_model), forwards, strict=True):
            keep_whole_head(each, forward, tried=device_for_trials(args) is not None)
        if start is not None and not own_memory:
            start.settle(self.model)

    def _default_args(self) -> Any:
        raise NotImplementedError

    def _for_trl(self, args: Any) -> dict[str, Any]:
        """Return settings that TRL's trainer is made with in place of the user's."""
        return {}

    def _refuse(self, args: Any, model: Any, ref_model: Any) -> None:
        """Raise `ConfigError` for settings that TRL refuses late, or not."""
        if ref_model is not None and ref_model is model:
            raise ConfigError("ref_model is the model that is trained; leave it out, and it is the model as it starts.")
        if not args.beta > 0:
            raise ConfigError(f"beta must be above 0, not {args.beta!r}.")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn what TRL raises for settings that it does not have into a `ConfigError` of one line."""
        try:
            yield
        except GenRLHFError:
            raise
        except (NotImplementedError, ValueError) as error:
            raise ConfigError(f"TRL's {type(self).__name__} refuses: {' '.join(str(error).split())}") from error

    def _encoded(self, kind: type[DemonstrationEncoder], dataset: Rows, tokenizer: Any, args: Any) -> Rows:
        end = turn_end(tokenizer)
        encoder = kind(
            tokenizer,
            max_length=self._max_length,
            keep_end=getattr(args, "truncation_mode", "keep_start") == "keep_end",
            template=training_template(tokenizer),
            turn_end=None if end is None else tokenizer.convert_tokens_to_ids(end),
        )
        return encode_demonstrations(dataset, encoder, source=source_of(self._sources, dataset), args=args)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return TRL's loss, in training its share of the mean over the rows of a step, and count it and its figures.

        A figure of chosen (or rejected) completions counts as often as there are some in the batch.
        """
        with self._refusals():
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        loss = result[0] if return_outputs else result
        rows = self.rows_in(inputs)
        self.tally.add_sum("loss", loss * rows, rows)
        means = self._metrics["train" if self.model.training else "eval"]
        for name in [name for name in means if name != "num_tokens"]:
            value, count = torch.as_tensor(means.pop(name)[-1], device=loss.device), self._counted(name, inputs)
            self.tally.add_sum(name, value * count, count)
        if num_items_in_batch is not None:
            loss = self.share_of_step(loss * rows, num_items_in_batch)
        return (loss, *result[1:]) if return_outputs else loss

    def _counted(self, name: str, inputs: Any) -> int:
        """Return how many rows of a batch a figure is the mean of."""
        return self.rows_in(inputs)

    def _figures(self) -> dict[str, float]:
        figures = super()._figures()
        if {"rewards/chosen", "rewards/rejected"} <= set(figures):
            # Batches of completions of one kind have none, and the others not as many of each.
            figures["rewards/margins"] = figures["rewards/chosen"] - figures["rewards/rejected"]
        return figures

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        if resume_from_checkpoint and self.args.sync_ref_model:
            raise ConfigError(
                "sync_ref_model=True changes the reference, which checkpoints do not hold; begin anew, or set it to "
                "False."
            )
        self._claim_output_dir(bool(resume_from_checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _claim_output_dir(self, resuming: bool) -> None:
        claim_output_dir(
            self, base_model=self._base_name, resuming=resuming, data=self._preferences, arguments=self._arguments
        )

    def evaluate(self, eval_dataset: Any = None, **kwargs: Any) -> dict[str, float]:
        """Return loss, rewards, margins and accuracies on `eval_dataset`, by default the one the trainer was given.

        Each is a mean over rows, whatever the batch size; with several named sets, every set has its own.
        """
        check_name(eval_dataset, self.eval_dataset)
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            self._sources = named_datasets(None, eval_dataset, streams=True)
        figures: dict[str, float] = super().evaluate(eval_dataset, **kwargs)  # type: ignore[misc]
        return figures


class DPOTrainer(_PreferenceTuning, trl.DPOTrainer):
    """Trains a policy to prefer what people preferred, without a reward model: `trl.DPOTrainer` with checked rows.

    The loss is `−log σ(β (log π(w|x)/π_ref(w|x) − log π(l|x)/π_ref(l|x)))` (Rafailov et al. 2023, arXiv 2305.18290,
    equation 7), a mean over the pairs of an optimizer step; `loss_type` has TRL's others. With `alpha` it is soft
    preference learning's, `−log σ(α log (π(w|x)/π(l|x)) − β log (π_ref(w|x)/π_ref(l|x)))` (Slocum et al. 2025, arXiv
    2511.08594), and logged rewards are α log π − β log π_ref.

    Args:
        model: the policy, usually an SFT model: a name, a folder or a module.
        args: the settings.
        train_dataset: rows of `prompt`, `chosen`, `rejected`, text or messages. Without a `prompt` it is what both
            completions begin with. `tools` and `chat_template_kwargs` reach the chat template. An `IterableDataset`
            needs `max_steps`.
        eval_dataset: the same, or a dictionary of several, for `evaluate`.
        processing_class: the tokenizer; by default the one saved with the model.
        peft_config: train an adapter of this kind instead of the model itself.
        callbacks: further callbacks.
        ref_model: π_ref: a name, a folder or a module; by default the policy as it starts.
        kwargs: further arguments of `trl.DPOTrainer`.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that is no causal language model.
        ConfigError: for settings that cannot work together.
    """

    made_by = MadeBy("dpo", "DPO", "Rafailov et al. 2023, arXiv 2305.18290")

    def _default_args(self) -> DPOConfig:
        return DPOConfig("dpo")

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Tokenise as a policy is asked and answers, in place of TRL's own way."""
        if "chosen_ids" in columns_of(dataset):
            check_room(dataset, self._max_length)
            return dataset
        return self._encoded(PairEncoder, dataset, processing_class, args)

    def _refuse(self, args: Any, model: Any, ref_model: Any) -> None:
        super()._refuse(args, model, ref_model)
        if args.alpha is None:
            return
        if not 0 < args.alpha < float("inf"):
            raise ConfigError(f"alpha must be above 0 and finite, not {args.alpha!r}.")
        losses = [args.loss_type] if isinstance(args.loss_type, str) else list(args.loss_type)
        others = {
            f"loss_type={', '.join(losses)}": losses != ["sigmoid"],
            f"f_divergence_type={args.f_divergence_type!s}": str(args.f_divergence_type) != "reverse_kl",
            f"ld_alpha={args.ld_alpha}": args.ld_alpha is not None,
            "sync_ref_model=True": args.sync_ref_model,
        }
        if changing := [name for name, given in others.items() if given]:
            raise ConfigError(
                f"alpha={args.alpha} weighs policy and reference apart in DPO's own loss, which {changing[0]} changes; "
                "leave one of them out."
            )

    def _for_trl(self, args: Any) -> dict[str, Any]:
        decoupled = args.alpha is not None and args.alpha != args.beta
        return {"beta": args.alpha, "precompute_ref_log_probs": True} if decoupled else {}

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Add the log-probabilities of the reference, times β / α where the policy's weight is α.

        TRL keeps them in a file, which older versions of `datasets` do not write for a dataset in memory.
        """
        if not isinstance(dataset, Dataset):
            raise ConfigError("With alpha all pairs are read once before training; give a datasets.Dataset.")
        rows = self.accelerator.prepare(DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator))
        # Older versions of TRL take the reference from the trainer.
        asked = (self.ref_model,) if len(inspect.signature(self.compute_ref_log_probs).parameters) > 1 else ()
        found = [self.accelerator.gather_for_metrics(self.compute_ref_log_probs(*asked, batch)) for batch in rows]
        weight = 1.0 if self.args.alpha is None else self._beta / self.args.alpha
        for column, sides in zip(("ref_chosen_logps", "ref_rejected_logps"), zip(*found, strict=True), strict=True):
            dataset = dataset.add_column(column, (weight * widened(torch.cat(sides))).tolist())
        return dataset


class KTOTrainer(_PreferenceTuning, trl.KTOTrainer):
    """Trains a policy on completions that are wanted or not, each by itself: `trl.KTOTrainer` with checked rows.

    The loss is that of Ethayarajh et al. 2024 (arXiv 2402.01306, equation 7), a mean over the rows of an optimizer
    step. The KL that it is measured from is estimated in each batch of `per_device_train_batch_size` rows, so that it
    depends on that size. Rows keep one order, shuffled once by the seed.

    Args:
        model: the policy, usually an SFT model: a name, a folder or a module.
        args: the settings.
        train_dataset: rows of `prompt`, `completion` and `label`, true where the completion is wanted; or of `prompt`,
            `chosen` and `rejected`, which become two each. `tools` and `chat_template_kwargs` reach the chat template.
        eval_dataset: the same, or a dictionary of several, for `evaluate`.
        processing_class: the tokenizer; by default the one saved with the model.
        peft_config: train an adapter of this kind instead of the model itself.
        callbacks: further callbacks.
        ref_model: the reference: a name, a folder or a module; by default the policy as it starts.
        kwargs: further arguments of `trl.KTOTrainer`.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that is no causal language model.
        ConfigError: for settings that cannot work together.
    """

    made_by = MadeBy("kto", "KTO", "Ethayarajh et al. 2024, arXiv 2402.01306")

    sequences_per_row = 1
    _wanted = "prompt, completion and label"

    def _default_args(self) -> KTOConfig:
        return KTOConfig("kto")

    def _refuse(self, args: Any, model: Any, ref_model: Any) -> None:
        super()._refuse(args, model, ref_model)
        if args.loss_type == "kto" and args.per_device_train_batch_size < 2:
            raise ConfigError(
                "per_device_train_batch_size=1 leaves no other completion to estimate the KL of KTO with; give at "
                "least 2."
            )

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Tokenise as a policy is asked and answers, in place of TRL's own way."""
        columns = columns_of(dataset)
        pairs = {"chosen", "rejected"} <= set(columns)
        if not isinstance(dataset, Dataset) and pairs:
            raise ConfigError("KTO takes pairs as a datasets.Dataset alone; give rows of prompt, completion and label.")
        rows = self._encoded(PairEncoder if pairs else LabelEncoder, dataset, processing_class, args)
        with shown_bars(args), args.main_process_first(desc=dataset_name):
            if pairs:
                rows = unpaired(rows)
            if isinstance(rows, Dataset) and dataset_name == "train":
                rows = rows.shuffle(seed=args.seed if args.data_seed is None else args.data_seed)
            if args.loss_type == "kto":
                rows = with_kl_completions(rows, args.per_device_train_batch_size)
        return rows

    def _counted(self, name: str, inputs: Any) -> int:
        wanted = int(torch.as_tensor(inputs["label"]).sum())
        if name.endswith("/chosen"):
            return wanted
        return self.rows_in(inputs) - (wanted if name.endswith("/rejected") else 0)
