"""CARP: encoders of passages and critiques that are trained to know which belong together."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.attention import leave_out_cudnn_attention
from genrlhf.models.carp import CARPModel
from genrlhf.models.encoders import POOLINGS, Encoder, load_encoder, padded, text_tokens
from genrlhf.models.freezing import disable_dropout, freeze_layers
from genrlhf.models.model_set import refuse_adapter_with_frozen_layers
from genrlhf.models.structure import context_length
from genrlhf.ops import class_logits, contrastive_losses
from genrlhf.rewards.carp import CRITIQUES, is_carp, load_carp
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.carp_data import critiques_of, passages_of
from genrlhf.trainers.checkpoint import ResumableTrainer
from genrlhf.trainers.counting import CountsRows, WeightedEvaluation
from genrlhf.trainers.fine_tuning_settings import FineTuningSettings
from genrlhf.trainers.ranges import AT_LEAST_ONE, BELOW_ONE
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.saving import LeavesModel
from genrlhf.trainers.shared import device_for_trials, make_output_dir, named_datasets, shorter

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase

__all__ = ["CARPConfig", "CARPTrainer", "TwoEncoderTrainer"]

logger = logging.getLogger(__name__)


@dataclass
class CARPConfig(FineTuningSettings, TrainingArguments):
    """Settings of `CARPTrainer`, on top of every field of `transformers.TrainingArguments`.

    A step compares `per_device_train_batch_size × gradient_accumulation_steps × processes` pairs with each other,
    however they are split. Learning rate, its schedule, latent size and dropout default to what the authors' code has,
    which compares 2,048 pairs a step and warms up over 400 steps.
    """

    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of AdamW."})
    lr_scheduler_type: str = field(default="cosine_with_min_lr", metadata={"help": "Schedule of the learning rate."})
    lr_scheduler_kwargs: dict[str, Any] | str | None = field(
        default_factory=lambda: {"min_lr_rate": 0.06}, metadata={"help": "What the schedule takes, as JSON."}
    )
    num_train_epochs: float = field(default=10.0, metadata={"help": "Passes over the pairs."})
    per_device_train_batch_size: int = field(
        default=48, metadata={"help": "Pairs a forward and backward pass; more are compared by accumulation."}
    )
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Pairs that are compared with each other in evaluation."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay False."})
    bf16: bool | None = field(default=None, metadata={"help": "Compute in bfloat16; None: where a GPU has it."})
    critique_encoder: str | None = field(
        default=None, metadata={"help": "What the encoder of critiques begins as, by name; None: a copy of the model."}
    )
    latent_size: Annotated[int | None, AT_LEAST_ONE] = field(
        default=2048,
        metadata={"help": "Numbers of an encoding; None: as the encoders have, without projections of their own."},
    )
    pooling: str = field(
        default="auto",
        metadata={
            "help": "How tokens become one vector: auto (as sentence-transformers say, else the mean), mean, cls, last "
            "or max."
        },
    )
    dropout: Annotated[float, BELOW_ONE] = field(default=0.1, metadata={"help": "On what the projections read."})
    disable_dropout: bool = field(
        default=False,
        metadata={"help": "Switch it off, and that of the encoders: all splits of a step are then alike."},
    )
    with_prompt: bool = field(default=False, metadata={"help": "Read prompt and completion, not the completion alone."})
    critique: str | None = field(
        default=None, metadata={"help": "The reward is a passage's cosine to this critique; None: chosen later."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that tokenizers ship."})

    def __post_init__(self) -> None:
        if self.pooling not in ("auto", *POOLINGS):
            raise ConfigError(f"pooling is {self.pooling!r}; it must be auto or one of {', '.join(POOLINGS)}.")
        if self.critique is not None and not self.critique.strip():
            raise ConfigError("critique is empty; say what is wanted of passages, or leave it at None.")
        super().__post_init__()


class TwoEncoderTrainer(LeavesModel, ResumableTrainer, CountsRows, WeightedEvaluation, Trainer):
    """What trainers of a `CARPModel` have alike: its tokenizers beside it, and figures of rows."""

    sequences_per_row = 1
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]
    args: Any

    def _begin(
        self, model: CARPModel, train_dataset: Any, eval_dataset: Any, data_collator: Any, callbacks: Any
    ) -> None:
        super().__init__(
            model=model,
            args=self.args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=data_collator,
            processing_class=self.tokenizers[0],
            callbacks=callbacks,
        )
        self.model_accepts_loss_kwargs = True

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        claim_output_dir(self, base_model=self._base_name, resuming=bool(resume_from_checkpoint), data=self._rows)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        """Return the loss of a batch; its figures are counted on the way."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir if output_dir is not None else self.args.output_dir)
            self.tokenizers[1].save_pretrained(folder / CRITIQUES)


