"""ILF: drafts, feedback on them in words, refinements; the best one is taught without draft and feedback."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods.method import Method
from genrlhf.places import given_or_placed, model_or_placed
from genrlhf.trainers import language_feedback as steps
from genrlhf.trainers.groups import Group
from genrlhf.trainers.language_feedback import Draft
from genrlhf.trainers.transforms import Round, Transform
from genrlhf.trainers.tuning_rows import TuningRows

__all__ = ["ILF", "METHOD"]

REFINE = "{prompt}\n\nFirst answer:\n{draft}\n\nFeedback on it:\n{feedback}\n\nBetter answer, as the feedback asks:\n"
ASK_FEEDBACK = "{prompt}\n\nAnswer:\n{draft}\n\nWhat should be better about this answer, in one sentence:\n"


@dataclass(frozen=True)
class ILF(Transform):
    """Make SFT rows (x, y*): y* = argmax_i score(x, draft, feedback, y_i) over refinements that follow the feedback.

    Scheurer et al. 2023, "Training Language Models with Language Feedback at Scale" (arXiv 2303.16755). Drafts are the
    column `draft`, or the trainer's samples. Every step is kept in the round's folder. Without `feedback`, and a column
    of that name, drafts are written to `feedback.jsonl` there for people, and the next start goes on.
    """

    feedback: Callable[..., Any] | str | None = field(
        default=None,
        metadata={
            "help": "Who gives it: a function of prompts and completions, or package.module:name; a model's folder or "
            "name; policy. None: the column feedback, or people, in a file."
        },
    )
    refiner: Callable[..., Any] | str | None = field(
        default=None, metadata={"help": "What refines: a model's name or folder, package.module:SAMPLER; None: policy."}
    )
    scorer: Callable[..., Any] | str | None = field(
        default=None,
        metadata={"help": "(prompts, drafts, feedback, refinements) to scores; None: the policy says yes or no."},
    )
    refinements: int = field(default=5, metadata={"help": "Of each draft; with 1 there is nothing to select."})
    refine_template: str = field(default=REFINE, metadata={"help": "Asks the refiner: {prompt}, {draft}, {feedback}."})
    feedback_template: str = field(default=ASK_FEEDBACK, metadata={"help": "Asks a model: {prompt}, {draft}."})
    forbid_copy: int = field(
        default=0, metadata={"help": "So many words in a row that only the feedback has rule a refinement out; 0: off."}
    )
    keep_draft: bool = field(default=False, metadata={"help": "The draft is a candidate too, the first."})

    def __post_init__(self) -> None:
        for name in ("feedback", "refiner"):
            object.__setattr__(self, name, model_or_placed(getattr(self, name), name))
        object.__setattr__(self, "scorer", given_or_placed(self.scorer, "scorer"))
        for name, least in (("refinements", 1), ("forbid_copy", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        steps.refuse_template("refine_template", self.refine_template, ("prompt", "draft", "feedback"))
        steps.refuse_template("feedback_template", self.feedback_template, ("prompt", "draft"))

    def check(self, rows: Any) -> None:
        """Raise `DataError` for feedback on drafts that are not there, or drafts without feedback."""
        if self.feedback is None and "feedback" in rows.column_names:
            if "draft" not in rows.column_names:
                raise DataError("train_dataset has a column 'feedback' and no 'draft', which it is on; add the drafts.")
            groups = [Group(row["prompt"], [], columns=row, row=number) for number, row in enumerate(rows)]
            steps.given_by_column(steps.drafts_of(groups))

    def draws(self, columns: Sequence[str]) -> bool:
        """Whether there are no drafts yet."""
        return "draft" not in columns

    def in_round(self, round_: Round) -> Callable[[list[Group]], Any]:
        """Return the transform with the round's samplers and files."""
        return partial(self, round_=round_)

    def __call__(self, groups: list[Group], round_: Round | None = None) -> TuningRows:
        """Return a row for every draft that has a refinement left to choose."""
        if round_ is None:
            raise ConfigError("ILF draws, and keeps what it draws, in a round; give it to a SampleAndTuneTrainer.")
        drafts, left_out = steps.drafts_of(groups), Counter[str]()
        said = steps.feedback_on(drafts, self.feedback, self.feedback_template, round_)
        told = [(draft, words) for draft, words in zip(drafts, said, strict=True) if words is not None]
        left_out["without feedback"] = len(drafts) - len(told)
        asked = [{"prompt": draft.filled(self.refine_template, feedback=words)} for draft, words in told]
        drawn = round_.draw("refinements", asked, self.refinements, source=self.refiner) if asked else []
        rules = self.keep_draft, self.forbid_copy
        found = [steps.candidates_of(*pair, record, *rules) for pair, record in zip(told, drawn, strict=True)]
        left_out.update(reason for texts, reason in found if not texts)
        scores = steps.scores_of(told, [texts for texts, _ in found], self.scorer, round_)
        rows = [
            _row(draft, words, texts[values.index(max(values))], max(values))
            for (draft, words), (texts, _), values in zip(told, found, scores, strict=True)
            if texts
        ]
        return TuningRows(rows, left_out)


def _row(draft: Draft, feedback: str, text: str, score: float) -> dict[str, Any]:
    """Return the row that teaches a refinement, as the answer to the prompt alone."""
    completion: Any = text if isinstance(draft.prompt, str) else [{"role": "assistant", "content": text}]
    return {**draft.asking, "completion": completion, "draft": draft.text, "feedback": feedback, "score": score}


METHOD = Method(
    name="ilf",
    label="Imitation learning from language feedback",
    paper="Scheurer et al. 2023, arXiv 2303.16755",
    loop="sample_and_tune",
    needs=("prompts", "feedback"),
    recipe={"n": 1, "top_p": 0.95, "num_train_epochs": 2.0},
    settings="genrlhf.methods.ilf:ILF",
    argument="transform",
)
