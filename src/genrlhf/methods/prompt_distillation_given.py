"""Prompt distillation on given texts: the model without a context writes them as it does with the context in front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.methods.method import Method
from genrlhf.ops import forward_kl, forward_kl_top_k
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.own_rows import OwnRow, RowTokens
from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = ["METHOD", "PromptDistillation", "with_context"]


def with_context(prompt: Any, context: str) -> Any:
    """Return a prompt with a context in front: of text its beginning as it stands, of messages the system's."""
    if isinstance(prompt, str):
        return context + prompt
    first, others = (prompt[0], prompt[1:]) if prompt[0]["role"] == "system" else (None, prompt)
    said = context if first is None else f"{context}\n\n{first['content']}"
    return [{**(first or {"role": "system"}), "content": said}, *others]


@dataclass(frozen=True)
class PromptDistillation(Objective):
    """Minimise KL(π_0(· | C, x, y_<t) ‖ π_θ(· | x, y_<t)), a mean over the tokens of completions y; C is a context.

    Askell et al. 2021, "A General Language Assistant as a Laboratory for Alignment" (arXiv 2112.00861), context
    distillation. π_0 is the model as it starts, without an adapter: two passes on two inputs that end in the same
    tokens. Over the whole vocabulary at temperature 1; with `top_k` over the teacher's k likeliest and one class of all
    others.

    Args:
        context: in front of every prompt: the beginning of a text, the system message of a conversation. None: each
            row's column "context".
        top_k: at least 1; None for the whole vocabulary.

    Raises:
        ConfigError: for an empty context, or a `top_k` below 1.
    """

    context: str | None = field(default=None, metadata={"help": "In front of prompts; None: the column 'context'."})
    top_k: int | None = field(
        default=None, metadata={"help": "The teacher's likeliest tokens, and one class of the others; None: all."}
    )
    needs_start = True
    columns = ("teacher_ids",)

    def __post_init__(self) -> None:
        if self.context is not None and not self.context.strip():
            raise ConfigError(
                "context is empty: there is nothing to distil; give the text that prompts are to do without."
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}; it must be at least 1, or None for the whole vocabulary.")

    def reads(self, columns: list[str]) -> list[str]:
        """Return the columns that rows are made of."""
        return ["prompt", "completion", *(["context"] if self.context is None else [])]

    def of_row(self, row: Mapping[str, Any], where: str) -> str:
        """Return the context of a row.

        Raises:
            DataError: where it has none.
        """
        context = row.get("context") if self.context is None else self.context
        if not isinstance(context, str) or not context.strip():
            raise DataError(
                f"{where}, column 'context' is {excerpt(context)}: there is nothing to distil; give a text, here or as "
                "the method's context."
            )
        return context

    def encode(self, row: Mapping[str, Any], tokens: RowTokens) -> OwnRow:
        """Return the student's tokens, and the teacher's as a column."""
        context = self.of_row(row, tokens.where)
        tokens.tell_of_system(row["prompt"])
        asked = tokens(row["prompt"], row["completion"])
        taught = tokens(with_context(row["prompt"], context), row["completion"])
        tokens.check_room(taught.ids, "its context, prompt and completion together")
        student, teacher = ([t for t, bit in zip(each.ids, each.mask, strict=True) if bit] for each in (asked, taught))
        if student != teacher or any(each.ids[-len(student) :] != student for each in (asked, taught)):
            raise DataError(
                f"{tokens.where}: the completion has {len(student)} tokens behind the prompt, and with the context in "
                f"front {len(teacher)}, others or not all at the end; end prompts where a word ends, and give one turn."
            )
        return OwnRow([asked], {"teacher_ids": list(taught.ids)})

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return the loss of every token, (N,)."""
        teacher, student = batch.start_logits(batch.columns["teacher_ids"]), batch.logits()
        if self.top_k is None:
            return forward_kl(teacher, student)
        batch.log("kl", forward_kl(teacher, student.detach()))
        return forward_kl_top_k(teacher, student, self.top_k)


METHOD = Method(
    name="prompt_distillation_given",
    label="Prompt distillation, given texts",
    paper="Askell et al. 2021, arXiv 2112.00861; Snell et al. 2022, arXiv 2209.15189",
    loop="supervised",
    needs=("demonstrations",),
    settings="genrlhf.methods.prompt_distillation_given:PromptDistillation",
)
