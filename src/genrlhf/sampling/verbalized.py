"""A `Sampler` that asks for several responses with their probabilities in one call, and takes some of them."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from genrlhf.data.asking import Asking
from genrlhf.errors import ConfigError, ModelError, excerpt
from genrlhf.sampling.together import batches_of
from genrlhf.types import Sample, Sampler, SamplingParams

__all__ = ["Verbalized", "VerbalizedRecord", "VerbalizedSample", "VerbalizedSampler", "parse_responses"]

logger = logging.getLogger(__name__)

LONGEST = 100_000
"""Characters of an answer that are read."""
_ENOUGH = 16
"""Calls after which it is no accident that none was answered as asked."""

_ASK = (
    "\n\nGenerate {k} responses to this, {how}. Put each into a <response> tag that holds a <text> and a numeric "
    "<probability> between 0 and 1.\n"
)
_TAGGED = re.compile(r"<response>(.*?)(?:</response>|(?=<response>)|\Z)", re.DOTALL | re.IGNORECASE)
_TEXT = re.compile(r"<text>(.*?)(?:</text>|(?=<probability>)|\Z)", re.DOTALL | re.IGNORECASE)
_PROBABILITY = re.compile(r"<probability>\s*(.*?)\s*(?:</probability>|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Verbalized:
    """A response of a call.

    Attributes:
        text: the response.
        probability: as it was stated, a share; None where it was not stated, or is no number.
        percent: it was stated in percent.
    """

    text: str
    probability: float | None
    percent: bool = False


@dataclass(frozen=True)
class VerbalizedSample(Sample):
    """A sample of a call that had several; those of one call depend on each other.

    Attributes:
        call: the number of its call among those of the prompt.
        probability: that it was drawn with among the call's responses; None where the call had none.
    """

    call: int = 0
    probability: float | None = None


@dataclass
class VerbalizedRecord:
    """What calls were answered with, and what was repaired of it.

    Attributes:
        calls: how many there were.
        failed: calls of whose answer nothing could be read.
        responses: that could be read.
        fewer: calls with fewer responses than were asked for.
        uniform: calls in which a probability is missing or no number, so that all are taken as equally likely.
        dropped: responses with a probability below 0 or above 100 %.
        percents: responses whose probability was stated in percent.
    """

    calls: int = 0
    failed: int = 0
    responses: int = 0
    fewer: int = 0
    uniform: int = 0
    dropped: int = 0
    percents: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{each.name} {getattr(self, each.name)}" for each in fields(self))


def parse_responses(answer: str) -> list[Verbalized]:
    """Return the responses of an answer: tags, or JSON, as data; none where there are none.

    Example:
        >>> parse_responses("<response><text>A</text><probability>0.3</probability></response>")
        [Verbalized(text='A', probability=0.3, percent=False)]
        >>> parse_responses('[{"text": "A", "probability": "30 %"}]')
        [Verbalized(text='A', probability=0.3, percent=True)]
    """
    answer = answer[:LONGEST]
    tagged = []
    for part in _TAGGED.findall(answer):
        text, probability = _TEXT.search(part), _PROBABILITY.search(part)
        if text is not None and text[1].strip():
            tagged.append(Verbalized(text[1].strip(), *_share(None if probability is None else probability[1])))
    return tagged or _from_json(answer)


def _from_json(answer: str) -> list[Verbalized]:
    start = min((place for place in map(answer.find, "[{") if place >= 0), default=-1)
    if start < 0:
        return []
    try:
        found, _ = json.JSONDecoder().raw_decode(answer[start:])
    except (ValueError, RecursionError):
        return []
    if isinstance(found, dict):
        found = found.get("responses", [found])
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    texts = [(row.get("text"), row.get("probability")) for row in rows]
    return [Verbalized(text.strip(), *_share(p)) for text, p in texts if isinstance(text, str) and text.strip()]


def _share(stated: Any) -> tuple[float | None, bool]:
    """Return a probability as a share, and whether it was stated in percent."""
    words = str(stated).strip()[:40]
    percent = words.endswith("%")
    try:
        value = float(words.removesuffix("%").strip())
    except ValueError:
        return None, False
    if not math.isfinite(value) or isinstance(stated, bool):
        return None, False
    # 30 can only be 30 %.
    percent = percent or value > 1
    return (value / 100 if percent else value), percent


@dataclass
class VerbalizedSampler(Sampler):
    """Asks a sampler for k responses with their probabilities a call, and takes one by them, or all.

    Zhang et al. 2025, "Verbalized Sampling: How to Mitigate Mode Collapse and Unlock LLM Diversity" (arXiv 2510.01171).
    It costs no training. A call of which nothing can be read gives a failed sample, empty and not ended, never another
    in its place. `max_new_tokens` is that of a call, which holds k responses and their tags.

    Args:
        sampler: what is asked, such as a `ServerSampler`.
        k: responses a call.
        keep: "draw" one a call, by the stated probabilities over their sum; or "all" k of it, for which there are
            ⌈n / k⌉ calls of a prompt. Those of a call depend on each other: `VerbalizedSample.call` says whose.
        tail: ask for responses whose probability is below this; None for the whole distribution.

    Attributes:
        record: what was answered so far, and repaired of it.

    Raises:
        ConfigError: for a setting out of its range.
    """

    sampler: Sampler
    k: int = 5
    keep: str = "draw"
    tail: float | None = None
    record: VerbalizedRecord = field(default_factory=VerbalizedRecord, repr=False)

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ConfigError(f"k is {self.k}; ask for at least 2 responses a call (the paper: 5).")
        if self.keep not in ("draw", "all"):
            raise ConfigError(f"keep is {self.keep!r}; it must be draw or all.")
        if self.tail is not None and not 0 < self.tail < 1:
            raise ConfigError(f"tail is {self.tail}; it must lie between 0 and 1 (the paper: 0.1).")

    def settings(self) -> dict[str, Any]:
        """Return what tells its samples from others."""
        return {"k": self.k, "keep": self.keep, "tail": self.tail}

    @property
    def asking(self) -> Asking:
        """What stands behind a prompt."""
        how = "sampled at random from the full distribution"
        if self.tail is not None:
            how = f"sampled at random from its tails, each with a probability below {self.tail:g}"
        return Asking(after=_ASK.format(k=self.k, how=how))

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
        """Yield `(place in prompts, its n samples)` as the sampler answers.

        Raises:
            ConfigError: for log-probabilities, which a response has none of.
            ModelError: where none of the first calls was answered as asked.
        """
        if params.logprobs:
            raise ConfigError("A response has no log-probability of its own under verbalized sampling; leave them out.")
        rows = range(len(prompts)) if rows is None else rows
        asked = [self.asking(prompt) for prompt in prompts]
        for place, samples in self.sampler.stream(asked, self._calls(n), params, seed, rows=rows, done=done):
            found = [one for call, each in enumerate(samples) for one in self._taken(each, call, seed, rows[place])]
            yield place, list(found[:n])
        logger.warning("Verbalized sampling: %s.", self.record)

    def batches(self, prompts: Sequence[Any], n: int, params: SamplingParams) -> list[Sequence[int]]:
        """Return the places of prompts that the sampler decodes together."""
        return batches_of(self.sampler, [self.asking(prompt) for prompt in prompts], self._calls(n), params)

    def _calls(self, n: int) -> int:
        return n if self.keep == "draw" else -(-n // self.k)

    def _taken(self, answer: Sample, call: int, seed: int, row: int) -> list[VerbalizedSample]:
        """Return the samples of a call: one, or k."""
        wanted = 1 if self.keep == "draw" else self.k
        read = parse_responses(answer.text)[: self.k]
        good = [each for each in read if each.probability is None or 0 <= each.probability <= 1]
        self._note(answer, read, good)
        weights = [each.probability for each in good]
        if None in weights or not sum(filter(None, weights)):
            weights = [1.0] * len(good)
        shares = np.array(weights, dtype=np.float64) / max(sum(filter(None, weights)), 1e-300)
        places = list(range(len(good)))
        if self.keep == "draw" and good:
            places = [int(np.random.default_rng([seed, row, call]).choice(len(good), p=shares))]
        # The tokens of a call are those of its samples together.
        tokens = [answer.num_tokens // wanted + (number < answer.num_tokens % wanted) for number in range(wanted)]
        made = [
            VerbalizedSample(good[at].text, "stop", count, call=call, probability=float(shares[at]))
            for at, count in zip(places, tokens, strict=False)
        ]
        missing = [VerbalizedSample("", "length", count, call=call) for count in tokens[len(made) :]]
        return made + missing

    def _note(self, answer: Sample, read: list[Verbalized], good: list[Verbalized]) -> None:
        record = self.record
        record.calls += 1
        record.failed += not good
        record.responses += len(read)
        record.fewer += 0 < len(read) < self.k
        record.uniform += bool(good) and any(each.probability is None for each in good)
        record.dropped += len(read) - len(good)
        record.percents += sum(each.percent for each in read)
        if record.failed == record.calls == _ENOUGH:
            raise ModelError(
                f"None of the first {_ENOUGH} calls was answered with responses and their probabilities, the last one "
                f"by {excerpt(answer.text)}; take a model that follows instructions, or raise max_new_tokens, which is "
                "that of a call."
            )
