"""How a trainer draws completions and scores them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from genrlhf.errors import ConfigError
from genrlhf.trainers.cut_off import CutOffRule
from genrlhf.trainers.ranges import ABOVE_ZERO, AT_LEAST_ONE, BELOW_ONE, PROBABILITY, ZERO_OR_MORE, check_ranges
from genrlhf.types import SamplingParams

__all__ = ["SamplingSettings"]


@dataclass
class SamplingSettings:
    """Fields that a config has before those of `transformers.TrainingArguments`, or of a class of TRL."""

    max_new_tokens: Annotated[int, AT_LEAST_ONE] = field(
        default=48, metadata={"help": "Longest completion, in tokens."}
    )
    min_new_tokens: int = field(default=0, metadata={"help": "EOS cannot be drawn before this many tokens."})
    temperature: Annotated[float, ABOVE_ZERO] = field(default=1.0, metadata={"help": "Sampling temperature, above 0."})
    top_k: Annotated[int, ZERO_OR_MORE] = field(
        default=0, metadata={"help": "Draw from this many most likely tokens; 0 switches it off."}
    )
    top_p: Annotated[float, PROBABILITY] = field(
        default=1.0, metadata={"help": "Draw from the nucleus of this probability; 1 switches it off."}
    )
    min_p: Annotated[float, BELOW_ONE] = field(
        default=0.0,
        metadata={"help": "Draw from tokens at least this fraction as likely as the likeliest; 0 switches it off."},
    )
    stop: list[str] | None = field(default=None, metadata={"help": "Strings that end a completion."})
    missing_eos_score: float | None = field(
        default=None,
        metadata={
            "help": "Replaces the score of a completion that ends neither in EOS nor in a stop string (Huang et al. "
            "2024, detail 4); None leaves the score alone."
        },
    )
    missing_eos_penalty: Annotated[float | None, ZERO_OR_MORE] = field(
        default=None,
        metadata={"help": "Subtracted from the score of such a completion instead; wants missing_eos_score=None."},
    )
    sampling_batch_size: Annotated[int, AT_LEAST_ONE] = field(
        default=128, metadata={"help": "Sequences decoded at a time on one device."}
    )
    reward_batch_size: Annotated[int, AT_LEAST_ONE] = field(
        default=64, metadata={"help": "Texts scored at a time by a reward model."}
    )

    def check(self) -> None:
        """Raise `ConfigError` for a setting out of its range, these and others, or two that cannot go together."""
        check_ranges(self)
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens must lie between 0 and max_new_tokens ({self.max_new_tokens}), not "
                f"{self.min_new_tokens}."
            )
        CutOffRule(self.missing_eos_score, self.missing_eos_penalty)
        SamplingParams(stop=self.stop or ())  # type: ignore[arg-type]

    @property
    def sampling_params(self) -> SamplingParams:
        """How completions are drawn."""
        return SamplingParams(
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            stop=tuple(self.stop or ()),
        )

    @property
    def cut_off_rule(self) -> CutOffRule:
        """What being cut off does to the score of a completion."""
        return CutOffRule(self.missing_eos_score, self.missing_eos_penalty)
