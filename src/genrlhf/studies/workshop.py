"""Models that the stages of a study use one after the other, loaded once in a process."""

from __future__ import annotations

import gc
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
        dtype: of the weights of models that write; None for float32.
        trust_remote_code: run code that their repositories ship.
        asks: heed what their folders say is to stand around prompts.
    """

    def __init__(
        self, batch_size: int, *, dtype: str | None = None, trust_remote_code: bool = False, asks: bool = True
    ) -> None:
        self.batch_size, self.asks, self.trust_remote_code = batch_size, asks, trust_remote_code
        self._weights = None if dtype is None else {"dtype": dtype}
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
            trust = self.trust_remote_code
            loaded = load_causal_lm(model, model_init_kwargs=self._weights, trust_remote_code=trust)
            tokenizer = load_tokenizer(model, trust_remote_code=trust)
            ensure_pad_token(tokenizer, loaded)
            loaded.to(self.device)
            asking = asking_of(model) if self.asks else None
            self._samplers[model] = TransformersSampler(
                loaded.eval(), tokenizer, batch_size=self.batch_size, asking=asking
            )
        self._samplers.move_to_end(model)
        return self._samplers[model]

    def reward(self, model: str) -> RewardFunction:
        """Return the reward model of a name or in a folder."""
        if model not in self._rewards:
            self._rewards.clear()
            self._rewards[model] = load_reward(model, batch_size=self.batch_size, device=self.device)
        return self._rewards[model]

    def keep_only(self, *models: str) -> None:
        """Let go of the models that write but for these."""
        gone = [model for model in self._samplers if model not in models]
        for model in gone:
            del self._samplers[model]
        if gone:
            gc.collect()

    def clear(self) -> None:
        """Let go of all models, as before training, which needs the memory."""
        self._samplers.clear()
        self._rewards.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
