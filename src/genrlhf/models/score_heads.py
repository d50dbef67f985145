"""The heads of sequence classifiers, which read a score."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from genrlhf.models.heads import Float32Linear
from genrlhf.models.structure import modules_above_layers

__all__ = ["reset_score_head", "score_in_float32"]


def score_in_float32(model: nn.Module) -> None:
    """Let what reads a classifier's score from its last layer compute in float32, and hold its weights so; in place.

    Names, and so what is saved, stay as they are: plain transformers reads the same scores in float32. Does nothing to
    a language model.
    """
    for head in modules_above_layers(model):
        for parameter in head.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.float()
        for module in head.modules():
            # Not what bitsandbytes or an adapter has put in a layer's place.
            if type(module) is nn.Linear:
                module.__class__ = Float32Linear


def reset_score_head(model: Any, *, zeros: bool = False) -> None:
    """Draw the score head of a sequence classifier from N(0, 1/(d + 1)), or make it `zeros`; bias 0.

    Stiennon et al. 2020, "Learning to summarize from human feedback", appendix B. The numbers come from torch's global
    generator: seed it first.
    """
    layers = [m for head in modules_above_layers(model) for m in head.modules() if isinstance(m, nn.Linear)]
    # Some heads have their last layer first.
    linear = [layer for layer in layers if layer.out_features == model.config.num_labels][-1]
    nn.init.normal_(linear.weight, std=0.0 if zeros else 1 / math.sqrt(linear.in_features + 1))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
