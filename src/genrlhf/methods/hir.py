"""HIR: a sample is taught as the answer to the instruction that it does fulfil, whatever was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from genrlhf.data.asking import Asking
from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.places import given_or_placed
from genrlhf.trainers.groups import Group
from genrlhf.trainers.language_feedback import fill, refuse_template
from genrlhf.trainers.relabelling import HindsightObjective, asked, hindsight_rows, relabelled, wanted_of
from genrlhf.trainers.transforms import Round, Transform
from genrlhf.trainers.tuning_rows import TuningRows

__all__ = ["HIR", "METHOD"]


@dataclass(frozen=True)
class HIR(Transform):
    """Relabel each sample (p, x, o) to the instruction p* that o fulfils, and tune on (p*, x, o).

    Zhang et al. 2023, "The Wisdom of Hindsight Makes Language Models Better Instruction Followers" (arXiv 2302.05206):
    L = (1 − ε)(−ℓ_t) + ε (−mean_v log π(v)) + α C + β Σ_v π log π, with C of `genrlhf.ops.contrast_loss` over p*
    and the other `instructions` (or, unlisted, the round's). The paper has ε 0.2, α 1 and β 0.001.
    """

    feedback: Callable[..., Any] | str | None = field(
        default=None,
        metadata={"help": "(prompts, completions, **columns) to the instruction that each fulfils; or module:name."},
    )
    goal_reward: Callable[..., Any] | str | None = field(
        default=None,
        metadata={"help": "Instead: (prompts, completions, instructions) to rewards; the best instruction is taken."},
    )
    instructions: list[str] | None = field(
        default=None, metadata={"help": "All there are, the wanted one first; a column instruction wants another."}
    )
    template: str = field(default="{instruction}\n{prompt}", metadata={"help": "How they are put together."})
    epsilon: float = field(default=0.0, metadata={"help": "ε of label smoothing, below 1."})
    alpha: float = field(default=0.0, metadata={"help": "α of the contrast to other instructions; 0: none."})
    beta: float = field(default=0.0, metadata={"help": "β of the entropy; 0: none."})
    keep_rounds: int = field(default=1, metadata={"help": "Rounds whose rows are tuned on, this one among them."})

    def __post_init__(self) -> None:
        for name in ("feedback", "goal_reward"):
            object.__setattr__(self, name, given_or_placed(getattr(self, name), name))
        refuse_template("template", self.template, ("instruction", "prompt"))
        for name, good in (("epsilon", 0 <= self.epsilon < 1), ("alpha", self.alpha >= 0), ("beta", self.beta >= 0)):
            if not good or getattr(self, name) == float("inf"):
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be 0 or more, finite, and epsilon below 1."
                )
        if self.keep_rounds < 1:
            raise ConfigError(f"keep_rounds is {self.keep_rounds}; it must be at least 1, the round itself.")
        if self.goal_reward is not None and (self.feedback is not None or not self.instructions):
            raise ConfigError("goal_reward chooses among instructions; list them, and leave feedback out.")

    @property
    def objective(self) -> Any:
        """The cross-entropy, unless one of ε, α and β is above 0."""
        weights = self.epsilon, self.alpha, self.beta
        return HindsightObjective(*weights) if any(weights) else None

    @property
    def asking(self) -> Asking | None:
        """How the model is asked: by the wanted instruction, where it is the same for all."""
        before, _, after = self.template.partition("{prompt}")
        wanted = self.instructions[0] if self.instructions else None
        return None if wanted is None else Asking(*(fill(text, instruction=wanted) for text in (before, after)))

    def ask(self, prompt: Any, row: Mapping[str, Any]) -> Any:
        """Return what the policy is asked: the wanted instruction with the prompt."""
        return asked(prompt, wanted_of(row, self.instructions), self.template)

    def check_settings(self, args: Any) -> None:
        """Raise `ConfigError` where nothing relabels."""
        if self.feedback is None and self.goal_reward is None:
            raise ConfigError("HIR relabels samples by feedback: give feedback, or goal_reward and instructions.")

    def check(self, rows: Any) -> None:
        """Raise `DataError` for a row without a wanted instruction."""
        for number, row in enumerate(rows):
            wanted_of(row, self.instructions, f"train_dataset, row {number}")

    def in_round(self, round_: Round) -> Callable[[list[Group]], Any]:
        """Return the transform with the round's tokenizer and files."""
        return partial(self, round_=round_)

    def __call__(self, groups: list[Group], round_: Round | None = None) -> TuningRows:
        """Return a row for every sample."""
        relabel = partial(relabelled, self.feedback, self.goal_reward, self.instructions)
        found = relabel(groups) if round_ is None else round_.each("instructions", groups, relabel)
        return hindsight_rows(
            groups,
            found,
            self.template,
            self.instructions,
            round_,
            contrast=self.alpha > 0,
            keep_rounds=self.keep_rounds,
        )


METHOD = Method(
    name="hir",
    label="Hindsight instruction relabelling",
    paper="Zhang et al. 2023, arXiv 2302.05206",
    loop="sample_and_tune",
    needs=("prompts", "feedback"),
    recipe={"n": 4, "num_iterations": 3},
    settings="genrlhf.methods.hir:HIR",
    argument="transform",
)
