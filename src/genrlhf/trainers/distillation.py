"""The rows that a policy is fine-tuned on where it is to write like completions of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from genrlhf.errors import DataError, ModelError, excerpt
from genrlhf.sampling.decode import prompt_token_ids

if TYPE_CHECKING:
    from genrlhf.data.chat import Prompt
    from genrlhf.trainers.best_of_n_file import BestOfNOutput

__all__ = ["distillation_rows"]

logger = logging.getLogger(__name__)


def distillation_rows(
    tokenizer: Any, asked: Sequence[Prompt], outputs: Sequence[BestOfNOutput], *, train_cut_off: bool = True
) -> Dataset:
    """Return the best completions as they were sampled, token by token, with what else is known of them.

    Not their texts tokenised anew: that would put EOS behind what was cut off, and so teach the policy to stop there,
    and another end of turn behind what ended in one of several. An empty completion is its EOS.

    Args:
        tokenizer: of the policy.
        asked: its prompts, as the sampler was given them.
        outputs: as many.
        train_cut_off: keep completions that were cut off.

    Returns:
        `prompt`, `completion`, `reward` and `ended`, and for the fine-tuning `input_ids` and `completion_mask`.

    Raises:
        DataError: where no completion ended, and only those that did are kept.
        ModelError: where the sampler does not tell the tokens.
    """
    rows = []
    for prompt, output in zip(asked, outputs, strict=True):
        ended, ids = output.ended[output.chosen], output.token_ids[output.chosen]
        if ids is None:
            raise ModelError(
                f"The sampler does not tell the tokens of its completions, such as {excerpt(output.completion)}; the "
                "policy can be trained on its own samples only."
            )
        if not ended and not train_cut_off:
            continue
        prompt_ids = prompt_token_ids(tokenizer, prompt)
        rows.append(
            {
                "prompt": output.prompt,
                "completion": _as_turn(output.prompt, output.completion),
                "reward": output.reward,
                "ended": ended,
                "input_ids": prompt_ids + ids,
                "completion_mask": [0] * len(prompt_ids) + [1] * len(ids),
            }
        )
    _tell_cut_off(outputs, kept=len(rows))
    return Dataset.from_list(rows)


def _tell_cut_off(outputs: Sequence[BestOfNOutput], *, kept: int) -> None:
    """Say how many completions were cut off, and what becomes of them."""
    cut_off = sum(not output.ended[output.chosen] for output in outputs)
    remedy = "raise max_new_tokens, or give stop strings"
    if not kept:
        raise DataError(f"All {len(outputs)} best samples were cut off at max_new_tokens; {remedy}.")
    if cut_off:
        fate = "are trained without EOS" if kept == len(outputs) else "are left out"
        logger.warning(
            "%d of %d best samples were cut off at max_new_tokens, and %s; to have fewer, %s.",
            cut_off,
            len(outputs),
            fate,
            remedy,
        )


def _as_turn(prompt: Any, completion: str) -> Any:
    """Return a completion in the form that its prompt has: text, or a message."""
    return completion if isinstance(prompt, str) else [{"role": "assistant", "content": completion}]
