"""Supervised fine-tuning on demonstrations."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trl
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback

from genrlhf.data.schema import check_rows
from genrlhf.models import load_causal_lm
from genrlhf.models.completions import context_length
from genrlhf.models.model_set import load_to_train, make_trainable
from genrlhf.models.precision import default_precision, with_precision_of
from genrlhf.models.scoring import encode_pair
from genrlhf.sampling.decode import check_prompt_lengths
from genrlhf.trainers.checkpoint import ResumableTrainer
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.saving import LeavesModel
from genrlhf.trainers.shared import (
    NoTelemetry,
    named_datasets,
    shorter,
    trl_args,
)

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["SFTConfig", "SFTTrainer"]

logger = logging.getLogger(__name__)


@dataclass
class SFTConfig(trl.SFTConfig):
    """Settings of `SFTTrainer`, on top of every field of `trl.SFTConfig`.

    Learning rate and number of epochs default to those of Kirk et al. 2024. bfloat16 is used where a GPU has it, and
    nowhere else unless asked for.
    """

    learning_rate: float = field(default=3e-5, metadata={"help": "Peak learning rate of AdamW."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the demonstrations."})
    # None, which is off: any other default would make transformers warn of a field that the user has not set.
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "Recompute activations in the backward pass: less memory, more time."}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens of prompt and completion; None is the model's context."}
    )
    freeze_layers: float = field(
        default=0.0,
        metadata={
            "help": "Share of the layers, from the first, that are frozen together with embeddings and LM head "
            "(the paper: 0.8). 0 trains everything."
        },
    )
    disable_dropout: bool = field(default=True, metadata={"help": "Switch dropout off."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Use output_dir even if it holds a run with other settings."}
    )

    def __post_init__(self) -> None:
        default_precision(self)
        super().__post_init__()


class SFTTrainer(NoTelemetry, LeavesModel, ResumableTrainer, trl.SFTTrainer):
    """Trains a language model on demonstrations: `trl.SFTTrainer` with frozen layers, no dropout and checked rows.

    The loss is the cross-entropy of the completion and the EOS behind it, given the prompt.

    Args:
        model: a causal language model: a name, a folder or a module.
        args: the settings.
        train_dataset: rows of `prompt` and `completion` (text or messages), of `messages`, or of `text`.
        eval_dataset: the same, for `evaluate`.
        processing_class: the tokenizer; by default the one saved with the model.
        peft_config: train an adapter of this kind instead of the model itself.
        callbacks: further callbacks.
        kwargs: further arguments of `trl.SFTTrainer`.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that is no causal language model.
        ConfigError: for settings that cannot work together.
    """

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: SFTConfig | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs: Any,
    ) -> None:
        args = args if args is not None else SFTConfig("sft")
        loaded = load_to_train(model, load_causal_lm, args, processing_class=processing_class, peft_config=peft_config)
        tokenizer, self._base_name = loaded.tokenizer, loaded.name
        self._demonstrations, self._arguments = train_dataset, kwargs
        self.adapter_base = loaded.adapter_base
        args = with_precision_of(loaded.model, args)
        self._max_length = shorter(args.max_length, context_length(loaded.model))
        for name, dataset in named_datasets(train_dataset, eval_dataset):
            self._check(dataset, tokenizer, args, name)
        super().__init__(
            model=loaded.model,
            args=trl_args(args, max_length=self._max_length, pad_token=tokenizer.pad_token),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=callbacks,
            **kwargs,
        )
        # Only now is there an adapter, where there is one.
        make_trainable(self.model, args)

    def _check(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, args: SFTConfig, source: str) -> None:
        """Check the rows, and say how many completions `max_length` cuts off."""
        if "input_ids" in dataset.column_names:
            return
        columns = _text_columns(dataset, args)
        check_rows(dataset, columns, source=source)
        if self._max_length is None:
            return
        if "prompt" in columns:
            # A prompt that fills the context would leave nothing to learn from, and TRL would drop the row.
            check_prompt_lengths(
                tokenizer,
                dataset["prompt"],
                max_length=self._max_length - 1,
                source=source,
                remedy="shorten it, drop the row, or raise max_length",
            )
            prompts, completions = dataset["prompt"], dataset["completion"]
        else:
            completions = dataset[columns[0]]
            prompts = ["" if isinstance(text, str) else [] for text in completions]
        lengths = [len(encode_pair(tokenizer, p, c)) for p, c in zip(prompts, completions, strict=True)]
        cut = sum(length > self._max_length for length in lengths)
        if cut and not args.packing:
            logger.warning(
                "%d of %d rows of %s are longer than max_length=%d tokens; their ends are cut off, the EOS included.",
                cut,
                len(lengths),
                source,
                self._max_length,
            )

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        self._claim_output_dir(bool(resume_from_checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _claim_output_dir(self, resuming: bool) -> None:
        claim_output_dir(
            self, base_model=self._base_name, resuming=resuming, data=self._demonstrations, arguments=self._arguments
        )

    def evaluate(self, eval_dataset: Any = None, **kwargs: Any) -> dict[str, float]:
        """Return the loss on `eval_dataset`, by default the one the trainer was given."""
        if isinstance(eval_dataset, (Dataset, dict)):
            for name, dataset in named_datasets(None, eval_dataset):
                self._check(dataset, self.processing_class, self.args, name)
        figures: dict[str, float] = super().evaluate(eval_dataset, **kwargs)
        return figures


def _text_columns(dataset: Dataset, args: SFTConfig) -> list[str]:
    """Return the columns that hold the text to train on."""
    for column in ("messages", args.dataset_text_field):
        if column in dataset.column_names and "prompt" not in dataset.column_names:
            return [column]
    return ["prompt", "completion"]
