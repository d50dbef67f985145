"""The masking policy of NLPO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from genrlhf.models.reference import frozen_copy
from genrlhf.types import MaskingPolicy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LaggingPolicy"]


class LaggingPolicy:
    """A past state of a policy, whose nucleus limits what the policy draws.

    Ramamurthy et al. 2022, "Is Reinforcement Learning (Not) for Natural Language Processing", algorithm 1 (NLPO).

    Args:
        policy: the model that is trained; frozen parameters are shared with it.
        top_p: probability of the nucleus.
    """

    def __init__(self, policy: PreTrainedModel, top_p: float) -> None:
        self.policy = policy
        self.copy = frozen_copy(policy)
        self.masking = MaskingPolicy(self.copy, top_p)
        self._trained = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]

    def own_tensors(self) -> dict[str, torch.Tensor]:
        """Return the parameters that are not the policy's own, by name."""
        parameters = dict(self.copy.named_parameters())
        return {name: parameters[name].detach().contiguous() for name in self._trained}

    @torch.no_grad()
    def load(self, tensors: dict[str, Any]) -> None:
        """Take over parameters by name."""
        parameters = dict(self.copy.named_parameters())
        for name in self._trained:
            parameters[name].copy_(tensors[name])

    def synchronise(self) -> None:
        """Become the policy as it is now."""
        self.load(dict(self.policy.named_parameters()))

    def follow(self) -> None:
        """Go where the policy is: a launcher may move it only once training has begun."""
        device = next(self.policy.parameters()).device
        if any(parameter.device != device for parameter in self.copy.parameters()):
            # Not the method of transformers, which refuses quantised models even where nothing of them moves.
            nn.Module.to(self.copy, device)
