"""What a model is asked: a text that it continues, or the message of a user."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from genrlhf.data.selfinstruct.config import SelfInstructConfig
from genrlhf.data.selfinstruct.seeds import SeedTask

__all__ = ["NO_INPUT", "WORDING", "Wordings", "prompt_digest"]

NO_INPUT = "none"
"""What stands in prompts for an input that there is not."""

LONGEST_EXAMPLE = 1_500
"""Characters of the instances of a seed task beyond which it is no example."""

LIST = (
    "Here is a list of {total} tasks. Each is an instruction to a helper who reads and writes text, and no two are "
    "alike.\n\n"
)
LIST_MORE = (
    "\n\nGo on with this list: write the tasks {first} to {last}. Let them differ from those above and from each "
    "other in subject, in what is to be done and in how it is said. Write every task on one line that begins with its "
    "number, and nothing else."
)
KIND = (
    "Say of every task whether it is classification: whether its answer is always one of a few labels that are known "
    "beforehand.\n\n"
)
KIND_ASKED = "\n\nSay it of the last task: write yes or no, and nothing else."
INPUT_FIRST = (
    f"Every task is shown with examples: an input that it is carried out on, and the output. The input is {NO_INPUT!r} "
    "where the task says all that is needed.\n\n"
)
INPUT_FIRST_ASKED = (
    "\n\nWrite up to {most} examples of the last task in the same form: a line that begins with 'Input:' and then one "
    "that begins with 'Output:'. Write nothing else."
)
LABEL_FIRST = (
    "Every task is shown with examples: first the label that is the right answer, then an input that has this label. "
    "The labels come about equally often.\n\n"
)
LABEL_FIRST_ASKED = (
    "\n\nWrite up to {most} examples of the last task in the same form: a line that begins with 'Label:' and then one "
    "that begins with 'Input:'. Use every label about equally often. Write nothing else."
)

WORDING = hashlib.sha256(
    "".join(
        (LIST, LIST_MORE, KIND, KIND_ASKED, INPUT_FIRST, INPUT_FIRST_ASKED, LABEL_FIRST, LABEL_FIRST_ASKED)
    ).encode()
).hexdigest()[:16]
"""What tells these words from those of another version."""


def prompt_digest(prompt: Any) -> str:
    """Return what tells one prompt from another."""
    return hashlib.sha256(repr(prompt).encode("utf-8", "backslashreplace")).hexdigest()[:16]


class Wordings:
    """Writes the prompts of a run.

    Examples of classification and of instances are chosen among the seeds once for the whole run, so that the prompts
    of a step begin alike and a server computes the beginning once.

    Args:
        seeds: the tasks that people wrote.
        config: of the run.
    """

    def __init__(self, seeds: Sequence[SeedTask], config: SelfInstructConfig) -> None:
        self.config = config
        choice = random.Random(f"{config.seed}:examples")
        self.kinds = _kinds(seeds, config.classification_examples, choice)
        self.examples = {
            label_first: _shown(seeds, label_first, config.instance_examples, choice) for label_first in (False, True)
        }

    def instructions(self, tasks: Sequence[str]) -> Any:
        """Return the prompt that asks for instructions after those of `tasks`."""
        listed = [f"{number}. {_without_colon(task)}" for number, task in enumerate(tasks, start=1)]
        first, last = len(tasks) + 1, len(tasks) + self.config.new_instructions
        text = LIST.format(total=last) + "\n".join(listed)
        return self._prompt(text, LIST_MORE.format(first=first, last=last), f"\n{first}.")

    def kind(self, instruction: str) -> Any:
        """Return the prompt that asks whether an instruction is classification."""
        shown = [f"Task: {task.instruction}\nClassification: {_yes(task)}\n\n" for task in self.kinds]
        return self._prompt(f"{KIND}{''.join(shown)}Task: {instruction}", KIND_ASKED, "\nClassification:")

    def instances(self, instruction: str, *, label_first: bool) -> Any:
        """Return the prompt that asks for instances of an instruction."""
        intro, asked = (LABEL_FIRST, LABEL_FIRST_ASKED) if label_first else (INPUT_FIRST, INPUT_FIRST_ASKED)
        shown = [f"Task: {task.instruction}\n{_example(task, label_first)}\n\n" for task in self.examples[label_first]]
        text = f"{intro}{''.join(shown)}Task: {instruction}"
        return self._prompt(text, asked.format(most=self.config.instances), f"\n{self.opening(label_first)}")

    def stops(self, step: str, shown: int = 0) -> tuple[str, ...]:
        """Return what ends an answer of a step, after a list of `shown` tasks; a chat model ends by itself."""
        if self.config.chat:
            return ()
        if step == "instructions":
            return "\n\n", f"\n{shown + self.config.new_instructions + 1}."
        return ("\n",) if step == "classification" else ("\nTask:",)

    @staticmethod
    def opening(label_first: bool) -> str:
        """Return how an instance begins."""
        return "Label:" if label_first else "Input:"

    def _prompt(self, text: str, asked: str, opening: str) -> Any:
        if self.config.chat:
            return [{"role": "user", "content": f"{text}{asked}"}]
        return f"{text}{opening}"


def _kinds(seeds: Sequence[SeedTask], most: int, choice: random.Random) -> list[SeedTask]:
    """Return examples of classification and of the rest, one after the other, none where a kind has none."""
    groups = [[task for task in seeds if task.is_classification is kind] for kind in (True, False)]
    half = min(most // 2, *map(len, groups))
    chosen = [choice.sample(group, half) for group in groups]
    return [task for pair in zip(*chosen, strict=True) for task in choice.sample(pair, 2)]


def _shown(seeds: Sequence[SeedTask], label_first: bool, most: int, choice: random.Random) -> list[SeedTask]:
    """Return examples of instances, of classification if labels come first."""
    good = [
        task
        for task in seeds
        if task.instances
        and (bool(task.is_classification) if label_first else not task.is_classification)
        and len(_example(task, label_first)) <= LONGEST_EXAMPLE
    ]
    return choice.sample(good, min(most, len(good)))


def _example(task: SeedTask, label_first: bool) -> str:
    shown = [
        (f"Label: {each.output}", f"Input: {each.input or NO_INPUT}")
        if label_first
        else (f"Input: {each.input or NO_INPUT}", f"Output: {each.output}")
        for each in task.instances
    ]
    return "\n".join("\n".join(lines) for lines in shown)


def _yes(task: SeedTask) -> str:
    return "yes" if task.is_classification else "no"


def _without_colon(instruction: str) -> str:
    return instruction.rstrip(" :：")
