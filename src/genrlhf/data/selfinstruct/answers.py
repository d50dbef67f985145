"""The answers of a run as they came: a file that a killed run goes on with, and that is never asked for twice."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from genrlhf.data.log import append_records, recover_records
from genrlhf.data.selfinstruct.prompts import prompt_digest
from genrlhf.errors import ConfigError, GenRLHFError, ModelError, RunFolderError, excerpt, line_of
from genrlhf.types import Sample, Sampler, SamplingParams

__all__ = ["STEPS", "Answer", "AnswerLog", "as_sampler"]

STEPS = ("instructions", "classification", "instances")

CALLED_WITH = 8
"""Prompts that a function is called with at a time: what it answers is kept before it is called again."""


class Answer(NamedTuple):
    """What a model answered, whether it ended by itself, and how many tokens that took."""

    text: str
    ended: bool
    tokens: int


class AnswerLog:
    """JSON lines with one answer each, appended as they come.

    Args:
        file: where they go.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._answers: dict[tuple[str, int], tuple[str, Answer]] = {}
        self.asked = 0

    def __len__(self) -> int:
        return len(self._answers)

    def open(self) -> None:
        """Read what an earlier start has left.

        Raises:
            RunFolderError: a line that is no answer.
        """
        for number, record in enumerate(recover_records(self.file), start=1):
            step, row, text = record.get("step"), record.get("row"), record.get("text")
            answer = Answer(text, record.get("ended") is True, record.get("tokens") or 0)  # type: ignore[arg-type]
            if step not in STEPS or not isinstance(row, int) or not isinstance(text, str):
                raise RunFolderError(
                    f"{self.file}, line {number} is {excerpt(record)}, which is no answer of a run; remove the line."
                )
            self._answers[str(step), row] = (str(record.get("prompt")), answer)

    def ask(
        self,
        step: str,
        prompts: Sequence[Any],
        rows: Sequence[int],
        sampler: Sampler,
        params: SamplingParams,
        seed: int,
        report: Callable[[int, int], None],
    ) -> list[Answer]:
        """Return the answers to prompts in their order; those that are not there yet come from the sampler.

        Args:
            step: that asks.
            prompts: what is asked.
            rows: the number of every prompt in its step.
            sampler: that answers.
            params: how it draws.
            seed: of its draws.
            report: gets how many of the prompts are answered, and how many there are.

        Raises:
            ModelError: the sampler returns something else than one answer a prompt.
            RunFolderError: an answer that is there is to another prompt.
        """
        digests = [prompt_digest(prompt) for prompt in prompts]
        done = {place for place, row in enumerate(rows) if (step, row) in self._answers}
        for place in done:
            if self._answers[step, rows[place]][0] != digests[place]:
                raise RunFolderError(
                    f"{self.file} has an answer to another prompt in its place (step {step}, row {rows[place]}); it "
                    "was changed, or another version wrote it. Choose another folder."
                )
        report(len(done), len(prompts))
        if len(done) < len(prompts):
            drawn = sampler.stream(prompts, 1, params, seed, rows=rows, done=done)
            with closing(drawn) if hasattr(drawn, "close") else nullcontext():  # type: ignore[type-var]
                for place, samples in drawn:
                    answer = _checked(place, samples, len(prompts))
                    if place in done:
                        continue
                    record = {"step": step, "row": rows[place], "prompt": digests[place], **answer._asdict()}
                    append_records(self.file, [record])
                    self._answers[step, rows[place]] = (digests[place], answer)
                    self.asked += 1
                    done.add(place)
                    report(len(done), len(prompts))
        missing = [place for place in range(len(prompts)) if place not in done]
        if missing:
            raise ModelError(
                f"The sampler returned nothing for {len(missing)} of {len(prompts)} prompts (step {step}), the first "
                f"of which is {excerpt(prompts[missing[0]])}; it must give one sample for each. What came is kept."
            )
        return [self._answers[step, row][1] for row in rows]


def _checked(place: Any, samples: Any, count: int) -> Answer:
    if not (isinstance(place, int) and 0 <= place < count):
        raise ModelError(
            f"The sampler returned samples of the prompt {excerpt(place)}, and there are {count} (from 0)."
        )
    if len(samples) != 1:
        raise ModelError(f"The sampler returned {len(samples)} samples of a prompt; it must return the 1 asked for.")
    text = samples[0].text
    if not isinstance(text, str):
        raise ModelError(f"The sampler returned {excerpt(text)} for a text; it must return strings.")
    return Answer(text, bool(samples[0].ended), int(samples[0].num_tokens))


def as_sampler(sampler: Any) -> Sampler:
    """Return a sampler as it is, or one of a function from a list of prompts to a list of texts or `Sample`s.

    Raises:
        ConfigError: neither.
    """
    if isinstance(sampler, Sampler):
        return sampler
    if callable(sampler):
        return _FunctionSampler(sampler)
    raise ConfigError(
        f"sampler is {excerpt(sampler)}; give a sampler of genrlhf.sampling, or a function of a list of prompts that "
        "returns a list of texts."
    )


class _FunctionSampler(Sampler):
    """Calls a function with a few prompts at a time."""

    def __init__(self, function: Callable[[list[Any]], Sequence[Any]]) -> None:
        self.function = function

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
        """Yield the answer to every prompt that is not done."""
        open_ = [place for place in range(len(prompts)) if place not in done]
        for start in range(0, len(open_), CALLED_WITH):
            places = open_[start : start + CALLED_WITH]
            for place, found in zip(places, self._call([prompts[place] for place in places]), strict=True):
                yield place, [found]

    def _call(self, prompts: list[Any]) -> list[Sample]:
        try:
            found = self.function(prompts)
        except GenRLHFError:
            raise
        except Exception as error:  # whatever the user's code raises
            said = f"{type(error).__name__}: {error}"
            raise ModelError(f"The sampler raised {said}{line_of(error)}; what it answered before is kept.") from error
        if isinstance(found, (str, bytes)) or not isinstance(found, Sequence) or len(found) != len(prompts):
            count = f"{len(found)} answers" if isinstance(found, (list, tuple)) else excerpt(found)
            raise ModelError(
                f"The sampler returned {count} to {len(prompts)} prompts; it must return one text for each."
            )
        return [each if isinstance(each, Sample) else Sample(each, "stop", 0) for each in found]
