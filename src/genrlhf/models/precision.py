"""In which precision a model is held, computed and trained: one rule for all trainers.

* Computed: in what `bf16` or `fp16` say, by autocast. The default is bfloat16 on a GPU that has it, and where the
  model's weights are bfloat16.
* Trained weights are float32. In bfloat16 a weight has 8 bits, and nearly all steps of an optimizer are smaller than
  half of the last one: they would be rounded away.
* Frozen weights stay in the dtype that they were loaded in. Autocast would cast those in float32 anew for every token
  that is sampled; `genrlhf.models.autocast.frozen_weights_cast` does it once, to the same numbers.
* Scalar heads compute in float32, outside of autocast, see `genrlhf.models.heads`: rewards and values are compared with
  others of nearly their size.
"""

from __future__ import annotations

import copy
import logging
import os
from typing import Any, TypeVar

import torch
from torch import nn

from genrlhf.errors import ConfigError
from genrlhf.models.score_heads import score_in_float32

__all__ = ["default_precision", "hold_in_training_precision", "is_low_precision", "with_precision_of"]

logger = logging.getLogger(__name__)

ArgsT = TypeVar("ArgsT")


def default_precision(args: Any) -> None:
    """Use bfloat16 where a GPU has it, unless the user chose a precision; on a CPU it would cost accuracy, and time.

    A precision that `accelerate launch` was given is the user's choice.
    """
    if args.bf16 is None:
        chosen = args.fp16 or args.use_cpu or "ACCELERATE_MIXED_PRECISION" in os.environ
        args.bf16 = not chosen and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def with_precision_of(model: nn.Module, args: ArgsT) -> ArgsT:
    """Return the settings for training `model`: those given, or with `bf16=True` where its weights are bfloat16.

    Raises:
        ConfigError: where weights are float16 and neither `fp16` nor `bf16` is set.
    """
    low = {p.dtype for p in model.parameters() if p.is_floating_point() and p.dtype.itemsize < 4}
    if args.mixed_precision != "no" or not low:  # type: ignore[attr-defined]
        return args
    if torch.float16 in low:
        raise ConfigError(
            "The model's weights are float16, in which training loses small gradients and steps; load it in float32 or "
            "bfloat16 (model_init_kwargs={'dtype': 'bfloat16'}), or set fp16=True or bf16=True, so that what is "
            "trained is held in float32."
        )
    logger.warning(
        "The model's weights are bfloat16, in which most steps of the optimizer would be rounded away: what is trained "
        "is held in float32 and computed in bfloat16, as bf16=True does."
    )
    changed = copy.copy(args)
    changed.bf16, changed.mixed_precision = True, "bf16"  # type: ignore[attr-defined]
    return changed


def hold_in_training_precision(model: nn.Module) -> None:
    """Hold what is trained of a model, and its score head, in float32; in place, see the module."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point() and parameter.dtype.itemsize < 4:
            parameter.data = parameter.data.float()
    score_in_float32(model)


def is_low_precision(model: Any, mixed_precision: str) -> bool:
    """Say whether passes of other shapes give a model's log-probabilities to fewer than float32's digits.

    Args:
        model: any model.
        mixed_precision: of the accelerator, "no" for none.
    """
    low = any(p.is_floating_point() and p.dtype.itemsize < 4 for p in model.parameters())
    # What 8-bit layers make of a token depends on the others in the batch.
    return mixed_precision != "no" or low or getattr(model, "is_loaded_in_8bit", False) or _rounds_float32_products()


def _rounds_float32_products() -> bool:
    """Say whether products of float32 matrices are made of fewer bits, such as TF32's 10 behind the point."""
    places = (torch.backends, torch.backends.cuda.matmul, torch.backends.mkldnn)
    newer = {getattr(place, "fp32_precision", None) for place in places}
    if newer == {None}:
        return torch.get_float32_matmul_precision() != "highest"
    # From torch 2.9 on, where the question above may be an error.
    return bool(newer & {"tf32", "bf16"})
