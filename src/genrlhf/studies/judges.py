"""Judges that run a model on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from genrlhf.metrics.preference import AnswerStore, ModelAnswer, PromptJudge, ScoreJudge, judge_template
from genrlhf.metrics.preference.judging.request_options import THINKING_ROOM, Auto, thinks
from genrlhf.rewards import RewardSource, load_reward
from genrlhf.types import Sampler, SamplingParams

if TYPE_CHECKING:
    import torch

    from genrlhf.metrics.preference import JudgeTemplate

__all__ = ["LocalJudge", "RewardModelJudge"]

_ANSWERS_AT_A_TIME = 64
_LONGEST_ANSWER = 2048
"""In tokens, where the template does not say."""


class RewardModelJudge(ScoreJudge):
    """Prefers the output that a reward model scores higher.

    Args:
        reward: the name or folder of a sequence-classification model with one label, such a module, or whatever else
            `load_reward` takes.
        batch_size: texts a forward pass.
        device: where the model runs.
        trust_remote_code: run code that a model repository ships.

    Raises:
        ModelError: for a model that is no reward model.
    """

    def __init__(
        self,
        reward: RewardSource,
        *,
        batch_size: int = 64,
        device: torch.device | str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(load_reward(reward, batch_size=batch_size, device=device, trust_remote_code=trust_remote_code))


class LocalJudge(PromptJudge):
    """Asks a language model on this machine which of two outputs is better; it answers with what is most likely.

    Args:
        sampler: draws the answers, such as a `TransformersSampler` or a `VLLMSampler` of a chat model.
        template: what is asked, and how the answer is read; by default `judge_template()`.
        store: keeps the answers, so that a judgement that was killed goes on.
        name: tells the model from others in the store, such as its fingerprint.
        progress: called after every answer.
        max_new_tokens: of an answer with all that is thought before it; "auto" for the template's, and `THINKING_ROOM`
            more for a model whose name says that it thinks.
    """

    def __init__(
        self,
        sampler: Sampler,
        template: JudgeTemplate | None = None,
        *,
        store: AnswerStore | None = None,
        name: str = "local",
        progress: Callable[[], object] | None = None,
        max_new_tokens: int | Auto | None = "auto",
    ) -> None:
        # No text can hold a mark that is made of all that is shown, and the same texts are asked for in the same words.
        super().__init__(self._complete, template or judge_template(), mark=_mark_of)
        self.sampler = sampler
        self.store = store
        self.name = name
        self.progress = progress
        self.max_new_tokens = max_new_tokens
        self.answered = 0
        self.stored = 0

    def _complete(self, conversations: list[list[dict[str, str]]]) -> Sequence[ModelAnswer]:
        longest = self._longest()
        settings = {"model": self.name, "max_tokens": longest, "temperature": 0}
        keys = [AnswerStore.key(settings, conversation) for conversation in conversations]
        found = self.store.read(keys) if self.store is not None else {}
        self.stored += len(found)
        for _ in found:
            self._report()
        missing = {key: one for key, one in zip(keys, conversations, strict=True) if key not in found}
        pending = list(missing.items())
        params = SamplingParams(max_new_tokens=longest, temperature=0)
        for start in range(0, len(pending), _ANSWERS_AT_A_TIME):
            part = pending[start : start + _ANSWERS_AT_A_TIME]
            texts = self.sampler.sample([conversation for _, conversation in part], 1, params, 0)
            for (key, _), (text,) in zip(part, texts, strict=True):
                found[key] = ModelAnswer(text)
                if self.store is not None:
                    self.store.write(key, self.name, found[key])
                self.answered += 1
                self._report()
        return [found[key] for key in keys]

    def _longest(self) -> int:
        if self.max_new_tokens != "auto":
            return self.max_new_tokens or _LONGEST_ANSWER
        room = THINKING_ROOM if thinks(self.name) else 0
        return (self.template.max_new_tokens or _LONGEST_ANSWER) + room

    def _report(self) -> None:
        if self.progress is not None:
            self.progress()


def _mark_of(prompt: str, first: str, second: str) -> str:
    return hashlib.sha256("\0".join((prompt, first, second)).encode("utf-8", "replace")).hexdigest()[:16]
