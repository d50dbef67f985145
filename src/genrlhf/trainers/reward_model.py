"""Reward modelling on preferences."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trl
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback, set_seed

from genrlhf.data.schema import check_rows
from genrlhf.errors import ConfigError, DataError
from genrlhf.models import disable_dropout, ensure_pad_token, freeze_layers, load_for_reward_training, load_tokenizer
from genrlhf.models.completions import context_length
from genrlhf.models.scoring import encode_pair
from genrlhf.rewards.affine import (
    Calibration,
    calibration_of,
    check_target,
    drop_calibration,
    fit_calibration,
    save_calibration,
    set_calibration,
)
from genrlhf.rewards.calibration import check_demonstrations
from genrlhf.rewards.model_reward import score_texts
from genrlhf.trainers.checkpoint import ResumableTrainer
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.shared import (
    NoTelemetry,
    default_precision,
    named_datasets,
    refuse_adapter_with_frozen_layers,
    refuse_quantised_without_adapter,
    shorter,
    train_adapter_in_float32,
    trl_args,
)

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["RewardModelConfig", "RewardModelTrainer"]

logger = logging.getLogger(__name__)

OVERLONG = ("truncate_prompt", "drop")


@dataclass
class RewardModelConfig(trl.RewardConfig):
    """Settings of `RewardModelTrainer`, on top of every field of `trl.RewardConfig`.

    Learning rate and number of epochs default to those of Kirk et al. 2024. bfloat16 is used where a GPU has it, and
    nowhere else unless asked for.
    """

    learning_rate: float = field(default=3e-5, metadata={"help": "Peak learning rate of AdamW."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the preferences."})
    # None, which is off: any other default would make transformers warn of a field that the user has not set.
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "Recompute activations in the backward pass: less memory, more time."}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens of prompt and completion; None is the model's context."}
    )
    overlong: str = field(
        default="truncate_prompt",
        metadata={
            "help": "What happens to pairs longer than max_length: truncate_prompt cuts the start of the prompt off, "
            "drop leaves the pair out. Either way a warning says how many there were."
        },
    )
    freeze_layers: float = field(
        default=0.0,
        metadata={
            "help": "Share of the layers, from the first, that are frozen together with the embeddings (the paper: "
            "0.8). The score head is always trained. 0 trains everything."
        },
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Use output_dir even if it holds a run with other settings."}
    )

    def __post_init__(self) -> None:
        if self.overlong not in OVERLONG:
            raise ConfigError(f"overlong must be one of {', '.join(OVERLONG)}, not {self.overlong!r}.")
        default_precision(self)
        super().__post_init__()


class RewardModelTrainer(NoTelemetry, ResumableTrainer, trl.RewardTrainer):
    """Trains a model with a scalar head to prefer what people preferred: `trl.RewardTrainer` with checked rows.

    The loss is `−log σ(r(prompt, chosen) − r(prompt, rejected))` (Stiennon et al. 2020, section 3.4). The score r is
    read at the EOS behind the completion. A fresh head is drawn from N(0, 1/(d + 1)), after `args.seed`.

    Args:
        model: usually the SFT model: a causal language model or a classifier with one label; name, folder or module.
        args: the settings.
        train_dataset: rows of `prompt`, `chosen`, `rejected`, text or messages; conversations may hold the prompt
            themselves. A `margin` is subtracted from the difference of the scores.
        eval_dataset: the same, for `evaluate`, which reports loss, accuracy and margin.
        processing_class: the tokenizer; by default the one saved with the model.
        peft_config: train an adapter (and the head) instead of the model itself.
        callbacks: further callbacks.
        kwargs: further arguments of `trl.RewardTrainer`.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that cannot become a reward model, or has more than one label.
        ConfigError: for settings that cannot work together.
    """

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: RewardModelConfig | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs: Any,
    ) -> None:
        args = args if args is not None else RewardModelConfig("reward_model")
        refuse_adapter_with_frozen_layers(args.freeze_layers, peft_config, model)
        set_seed(args.seed)
        loaded = load_for_reward_training(
            model, model_init_kwargs=args.model_init_kwargs, trust_remote_code=args.trust_remote_code
        )
        refuse_quantised_without_adapter(loaded, peft_config)
        tokenizer = load_tokenizer(
            model if isinstance(model, str) else loaded, processing_class, trust_remote_code=args.trust_remote_code
        )
        ensure_pad_token(tokenizer, loaded)
        if args.disable_dropout:
            disable_dropout(loaded)
        freeze_layers(loaded, args.freeze_layers)
        self._base_name = str(getattr(loaded.config, "_name_or_path", ""))
        self._preferences = train_dataset
        max_length = shorter(args.max_length, context_length(loaded))
        encoded = {
            name: encode_preferences(dataset, tokenizer, max_length=max_length, overlong=args.overlong, source=name)
            for name, dataset in named_datasets(train_dataset, eval_dataset)
        }
        if isinstance(eval_dataset, dict):
            eval_dataset = {key: encoded[f"eval_dataset[{key!r}]"] for key in eval_dataset}
        else:
            eval_dataset = encoded.get("eval_dataset")
        super().__init__(
            model=loaded,
            args=trl_args(args, max_length=max_length),
            train_dataset=encoded.get("train_dataset"),
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            peft_config=_with_trained_head(peft_config),
            callbacks=callbacks,
            **kwargs,
        )
        train_adapter_in_float32(self.model, autocast=bool(args.bf16 or args.fp16))

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        A gain and bias that the model brings along belong to its old scores and are dropped, with a warning.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        claim_output_dir(self, base_model=self._base_name, resuming=bool(resume_from_checkpoint))
        if drop_calibration(self.model.config):
            logger.warning("Training changes the scores that the model was calibrated on; call calibrate() after it.")
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def evaluate(self, eval_dataset: Any = None, **kwargs: Any) -> dict[str, float]:
        """Return loss, accuracy and margin on `eval_dataset`, by default the one the trainer was given."""
        options = {"max_length": self.args.max_length, "overlong": self.args.overlong}
        if isinstance(eval_dataset, dict):
            eval_dataset = {
                key: encode_preferences(dataset, self.processing_class, source=f"eval_dataset[{key!r}]", **options)
                for key, dataset in eval_dataset.items()
            }
        elif isinstance(eval_dataset, Dataset):
            eval_dataset = encode_preferences(eval_dataset, self.processing_class, source="eval_dataset", **options)
        figures: dict[str, float] = super().evaluate(eval_dataset, **kwargs)
        return figures

    def calibrate(self, dataset: Dataset | None = None, *, mean: float = 0.0, std: float | None = None) -> Calibration:
        """Choose gain and bias such that demonstrations have this mean reward, and this deviation if one is given.

        Call it after `train` and before `save_model`, which saves both with the model. Loss, accuracy and margin are
        those of the scores, and stay as they are. See `genrlhf.rewards.ModelReward.calibrate` for why, and for the
        papers. With several processes, all of them call it.

        Args:
            dataset: rows of `prompt` and `completion`; by default the prompts of the training preferences, with their
                `chosen` completions.
            mean: the mean of their rewards.
            std: the standard deviation of their rewards, dividing by their number; None leaves the gain at 1.

        Returns:
            The gain and bias chosen.

        Raises:
            ConfigError: for a mean or deviation that no rewards can have, or where there are no demonstrations.
            DataError: for rows that cannot be used, scores that are not finite, or scores without deviation.
        """
        check_target(mean, std)
        if dataset is not None:
            source, (prompts, completions) = "dataset", check_demonstrations(dataset)
        elif self._preferences is not None and "chosen" in self._preferences.column_names:
            source, completions = "train_dataset", self._preferences["chosen"][:]
            prompts = _prompts(self._preferences)
        else:
            raise ConfigError("calibrate() needs demonstrations; give a dataset of prompt and completion.")
        was_training = self.model.training
        self.model.eval()
        scores = score_texts(
            self.model,
            self.processing_class,
            prompts,
            completions,
            batch_size=self.args.per_device_eval_batch_size,
            max_length=context_length(self.model),
        )
        self.model.train(was_training)
        calibration = fit_calibration(scores, mean=mean, std=std, source=source)
        set_calibration(self.model.config, calibration)
        return calibration

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, with its gain and bias, and the tokenizer; `output_dir` by default that of the settings."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and hasattr(self.model, "peft_config"):
            # The config, which holds them, is not saved with an adapter.
            folder = Path(output_dir if output_dir is not None else self.args.output_dir)
            save_calibration(folder, calibration_of(self.model.config))


def _with_trained_head(peft_config: PeftConfig | None) -> PeftConfig | None:
    """Return the config for a sequence classifier, so that the adapter trains and saves the score head too."""
    if peft_config is None or peft_config.task_type == "SEQ_CLS":
        return peft_config
    changed = copy.copy(peft_config)
    changed.task_type = "SEQ_CLS"
    return changed


def _prompts(dataset: Dataset) -> list[Any]:
    """Return the prompts, empty ones for conversations that hold the prompt themselves."""
    return dataset["prompt"][:] if "prompt" in dataset.column_names else [[]] * len(dataset)


def encode_preferences(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    overlong: str,
    source: str,
) -> Dataset:
    """Return `chosen_ids` and `rejected_ids` (and `margin`), tokenised as `ModelReward` does when it scores.

    Raises:
        DataError: for rows that cannot be used, and where none is left.
    """
    if "chosen_ids" in dataset.column_names:
        return dataset
    whole = "prompt" not in dataset.column_names and len(dataset) > 0 and isinstance(dataset[0].get("chosen"), list)
    check_rows(dataset, ["chosen", "rejected"] if whole else ["prompt", "chosen", "rejected"], source=source)
    prompts = _prompts(dataset)
    columns = {
        f"{side}_ids": [
            encode_pair(tokenizer, prompt, text) for prompt, text in zip(prompts, dataset[side], strict=True)
        ]
        for side in ("chosen", "rejected")
    }
    if "margin" in dataset.column_names:
        columns["margin"] = dataset["margin"]
    encoded = Dataset.from_dict(columns)
    if max_length is None:
        return encoded
    lengths = [max(len(a), len(b)) for a, b in zip(columns["chosen_ids"], columns["rejected_ids"], strict=True)]
    kept = [row for row, length in enumerate(lengths) if length <= max_length]
    if len(kept) == len(lengths):
        return encoded
    logger.warning(
        "%d of %d pairs of %s are longer than max_length=%d tokens; %s.",
        len(lengths) - len(kept),
        len(lengths),
        source,
        max_length,
        "they are left out" if overlong == "drop" else "their prompts lose the start",
    )
    if overlong == "truncate_prompt":
        return encoded.map(
            lambda row: {side: row[side][-max_length:] for side in ("chosen_ids", "rejected_ids")},
            load_from_cache_file=False,
        )
    if not kept:
        raise DataError(
            f"No pair of {source} is as short as max_length={max_length} tokens; raise it or truncate_prompt."
        )
    return encoded.select(kept)
