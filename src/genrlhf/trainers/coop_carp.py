"""CoOp CARP: learned context in front of the names of classes, encoders frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments, set_seed

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.attention import leave_out_cudnn_attention
from genrlhf.models.carp import CARPModel, class_names
from genrlhf.models.freezing import disable_dropout
from genrlhf.models.precision import default_precision
from genrlhf.ops import class_logits, soft_cross_entropy
from genrlhf.rewards.carp import encode_texts, load_carp
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.carp import TwoEncoderTrainer
from genrlhf.trainers.carp_data import Classes, passages_of
from genrlhf.trainers.ranges import AT_LEAST_ONE, check_ranges
from genrlhf.trainers.shared import make_output_dir, named_datasets

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase

__all__ = ["CoOpCARPConfig", "CoOpCARPTrainer"]


@dataclass
class CoOpCARPConfig(TrainingArguments):
    """Settings of `CoOpCARPTrainer`, on top of every field of `transformers.TrainingArguments`.

    Defaults are those of the authors' code, where it has some.
    """

    learning_rate: float = field(default=5e-5, metadata={"help": "Peak learning rate of AdamW."})
    lr_scheduler_type: str = field(default="cosine_with_min_lr", metadata={"help": "Schedule of the learning rate."})
    lr_scheduler_kwargs: dict[str, Any] | str | None = field(
        default_factory=lambda: {"min_lr_rate": 0.12}, metadata={"help": "What the schedule takes, as JSON."}
    )
    num_train_epochs: float = field(default=30.0, metadata={"help": "Passes over the passages."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Passages a step of one device."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay False."})
    bf16: bool | None = field(default=None, metadata={"help": "Compute in bfloat16; None: where a GPU has it."})
    context_size: Annotated[int, AT_LEAST_ONE] = field(
        default=10, metadata={"help": "Learned vectors between BOS and the name of a class, the same for all classes."}
    )
    classes: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the classes; None: the labels that there are, or clusters' critiques."},
    )
    num_classes: Annotated[int, AT_LEAST_ONE] = field(
        default=8, metadata={"help": "Clusters of critiques, where rows have neither label nor distribution."}
    )
    target: str | None = field(
        default=None,
        metadata={
            "help": "The reward is the log-probability of this class; where classes are clusters, of that of this "
            "critique. None: chosen later."
        },
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Use output_dir even if it holds a run with other settings."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Has no effect: a CARP model ships no code."})

    def __post_init__(self) -> None:
        check_ranges(self)
        default_precision(self)
        super().__post_init__()


class CoOpCARPTrainer(TwoEncoderTrainer):
    """Learns the context of classes of passages on frozen encoders of CARP.

    CoOp CARP (Castricato et al. 2022, arXiv 2210.07792; CoOp: Zhou et al. 2021, arXiv 2109.01134). With u the encoding
    of a passage, w_k = C(BOS, m learned vectors, name_k, EOS) of a class and p the distribution of its classes,

        −Σ_k p_k log softmax_k(e^τ u·w),

    a mean over the passages of a step. Passages are encoded once, and the m vectors are all that is trained.

    Args:
        model: the folder of a model that `CARPTrainer` has saved; or such a model, with `tokenizers`.
        args: the settings.
        train_dataset: rows of `passage` (or `completion`), and their class: a `label`, a `distribution` over `classes`,
            or a `critique`. Critiques are clustered by their encodings, and a cluster's name is the critique nearest to
            its centre.
        eval_dataset: the same, or a dictionary of several, for `evaluate`.
        tokenizers: of passages and critiques, where `model` is no folder.
        peft_config: refused: nothing but the context is trained.
        callbacks: further callbacks.

    Raises:
        DataError: for rows that cannot be used, classes that are one, and too few critiques to cluster.
        ModelError: for what is no CARP model, and classes whose names are the same tokens.
        ConfigError: for a target that is no class.
    """

    made_by = MadeBy("coop_carp", "CoOp CARP", "Castricato et al. 2022, arXiv 2210.07792")

    def __init__(
        self,
        model: str | PathLike[str] | CARPModel,
        args: CoOpCARPConfig | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase] | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        self.args = args = args if args is not None else CoOpCARPConfig("coop_carp")
        if peft_config is not None:
            raise ConfigError("CoOp CARP trains vectors of context alone, on frozen encoders; drop peft_config.")
        make_output_dir(args)
        self._rows = train_dataset
        named = named_datasets(train_dataset, eval_dataset)
        if train_dataset is None:
            raise ConfigError("CoOpCARPTrainer finds its classes in train_dataset; give one.")
        if isinstance(model, CARPModel):
            if tokenizers is None:
                raise ModelError("A CARPModel has no tokenizers with it; give tokenizers=(passages', critiques').")
            carp, self.tokenizers = model, tokenizers
        else:
            carp, self.tokenizers = load_carp(model)
        self._base_name = "" if isinstance(model, CARPModel) else str(model)
        set_seed(args.seed)
        # Context is learned through the encoder of critiques, which reads padded names.
        leave_out_cudnn_attention()
        carp = carp.to(args.device).eval()
        classes = Classes.found_in(
            train_dataset,
            named=args.classes,
            count=args.num_classes,
            seed=args.seed,
            model=carp,
            tokenizer=self.tokenizers[1],
        )
        longest = carp.config.text_length
        room = None if longest is None else longest - args.context_size
        if room is not None and room < 3:
            raise ConfigError(f"context_size is {args.context_size}, and the encoder reads {longest} tokens; lower it.")
        names = class_names(self.tokenizers[1], classes.names, max_length=room)
        learning = carp.with_context(args.context_size, classes.names)
        learning.config.target, learning.config.target_critique = _target(args.target, classes), None
        # The encoders are used as they are.
        disable_dropout(learning)
        self._names = {"class_ids": names.input_ids, "class_mask": names.mask, "begin": names.begin}
        sets = {source: _Encoded.of(rows, source, carp, self.tokenizers[0], classes) for source, rows in named}
        evaluated: Any = sets.get("eval_dataset")
        if isinstance(eval_dataset, dict):
            evaluated = {key: sets[f"eval_dataset[{key!r}]"] for key in eval_dataset}
        self._begin(learning, sets["train_dataset"], evaluated, _collate, callbacks)

    def rows_in(self, batch: Any) -> int:
        """Return the number of passages that a batch holds."""
        return len(batch["units"])

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the mean over passages of the cross-entropy, in training over those of a step."""
        classes, scale = model(**self._names)
        logits = class_logits(inputs["units"], classes, scale)
        losses = soft_cross_entropy(logits, inputs["targets"])
        if not bool(losses.isfinite().all()):
            raise ModelError(
                f"The loss is not finite at step {self.state.global_step + 1}: an encoding of passages or classes is "
                "not; look at the weights of the CARP model, and lower learning_rate."
            )
        self.tally.add("loss", losses)
        self.tally.add("accuracy", (logits.argmax(-1) == inputs["targets"].argmax(-1)).float())
        loss = losses.mean() if num_items_in_batch is None else self.share_of_step(losses.sum(), num_items_in_batch)
        return (loss, None) if return_outputs else loss


class _Encoded(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Passages as vectors, with the distributions of their classes."""

    def __init__(self, units: torch.Tensor, targets: torch.Tensor) -> None:
        self.units, self.targets = units, targets

    @classmethod
    def of(cls, rows: Dataset, source: str, carp: CARPModel, tokenizer: Any, classes: Classes) -> _Encoded:
        """Return those of a dataset."""
        passages = passages_of(rows, source=source, with_prompt=carp.config.with_prompt)
        targets = classes.of_rows(rows, source)
        return cls(encode_texts(carp, "passage", tokenizer, passages).cpu(), targets)

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {"units": self.units[row], "targets": self.targets[row]}


def _collate(rows: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _target(target: str | None, classes: Classes) -> str | None:
    if target is None or target in classes.names:
        return target
    if classes.of_text is not None:
        return classes.of_text(target)
    there = ", ".join(map(repr, classes.names[:20]))
    raise ConfigError(f"target is {target!r}, which is none of the classes {there}; choose one of them.")
