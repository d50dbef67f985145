"""How completions are drawn, what a completion is, and who draws it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from genrlhf.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.types.tokens import Generation

__all__ = [
    "Sample",
    "Sampler",
    "SamplingParams",
    "TokenSampler",
]


@dataclass(frozen=True)
class SamplingParams:
    """How completions are drawn; the defaults draw from the model's own distribution.

    The filters act in this order: repetition penalty, temperature, top-k, top-p, min-p.

    Attributes:
        max_new_tokens: the longest completion, in tokens.
        min_new_tokens: neither EOS nor a stop string can end a completion before this many tokens.
        temperature: divides the logits; 0 takes the most likely token.
        top_k: draw from this many most likely tokens; 0 switches it off.
        top_p: draw from the smallest set of tokens that has this probability (Holtzman et al. 2020); 1 switches it off.
        min_p: draw from tokens at least this fraction as likely as the likeliest (Nguyen et al. 2024); 0 switches it
            off.
        repetition_penalty: divides positive and multiplies negative logits of tokens that prompt or completion
            contain already (Keskar et al. 2019, section 4.1); 1 switches it off.
        stop: a completion ends where one of these strings appears, and its text before it.
        logprobs: return the log-probability of every token.
    """

    max_new_tokens: int = 48
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    logprobs: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise ConfigError(f"stop must be a sequence of strings, not one string; write stop=({self.stop!r},).")
        object.__setattr__(self, "stop", tuple(self.stop))
        for name, good, wanted in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("min_new_tokens", 0 <= self.min_new_tokens <= self.max_new_tokens, "between 0 and max_new_tokens"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more, and finite"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p < 1, "0 or more and below 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0, and finite"),
            ("stop", all(isinstance(s, str) and s for s in self.stop), "strings of at least one character"),
        ):
            if not good:
                raise ConfigError(f"{name} must be {wanted}, not {getattr(self, name)!r}.")


@dataclass(frozen=True)
class Sample:
    """One completion of a prompt.

    Attributes:
        text: without special tokens, and without the stop string that ended it.
        finish_reason: "stop" after EOS or a stop string, "length" at `max_new_tokens`.
        num_tokens: sampled tokens, EOS and stop string included.
        logprobs: of every sampled token, in nats, under the distribution at the sampling temperature (1 if that is 0)
            before any filter or penalty; None if `SamplingParams.logprobs` is off. A back end that measures them
            otherwise says so.
        token_ids: the sampled tokens, EOS and stop string included; None where the back end does not tell.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    num_tokens: int
    logprobs: list[float] | None = None
    token_ids: list[int] | None = None

    @property
    def ended(self) -> bool:
        """Whether it ended by itself; otherwise it was cut off."""
        return self.finish_reason == "stop"


@runtime_checkable
class Sampler(Protocol):
    """Draws completions of prompts, each of them text or a conversation as a list of messages."""

    def stream(
        self,
        prompts: Sequence[Any],
        n: int,
        params: SamplingParams,
        seed: int,
        *,
        rows: Sequence[int] | None = None,
        done: Container[int] = (),
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place in prompts, its n samples)` as they are ready, in any order.

        What a prompt draws depends on `seed` and on its row, by default its place, and not on the prompts beside it
        (up to rounding). Places in `done` need no samples; one may come all the same, where leaving it out would change
        the rounding of those that are decoded beside it.
        """
        ...

    def sample(self, prompts: Sequence[Any], n: int, params: SamplingParams, seed: int) -> list[list[str]]:
        """Return the texts of `n` completions of every prompt, in their order; those that inherit have it."""
        found = sorted(self.stream(prompts, n, params, seed), key=lambda pair: pair[0])
        return [[sample.text for sample in samples] for _, samples in found]


class TokenSampler(Protocol):
    """Draws completions as token ids, for training on them."""

    def generate(self, prompts: Sequence[Any], n: int, params: SamplingParams, seeds: Sequence[int]) -> Generation:
        """Return `n` completions of every prompt, the samples of one prompt side by side, each from its own seed."""
        ...

    def update_weights(self, model: PreTrainedModel) -> None:
        """Draw from `model` from now on."""
        ...
