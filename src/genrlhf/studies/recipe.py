"""The settings of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genrlhf.errors import ConfigError
from genrlhf.types import SamplingParams

__all__ = ["METHODS", "Recipe"]

METHODS = ("base", "sft", "ppo", "best_of_n")
"""The methods a study can compare, in the order of its tables."""


@dataclass(frozen=True)
class Recipe:
    """How a study trains, samples and measures.

    Attributes:
        sft: fields of `SFTConfig`.
        reward_model: fields of `RewardModelConfig`.
        ppo: fields of `PPOConfig`.
        methods: which of `METHODS` are compared.
        n: N of best-of-N.
        temperature: at which every method is sampled.
        max_new_tokens: length of the longest output, in tokens.
        outputs_per_input: K, the outputs of an input whose per-input diversity is measured.
        diversity_inputs: inputs of the set in distribution whose per-input diversity is measured, the first ones; of
            the others, and in the other sets, one output is drawn.
        preference_prompts: prompts that preferences are made for where the task has none.
        preference_samples: samples of each, from the SFT model, that the gold score or an automatic rater ranks.
        preference_pairs: pairs of each.
        preference_temperature: of their Bradley-Terry labels, in units of the score; 0 for labels without noise.
        sampling_batch_size: sequences decoded at a time.
        seed: of training and sampling.
    """

    sft: Mapping[str, Any] = field(default_factory=dict)
    reward_model: Mapping[str, Any] = field(default_factory=dict)
    ppo: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ("sft", "ppo", "best_of_n")
    n: int = 16
    temperature: float = 1.0
    max_new_tokens: int = 48
    outputs_per_input: int = 16
    diversity_inputs: int = 500
    preference_prompts: int = 1000
    preference_samples: int = 4
    preference_pairs: int = 2
    preference_temperature: float = 0.0
    sampling_batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown:
            raise ConfigError(f"methods may be {', '.join(METHODS)}, not {', '.join(map(repr, unknown))}.")
        for name in ("n", "max_new_tokens", "outputs_per_input", "sampling_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}.")

    @property
    def sampling_params(self) -> SamplingParams:
        """How every method is sampled."""
        return SamplingParams(max_new_tokens=self.max_new_tokens, temperature=self.temperature)

    def outputs_of(self, row: int) -> int:
        """Return how many outputs the input at `row` of an evaluation set gets."""
        return self.outputs_per_input if row < self.diversity_inputs else 1
