"""The trainers that a policy is tuned with in the folder of a run that another trainer has claimed."""

from __future__ import annotations

import dataclasses
from typing import Any

import transformers

from genrlhf.errors import ConfigError
from genrlhf.trainers.preference_tuning import DPOConfig, DPOTrainer
from genrlhf.trainers.sft import SFTTrainer

__all__ = ["PairTuner", "SupervisedTuner", "pairwise_args"]


class SupervisedTuner(SFTTrainer):
    """SFT in a folder that is claimed already, and in which the trainer around it leaves the model."""

    leaves_model = False

    def _claim_output_dir(self, resuming: bool) -> None:
        return None


class PairTuner(DPOTrainer):
    """The same for DPO."""

    leaves_model = False

    def _claim_output_dir(self, resuming: bool) -> None:
        return None


_SHARED = "freeze_layers max_length disable_dropout dataset_num_proc trust_remote_code router_aux_loss_coef"


def pairwise_args(args: Any) -> DPOConfig:
    """Return the settings of DPO: those that it shares with `args`, and what stands in `args.pairwise`.

    Raises:
        ConfigError: for a setting that `DPOConfig` does not have.
    """
    given = args.pairwise or {}
    known = {field.name for field in dataclasses.fields(DPOConfig) if field.init}
    if not isinstance(given, dict) or set(given) - known:
        wrong = sorted(set(given) - known)[0] if isinstance(given, dict) else given
        raise ConfigError(f"pairwise has {wrong!r}, which is no setting of DPOConfig; leave it out.")
    common = {field.name for field in dataclasses.fields(transformers.TrainingArguments) if field.init}
    shared = {
        name: getattr(args, name) for name in sorted(known & (common | set(_SHARED.split()))) if hasattr(args, name)
    }
    return DPOConfig(**{**shared, **given})