class CARPTrainer(TwoEncoderTrainer):
    """Trains encoders of passages and critiques so that those of a pair are near, and all others far.

    CARP (Matiana et al. 2021, arXiv 2110.03111), see `genrlhf.ops.contrastive_losses`: the mean over the pairs of an
    optimizer step, each of which is compared with all of them, whatever the micro-batches and processes. All are
    encoded first without a gradient; each micro-batch is then encoded again among these.

    Args:
        model: the encoder of passages: a name, folder or module of transformers or sentence-transformers; or a folder
            that this trainer has saved, to go on from.
        args: the settings.
        train_dataset: rows of `passage` and `critique`; `completion`, with or without its `prompt`, for `passage`.
        eval_dataset: the same, or a dictionary of several, for `evaluate`.
        processing_class: the tokenizer of passages; by default the one saved with the encoder.
        critique_encoder: in place of the name in the settings.
        critique_processing_class: the tokenizer of critiques.
        peft_config: train adapters of this kind on both encoders, projections and scale beside them. They are merged
            into the model that is saved when training ends.
        callbacks: further callbacks.

    Raises:
        DataError: for rows that cannot be used, naming the row.
        ModelError: for what is no encoder.
        ConfigError: for encoders whose embeddings differ in size without projections, and steps of one pair.
    """

    made_by = MadeBy("carp", "CARP", "Matiana et al. 2021, arXiv 2110.03111")
    _of_step: tuple[torch.Tensor, torch.Tensor] | None = None
    _offsets: list[int]

    def __init__(
        self,
        model: Any,
        args: CARPConfig | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        critique_encoder: Any = None,
        critique_processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        self.args = args = args if args is not None else CARPConfig("carp")
        refuse_adapter_with_frozen_layers(args.freeze_layers, peft_config, None)
        self.peft_config = peft_config
        if args.train_batch_size * args.gradient_accumulation_steps * args.world_size < 2:
            raise ConfigError("A step of one pair has nothing to compare it with; raise per_device_train_batch_size.")
        if device_for_trials(args) is None:
            raise ConfigError(
                "CARP encodes the pairs of a step before it trains on them, for which weights that are sharded are not "
                "there; leave FSDP and DeepSpeed out."
            )
        make_output_dir(args)
        self._rows = train_dataset
        named = named_datasets(train_dataset, eval_dataset)
        texts = {
            source: (
                passages_of(rows, source=source, with_prompt=args.with_prompt),
                critiques_of(rows, source=source),
            )
            for source, rows in named
        }
        set_seed(args.seed)
        leave_out_cudnn_attention()
        if is_carp(model):
            carp, self.tokenizers = load_carp(model)
            self._base_name = str(model)
            if carp.config.context_size:
                raise ModelError(
                    f"{str(model)!r} has classes of learned context, which are of its encoders as they are; give the "
                    "folder of the CARP model that it began with."
                )
            carp.config.target, carp.config.target_critique = None, args.critique
            carp.config.with_prompt = args.with_prompt
        else:
            given: dict[str, Any] = {"pooling": args.pooling, "trust_remote_code": args.trust_remote_code}
            passage = load_encoder(model, tokenizer=processing_class, **given)
            other = critique_encoder if critique_encoder is not None else args.critique_encoder
            alike = other is None and critique_processing_class is None
            critique = (
                passage
                if alike
                else load_encoder(model if other is None else other, tokenizer=critique_processing_class, **given)
            )
            self.tokenizers = passage.tokenizer, copy.deepcopy(critique.tokenizer)
            self._base_name = passage.name
            carp = CARPModel.of(passage, critique, text_length=_length(args, passage, critique), **_of_model(args))
        if args.with_prompt:
            self.tokenizers[0].truncation_side = "left"
        for encoder in (carp.passage, carp.critique):
            freeze_layers(encoder, args.freeze_layers)
        if peft_config is not None:
            carp.adapt(peft_config)
        if args.disable_dropout:
            disable_dropout(carp)
        sets = {source: self._tokens(source, *pair, carp.config.text_length) for source, pair in texts.items()}
        evaluated = sets.get("eval_dataset")
        if isinstance(eval_dataset, dict):
            evaluated = {key: sets[f"eval_dataset[{key!r}]"] for key in eval_dataset}
        self._begin(carp, sets.get("train_dataset"), evaluated, _collate, callbacks)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.peft_config is None or self._open_checkpoint is not None:
            super()._save(output_dir, state_dict)
            return
        trained, self.model = self.model, self.accelerator.unwrap_model(self.model).merged()
        try:
            super()._save(output_dir)
        finally:
            self.model = trained

    def _tokens(self, source: str, passages: list[str], critiques: list[str], longest: int | None) -> Dataset:
        found: dict[str, list[list[int]]] = {}
        for side, (name, texts) in enumerate((("passage", passages), ("critique", critiques))):
            tokens = text_tokens(self.tokenizers[side], texts, max_length=longest)
            full = text_tokens(self.tokenizers[side], texts, max_length=None) if longest else tokens
            cut = sum(len(a) < len(b) for a, b in zip(tokens, full, strict=True))
            if cut:
                logger.warning("%s: %d of %d %ss are cut to %d tokens.", source, cut, len(texts), name, longest)
            found[name] = tokens
        return Dataset.from_dict(found)

    def rows_in(self, batch: Any) -> int:
        """Return the number of pairs that a batch holds."""
        return len(batch["passage_ids"])

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """Return the batches of the next optimizer step, whose pairs are encoded for comparison, and their number."""
        batches, rows = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._of_step = None
        if len(batches) * self.accelerator.num_processes > 1:
            plain = self.accelerator.unwrap_model(self.model)
            plain.train()
            with torch.no_grad(), self.compute_loss_context_manager():
                parts = [plain(**self._prepare_inputs(batch))[:2] for batch in batches]
            mine = [torch.cat(side) for side in zip(*parts, strict=True)]
            begin = len(mine[0]) * self.accelerator.process_index
            sizes = [len(part[0]) for part in parts]
            self._offsets = [begin + sum(sizes[:place]) for place in range(len(sizes))]
            u, v = (self.accelerator.gather(side) for side in mine)
            self._of_step = u, v
            self._shares = len(batches) * self.accelerator.num_processes
        return batches, rows

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return what the pairs of a batch add to the mean loss of those of the step; in evaluation their own mean."""
        u, v, scale = model(**inputs)
        if num_items_in_batch is None or self._of_step is None:
            losses = self._counted(u, v, scale, 0, len(u))
            loss = losses.mean()
            return (loss, None) if return_outputs else loss
        begin, end = (offset := self._offsets.pop(0)), offset + len(u)
        all_u, all_v = (
            torch.cat([side[:begin], live, side[end:]]) for side, live in zip(self._of_step, (u, v), strict=True)
        )
        # The scale is in every part of the sum, where an encoding is in one.
        scale = scale.detach() + (scale - scale.detach()) / self._shares
        losses = self._counted(all_u, all_v, scale, begin, end)
        processes = int(self.accelerator.num_processes)
        mean = losses.mean()
        # The gradient of the whole with respect to these pairs, and the value of their part.
        loss = (mean - mean.detach()) * processes + self.share_of_step(losses[begin:end].sum(), len(losses)).detach()
        return (loss, None) if return_outputs else loss

    def _counted(self, u: torch.Tensor, v: torch.Tensor, scale: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """Return the losses of pairs, and count figures of those from `begin` to `end`."""
        losses = contrastive_losses(u, v, scale)
        mine = losses[begin:end].detach()
        if not bool(mine.isfinite().all()):
            side = "passages" if not u.isfinite().all() else "critiques" if not v.isfinite().all() else "the scale"
            raise ModelError(
                f"The loss is not finite at step {self.state.global_step + 1}, because of the encodings of {side}; "
                "lower learning_rate, and look at the weights of that encoder."
            )
        nearest = class_logits(u[begin:end].detach(), v.detach(), scale.detach()).argmax(-1)
        self.tally.add("loss", mine)
        self.tally.add("accuracy", (nearest == torch.arange(begin, end, device=nearest.device)).float())
        return losses


def _of_model(args: CARPConfig) -> dict[str, Any]:
    names = ("latent_size", "dropout", "with_prompt")
    return {**{name: getattr(args, name) for name in names}, "target_critique": args.critique}


def _length(args: CARPConfig, *encoders: Encoder) -> int | None:
    longest = args.max_length
    for encoder in encoders:
        longest = shorter(longest, context_length(encoder.model))
    return longest


def _collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    batch: dict[str, torch.Tensor] = {}
    for side in ("passage", "critique"):
        batch[f"{side}_ids"], batch[f"{side}_mask"] = padded([row[side] for row in rows])
    return batch
