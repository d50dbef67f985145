"""A language model as judge."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from genrlhf.errors import JudgeError
from genrlhf.metrics.preference.judging.answer_store import ModelAnswer, NoAnswer
from genrlhf.metrics.preference.judging.conversation import Conversation
from genrlhf.metrics.preference.judging.logprobs import NO_LETTER
from genrlhf.metrics.preference.judging.templates import JudgeTemplate, judge_template
from genrlhf.metrics.preference.judging.thinking import THINKING_WAS_CUT_OFF, behind_thinking

__all__ = ["Complete", "JudgeAnswer", "PromptJudge"]

Complete: TypeAlias = Callable[[list[list[dict[str, str]]]], "Sequence[str | ModelAnswer | NoAnswer | None]"]
"""From conversations to an answer each, as text or with log-probabilities; None, or the reason, where there is none."""
NO_ANSWER = "the judge did not answer"
CUT_OFF = "the answer was cut off before its verdict; allow longer answers (max_tokens)"
EMPTY = "the answer is empty"
_POSITIONS_WITHOUT_TEXT = 3
"""That an answer may have beside one for every character: special tokens at its end."""
UNREADABLE = "the answer says no verdict, or several"


@dataclass(frozen=True)
class JudgeAnswer:
    """What a judge answered to one comparison.

    Attributes:
        shown: prompt, first and second output.
        text: the answer, None if there was none.
        preference: what it says: 1, 2, 1.5, or None if it cannot be read.
        reason: why there is no preference; None where there is one.
    """

    shown: tuple[str, str, str]
    text: str | None
    preference: float | None
    reason: str | None = None


class PromptJudge:
    """Asks a language model which of two outputs is better, in the order that they are given.

    Answers that cannot be read are no verdict, and `win_rate` counts them as unanswered; `answers` keeps all texts, and
    why there is none. What a reasoning model thinks before its answer is no part of it.

    Args:
        complete: any function from conversations (lists of messages with `role` and `content`) to an answer each, None
            where there is none: a `ChatEndpoint`, or a function that returns texts, such as a call of a `Sampler`.
        template: what is asked, and how the answer is read.
        mark: what fences the texts of a comparison in a template that has a place for it; by default random, so that no
            text can hold it.

    Example:
        >>> def likes_the_second(conversations):
        ...     return ['[{"model": "model_2", "rank": 1}, {"model": "model_1", "rank": 2}]'] * len(conversations)
        >>> PromptJudge(likes_the_second)(["Name a colour."], ["red"], ["blue"])
        [2.0]
    """

    def __init__(
        self,
        complete: Complete,
        template: JudgeTemplate | None = None,
        *,
        mark: Callable[[str, str, str], str] | None = None,
    ) -> None:
        self.complete = complete
        self.template = template or judge_template()
        self.mark = mark or _random_mark
        self.answers: list[JudgeAnswer] = []

    def __call__(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        """Return 1 where `first` is better, 2 where `second` is, 1.5 for a tie, None for no readable answer.

        Raises:
            JudgeError: the function returns something else than one text, or None, a conversation.
        """
        shown = list(zip(prompts, first, second, strict=True))
        conversations: list[list[dict[str, str]]] = [self.ask(*row) for row in shown]
        found = list(self.complete(conversations))
        if len(found) != len(conversations) or not all(
            isinstance(one, (str, ModelAnswer, NoAnswer, type(None))) for one in found
        ):
            raise JudgeError(
                f"The judge's model must return a text, or None, for each of {len(conversations)} conversations."
            )
        answers = [self._judged(row, one) for row, one in zip(shown, found, strict=True)]
        self.answers += answers
        return [answer.preference for answer in answers]

    def ask(self, prompt: str, first: str, second: str) -> Conversation:
        """Return the conversation that asks for one comparison, with a mark of its own in a template with a fence."""
        if not self.template.fenced:
            return Conversation(self.template.fill(prompt, first, second))
        mark = self.mark(prompt, first, second)
        return Conversation(self.template.fill(prompt, first, second, mark), mark=mark)

    def _judged(self, shown: tuple[str, str, str], given: str | ModelAnswer | NoAnswer | None) -> JudgeAnswer:
        if given is None or isinstance(given, NoAnswer):
            return JudgeAnswer(shown, None, None, NO_ANSWER if given is None else given.reason)
        return self._read(shown, given)

    def _read(self, shown: tuple[str, str, str], given: str | ModelAnswer) -> JudgeAnswer:
        answer = ModelAnswer(given) if isinstance(given, str) else given
        said, thought = behind_thinking(answer.text)
        if said is None:
            return JudgeAnswer(shown, answer.text, None, THINKING_WAS_CUT_OFF)
        positions = answer.top_logprobs or []
        # Some servers give positions without a token in them.
        if self.template.read_logprobs is not None and any(positions):
            # vLLM gives those of the thinking that it keeps apart, too.
            apart = len(positions) > len(answer.text) + _POSITIONS_WITHOUT_TEXT
            preference, reason = self.template.read_logprobs(positions, thought=thought or apart), NO_LETTER
        else:
            preference, reason = self.template.read(said), UNREADABLE if said.strip() else EMPTY
            if not answer.ended:
                reason = CUT_OFF
        return JudgeAnswer(shown, answer.text, preference, reason if preference is None else None)


def _random_mark(prompt: str, first: str, second: str) -> str:
    return secrets.token_hex(4)
