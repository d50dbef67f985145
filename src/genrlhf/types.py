"""Records and protocols that the layers share.

Masks are boolean, True where a position counts. Shapes, here and wherever sequences are meant::

    B    completions of a batch; the n samples of a prompt lie side by side
    P    tokens of the longest prompt; prompts are left-padded
    T    tokens of the longest completion; completions are right-padded
    V    tokens of the vocabulary; ⌈V / 8⌉ bytes hold a set of them, see `genrlhf.ops.token_sets.pack_bits`
    d    width of a hidden state
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from genrlhf.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel
    from typing_extensions import Self

__all__ = [
    "WHOLE_VOCABULARY",
    "DiversityMetric",
    "Estimate",
    "Generation",
    "GroupRewardFunction",
    "HasBounds",
    "HasDirection",
    "HasSettings",
    "Judge",
    "LeavesOut",
    "MaskingPolicy",
    "MeasuresSets",
    "NeedsTexts",
    "RewardFunction",
    "Sample",
    "Sampler",
    "SamplingParams",
    "Support",
    "TokenBatch",
    "TokenSampler",
    "TrunkStates",
    "UsesLogprobs",
]


@dataclass(frozen=True)
class Estimate:
    """A figure with its uncertainty.

    Attributes:
        value: the point estimate.
        stderr: its standard error; NaN where `n` is 1.
        ci: lower and upper end of the 95 % interval.
        n: number of units (inputs) behind it.
        values: the per-unit values, shape (n,), float64.
    """

    value: float
    stderr: float
    ci: tuple[float, float]
    n: int
    values: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return `{"value", "stderr", "ci": [lo, hi], "n"}`, the JSON form; NaN becomes None."""

        def number(x: float) -> float | None:
            return None if x != x else float(x)

        return {
            "value": number(self.value),
            "stderr": number(self.stderr),
            "ci": [number(self.ci[0]), number(self.ci[1])],
            "n": self.n,
        }

    def __format__(self, spec: str) -> str:
        """Return value and interval, each in `spec`: `f"{estimate:.1f}"` is such as "0.3 [0.2, 0.4]".

        Where nothing bounds the value, there is no interval: "0.3 [unknown]".
        """
        spec = spec or ".3f"
        low, high = self.ci
        ends = "unknown" if low != low or high != high else f"{low:{spec}}, {high:{spec}}"
        return f"{self.value:{spec}} [{ends}]"

    def __str__(self) -> str:
        return format(self)


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


@dataclass(frozen=True)
class Support:
    """Which tokens a log-probability of a completion ranges over, where these are not the whole vocabulary.

    Both distributions of a comparison are renormalised over the same tokens: p(a) = π(a) / Σ_{b in the set} π(b).

    Attributes:
        eos_token_ids: what cannot be drawn at the first `min_new_tokens` places.
        min_new_tokens: 0 leaves it in.
        filtered: the tokens that top-k, top-p, min-p and a masking policy left, as `Generation.allowed` has them, count
            in the comparison with the reference too; otherwise a masking policy's count in ratios only, and those of
            the filters nowhere.
    """

    eos_token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    filtered: bool = False


WHOLE_VOCABULARY = Support()


