"""What decides whether completions of open-ended prompts are right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from genrlhf.data.tasks.open_ended.families import OpenEnded
from genrlhf.errors import DataError, excerpt

__all__ = ["Verifier"]


@dataclass(frozen=True)
class Verifier:
    """A reward: 1.0 for a right answer, 0.0 for any other text.

    Attributes:
        content: families and formats.
        prompts: of prompts that are known, the family, the format and the exemplars; of others, the columns say them.
        copies_count: an answer that repeats an exemplar of its prompt is right.
    """

    right_or_wrong: ClassVar[bool] = True
    """Its scores are verdicts."""

    content: OpenEnded
    prompts: Mapping[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)
    copies_count: bool = True

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        family: Sequence[str] | None = None,
        format: Sequence[str] | None = None,
        exemplars: Sequence[Sequence[str]] | None = None,
    ) -> list[float]:
        """Return 1.0 for every completion that is right, else 0.0.

        Args:
            prompts: n prompts.
            completions: one of each.
            family: of each prompt, where they are not known.
            format: the like.
            exemplars: the like.

        Raises:
            DataError: a prompt of no known family.
        """
        answers = self.answers(prompts, completions, family=family, format=format)
        rewards = [float(answer is not None) for answer in answers]
        if not self.copies_count:
            shown = exemplars or [self._known(prompt)[2] for prompt in prompts]
            for number, answer in enumerate(answers):
                if answer is not None and answer in self._shown(prompts[number], shown[number], family, number):
                    rewards[number] = 0.0
        return rewards

    def answers(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        *,
        family: Sequence[str] | None = None,
        format: Sequence[str] | None = None,
    ) -> list[str | None]:
        """Return the answer that each completion is, in one form for all its spellings; None for a wrong one."""
        found = []
        for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            kind = family[number] if family is not None else self._known(prompt)[0]
            form = format[number] if format is not None else self._known(prompt)[1]
            text = self._format(form).answer_in(completion)
            found.append(None if text is None else self._family(kind).checker.answer(text))
        return found

    def copies(self, prompts: Sequence[str], completions: Sequence[str]) -> list[bool]:
        """Return which completions are right answers that repeat an exemplar of their prompt."""
        answers = self.answers(prompts, completions)
        return [
            answer is not None and answer in self._shown(prompt, self._known(prompt)[2], None, 0)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def settings(self) -> dict[str, Any]:
        """Return what tells it from others: families, formats and checkers, and the prompts it knows."""
        elsewhere = {name: family.checker.digest() for name, family in self.content.families.items()}
        lists = {name: digest for name, digest in elsewhere.items() if digest}
        known = json.dumps([self.content.digest, sorted(self.prompts), *([lists] if lists else [])])
        return {"copies_count": self.copies_count, "digest": hashlib.sha256(known.encode()).hexdigest()[:16]}

    def _shown(self, prompt: str, shown: Sequence[str], family: Sequence[str] | None, number: int) -> set[str | None]:
        kind = family[number] if family is not None else self._known(prompt)[0]
        return {self._family(kind).checker.answer(text) for text in shown}

    def _known(self, prompt: str) -> tuple[str, str, tuple[str, ...]]:
        if prompt not in self.prompts:
            raise DataError(
                f"The prompt {excerpt(prompt)} is none of the task's; hand the columns family, format and exemplars to "
                "the verifier."
            )
        return self.prompts[prompt]

    def _family(self, name: str) -> Any:
        if name not in self.content.families:
            raise DataError(f"There is no family {name!r}; there are {', '.join(self.content.families)}.")
        return self.content.families[name]

    def _format(self, name: str) -> Any:
        formats = {**self.content.train_formats, **self.content.held_out_formats}
        if name not in formats:
            raise DataError(f"There is no format {name!r}; there are {', '.join(formats)}.")
        return formats[name]
