"""How far a text follows feedback, by a language model's answer to that question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.families import forward_arguments
from genrlhf.models.structure import context_length
from genrlhf.ops import widened
from genrlhf.sampling.decode import check_prompt_length, prompt_token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["WORDINGS", "Incorporates"]

WORDINGS: tuple[tuple[str, str, str], ...] = (
    ("Does the new text incorporate the feedback? Answer Yes or No.\nAnswer:", "Yes", "No"),
    ("Is what the feedback asks for done in the new text? Answer Yes or No.\nAnswer:", "Yes", "No"),
    ("Is the new text better in the way that the feedback says? Answer Yes or No.\nAnswer:", "Yes", "No"),
    ("The new text incorporates the feedback. True or False?\nAnswer:", "True", "False"),
    ("Whoever gave the feedback would be content with the new text. True or False?\nAnswer:", "True", "False"),
)
"""Questions, each with the answer that says so and the one that denies it."""


class Incorporates:
    """The probability that a model answers yes, rather than no, where it is asked whether a text follows feedback.

    Mean over wordings of P(yes) / (P(yes) + P(no)) of the next token: InstructRM of Scheurer et al. 2023, "Training
    Language Models with Language Feedback at Scale" (arXiv 2303.16755). It sees prompt, draft, feedback and new text.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer; with a chat template the question is a user's message.
        wordings: questions with their two answers.
        batch_size: questions at a time.

    Raises:
        ConfigError: without a wording.
        ModelError: where two answers begin with the same token.
    """

    name = "Incorporates"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        wordings: Sequence[tuple[str, str, str]] = WORDINGS,
        *,
        batch_size: int = 16,
    ) -> None:
        if not wordings:
            raise ConfigError("There is no wording; give at least one question with its two answers.")
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.wordings = tuple(wordings)
        self._answers = [self._first_tokens(yes, no) for _, yes, no in self.wordings]

    def _first_tokens(self, yes: str, no: str) -> tuple[list[int], list[int]]:
        """Return the tokens that each answer may begin with, and the other not."""
        sides = [
            {int(self.tokenizer(text, add_special_tokens=False)["input_ids"][0]) for text in (word, f" {word}")}
            for word in (yes, no)
        ]
        own = sorted(sides[0] - sides[1]), sorted(sides[1] - sides[0])
        if not all(own):
            raise ModelError(f"{yes!r} and {no!r} begin with the same token; give wordings whose answers do not.")
        return own

    @torch.no_grad()
    def __call__(
        self, prompts: Sequence[str], drafts: Sequence[str], feedback: Sequence[str], refinements: Sequence[str]
    ) -> list[float]:
        """Return a score between 0 and 1 for every refinement.

        Raises:
            DataError: for texts that do not fit into the model's context.
        """
        asked = [
            f"{prompt}\n\nFirst text:\n{draft}\n\nFeedback on it:\n{words}\n\nNew text:\n{text}\n\n"
            for prompt, draft, words, text in zip(prompts, drafts, feedback, refinements, strict=True)
        ]
        shares = [
            self._shares([text + question for text in asked], *answers)
            for (question, _, _), answers in zip(self.wordings, self._answers, strict=True)
        ]
        return [float(value) for value in torch.stack(shares).mean(0)]

    def _shares(self, texts: Sequence[str], yes: list[int], no: list[int]) -> torch.Tensor:
        limit, chat = context_length(self.model), bool(self.tokenizer.chat_template)
        ids = []
        for number, text in enumerate(texts):
            prompt: Any = [{"role": "user", "content": text}] if chat else text
            ids.append(prompt_token_ids(self.tokenizer, prompt))
            where, remedy = f"refinement {number}", "let answers be shorter, or score by another model"
            check_prompt_length(ids[-1], prompt, limit, where=where, remedy=remedy)
        shares, was_training = [], self.model.training
        self.model.eval()
        try:
            for start in range(0, len(ids), self.batch_size):
                part = [torch.tensor(row) for row in ids[start : start + self.batch_size]]
                # Padding stands behind, where no model reads it.
                lines = pad_sequence(part, batch_first=True, padding_value=int(self.tokenizer.pad_token_id))
                mask = pad_sequence([torch.ones_like(row) for row in part], batch_first=True)
                device = self.model.device
                given = forward_arguments(self.model, lines.to(device), mask.bool().to(device), positions=False)
                last = torch.tensor([len(row) - 1 for row in part], device=device)
                logits = self.model(**given).logits[torch.arange(len(part), device=device), last]
                logp = widened(logits).log_softmax(-1)
                shares.append(torch.sigmoid(logp[:, yes].logsumexp(-1) - logp[:, no].logsumexp(-1)).cpu())
        finally:
            self.model.train(was_training)
        return torch.cat(shares)
