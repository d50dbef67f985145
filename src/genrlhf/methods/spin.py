"""SPIN: the policy learns to tell demonstrations from what its last iteration wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genrlhf.data.schema import check_text
from genrlhf.errors import DataError
from genrlhf.methods.method import Method
from genrlhf.trainers.groups import Group
from genrlhf.trainers.transforms import Transform
from genrlhf.trainers.tuning_rows import TuningRows

__all__ = ["METHOD", "SPIN"]


@dataclass(frozen=True)
class SPIN(Transform):
    """Pair every sample with the demonstration of its prompt, which is preferred, and tune by DPO; in iterations.

    The loss is −log σ(β [log (π / π_prev)(y*) − log (π / π_prev)(y)]), with y* the demonstration, y a sample of π_prev,
    the model that the iteration began with, and log-probabilities of whole completions; a mean over pairs. Chen et al.
    2024, "Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models" (arXiv 2401.01335). A sample
    that is its demonstration has the loss log 2 and no gradient; it is left out, and counted.
    """

    tune = "pairwise"

    def check(self, rows: Any) -> None:
        """Raise `DataError` for prompts without a demonstration."""
        if "completion" not in rows.column_names:
            raise DataError(
                f"SPIN prefers demonstrations to samples, and train_dataset has no 'completion', only "
                f"{', '.join(rows.column_names)}; give rows of prompt and completion."
            )
        for number, completion in enumerate(rows["completion"]):
            check_text(completion, f"train_dataset, row {number}, column 'completion'")

    def __call__(self, groups: list[Group]) -> TuningRows:
        """Return a pair for every sample that is not the demonstration."""
        rows, same = [], 0
        for group in groups:
            wanted = group.columns["completion"]
            text = wanted if isinstance(wanted, str) else wanted[-1]["content"]
            others = [place for place, each in enumerate(group.completions) if not (each.ended and each.text == text)]
            rows += [{**group.pair(place, place), "chosen": wanted} for place in others]
            same += not others
        return TuningRows(rows, {"all samples are the demonstration": same})


METHOD = Method(
    name="spin",
    label="SPIN",
    paper="Chen et al. 2024, arXiv 2401.01335",
    loop="sample_and_tune",
    needs=("demonstrations",),
    recipe={"n": 1, "num_iterations": 3, "learning_rate": 1e-6, "num_train_epochs": 2.0},
    settings="genrlhf.methods.spin:SPIN",
    argument="transform",
)
