"""Where the rounds of sample-and-tune lie, and what of another run is deleted there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from genrlhf.trainers.checkpoint import checkpoints_in, discard
from genrlhf.trainers.groups import GroupFiles
from genrlhf.trainers.transforms import ROWS_FILE

__all__ = ["RoundFiles"]


@dataclass(frozen=True)
class RoundFiles:
    """The folders of all rounds: `iteration-K`, or the output folder itself where there is one.

    Attributes:
        output_dir: of the run.
        rounds: how many there are.
        groups: the files of what was drawn.
    """

    output_dir: Path
    rounds: int
    groups: GroupFiles

    def folder(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.output_dir if self.rounds == 1 else self.output_dir / f"iteration-{number}"

    def rows(self, number: int) -> Path:
        """Return the file of the rows that the transform has made."""
        return self.folder(number) / ROWS_FILE

    def has_begun(self) -> bool:
        """Say whether anything was drawn or trained."""
        # Of drafts that are given, and not drawn, there are the steps alone.
        return any(
            self.groups.any_in(folder) or checkpoints_in(folder) or any(folder.glob("*.jsonl"))
            for folder in self._folders()
        )

    def clear(self) -> None:
        """Delete what another run has left."""
        for folder in self._folders():
            self.groups.remove(folder)
            for checkpoint in checkpoints_in(folder).values():
                discard(checkpoint)
        self.remove_rows()

    def remove_rows(self) -> None:
        """Delete what transforms have made, and keep what was drawn."""
        for folder in self._folders():
            (folder / ROWS_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder / "steps", ignore_errors=True)

    def _folders(self) -> list[Path]:
        return [self.folder(number) for number in range(self.rounds)]
