"""Calibrating a saved reward model."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.chat import TEMPLATE_COLUMNS
from genrlhf.data.pairs import as_pair
from genrlhf.data.schema import check_rows
from genrlhf.errors import ConfigError, excerpt
from genrlhf.models.adapters import is_model
from genrlhf.rewards.affine import Calibration, check_target, save_calibration
from genrlhf.rewards.loading import load_model_reward

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["calibrate_reward", "check_demonstrations"]


def calibrate_reward(
    model: str | PathLike[str] | PreTrainedModel | PeftModel,
    dataset: Dataset,
    *,
    mean: float = 0.0,
    std: float | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    batch_size: int = 64,
    output_dir: str | PathLike[str] | None = None,
    device: torch.device | str | None = None,
    trust_remote_code: bool = False,
) -> Calibration:
    """Choose a reward model's gain and bias such that demonstrations have this mean reward, and store them with it.

    `load_reward` and the trainers then reward with gain · score + bias. Plain transformers loads the model as before
    and sees the score. See `ModelReward.calibrate` for why, and for the papers. Calibrating again replaces what is
    there.

    Args:
        model: the folder or hub name of a sequence-classification model with one label (or an adapter of one), or such
            a module.
        dataset: rows of `prompt` and `completion`, text or conversations: demonstrations, or samples of a model.
        mean: the mean of their rewards.
        std: the standard deviation of their rewards, dividing by their number; None leaves the gain at 1.
        tokenizer: of the reward model; by default the one saved with it.
        batch_size: texts a forward pass.
        output_dir: where to save the model (float32 unless it is a module, an adapter merged into its base) and its
            tokenizer. By default nothing but `config.json` in the model's own folder is rewritten, or
            `genrlhf_reward.json` where that holds an adapter.
        device: where the model runs.
        trust_remote_code: run code that a model repository ships.

    Returns:
        The gain and bias stored.

    Raises:
        ConfigError: for a mean or deviation that no rewards can have; for a module or hub name without `output_dir`.
        DataError: for rows that cannot be used, scores that are not finite, or scores without deviation.
        ModelError: for a model with other than one label.
    """
    check_target(mean, std)
    if not (isinstance(model, (str, PathLike)) or is_model(model)):
        raise ConfigError(f"model must be the name or folder of a reward model, or a module, not {excerpt(model)}.")
    folder = Path(model).resolve() if isinstance(model, (str, PathLike)) and Path(model).is_dir() else None
    target = folder if output_dir is None else Path(output_dir).resolve()
    if target is None:
        kind = "a module" if is_model(model) else f"{str(model)!r}, which is no folder"
        raise ConfigError(f"There is no place to store the gain and bias of {kind}; give output_dir.")
    prompts, completions, columns = check_demonstrations(dataset)
    reward = load_model_reward(
        model, tokenizer=tokenizer, batch_size=batch_size, device=device, trust_remote_code=trust_remote_code
    )
    calibration = reward.calibrate(prompts, completions, mean=mean, std=std, **columns)
    if target == folder:
        save_calibration(target, calibration)
    else:
        reward.model.save_pretrained(target)
        reward.tokenizer.save_pretrained(target)
    return calibration


def check_demonstrations(dataset: Any, *, source: str = "dataset") -> tuple[list[Any], list[Any], dict[str, list[Any]]]:
    """Return the prompts and completions of a dataset, and the columns that the chat template reads.

    Raises:
        DataError: where there are none, or they do not go together, naming the row.
    """
    check_rows(dataset, ["prompt", "completion"], source=source)
    pairs = [
        as_pair(row["prompt"], row["completion"], where=f"{source}, row {number}") for number, row in enumerate(dataset)
    ]
    there = [name for name in TEMPLATE_COLUMNS if name in dataset[0]]
    columns = {name: [row[name] for row in dataset] for name in there}
    return [prompt for prompt, _ in pairs], [completion for _, completion in pairs], columns
