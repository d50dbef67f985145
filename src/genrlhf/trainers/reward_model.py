"""Reward modelling on preferences."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import trl
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel, TrainerCallback

from genrlhf.errors import ConfigError
from genrlhf.models import load_for_reward_training
from genrlhf.models.model_set import load_to_train, make_trainable
from genrlhf.models.packed_pairs import pair_scores, pairs_behind_prompts, reads_pairs
from genrlhf.models.precision import with_precision_of
from genrlhf.models.scoring import reads_at_eos, refuse_reading_padding
from genrlhf.models.structure import context_length, modules_above_layers
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
from genrlhf.rewards.model_reward import options_of, score_texts
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.checkpoint import ResumableTrainer
from genrlhf.trainers.counting import CountsRows, WeightedEvaluation
from genrlhf.trainers.fine_tuning_settings import FineTuningSettings
from genrlhf.trainers.preference_data import PreferenceEncoder, encode_preferences, preferred
from genrlhf.trainers.rows import Rows, columns_of, refuse_endless
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.saving import LeavesModel
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

__all__ = ["RewardModelConfig", "RewardModelTrainer"]

logger = logging.getLogger(__name__)

OVERLONG = ("truncate_prompt", "drop")


@dataclass
class RewardModelConfig(FineTuningSettings, trl.RewardConfig):
    """Settings of `RewardModelTrainer`, on top of every field of `trl.RewardConfig`.

    Learning rate and number of epochs default to those of Kirk et al. 2024. bfloat16 is used where a GPU has it, and
    nowhere else unless asked for.
    """

    overlong: str = field(
        default="truncate_prompt",
        metadata={
            "help": "What happens to pairs longer than max_length: truncate_prompt cuts the start of the prompt off, "
            "drop leaves the pair out. Either way a warning says how many there were."
        },
    )

    def __post_init__(self) -> None:
        if self.overlong not in OVERLONG:
            raise ConfigError(f"overlong must be one of {', '.join(OVERLONG)}, not {self.overlong!r}.")
        super().__post_init__()


class RewardModelTrainer(NoTelemetry, LeavesModel, ResumableTrainer, CountsRows, WeightedEvaluation, trl.RewardTrainer):
    """Trains a model with a scalar head to prefer what people preferred: `trl.RewardTrainer` with checked rows.

    The loss is `−log σ(r(prompt, chosen) − r(prompt, rejected))` (Stiennon et al. 2020, section 3.4), a mean over the
    pairs of an optimizer step. The score r is read at the EOS behind the completion, by an encoder such as BERT at its
    first token. A fresh head is drawn from N(0, 1/(d + 1)), after `args.seed`.

    Args:
        model: usually the SFT model: a causal language model or a classifier with one label; name, folder or module.
        args: the settings.
        train_dataset: rows of `prompt`, `chosen`, `rejected`, text or messages. Without a `prompt` it is what both
            completions begin with. A `margin` is subtracted from the difference of the scores; `tools` and
            `chat_template_kwargs` reach the chat template. An `IterableDataset` needs `max_steps`.
        eval_dataset: the same, or a dictionary of several, for `evaluate`.
        processing_class: the tokenizer; by default the one saved with the model.
        peft_config: train an adapter (and the head) instead of the model itself.
        callbacks: further callbacks.
        kwargs: further arguments of `trl.RewardTrainer`.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that cannot become a reward model, or has more than one label.
        ConfigError: for settings that cannot work together.
    """

    made_by = MadeBy("reward_model", "Reward model", "Stiennon et al. 2020, arXiv 2009.01325")

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: RewardModelConfig | None = None,
        train_dataset: Rows | None = None,
        eval_dataset: Rows | dict[str, Rows] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs: Any,
    ) -> None:
        args = args if args is not None else RewardModelConfig("reward_model")
        make_output_dir(args)
        loaded = load_to_train(
            model, load_for_reward_training, args, processing_class=processing_class, peft_config=peft_config
        )
        if peft_config is None:
            _refuse_adapter_without_head(loaded.model)
        tokenizer, self._base_name = loaded.tokenizer, loaded.name
        self.adapter_base = loaded.adapter_base
        _refuse_lost_weights(loaded.model, peft_config)
        args = with_precision_of(loaded.model, args)
        self._preferences, self._arguments = train_dataset, kwargs
        self._encoder = PreferenceEncoder(
            tokenizer,
            max_length=shorter(args.max_length, context_length(loaded.model)),
            truncate=args.overlong == "truncate_prompt",
            close=reads_at_eos(loaded.model),
        )
        self._sources = named_datasets(train_dataset, eval_dataset, streams=True)
        refuse_endless(train_dataset, args.max_steps)
        super().__init__(
            model=loaded.model,
            args=trl_args(args, max_length=self._encoder.max_length, pad_token=tokenizer.pad_token),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            peft_config=_with_trained_head(peft_config),
            callbacks=callbacks,
            **kwargs,
        )
        self.model_accepts_loss_kwargs = True
        if device_for_trials(args) is not None:
            refuse_reading_padding(self.model, int(tokenizer.pad_token_id))
        # Only now is there an adapter, where there is one.
        make_trainable(self.model, args)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Tokenise as a reward model reads when it scores, in place of TRL's own way.

        TRL calls this once its options have changed the tokenizer (`eos_token`, `chat_template_path`).
        """
        if "chosen_ids" in columns_of(dataset) or "chosen_input_ids" in columns_of(dataset):
            return super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        encoder = replace(self._encoder, tokenizer=processing_class)
        return encode_preferences(dataset, encoder, source=source_of(self._sources, dataset), args=args)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the mean over pairs of −log σ(r_chosen − r_rejected − margin), in training over those of a step.

        With `center_rewards_coefficient` c, plus c (r_chosen + r_rejected)².
        """
        scores = None if return_outputs else self._behind_prompts(inputs["input_ids"], inputs["attention_mask"].bool())
        outputs = None
        if scores is None:
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
            scores = outputs.logits.squeeze(-1).float()
        chosen, rejected = scores.chunk(2)
        losses = -logsigmoid(chosen - rejected - inputs.get("margin", 0.0))
        if self.args.center_rewards_coefficient is not None:
            losses = losses + self.args.center_rewards_coefficient * (chosen + rejected) ** 2
        self._record(losses, chosen, rejected, inputs["attention_mask"])
        step = num_items_in_batch
        loss = losses.mean() if step is None else self.share_of_step(losses.sum(), step)
        return (loss, outputs) if return_outputs else loss

    def _behind_prompts(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
        """Return the scores of pairs whose prompts go through the model once for both texts, None where they cannot.

        On a processor only: elsewhere the host would wait for the tokens of every step.
        """
        if not self._shares_prompts or self.accelerator.num_processes > 1:
            return None
        groups = pairs_behind_prompts(input_ids, mask)
        if groups is None:
            return None
        pairs = pair_scores(self.model, groups, int(self.processing_class.pad_token_id)).view(-1, 2)
        return torch.cat([pairs[:, 0], pairs[:, 1]])

    @cached_property
    def _shares_prompts(self) -> bool:
        """Whether the model can score both texts of a pair behind their prompt, with the gradients of whole texts."""
        tokenizer: Any = self.processing_class
        layers = [module for module in self.model.modules() if getattr(module, "gradient_checkpointing", False)]
        alone = self.accelerator.mixed_precision == "no" and not (self.is_fsdp_enabled or self.is_deepspeed_enabled)
        noise = not self.args.disable_dropout or self.args.neftune_noise_alpha is not None
        plain = self.args.device.type == "cpu" and alone and not layers and not noise
        return plain and reads_at_eos(self.model) and reads_pairs(self.model, int(tokenizer.pad_token_id))

    @torch.no_grad()
    def _record(self, losses: torch.Tensor, chosen: torch.Tensor, rejected: torch.Tensor, mask: torch.Tensor) -> None:
        rows = torch.stack([losses, (chosen > rejected).float(), chosen - rejected, chosen, rejected], dim=1)
        if self.model.training:
            self._total_train_tokens += int(self.accelerator.gather(mask.sum()).sum())
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        else:
            rows = self.accelerator.gather_for_metrics(rows)  # without those that fill up the last batch
            rows = rows[self.accelerator.process_index :: self.accelerator.num_processes]
        if not len(rows):
            return
        for column, name in enumerate(("loss", "accuracy", "margin")):
            self.tally.add(name, rows[:, column])
        self.tally.add("mean_reward", rows[:, 3:])
        self.tally.add_extreme("max_reward", rows[:, 3:], sign=1)
        self.tally.add_extreme("min_reward", rows[:, 3:], sign=-1)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        A gain and bias that the model brings along belong to its old scores and are dropped, with a warning.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        claim_output_dir(
            self,
            base_model=self._base_name,
            resuming=bool(resume_from_checkpoint),
            data=self._preferences,
            arguments=self._arguments,
        )
        if drop_calibration(self.model.config):
            logger.warning("Training changes the scores that the model was calibrated on; call calibrate() after it.")
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def evaluate(self, eval_dataset: Any = None, **kwargs: Any) -> dict[str, float]:
        """Return loss, accuracy, margin and rewards on `eval_dataset`, by default the one the trainer was given.

        Each is a mean over pairs, whatever the batch size and the number of processes; with several named sets, every
        set has its own, `eval_{name}_accuracy`.
        """
        check_name(eval_dataset, self.eval_dataset)
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            self._sources = named_datasets(None, eval_dataset, streams=True)
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
            source, (prompts, completions, columns) = "dataset", check_demonstrations(dataset)
        elif isinstance(self._preferences, Dataset) and "chosen" in self._preferences.column_names:
            source, (prompts, completions, columns) = "train_dataset", preferred(self._preferences)
        else:
            raise ConfigError("calibrate() needs demonstrations; give a dataset of prompt and completion.")
        was_training = self.model.training
        self.model.eval()
        scores = score_texts(
            self.model,
            self.processing_class,
            prompts,
            completions,
            options=options_of(columns, len(prompts)),
            batch_size=self.args.per_device_eval_batch_size,
            max_length=context_length(self.model),
            progress=not self.args.disable_tqdm and self.args.process_index == 0,
        )
        self.model.train(was_training)
        calibration = fit_calibration(scores, mean=mean, std=std, source=source)
        set_calibration(self.model.config, calibration)
        return calibration

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and hasattr(self.model, "peft_config"):
            # The config, which holds them, is not saved with an adapter.
            folder = Path(output_dir if output_dir is not None else self.args.output_dir)
            save_calibration(folder, calibration_of(self.model.config))


def _refuse_adapter_without_head(model: Any) -> None:
    """Raise `ConfigError` where a model brings an adapter along that neither trains nor saves the score head."""
    heads = [p for head in modules_above_layers(model) for p in head.parameters()]
    if hasattr(model, "peft_config") and not any(p.requires_grad for p in heads):
        raise ConfigError(
            f"The adapter on the {type(model).__name__} does not train its score head, which would not be saved with "
            "it; give the model without its adapter, and peft_config, or an adapter with task_type='SEQ_CLS'."
        )


def _with_trained_head(peft_config: PeftConfig | None) -> PeftConfig | None:
    """Return a copy of the config for a classifier, so that the adapter trains and saves the score head too."""
    # PEFT writes into what it is given, and the next run would begin with that.
    changed = copy.deepcopy(peft_config)
    if changed is not None:
        changed.task_type = "SEQ_CLS"
    return changed


def _refuse_lost_weights(model: Any, peft_config: PeftConfig | None) -> None:
    """Raise where weights below the score were drawn that an adapter would neither train nor save."""
    if peft_config is None:
        return
    saved = tuple(getattr(peft_config, "modules_to_save", None) or ())
    lost = [name for name in getattr(model, "genrlhf_drawn", ()) if name not in saved]
    if lost:
        raise ConfigError(
            f"The model has no weights for {', '.join(lost)}, which are drawn, and which the adapter would not save; "
            f"add them to it with modules_to_save={[*saved, *lost]}."
        )
