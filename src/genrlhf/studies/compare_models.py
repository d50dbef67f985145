"""The models of a comparison: how they are asked, and the files that their outputs lie in."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from genrlhf.data.asking import Asking, asking_of
from genrlhf.errors import ConfigError
from genrlhf.models.loading import load_causal_lm, load_tokenizer
from genrlhf.studies.results import temperature_key
from genrlhf.types import Estimate, Sample, Sampler, SamplingParams

if TYPE_CHECKING:
    from genrlhf.sampling import TransformersSampler, VerbalizedSampler
    from genrlhf.sampling.store import SampleStore

__all__ = ["AskedModel", "Drawing", "filled"]


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
        overwrite: throw outputs of other settings away.
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


class AskedModel(Sampler):
    """A model that is loaded when the first output is asked for, and asked in its own way.

    Args:
        model: by its name or folder.
        drawing: how models are sampled.
        chat: a text prompt is sent as a user's message.
        name: of the source; "" for a model that only others are compared with.
    """

    def __init__(self, model: str, drawing: Drawing, *, chat: bool, name: str = "") -> None:
        self.model, self.drawing, self.chat, self.name = model, drawing, chat, name
        self.asking: Asking | None = None if drawing.ignore_asking else asking_of(model)
        self._sampler: TransformersSampler | None = None

    def settings(self) -> dict[str, Any]:
        """Return what tells its outputs from those of another drawing, beside the model and how tokens are drawn."""
        several = None
        if self.name in self.drawing.verbalized:
            several = self.drawing.asked_for_several(self.name, None).settings()
        # A setting that a file does not have is not compared.
        return {
            "dtype": self.drawing.dtype,
            "chat": self.chat,
            "asking": None if self.asking is None else vars(self.asking),
            "verbalized": several,
        }

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
        """Yield samples as they come, see `Sampler`."""
        asked = [_as_message(prompt) if self.chat else prompt for prompt in prompts]
        sampler: Sampler = self._loaded()
        if self.name in self.drawing.verbalized:
            sampler = self.drawing.asked_for_several(self.name, sampler)
        return sampler.stream(asked, n, params, seed, rows=rows, done=done)

    def kl_from(self, other: AskedModel, prompts: Sequence[Any], params: SamplingParams, seed: int) -> Estimate | None:
        """Return the KL from another model in nats an output, at the temperature of the samples.

        Both see this model's prompt. None where the two have different vocabularies.
        """
        from genrlhf.studies.stages.measure import kl_bound, measured_kl

        if other.model == self.model:
            return kl_bound(1, len(prompts))
        asked = [_as_message(prompt) if self.chat else prompt for prompt in prompts]
        return measured_kl(self._loaded(), other._loaded(), asked, params, seed=seed)

    def forgetting(self, other: AskedModel, texts: Sequence[str]) -> dict[str, Estimate]:
        """Return the loss on texts beside that of another model; nothing where the two have different vocabularies."""
        from genrlhf.studies.stages.forgetting import forgetting_figures, measured_forgetting

        found = measured_forgetting(self._loaded(), other._loaded(), texts, max_tokens=512)
        return dict(forgetting_figures(found).get("forgetting", {}))

    def _loaded(self) -> TransformersSampler:
        if self._sampler is None:
            import torch

            from genrlhf.models import ensure_pad_token
            from genrlhf.sampling import TransformersSampler

            trust = self.drawing.trust_remote_code
            model = load_causal_lm(self.model, model_init_kwargs={"dtype": self.drawing.dtype}, trust_remote_code=trust)
            tokenizer = load_tokenizer(self.model, trust_remote_code=trust)
            ensure_pad_token(tokenizer, model)
            model.to("cuda" if torch.cuda.is_available() else "cpu")
            self._sampler = TransformersSampler(
                model.eval(), tokenizer, batch_size=self.drawing.batch_size, asking=self.asking
            )
        return self._sampler

    def close(self) -> None:
        """Let go of the model, so that the next one has its memory."""
        if self._sampler is not None:
            self._sampler = None
            gc.collect()


def filled(store: SampleStore, sampler: Sampler, said: str, report: Callable[[str], None]) -> list[dict[str, Any]]:
    """Draw what a file lacks, and return its rows in the order of the prompts."""
    store.open()
    store.load()
    if len(store.done) < len(store.rows):
        there = f" ({len(store.done)} are there already)" if store.done else ""
        report(f"{said}{there}: sampling")
        last = time.monotonic()

        def progress(now: Any) -> None:
            nonlocal last
            if time.monotonic() - last > 15:
                last = time.monotonic()
                report(f"{said}: {now.prompts} of {now.total}, {now.tokens_per_second:.0f} tokens/s")

        store.run(sampler, progress)
    else:
        report(f"{said}: there already")
    store.finish()
    return store.records()


def _as_message(prompt: Any) -> Any:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
