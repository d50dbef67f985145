"""From what a user passes as `reward` to something that can be called."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from transformers import PreTrainedModel

from genrlhf.errors import ConfigError, excerpt
from genrlhf.models import ensure_pad_token, load_reward_model, load_tokenizer
from genrlhf.models.adapters import is_model
from genrlhf.models.scoring import reads_at_eos, refuse_reading_padding
from genrlhf.models.structure import context_length
from genrlhf.rewards.affine import adapter_calibration, calibration_of, set_calibration
from genrlhf.rewards.calls import AsyncRewardFunction
from genrlhf.rewards.carp import CARPReward, is_carp
from genrlhf.rewards.model_reward import ModelReward
from genrlhf.rewards.weighted import WeightedReward, as_reward
from genrlhf.types import RewardFunction

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["RewardSource", "load_model_reward", "load_reward"]

RewardSource: TypeAlias = Union[
    str,
    "PathLike[str]",
    PreTrainedModel,
    "PeftModel",
    RewardFunction,
    AsyncRewardFunction,
    Sequence[tuple["RewardSource", float]],
]
"""A name or folder of a reward model, a folder of CARP, a module, a callable (maybe asynchronous), or a list of
`(reward, weight)`."""


def load_reward(
    reward: RewardSource,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str = "float32",
    trust_remote_code: bool = False,
) -> RewardFunction:
    """Return a callable `(prompts, completions, **columns) -> list[float]`, synchronous whatever `reward` is.

    Args:
        reward: the name or folder of any sequence-classification model with one label, such a module, the folder of a
            CARP model (its own tokenizers, in float32; see `CARPReward`), a Python
            callable of `prompts`, `completions` and columns, which may be an `async def` or return an awaitable,
            or a list of `(reward, weight)` pairs of these, of which those that are asynchronous run at the same time.
            A callable is called by keyword where its parameters are called `prompts` and `completions`, in any order,
            and by position where they have other names; without `**kwargs` it gets only the columns that it names.
            Asynchronous ones run in a thread with an event loop of its own, the same for all calls. Whatever a
            callable raises arrives as a `RewardError` that names it.
        tokenizer: the tokenizer of the reward model, in a list that of every one; by default the one saved with it.
        batch_size: texts a forward pass of a reward model.
        device: where a reward model runs.
        dtype: what a reward model that is given by its name is loaded in.
        trust_remote_code: run code that a model repository ships.

    Raises:
        ModelError: for a model with other than one label, or with a gain or bias that cannot be.
        ConfigError: for anything that is none of these.
    """
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
    }
    if is_carp(reward):
        return as_reward(CARPReward.load(reward, batch_size=batch_size, device=device))  # type: ignore[arg-type]
    if isinstance(reward, (str, PathLike)) or is_model(reward):
        return load_model_reward(reward, tokenizer=tokenizer, **options)
    if isinstance(reward, (list, tuple)):
        terms, weights = [], []
        for item in reward:
            if not (isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[1], (int, float))):
                raise ConfigError(f"A list of rewards holds (reward, weight) pairs, not {excerpt(item)}.")
            terms.append(load_reward(item[0], tokenizer=tokenizer, **options))
            weights.append(item[1])
        return WeightedReward(terms, weights)
    if callable(reward):
        return as_reward(reward)
    raise ConfigError(
        f"reward must be a model name or folder, a module, a callable or a list of (reward, weight), "
        f"not {excerpt(reward)}."
    )


def load_model_reward(
    model: str | PathLike[str] | PreTrainedModel | PeftModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None,
    batch_size: int,
    device: torch.device | str | None,
    dtype: torch.dtype | str = "float32",
    trust_remote_code: bool,
) -> ModelReward:
    """Return a reward model by its name, folder or module as a reward; see `load_reward`."""
    source: Any = model if is_model(model) else str(model)
    loaded = load_reward_model(source, model_init_kwargs={"dtype": dtype}, trust_remote_code=trust_remote_code)
    if isinstance(source, str) and (own := adapter_calibration(Path(source))) is not None:
        set_calibration(loaded.config, own)  # in place of the base's, whose scores were others
    calibration_of(loaded.config)  # to fail now rather than at the first reward
    processing = load_tokenizer(
        source if isinstance(source, str) else loaded,
        tokenizer,
        trust_remote_code=trust_remote_code,
        needs_eos=reads_at_eos(loaded),
    )
    ensure_pad_token(processing, loaded)
    reward = ModelReward(loaded, processing, batch_size=batch_size, max_length=context_length(loaded), device=device)
    refuse_reading_padding(loaded, int(processing.pad_token_id))
    return reward