@dataclass(frozen=True)
class TokenBatch:
    """Prompts and completions as token ids.

    Attributes:
        prompt_ids: (B, P) int64, left-padded.
        prompt_mask: (B, P) bool.
        completion_ids: (B, T) int64, right-padded.
        completion_mask: (B, T) bool; counts every sampled token up to and including the first EOS.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    completion_ids: torch.Tensor
    completion_mask: torch.Tensor

    @property
    def tokens(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ids and mask of the prompts, ids and mask of the completions."""
        return self.prompt_ids, self.prompt_mask, self.completion_ids, self.completion_mask

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The fields that are tensors, those that are None left out."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in found.items() if hasattr(value, "dtype")}

    def to(self, device: Any) -> Self:
        """Return the same with every tensor on `device`."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Generation(TokenBatch):
    """Completions of a batch of prompts, as they were drawn.

    Attributes:
        ended: (B,) bool; True where the completion ends in EOS or a stop string.
        logprobs: (B, T) float32, see `Sample.logprobs`, 0 behind the end; None if they were not asked for, and so are
            the next two. With `allowed` or a `Support`, those of the distribution renormalised over its tokens.
        entropy: (B, T) float32, in nats, of the distribution that `logprobs` are taken under.
        last_hidden: (B, T, d), what the language-model head read each token's logits from; None where the back end does
            not see it.
        trunk: what the layers up to a boundary made of prompts and completions; None if it was not asked for.
        allowed: (B, T, ⌈V / 8⌉) uint8, the tokens that could be drawn: those that a masking policy let through and,
            with `Support.filtered`, the filters; all of them behind the end. None where there was neither.
        unmasked_logprobs: (B, T) float32, what `logprobs` would be without a masking policy; None without one, and with
            `Support.filtered`.
    """

    ended: torch.Tensor
    logprobs: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    last_hidden: torch.Tensor | None = None
    trunk: TrunkStates | None = None
    allowed: torch.Tensor | None = None
    unmasked_logprobs: torch.Tensor | None = None


@dataclass(frozen=True)
class TrunkStates:
    """Hidden states that enter one layer of a model, the same for all models that share the layers before it.

    Attributes:
        prompt: (B / n, P, d), of every prompt once, whatever the number of its samples.
        completion: (B, T, d), of every sampled token, the last one included; undefined behind a completion's end.
        closing: (B, d), of an EOS put behind completions that were cut off at `max_new_tokens`; None if it was put
            behind none of them.
        closed: (B,) bool, where `closing` is defined: not behind completions that ended, nor where the model's context
            had no room for one token more, which may differ from one decoded batch to the next.
    """

    prompt: torch.Tensor
    completion: torch.Tensor
    closing: torch.Tensor | None
    closed: torch.Tensor


@dataclass(frozen=True)
class MaskingPolicy:
    """A model whose nucleus limits what another one draws (Ramamurthy et al. 2022, NLPO).

    Attributes:
        model: a causal language model with the vocabulary of the one that draws.
        top_p: probability of its nucleus, at the sampling temperature.
    """

    model: PreTrainedModel
    top_p: float


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


@runtime_checkable
class HasSettings(Protocol):
    """A reward (or another callable object) that says what its results depend on.

    A run that is started again with others is told apart by it, see `genrlhf.trainers.run_folder`. Functions,
    `functools.partial` and dataclasses need none.
    """

    def settings(self) -> Mapping[str, Any]:
        """Return what JSON can hold; the same whenever two objects give the same results."""
        ...


RewardFunction: TypeAlias = Callable[..., Sequence[float]]
"""`(prompts, completions, **columns) -> list[float]`, one finite number a completion."""

GroupRewardFunction: TypeAlias = Callable[..., Any]
"""`(prompts, completions, rewards, **columns) -> (G, n) numbers`, of the n completions of each of G prompts."""


@runtime_checkable
class DiversityMetric(Protocol):
    """Diversity of a set of texts, higher is more diverse."""

    @property
    def name(self) -> str:
        """What the metric is called in tables and files."""
        ...

    def __call__(self, texts: Sequence[str]) -> float:
        """Return the diversity of `texts`; NaN where it is undefined for so few of them."""
        ...


@runtime_checkable
class NeedsTexts(Protocol):
    """A metric that says how many texts it needs; others take one."""

    min_texts: int


@runtime_checkable
class HasDirection(Protocol):
    """A metric that says which way it goes; others are higher for more diverse texts."""

    higher_is_more_diverse: bool


@runtime_checkable
class HasBounds(Protocol):
    """A metric that says between which values it lies, which its intervals then do not leave."""

    bounds: tuple[float, float] | None


@runtime_checkable
class MeasuresSets(Protocol):
    """A metric that measures many sets in one call, where others are called for each."""

    def batch(self, sets: Sequence[Sequence[str]]) -> Sequence[float]:
        """Return the value of every set of texts, in their order."""
        ...


@runtime_checkable
class LeavesOut(Protocol):
    """A metric that knows its values without some texts without starting anew."""

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, Sequence[float]]:
        """Return the value of `texts`, and the values without each block of indices."""
        ...


@runtime_checkable
class HasRemarks(Protocol):
    """A metric, or what a metric asks, that knows of texts that do not count as they stand."""

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` do not, by what becomes of them, such as "have no words and are left out".

        Asked after the texts were measured; what only measuring tells is not found out for it.
        """
        ...


@runtime_checkable
class UsesLogprobs(Protocol):
    """A metric of the outputs of one input that looks at how likely they were, too."""

    def batch_with_logprobs(
        self, sets: Sequence[Sequence[str]], logprobs: Sequence[Sequence[Sequence[float]]]
    ) -> Sequence[float]:
        """Return the value of every set of texts, from the log-probability of each token of each text."""
        ...


class Judge(Protocol):
    """Says which of two outputs is better."""

    def __call__(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> Sequence[float | None]:
        """Return one verdict a prompt.

        They are coded as AlpacaEval does: 1 where the first output is better, 2 where the second is, 1.5 for a tie,
        None where there is no answer.
        """
        ...
