"""A language model as judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from genrlhf.errors import JudgeError
from genrlhf.metrics.preference.templates import JudgeTemplate, judge_template

__all__ = ["Complete", "JudgeAnswer", "PromptJudge"]

Complete: TypeAlias = Callable[[list[list[dict[str, str]]]], "Sequence[str | None]"]
"""From conversations to the text of an answer each, None where there is none."""


@dataclass(frozen=True)
class JudgeAnswer:
    """What a judge answered to one comparison.

    Attributes:
        text: the answer, None if there was none.
        preference: what it says: 1, 2, 1.5, or None if it cannot be read.
    """

    text: str | None
    preference: float | None


class PromptJudge:
    """Asks a language model which of two outputs is better, in the order that they are given.

    Answers that cannot be read are no verdict, and `win_rate` counts them as unanswered; `answers` keeps all texts.

    Args:
        complete: any function from conversations (lists of messages with `role` and `content`) to the text of an answer
            each, None where there is none, such as a call of a `Sampler`.
        template: what is asked, and how the answer is read.

    Example:
        >>> def likes_the_second(conversations):
        ...     return ['[{"model": "model_2", "rank": 1}, {"model": "model_1", "rank": 2}]'] * len(conversations)
        >>> PromptJudge(likes_the_second)(["Name a colour."], ["red"], ["blue"])
        [2.0]
    """

    def __init__(self, complete: Complete, template: JudgeTemplate | None = None) -> None:
        self.complete = complete
        self.template = template or judge_template()
        self.answers: list[JudgeAnswer] = []

    def __call__(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        """Return 1 where `first` is better, 2 where `second` is, 1.5 for a tie, None for no readable answer.

        Raises:
            JudgeError: the function returns something else than one text, or None, a conversation.
        """
        conversations = [self.template.fill(*row) for row in zip(prompts, first, second, strict=True)]
        texts = list(self.complete(conversations))
        if len(texts) != len(conversations) or any(text is not None and not isinstance(text, str) for text in texts):
            raise JudgeError(
                f"The judge's model must return a text, or None, for each of {len(conversations)} conversations."
            )
        answers = [JudgeAnswer(text, None if text is None else self.template.read(text)) for text in texts]
        self.answers += answers
        return [answer.preference for answer in answers]
