"""Models that the stages of a study use one after the other, loaded once in a process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from accelerate import PartialState

from genrlhf.data.asking import asking_of
from genrlhf.models import ensure_pad_token, load_causal_lm, load_tokenizer
from genrlhf.rewards import load_reward
from genrlhf.sampling import TransformersSampler
from genrlhf.types import RewardFunction

__all__ = ["Workshop"]

_KEPT = 2
"""Models that write are kept so many at a time: one, and that which it is compared with."""


class Workshop:
    """Keeps the models that were used last.

    Args:
        batch_size: sequences decoded and texts scored at a time.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._samplers: OrderedDict[str, TransformersSampler] = OrderedDict()
        self._rewards: OrderedDict[str, RewardFunction] = OrderedDict()

    @property
    def device(self) -> Any:
        """Where models run: the GPU of this process, where there is one."""
        return PartialState().device if torch.cuda.is_available() else torch.device("cpu")

    def sampler(self, model: str) -> TransformersSampler:
        """Return a sampler of the model of a name or in a folder, which is asked as that folder says."""
        if model not in self._samplers:
            while len(self._samplers) >= _KEPT:
                self._samplers.popitem(last=False)
            loaded, tokenizer = load_causal_lm(model), load_tokenizer(model)
            ensure_pad_token(tokenizer, loaded)
            loaded.to(self.device)
            self._samplers[model] = TransformersSampler(
                loaded.eval(), tokenizer, batch_size=self.batch_size, asking=asking_of(model)
            )
        self._samplers.move_to_end(model)
        return self._samplers[model]

    def reward(self, model: str) -> RewardFunction:
        """Return the reward model of a name or in a folder."""
        if model not in self._rewards:
            self._rewards.clear()
            self._rewards[model] = load_reward(model, batch_size=self.batch_size, device=self.device)
        return self._rewards[model]

    def clear(self) -> None:
        """Let go of all models, as before training, which needs the memory."""
        self._samplers.clear()
        self._rewards.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
