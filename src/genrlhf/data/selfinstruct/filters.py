"""What becomes of an instruction, and of the instances of one: kept, or dropped by the first filter that takes it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from genrlhf.data.selfinstruct.config import SelfInstructConfig
from genrlhf.data.selfinstruct.nearest import NearestText
from genrlhf.data.selfinstruct.seeds import Instance
from genrlhf.scripts import script
from genrlhf.text import composed, count_words, terms

__all__ = ["INSTANCE_FILTERS", "INSTRUCTION_FILTERS", "InstructionFilters", "Verdict", "filter_instances"]

CHARACTERS_A_WORD = 20
"""A text of longer words than this on average is none that a prompt has room for."""

INSTRUCTION_FILTERS: Mapping[str, str] = MappingProxyType(
    {
        "unfinished": "the last of an answer that was cut off",
        "beyond": "beyond the number asked for",
        "too_short": "fewer words than min_words",
        "too_long": "more words than max_words, or 20 characters a word of that",
        "keyword": "holds one of the keywords",
        "beginning": "begins with words that none may begin with",
        "punctuation": "begins with a mark of punctuation",
        "script": "begins with a letter of a script that no seed begins with",
        "rouge_l": "ROUGE-L to a seed or an earlier instruction is max_rouge_l or more",
    }
)
"""The filters of instructions in their order, in words."""

INSTANCE_FILTERS: Mapping[str, str] = MappingProxyType(
    {
        "incomplete": "lacks its input or its output",
        "unfinished": "the last of an answer that was cut off",
        "empty": "has an empty output",
        "colon": "input or output ends in a colon",
        "same_as_input": "the output is the input",
        "repeated": "is there already",
        "contradicting": "the same input has another output too",
        "beyond": "beyond the number asked for",
    }
)
"""The filters of instances in their order, in words."""


class Verdict(NamedTuple):
    """What becomes of an instruction.

    Attributes:
        reason: the filter that takes it, None where it is kept.
        rouge_l: to the nearest seed or earlier instruction, where that was asked for.
        nearest: the number of that one among those known.
    """

    reason: str | None
    rouge_l: float | None = None
    nearest: int | None = None


class InstructionFilters:
    """Decides on one instruction after the other, each beside the seeds and all that were kept before.

    Args:
        seeds: instructions that are there; their scripts are those that may be written in.
        unlike: further instructions that none kept may be like.
        config: of the run.
    """

    def __init__(self, seeds: Iterable[str], unlike: Iterable[str], config: SelfInstructConfig) -> None:
        seeds = list(seeds)
        self.config = config
        self.known = NearestText([*seeds, *unlike])
        self._scripts = {_first_script(seed) for seed in seeds}
        self._keywords = [terms(keyword) for keyword in config.keywords]
        self._beginnings = [terms(beginning) for beginning in config.beginnings]

    def judge(self, instruction: str) -> Verdict:
        """Say what becomes of an instruction, and know it from now on where it is kept."""
        if (reason := self._form(instruction)) is not None:
            return Verdict(reason)
        rouge_l, nearest = self.known.nearest(instruction)
        if rouge_l >= self.config.max_rouge_l:
            return Verdict("rouge_l", rouge_l, nearest)
        self.known.add(instruction)
        return Verdict(None, rouge_l, nearest)

    def _form(self, instruction: str) -> str | None:
        length = count_words(instruction)
        if length < self.config.min_words:
            return "too_short"
        if length > self.config.max_words or len(instruction) > CHARACTERS_A_WORD * self.config.max_words:
            return "too_long"
        words = terms(instruction)
        if any(_holds(words, keyword) for keyword in self._keywords):
            return "keyword"
        if any(words[: len(beginning)] == beginning for beginning in self._beginnings):
            return "beginning"
        if unicodedata.category(composed(instruction)[:1] or ".")[0] in "PS":
            return "punctuation"
        if self.config.same_script and _first_script(instruction) not in {None, *self._scripts}:
            return "script"
        return None


def filter_instances(
    instances: Sequence[Instance | None], most: int, *, ended: bool = True
) -> list[tuple[Instance | None, str | None]]:
    """Return every instance of an answer with the filter that takes it, None for those that are kept.

    Args:
        instances: in their order, None for what lacks a part.
        most: of them that are kept.
        ended: whether the answer ended by itself; of one that was cut off the last instance is unfinished.

    Example:
        >>> a, b = Instance("2 3", "5"), Instance("2 3", "6")
        >>> [reason for _, reason in filter_instances([a, Instance("", "x"), b, None], 5)]
        ['contradicting', None, 'contradicting', 'incomplete']
    """
    reasons = [_fault(each) for each in instances]
    if instances and not ended:
        reasons[-1] = "unfinished"
    outputs: dict[str, set[str]] = {}
    for each, reason in zip(instances, reasons, strict=True):
        if each is not None and reason is None:
            outputs.setdefault(each.input, set()).add(each.output)
    seen: set[Instance] = set()
    kept = 0
    for place, each in enumerate(instances):
        if each is None or reasons[place] is not None:
            continue
        if each in seen:
            reasons[place] = "repeated"
        # Without an input, several outputs are several good answers.
        elif each.input and len(outputs[each.input]) > 1:
            reasons[place] = "contradicting"
        elif kept == most:
            reasons[place] = "beyond"
        else:
            kept += 1
        seen.add(each)
    return list(zip(instances, reasons, strict=True))


def _fault(instance: Instance | None) -> str | None:
    if instance is None:
        return "incomplete"
    if not instance.output:
        return "empty"
    if instance.input.endswith((":", "：")) or instance.output.endswith((":", "：")):
        return "colon"
    return "same_as_input" if instance.input == instance.output else None


def _holds(words: Sequence[str], part: Sequence[str]) -> bool:
    """Say whether words stand in a row among others."""
    width = len(part)
    return any(words[place : place + width] == part for place in range(len(words) - width + 1))


def _first_script(text: str) -> str | None:
    return next((found for sign in text if (found := script(sign)) is not None), None)
