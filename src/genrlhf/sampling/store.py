"""Outputs of many prompts in a file that a killed job goes on with."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from genrlhf.data.log import append_records, claim_file, recover_records, replace_records
from genrlhf.errors import RunFolderError, excerpt
from genrlhf.sampling.together import batches_of
from genrlhf.types import Sample, SamplingParams

if TYPE_CHECKING:
    from genrlhf.types import Sampler

__all__ = ["Progress", "SampleStore", "StoreSummary", "digest_of"]


@dataclass(frozen=True)
class Progress:
    """How far a job is on this process.

    Attributes:
        prompts: prompts that are done.
        total: prompts in all.
        tokens_per_second: sampled since the start.
    """

    prompts: int
    total: int
    tokens_per_second: float


@dataclass(frozen=True)
class StoreSummary:
    """What this start of a job has sampled.

    Attributes:
        prompts: prompts.
        samples: their samples.
        tokens: sampled tokens.
        stopped: samples that ended in EOS or a stop string.
        seconds: it took.
    """

    prompts: int
    samples: int
    tokens: int
    stopped: int
    seconds: float

    @classmethod
    def of(cls, processes: Sequence[StoreSummary]) -> StoreSummary:
        """Return what several processes have sampled side by side."""
        counts = {name: sum(getattr(one, name) for one in processes) for name in _COUNTS}
        return cls(**counts, seconds=max((one.seconds for one in processes), default=0.0))


_COUNTS = ("prompts", "samples", "tokens", "stopped")


class SampleStore:
    """A JSONL file with a line for every prompt, appended as its outputs come.

    A line is `{"prompt", "outputs", "row", "ended", …}`, with the further columns of its prompt; `ended` says of every
    output whether it ended in EOS or a stop string, or was cut off. The settings lie beside the file, in
    `FILE.settings.json`. Each of several processes appends to a file of its own, `FILE.process-K`, and `finish` puts
    all lines into one file in the order of the prompts.

    Args:
        file: where the outputs go.
        prompts: rows with a `prompt`, text or messages; their further columns are kept.
        n: outputs a prompt.
        params: how they are drawn.
        seed: of the samples.
        model: what tells the model from others.
        overwrite: throw outputs of other settings away instead of refusing.
        process: the number of this process.
        processes: how many there are; call `open` on the first one before the others.

    Raises:
        RunFolderError: where `file` holds outputs of other prompts or settings.
    """

    def __init__(
        self,
        file: str | Path,
        prompts: Sequence[Mapping[str, Any]],
        *,
        n: int,
        params: SamplingParams,
        seed: int,
        model: Mapping[str, Any],
        overwrite: bool = False,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.file = Path(file)
        self.rows = [dict(row) for row in prompts]
        self.n, self.params, self.seed = n, params, seed
        self.process, self.processes = process, processes
        self.settings = {
            **model,
            "n": n,
            "seed": seed,
            **asdict(params),
            "prompts": digest_of(row["prompt"] for row in self.rows),
        }
        self.overwrite = overwrite
        self.done: set[int] = set()

    @property
    def own_file(self) -> Path:
        """The file that this process appends to."""
        return self.file if self.processes == 1 else self._part(self.process)

    def _part(self, process: int) -> Path:
        return self.file.with_name(f"{self.file.name}.process-{process}")

    @property
    def missing(self) -> bool:
        """Whether something was not done when the file was loaded that may be this process's to draw."""
        return len(self.done) < len(self.rows) > self.process

    def share(self, sampler: Sampler) -> Sequence[int]:
        """Return the rows that this process draws of a sampler.

        Prompts that are decoded together in one process go to one of several, so that those draw the same to the bit;
        but where there are fewer batches than processes, these have a prompt each in turn, and none is idle.
        """
        if self.processes == 1:
            return range(len(self.rows))
        batches = batches_of(sampler, [row["prompt"] for row in self.rows], self.n, self.params)
        if len(batches) < self.processes:
            return range(self.process, len(self.rows), self.processes)
        return sorted(row for batch in batches[self.process :: self.processes] for row in batch)

    def files(self) -> list[Path]:
        """Return the files that hold outputs: the one they go to, and those of processes that have not ended."""
        parts = sorted(self.file.parent.glob(f"{glob.escape(self.file.name)}.process-*"))
        return [file for file in (self.file, *parts) if file.is_file()]

    def open(self) -> None:
        """Take possession of the file, and gather what an earlier start has left there and in the processes' files."""
        settings = self.file.with_name(self.file.name + ".settings.json")
        remedy = "Choose another output file, use the same settings, or pass overwrite."
        started = self.file.is_file() and self.file.stat().st_size > 0
        if started and not settings.is_file() and not self.overwrite:
            raise RunFolderError(f"{self.file} is there already, with no {settings.name} beside it. {remedy}")
        claim = partial(
            claim_file, settings, self.settings, place=self.file, act="sample", remedy=remedy, overwrite=self.overwrite
        )
        replaced = claim(write=False) or (started and not settings.is_file())
        parts = [file for file in self.files() if file != self.file]
        if replaced:
            for stale in (self.file, *parts):
                stale.unlink(missing_ok=True)
            parts = []
        # Only now, or outputs of the old settings would pass for those of the new ones after a kill.
        claim(write=True)
        gathered = [record for part in parts for record in recover_records(part)]
        if gathered:
            known = {record.get("row") for record in recover_records(self.file)}
            append_records(self.file, [record for record in gathered if record["row"] not in known])
        for part in parts:
            part.unlink()

    def load(self) -> None:
        """Find out what is done, after the first process has opened the file."""
        self.done = {int(record["row"]) for record in self.records()}

    def records(self) -> list[dict[str, Any]]:
        """Return what is done, a record for every prompt; after `finish` in the order of the prompts."""
        records = recover_records(self.file)
        for number, record in enumerate(records, start=1):
            row = record.get("row")
            good = isinstance(row, int) and 0 <= row < len(self.rows) and len(record.get("outputs", ())) == self.n
            if not good or record.get("prompt") != self.rows[row]["prompt"]:  # type: ignore[index]
                raise RunFolderError(
                    f"{self.file}, line {number} is no output of this run: {excerpt(record)}. Remove the line, or "
                    "choose another output file."
                )
        return records

    def run(self, sampler: Sampler, report: Callable[[Progress], None] = lambda progress: None) -> StoreSummary:
        """Draw what is not done yet of this process's share, and append it as it comes."""
        mine = self.share(sampler)
        places = {place for place, row in enumerate(mine) if row in self.done}
        start, prompts, tokens, stopped = perf_counter(), 0, 0, 0
        stream = sampler.stream(
            [self.rows[row]["prompt"] for row in mine], self.n, self.params, self.seed, rows=mine, done=places
        )
        for place, samples in stream:
            tokens += sum(sample.num_tokens for sample in samples)
            if place in places:
                continue
            append_records(self.own_file, [self._record(mine[place], samples)])
            prompts += 1
            stopped += sum(sample.ended for sample in samples)
            report(Progress(len(places) + prompts, len(mine), tokens / (perf_counter() - start)))
        return StoreSummary(prompts, prompts * self.n, tokens, stopped, perf_counter() - start)

    def _record(self, row: int, samples: Sequence[Sample]) -> dict[str, Any]:
        record = {**self.rows[row], "outputs": [sample.text for sample in samples], "row": row}
        record["ended"] = [sample.ended for sample in samples]
        if self.params.logprobs:
            record["logprobs"] = [sample.logprobs for sample in samples]
        if samples and hasattr(samples[0], "call"):
            # Samples of one call of verbalized sampling depend on each other.
            record["calls"] = [getattr(sample, "call", None) for sample in samples]
            record["probabilities"] = [getattr(sample, "probability", None) for sample in samples]
        return record

    def finish(self) -> None:
        """Gather the files of all processes and put the lines in the order of the prompts."""
        self.open()
        records = self.records()
        ordered = list({record["row"]: record for record in sorted(records, key=lambda record: record["row"])}.values())
        if ordered != records:
            replace_records(self.file, ordered)


def digest_of(texts: Iterable[Any]) -> str:
    """Return a digest of prompts, or of other texts, in their order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(json.dumps(text, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]
