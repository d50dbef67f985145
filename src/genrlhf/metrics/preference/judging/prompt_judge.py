"""A language model as judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from genrlhf.errors import JudgeError
from genrlhf.metrics.preference.judging.answer_store import ModelAnswer
from genrlhf.metrics.preference.judging.templates import JudgeTemplate, judge_template

__all__ = ["Complete", "JudgeAnswer", "PromptJudge"]

Complete: TypeAlias = Callable[[list[list[dict[str, str]]]], "Sequence[str | ModelAnswer | None]"]
"""From conversations to an answer each, as text or with log-probabilities, None where there is none."""


@dataclass(frozen=True)
class JudgeAnswer:
    """What a judge answered to one comparison.

    Attributes:
        shown: prompt, first and second output.
        text: the answer, None if there was none.
        preference: what it says: 1, 2, 1.5, or None if it cannot be read.
    """

    shown: tuple[str, str, str]
    text: str | None
    preference: float | None


class PromptJudge:
    """Asks a language model which of two outputs is better, in the order that they are given.

    Answers that cannot be read are no verdict, and `win_rate` counts them as unanswered; `answers` keeps all texts.

    Args:
        complete: any function from conversations (lists of messages with `role` and `content`) to an answer each, None
            where there is none: a `ChatEndpoint`, or a function that returns texts, such as a call of a `Sampler`.
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
        shown = list(zip(prompts, first, second, strict=True))
        conversations = [self.template.fill(*row) for row in shown]
        found = list(self.complete(conversations))
        if len(found) != len(conversations) or not all(
            isinstance(one, (str, ModelAnswer, type(None))) for one in found
        ):
            raise JudgeError(
                f"The judge's model must return a text, or None, for each of {len(conversations)} conversations."
            )
        answers = [
            JudgeAnswer(row, None, None) if one is None else JudgeAnswer(row, *self._read(one))
            for row, one in zip(shown, found, strict=True)
        ]
        self.answers += answers
        return [answer.preference for answer in answers]

    def _read(self, answer: str | ModelAnswer) -> tuple[str, float | None]:
        if isinstance(answer, str):
            return answer, self.template.read(answer)
        if self.template.read_logprobs is not None and answer.top_logprobs is not None:
            return answer.text, self.template.read_logprobs(answer.top_logprobs)
        return answer.text, self.template.read(answer.text)
