"""Supervised fine-tuning on demonstrations."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import trl
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback

from genrlhf.data.templates import turn_end, unheard_end
from genrlhf.models import load_causal_lm
from genrlhf.models.model_set import changes_base, load_to_train, make_trainable
from genrlhf.models.precision import with_precision_of
from genrlhf.models.reference import Snapshot
from genrlhf.models.structure import context_length, inner_model
from genrlhf.sampling.autoregressive import stop_token_ids
from genrlhf.sampling.comparable import refuse_reading_ahead
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.checkpoint import ResumableTrainer
from genrlhf.trainers.columns import GROUP, Columns, Lists
from genrlhf.trainers.counting import WeightedEvaluation
from genrlhf.trainers.group_data import GroupEncoder
from genrlhf.trainers.label_states import leave_out_the_rest
from genrlhf.trainers.lm_head import drop_fused_head, keep_whole_head
from genrlhf.trainers.objective import Objective, ObjectiveLike, as_objective, refuse_for_objective
from genrlhf.trainers.objective_state import ObjectiveState
from genrlhf.trainers.own_rows import VARIANTS, Drawn, DrawnByEpoch, OwnEncoder
from genrlhf.trainers.pair_data import check_room
from genrlhf.trainers.row_weights import (
    check_row_weights,
    cross_entropy,
    refuse_row_weights,
    weighed,
    with_weights,
)
from genrlhf.trainers.rows import Rows, columns_of, refuse_endless
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.saving import LeavesModel
from genrlhf.trainers.sft_config import SFTConfig
from genrlhf.trainers.sft_data import (
    DemonstrationEncoder,
    encode_demonstrations,
    is_conversational,
    refuse_options,
    training_template,
)
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
from genrlhf.trainers.supervised_batch import SupervisedBatch

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["SFTTrainer"]

logger = logging.getLogger(__name__)


class SFTTrainer(NoTelemetry, LeavesModel, ResumableTrainer, WeightedEvaluation, trl.SFTTrainer):
    """Trains a language model on demonstrations: `trl.SFTTrainer` with frozen layers, no dropout and checked rows.

    The loss is the cross-entropy of the completion and the EOS behind it, given the prompt; in `messages`, that of the
    assistant's turns and what ends them. `completion_only_loss=False` learns everything.

    Args:
        model: a causal language model: a name, a folder or a module.
        args: the settings.
        train_dataset: rows of `prompt` and `completion` (text or messages), of `messages`, or of `text`. `tools` and
            `chat_template_kwargs` reach the chat template. An `IterableDataset` needs `max_steps`.
        eval_dataset: the same, for `evaluate`.
        processing_class: the tokenizer; by default the one saved with the model.
        peft_config: train an adapter of this kind instead of the model itself.
        callbacks: further callbacks.
        objective: what is minimised in place of the cross-entropy: an `Objective` or a function of a `SupervisedBatch`,
            see `genrlhf.trainers.objective`. The cross-entropy is logged beside it.
        kwargs: further arguments of `trl.SFTTrainer`.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that is no causal language model.
        ConfigError: for settings that cannot work together.
    """

    made_by = MadeBy("sft", "SFT", "Kirk et al. 2024, arXiv 2310.06452")

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: SFTConfig | None = None,
        train_dataset: Rows | None = None,
        eval_dataset: Rows | dict[str, Rows] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        objective: ObjectiveLike | None = None,
        **kwargs: Any,
    ) -> None:
        args = args if args is not None else SFTConfig("sft")
        make_output_dir(args)
        self.objective = as_objective(objective)
        self.asking = getattr(objective, "asking", None)
        self._sources, self._weight_column = (
            named_datasets(train_dataset, eval_dataset, streams=True),
            args.weight_column,
        )
        if args.weight_column is not None:
            refuse_row_weights(args, self.objective)
            check_row_weights(self._sources, args.weight_column)
            self.objective = self.objective or as_objective(cross_entropy)
        if self.objective is not None:
            refuse_for_objective(self.objective, args, kwargs)
            if (columns := getattr(train_dataset, "column_names", None)) is not None:
                self.objective.check_columns(list(columns))
        loaded = load_to_train(model, load_causal_lm, args, processing_class=processing_class, peft_config=peft_config)
        refuse_reading_ahead(loaded.model, device=device_for_trials(args))
        drop_fused_head(loaded.model)
        tokenizer, self._base_name = loaded.tokenizer, loaded.name
        self._demonstrations = train_dataset
        self._arguments = kwargs if objective is None else {**kwargs, "objective": objective}
        self.adapter_base = loaded.adapter_base
        args = with_precision_of(loaded.model, args)
        self._stops, self._warned_of_turn_end = stop_token_ids(loaded.model, tokenizer), False
        self._max_length = shorter(args.max_length, context_length(loaded.model))
        refuse_endless(train_dataset, args.max_steps)
        refuse_options(args, train_dataset, kwargs.get("formatting_func"))
        self._everything = args.completion_only_loss is False and not args.assistant_only_loss
        keeps_start = self.objective is not None and self.objective.needs_start
        start = Snapshot(loaded.model, apart=changes_base(peft_config)) if keeps_start else None
        forward = inner_model(loaded.model).forward
        # TRL refuses a limit with padding_free, and templates without markers, since it would do nothing about either.
        theirs = {"max_length": None if args.padding_free and not args.packing else self._max_length}
        super().__init__(
            model=loaded.model,
            args=trl_args(args, **theirs, assistant_only_loss=False, pad_token=tokenizer.pad_token),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            # PEFT writes into what it is given, and the next run would begin with that.
            peft_config=copy.deepcopy(peft_config),
            callbacks=callbacks,
            **kwargs,
        )
        self.args.max_length, self.args.assistant_only_loss = self._max_length, args.assistant_only_loss
        keep_whole_head(self.model, forward, tried=device_for_trials(args) is not None)
        leave_out_the_rest(self.model, args)
        # Only now is there an adapter, where there is one.
        make_trainable(self.model, args)
        self._start = start.settle(self.model).to(self.accelerator.device) if start is not None else None
        self._objective_state = ObjectiveState(self.objective, process=self.args.process_index)
        if self._in_groups:
            self.data_collator: Any = Lists(self.data_collator, self._columns, max_length=self._max_length)
        elif self._columns:
            self.data_collator = Columns(self.data_collator, self._columns)
        if self._encodes and self.objective is not None and self.objective.draws > 1:
            self.data_collator = Drawn(self.data_collator)
            self.add_callback(DrawnByEpoch(self.data_collator))
        if self.objective is not None and isinstance(self.train_dataset, Dataset):
            self.objective.check(self.train_dataset)

    @staticmethod
    def check_functions(args: SFTConfig, **functions: Any) -> None:
        """Raise `ConfigError` where an `objective` cannot go with settings; of other functions it knows nothing."""
        objective = as_objective(functions.pop("objective", None))
        if args.weight_column is not None:
            refuse_row_weights(args, objective)
        if objective is not None:
            refuse_for_objective(objective, args, functions)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        lists = ("prompt_ids", "completion_ids") if self._in_groups else VARIANTS if self._encodes else ()
        self._signature_columns: list[str] = list(dict.fromkeys([*self._signature_columns, *lists, *self._columns]))

    @property
    def _in_groups(self) -> bool:
        return self.objective is not None and self.objective.unit == "group"

    @property
    def _encodes(self) -> bool:
        return self.objective is not None and self.objective.encodes

    @property
    def _columns(self) -> tuple[str, ...]:
        read = () if self.objective is None else self.objective.columns
        return read if self._weight_column is None else (*read, self._weight_column)

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Callable[[dict[str, Any]], str] | None,
        dataset_name: str,
    ) -> Any:
        """Tokenise rows once, in place of TRL's own way, and leave packing and shuffling to TRL.

        TRL calls this once its options have changed the tokenizer (`eos_token`, `chat_template_path`).
        """
        if self._in_groups and "completion_ids" in columns_of(dataset):
            check_room(dataset, self._max_length)
            return dataset
        if self._encodes and {"labels", VARIANTS[1]} & set(columns_of(dataset)):
            return dataset
        if "input_ids" in columns_of(dataset):
            return super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)
        source = source_of(self._sources, dataset)
        if self._weight_column is not None:
            dataset = with_weights(dataset, self._weight_column)
        if is_conversational(dataset):
            self._warn_of_turn_end(processing_class)
        end = turn_end(processing_class)
        encoder = self._encoder(training=dataset_name == "train")(
            processing_class,
            max_length=None if packing else self._max_length,
            keep_end=getattr(args, "truncation_mode", "keep_start") == "keep_end",
            text_field=args.dataset_text_field,
            everything=self._everything,
            formatting_func=formatting_func,
            template=training_template(processing_class),
            kept=self._columns,
            turn_end=None if end is None else processing_class.convert_tokens_to_ids(end),
        )
        dataset = encode_demonstrations(dataset, encoder, source=source, args=args)
        if not packing and not getattr(args, "shuffle_dataset", False):
            return dataset
        theirs = trl_args(args, max_length=args.max_length if packing else None)
        return super()._prepare_dataset(dataset, processing_class, theirs, packing, None, dataset_name)

    def _encoder(self, *, training: bool) -> Callable[..., DemonstrationEncoder]:
        if self._in_groups:
            return GroupEncoder
        if self.objective is not None and self.objective.encodes:
            # An evaluation has the same rows each time.
            return partial(OwnEncoder, objective=self.objective, draws=self.objective.draws if training else 1)
        return DemonstrationEncoder

    def _warn_of_turn_end(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Warn once where the chat template ends a turn with a token that ends no sample."""
        end = unheard_end(tokenizer, self._stops)
        if end is not None and not self._warned_of_turn_end:
            self._warned_of_turn_end = True
            logger.warning(
                "The chat template ends the assistant's turns with %r, and samples end at the tokenizer's EOS, %r, "
                "which is never learnt: a sample would run on to max_new_tokens. Set SFTConfig(eos_token=%r), which is "
                "saved with the tokenizer and the generation config.",
                end,
                tokenizer.eos_token,
                end,
            )

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return TRL's loss or the objective, and count it and its figures by the tokens that are learnt."""
        labels = inputs["labels"]
        if not self.model.training:
            groups = inputs["columns"][GROUP] if self._in_groups else range(len(labels))
            inputs["labels"] = labels = self._without_repeats(labels, groups)
        if self.objective is not None:
            loss = self._objective_loss(self.objective, model, inputs, num_items_in_batch)
            return (loss, {}) if return_outputs else loss
        tokens = (labels[..., 1:] != -100).sum()
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = (result[0] if return_outputs else result).detach()
        if num_items_in_batch is None:
            self.tally.add_sum("loss", loss * tokens, tokens)
        else:
            share = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
            self.tally.add_sum("loss", loss * num_items_in_batch / share, tokens)
        means = self._metrics["train" if self.model.training else "eval"]
        for name in [name for name in means if name != "num_tokens"]:
            # The mean over the tokens of all processes' batches; each counts its own part of them.
            self.tally.add_sum(name, torch.as_tensor(means.pop(name)[-1], device=tokens.device) * tokens, tokens)
        return result

    def _objective_loss(self, objective: Objective, model: Any, inputs: Any, num_items: Any) -> torch.Tensor:
        """Return the objective's share of the mean over the optimizer step, as TRL does for the cross-entropy."""
        given = {"use_cache": False, **({"output_router_logits": True} if self.aux_loss_enabled else {})}
        columns = inputs.pop("columns", None)
        unwrapped = self.accelerator.unwrap_model(model)
        batch = SupervisedBatch(
            model,
            unwrapped,
            {**inputs, **given},
            columns,
            self._start,
            step=self.state.global_step,
            seed=self.args.seed,
            tokenizer=self.processing_class,
        )
        losses = batch.checked(objective)
        if self._weight_column is not None and len(batch.labels):
            losses = weighed(losses, batch, objective, self._weight_column)
        total, count = losses.sum(), torch.tensor(len(losses), device=losses.device)
        loss = total / (count if num_items is None else torch.as_tensor(num_items)).clamp(min=1)
        if num_items is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        self.tally.add_sum("loss", total, count)
        for name, values in {**batch.figures(), **batch.logged}.items():
            self.tally.add(name, values)
        # Some mixtures of experts have no balancing loss of their own.
        auxiliary = getattr(batch.outputs, "aux_loss", None) if self.aux_loss_enabled else None
        if auxiliary is not None:
            self.tally.add("aux_loss", auxiliary.unsqueeze(0))
            steps = self.current_gradient_accumulation_steps if num_items is not None else 1
            loss = loss + self.router_aux_loss_coef * auxiliary / steps
        return loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Count what the loss of an optimizer step is divided by: labels, rows that have some, or groups."""
        if self._in_groups:
            groups = [len(set(batch["columns"][GROUP])) for batch in batch_samples]
            batch_samples = [{"labels": _one_label(torch.ones((count, 1), dtype=torch.bool))} for count in groups]
        elif self.objective is not None and self.objective.unit == "row":
            counted = [(batch["labels"][:, 1:] != -100).any(-1, keepdim=True) for batch in batch_samples]
            batch_samples = [{"labels": _one_label(some)} for some in counted]
        return super()._get_num_items_in_batch(batch_samples, device)

    def _without_repeats(self, labels: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Return labels without those of rows that fill up the last batch of several processes.

        Args:
            labels: (lines, L) int64.
            rows: of each line, counted in the batch.
        """
        state, total = self.accelerator, self._evaluated_rows
        number = self._evaluated_batches
        self._evaluated_batches += 1
        if state.num_processes == 1 or total is None or self.padding_free:
            return labels
        size = self.args.eval_batch_size
        first = (number * state.num_processes + state.process_index) * size
        kept = torch.tensor(list(rows), device=labels.device) < total - first
        return labels.masked_fill(~kept.unsqueeze(1), -100)

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """Return loss, entropy and accuracy as means over the tokens of an evaluation set."""
        sized = hasattr(dataloader, "dataset") and hasattr(dataloader.dataset, "__len__")
        self._evaluated_rows: int | None = len(dataloader.dataset) if sized else None
        self._evaluated_batches: int = 0
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        self._claim_output_dir(bool(resume_from_checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _save_beside(self, folder: Path) -> None:
        self._objective_state.save(folder)

    def _load_beside(self, folder: Path) -> None:
        self._objective_state.load(folder)

    def _claim_output_dir(self, resuming: bool) -> None:
        claim_output_dir(
            self, base_model=self._base_name, resuming=resuming, data=self._demonstrations, arguments=self._arguments
        )

    def evaluate(self, eval_dataset: Any = None, **kwargs: Any) -> dict[str, float]:
        """Return loss, token accuracy and entropy on `eval_dataset`, by default the one the trainer was given.

        Each is a mean over the tokens that are learnt, whatever the batch size and the number of processes.
        """
        check_name(eval_dataset, self.eval_dataset)
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            self._sources = named_datasets(None, eval_dataset, streams=True)
        figures: dict[str, float] = super().evaluate(eval_dataset, **kwargs)
        return figures


def _one_label(some: torch.Tensor) -> torch.Tensor:
    """Return labels, (B, 2), of which one counts in each of the rows where `some`, (B, 1), is True.

    The Trainer leaves out the first place of a row for some families, and counts it for others.
    """
    second = torch.where(some, 0, -100)
    return torch.cat([torch.full_like(second, -100), second], dim=1)
