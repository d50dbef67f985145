"""Scalar heads: a value or a score from hidden states, in float32 whatever the model computes in."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

__all__ = ["Float32Linear", "ScalarHead"]


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32, also within autocast, whatever its weights are held in.

    A reward is compared with others of nearly its size, and bfloat16 has 8 bits: between 4 and 8 it knows steps of
    1/32.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return float32 of the usual shape for an input of any dtype."""
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return nn.functional.linear(input.float(), self.weight.float(), bias)


class ScalarHead(nn.Module):
    """A linear map from hidden states to one number, in float32.

    Args:
        hidden_size: d.
        init: "zeros", so that a fresh value head predicts 0 everywhere; or "normal", weights from N(0, 1/(d + 1)) as
            for a reward head (Stiennon et al. 2020, appendix B). The bias starts at 0.
    """

    def __init__(self, hidden_size: int, *, init: Literal["zeros", "normal"] = "zeros") -> None:
        super().__init__()
        self.linear = Float32Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.bias)
        if init == "zeros":
            nn.init.zeros_(self.linear.weight)
        else:
            nn.init.normal_(self.linear.weight, std=1 / math.sqrt(hidden_size + 1))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (B, T) float32 for hidden states (B, T, d) of any dtype."""
        values: torch.Tensor = self.linear(hidden).squeeze(-1)
        return values
