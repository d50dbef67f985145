"""The models of a comparison, and how they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from genrlhf.data.asking import Asking
from genrlhf.errors import ConfigError
from genrlhf.sampling.asked import AskedSampler
from genrlhf.studies.results import temperature_key
from genrlhf.types import Sampler, SamplingParams

if TYPE_CHECKING:
    from genrlhf.sampling import VerbalizedSampler

__all__ = ["AskedModel", "Drawing"]


@dataclass(frozen=True)
class Drawing:
    """How outputs of models are drawn.

    Attributes:
        n: outputs of an input.
        temperatures: a model has a point on its curve for each.
        params: everything else, the longest output among it.
        seed: of the samples.
        chat: a text prompt is sent as a user's message to models that have a chat template.
        ignore_asking: prompts are sent as they are to models whose folder says what is to stand around them.
        verbalized: by the names of sources, how many responses each of their calls has: verbalized sampling.
        verbalized_tail: verbalized sampling asks for responses whose probability is below this; None for all.
        verbalized_tokens: longest answer of its calls; None for `max_new_tokens` and 32 of tags a response.
        dtype: of the weights; "auto" as they are saved.
        batch_size: sequences at a time.
        trust_remote_code: run code that a model's repository ships.
        overwrite: throw outputs of other settings and models away.
    """

    n: int = 4
    temperatures: Sequence[float] = (1.0,)
    params: SamplingParams = field(default_factory=SamplingParams)
    seed: int = 0
    chat: bool = False
    ignore_asking: bool = False
    verbalized: Mapping[str, int] = field(default_factory=dict)
    verbalized_tail: float | None = None
    verbalized_tokens: int | None = None
    dtype: str = "auto"
    batch_size: int = 128
    trust_remote_code: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n is {self.n}; draw at least 1 output of an input (-n).")
        if not self.temperatures:
            raise ConfigError("There are no temperatures; give at least one.")
        if len({temperature_key(t) for t in self.temperatures}) < len(self.temperatures):
            raise ConfigError(f"temperatures are {', '.join(map(str, self.temperatures))}; name each once.")
        for temperature in self.temperatures:
            replace(self.params, temperature=temperature)
        if self.verbalized:
            if self.params.logprobs:
                raise ConfigError("verbalized samples have no log-probabilities; leave logprobs out of the drawing.")
            for name in self.verbalized:
                self.asked_for_several(name, None)
        elif self.verbalized_tail is not None or self.verbalized_tokens is not None:
            raise ConfigError("A tail or tokens of verbalized sampling are given, and no source that is sampled so.")

    def asked_for_several(self, name: str, sampler: Any) -> VerbalizedSampler:
        """Return what asks a sampler, that of a source, for several responses a call."""
        from genrlhf.sampling import VerbalizedSampler

        return VerbalizedSampler(sampler, self.verbalized[name], tail=self.verbalized_tail)

    def params_of(self, name: str, temperature: float) -> SamplingParams:
        """Return how a source is drawn at a temperature."""
        params = replace(self.params, temperature=temperature)
        if (k := self.verbalized.get(name)) is None:
            return params
        longest = self.verbalized_tokens
        return replace(params, max_new_tokens=k * (params.max_new_tokens + 32) if longest is None else longest)


@dataclass(frozen=True)
class AskedModel:
    """A model, and how it is asked.

    Attributes:
        name: of the source.
        model: its name or folder.
        weights: what tells it from others.
        chat: a text prompt is sent as a user's message.
        asking: what its folder says is to stand around a prompt, where that is heeded.
    """

    name: str
    model: str
    weights: str
    chat: bool
    asking: Asking | None

    def settings(self, drawing: Drawing) -> dict[str, Any]:
        """Return what tells its outputs from those of another model or drawing, beside how tokens are drawn."""
        several = None
        if self.name in drawing.verbalized:
            several = drawing.asked_for_several(self.name, None).settings()
        return {
            "weights": self.weights,
            "dtype": drawing.dtype,
            "chat": self.chat,
            "asking": None if self.asking is None else vars(self.asking),
            "verbalized": several,
        }

    def prompts(self, prompts: Sequence[Any]) -> list[Any]:
        """Return prompts as its sampler takes them."""
        return [_as_message(prompt) if self.chat else prompt for prompt in prompts]

    def sampler(self, loaded: Sampler, drawing: Drawing) -> Sampler:
        """Return what asks the model, which is loaded, in its own way."""
        if self.name in drawing.verbalized:
            loaded = drawing.asked_for_several(self.name, loaded)
        return AskedSampler(loaded, _as_message) if self.chat else loaded


def _as_message(prompt: Any) -> Any:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
