"""The three steps of a run: instructions, which of them are classification, and their instances."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genrlhf.data.selfinstruct.answers import STEPS, Answer, AnswerLog
from genrlhf.data.selfinstruct.config import SelfInstructConfig
from genrlhf.data.selfinstruct.filters import InstructionFilters, filter_instances
from genrlhf.data.selfinstruct.parsing import listed, said_yes, written_instances
from genrlhf.data.selfinstruct.prompts import Wordings
from genrlhf.data.selfinstruct.seeds import Instance, SeedTask
from genrlhf.types import Sampler, SamplingParams

__all__ = ["Generated", "Progress", "Steps", "Tally"]

LONGEST_REJECTED = 4_000
"""Characters of what was dropped that are kept for reading; answers are kept whole."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: "instructions", "classification" or "instances".
        done: instructions that are kept, known to be classification or not, or have been asked for instances.
        total: of them in all.
        asked: answers that this start of the run has asked for, in all steps.
    """

    step: str
    done: int
    total: int
    asked: int


@dataclass
class Tally:
    """Counts of a step.

    Attributes:
        answers: of the model.
        unread: those among them in which nothing was found.
        candidates: what was found in the others.
        taken: how many of the candidates each filter took.
    """

    answers: int = 0
    unread: int = 0
    candidates: int = 0
    taken: Counter[str] = field(default_factory=Counter)

    def to_dict(self, filters: Mapping[str, str]) -> dict[str, Any]:
        """Return the counts with shares: of answers those unread, of candidates those taken and those kept."""
        kept = self.candidates - sum(self.taken.values())
        return {
            "answers": self.answers,
            "unread": _share(self.unread, self.answers),
            "candidates": self.candidates,
            "filters": {name: _share(self.taken[name], self.candidates) for name in filters},
            "kept": _share(kept, self.candidates),
        }


def _share(count: int, total: int) -> dict[str, float | int | None]:
    return {"count": count, "share": count / total if total else None}


@dataclass(frozen=True)
class Generated:
    """An instruction that was kept.

    Attributes:
        id: its name in files.
        instruction: on one line.
        round: in which it came, from 0.
        seed_ids: the seed tasks of its prompt.
        generated_ids: the earlier instructions of its prompt.
        rouge_l: to the nearest seed or earlier instruction.
        nearest: that one; None where none shares a word.
    """

    id: str
    instruction: str
    round: int
    seed_ids: list[str]
    generated_ids: list[str]
    rouge_l: float
    nearest: str | None


class Steps:
    """Asks for what is not there yet, and decides on what came; the same answers lead to the same decisions.

    All prompts of a round, and of a later step, are known before one of them is answered, and answers are read in the
    order of their prompts: what is kept does not depend on which came first.

    Args:
        seeds: the tasks that people wrote.
        unlike: instructions that none kept may be like.
        config: of the run.
        log: the answers that are there.
        sampler: that gives the others.
        report: gets the progress after every answer.
    """

    def __init__(
        self,
        seeds: Sequence[SeedTask],
        unlike: Sequence[str],
        config: SelfInstructConfig,
        log: AnswerLog,
        sampler: Sampler,
        report: Callable[[Progress], None],
    ) -> None:
        self.seeds, self.config, self.log, self.sampler, self.report = seeds, config, log, sampler, report
        self.wordings = Wordings(seeds, config)
        self.filters = InstructionFilters([seed.instruction for seed in seeds], unlike, config)
        self.tallies = {step: Tally() for step in STEPS}
        self.rejected: list[dict[str, Any]] = []
        self.stopped: str | None = None
        self._known = [*(seed.instruction for seed in seeds), *unlike]

    def instructions(self) -> list[Generated]:
        """Return instructions that were kept, as many as the target or, where `stopped` says why, fewer."""
        config, kept = self.config, list[Generated]()
        round_ = idle = 0
        while len(kept) < config.target:
            if idle == config.patience:
                self.stopped = (
                    f"{idle} rounds in a row of {config.requests_per_round} prompts gave no instruction that was kept; "
                    f"there are {len(kept)} of {config.target}"
                )
                break
            before = len(kept)
            self._round(round_, kept)
            idle = 0 if len(kept) > before else idle + 1
            round_ += 1
        # What the last round had beyond the target is there for a run that goes on.
        return kept[: config.target]

    def _round(self, round_: int, kept: list[Generated]) -> None:
        config = self.config
        rows = range(round_ * config.requests_per_round, (round_ + 1) * config.requests_per_round)
        shown = [self._in_context(row, kept) for row in rows]
        prompts = [self.wordings.instructions([task.instruction for task in tasks]) for tasks in shown]
        params = replace(config.instruction_sampling, stop=self._stops("instructions", len(shown[0])))
        answers = self._ask("instructions", prompts, rows, params, lambda *_: (len(kept), config.target))
        for row, tasks, answer in zip(rows, shown, answers, strict=True):
            opening = "" if config.chat else f"{len(tasks) + 1}."
            self._take(row, round_, tasks, answer, opening, kept)

    def _in_context(self, row: int, kept: Sequence[Generated]) -> list[SeedTask | Generated]:
        """Return the tasks that a prompt shows, seeds for generated ones that there are not yet."""
        config = self.config
        choice = random.Random(f"{config.seed}:instructions:{row}")
        generated = choice.sample(kept, min(config.generated_in_context, len(kept)))
        wanted = config.seeds_in_context + config.generated_in_context - len(generated)
        seeds = choice.sample(self.seeds, min(wanted, len(self.seeds)))
        tasks: list[SeedTask | Generated] = [*seeds, *generated]
        choice.shuffle(tasks)
        return tasks

    def _take(
        self,
        row: int,
        round_: int,
        tasks: Sequence[SeedTask | Generated],
        answer: Answer,
        opening: str,
        kept: list[Generated],
    ) -> None:
        """Decide on the instructions of an answer."""
        tally = self.tallies["instructions"]
        found = listed(answer.text, opening)
        if not found:
            self._unread("instructions", row, answer)
        # A chat model may write down the whole list again: that is no part of what it was asked for.
        shown, own = {task.instruction for task in tasks}, 0
        for place, text in enumerate(found):
            tally.candidates += 1
            instruction = text[:1].upper() + text[1:]
            reason: str | None = None
            seen: dict[str, Any] = {}
            if place == len(found) - 1 and not answer.ended:
                reason = "unfinished"
            elif own >= self.config.new_instructions:
                reason = "beyond"
            else:
                own += instruction not in shown
                reason, rouge_l, nearest = self.filters.judge(instruction)
                if rouge_l is not None:
                    seen = {"rouge_l": rouge_l, "nearest": None if nearest is None else self._known[nearest]}
            if reason is not None:
                tally.taken[reason] += 1
                self._reject("instructions", row, reason, instruction=instruction[:LONGEST_REJECTED], **seen)
                continue
            seed_ids, generated_ids = (
                [task.id for task in tasks if isinstance(task, kind)] for kind in (SeedTask, Generated)
            )
            name = f"generated_{len(kept)}"
            kept.append(Generated(name, instruction, round_, seed_ids, generated_ids, **seen))
            self._known.append(instruction)

    def kinds(self, kept: Sequence[Generated]) -> list[bool | None]:
        """Return which instructions are classification, None where the answer does not say."""
        prompts = [self.wordings.kind(each.instruction) for each in kept]
        params = replace(self.config.classification_sampling, stop=self._stops("classification"))
        answers = self._ask("classification", prompts, range(len(kept)), params)
        verdicts = [said_yes(answer.text) for answer in answers]
        tally = self.tallies["classification"]
        for row, (answer, verdict) in enumerate(zip(answers, verdicts, strict=True)):
            if verdict is None:
                self._unread("classification", row, answer, instruction=kept[row].instruction)
            else:
                tally.candidates += 1
        return verdicts

    def instances(self, kept: Sequence[Generated], kinds: Sequence[bool | None]) -> list[list[Instance]]:
        """Return the instances of every instruction that were kept; none where it is not known of what kind it is."""
        rows = [row for row, kind in enumerate(kinds) if kind is not None]
        prompts = [self.wordings.instances(kept[row].instruction, label_first=bool(kinds[row])) for row in rows]
        params = replace(self.config.instance_sampling, stop=self._stops("instances"))
        answers = self._ask("instances", prompts, rows, params)
        found: list[list[Instance]] = [[] for _ in kept]
        tally = self.tallies["instances"]
        for row, answer in zip(rows, answers, strict=True):
            label_first = bool(kinds[row])
            opening = "" if self.config.chat else self.wordings.opening(label_first)
            written = written_instances(answer.text, label_first=label_first, opening=opening)
            if not any(written):
                self._unread("instances", row, answer, instruction=kept[row].instruction)
                continue
            for instance, reason in filter_instances(written, self.config.instances, ended=answer.ended):
                tally.candidates += 1
                if reason is None and instance is not None:
                    found[row].append(instance)
                    continue
                tally.taken[str(reason)] += 1
                texts = {} if instance is None else {"input": instance.input, "output": instance.output}
                cut = {name: text[:LONGEST_REJECTED] for name, text in texts.items()}
                self._reject("instances", row, str(reason), instruction=kept[row].instruction, **cut)
        return found

    def _ask(
        self,
        step: str,
        prompts: Sequence[Any],
        rows: Sequence[int],
        params: SamplingParams,
        progress: Callable[[int, int], tuple[int, int]] = lambda done, total: (done, total),
    ) -> list[Answer]:
        def report(done: int, total: int) -> None:
            self.report(Progress(step, *progress(done, total), self.log.asked))

        import numpy as np

        # A prompt draws by its row: those of different steps have nothing in common.
        state = np.random.SeedSequence([self.config.seed, STEPS.index(step)]).generate_state(1, np.uint32)
        answers = self.log.ask(step, prompts, rows, self.sampler, params, int(state[0]), report)
        self.tallies[step].answers += len(answers)
        return answers

    def _stops(self, step: str, shown: int = 0) -> tuple[str, ...]:
        sampling: SamplingParams = getattr(self.config, f"{_SINGULAR[step]}_sampling")
        return *sampling.stop, *self.wordings.stops(step, shown)

    def _unread(self, step: str, row: int, answer: Answer, **of: str) -> None:
        self.tallies[step].unread += 1
        self._reject(step, row, "unread", **of, answer=answer.text[:LONGEST_REJECTED])

    def _reject(self, step: str, row: int, reason: str, **what: Any) -> None:
        self.rejected.append({"step": step, "row": row, "reason": reason, **what})


_SINGULAR = {"instructions": "instruction", "classification": "classification", "instances": "instance"}
