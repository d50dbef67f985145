"""Prompt distillation on samples: of the model with the context in front, or of the student itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.methods.prompt_distillation_given import PromptDistillation, with_context
from genrlhf.trainers.groups import Group

__all__ = ["METHOD", "SampledPromptDistillation"]


@dataclass(frozen=True)
class SampledPromptDistillation:
    """Draw completions from the teacher, π_0(· | C, x), or the student, π_θ(· | x), and distil on them.

    The loss is that of `PromptDistillation`. On the student's own samples, drawn anew each iteration, it is on-policy.
    The teacher is the model as the first iteration found it.

    Args:
        context: see `PromptDistillation`.
        teacher_top_k: its `top_k`, which is a setting of sampling here.
        source: who writes the completions: "teacher" or "student".

    Raises:
        ConfigError: as `PromptDistillation` does, or for another `source`.
    """

    context: str | None = field(default=None, metadata={"help": "In front of prompts; None: the column 'context'."})
    teacher_top_k: int | None = field(
        default=None, metadata={"help": "The teacher's likeliest tokens, and one class of the others; None: all."}
    )
    source: str = field(default="teacher", metadata={"help": "Who writes the completions: teacher or student."})
    tune = "supervised"

    def __post_init__(self) -> None:
        if self.source not in ("teacher", "student"):
            raise ConfigError(
                f"source is {self.source!r}; it must be teacher or student (of given texts: prompt_distillation_given)."
            )
        PromptDistillation(self.context, self.teacher_top_k)

    @property
    def objective(self) -> PromptDistillation:
        """What the rows are tuned by."""
        return PromptDistillation(self.context, self.teacher_top_k)

    def ask(self, prompt: Any, row: Mapping[str, Any]) -> Any:
        """Return the prompt that is drawn from."""
        if self.source == "student":
            return prompt
        return with_context(prompt, self.objective.of_row(row, "A row of train_dataset"))

    def __call__(self, groups: Sequence[Group]) -> list[dict[str, Any]]:
        """Return a row for every completion."""
        kept = ("context",) if self.context is None else ()
        return [
            group.demonstration(place, **{name: group.columns.get(name) for name in kept})
            for group in groups
            for place in range(len(group.completions))
        ]


METHOD = Method(
    name="prompt_distillation",
    label="Prompt distillation",
    paper="Askell et al. 2021, arXiv 2112.00861; Snell et al. 2022, arXiv 2209.15189",
    loop="sample_and_tune",
    needs=("prompts",),
    recipe={"n": 1},
    settings="genrlhf.methods.prompt_distillation:SampledPromptDistillation",
    argument="transform",
)
