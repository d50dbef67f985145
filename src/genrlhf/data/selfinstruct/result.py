"""What a run has made, and which filter took how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrlhf.data.selfinstruct.filters import INSTANCE_FILTERS, INSTRUCTION_FILTERS

__all__ = ["SelfInstructResult"]

UNREAD = {
    "instructions": "no numbered instruction in an answer",
    "classification": "neither yes nor no in an answer",
    "instances": "no instance in an answer",
}


@dataclass(frozen=True)
class SelfInstructResult:
    """What a run has made.

    Attributes:
        rows: for `SFTTrainer`: `prompt`, `completion`, and `instruction`, `input`, `is_classification`, `id` of the
            instruction, and `seed_ids` of the seed tasks that its prompt showed.
        instructions: those that were kept, at most the target, with what is known of each.
        report: counts, and shares of every step and filter.
        folder: that holds all of it.
        stopped: why there are fewer instructions than the target; None where there are not.
        asked: answers that this start of the run has asked for.
    """

    rows: list[dict[str, Any]]
    instructions: list[dict[str, Any]]
    report: dict[str, Any]
    folder: Path
    stopped: str | None
    asked: int

    def table(self) -> list[tuple[str, str, str, str]]:
        """Return what each filter took, as lines of cells: of the instructions and the instances that were found."""
        lines = [("step", "filter", "taken", "share")]
        for step, filters in (
            ("instructions", INSTRUCTION_FILTERS),
            ("classification", {}),
            ("instances", INSTANCE_FILTERS),
        ):
            found = self.report[step]
            lines.append((step, UNREAD[step], *_cells(found["unread"])))
            lines += [(step, words, *_cells(found["filters"][name])) for name, words in filters.items()]
            lines.append((step, "kept" if filters else "yes or no in an answer", *_cells(found["kept"])))
        return lines


def _cells(found: Mapping[str, Any]) -> tuple[str, str]:
    share = found["share"]
    return str(found["count"]), "-" if share is None else f"{share:.1%}"
