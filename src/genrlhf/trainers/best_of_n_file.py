"""The samples of best-of-N on disk: one line a prompt, appended as they come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genrlhf.data.log import append_records, recover_records
from genrlhf.errors import RunFolderError, excerpt

__all__ = ["BestOfNOutput", "append_outputs", "has_outputs", "read_outputs", "remove_outputs"]


@dataclass(frozen=True)
class BestOfNOutput:
    """The best of n completions of one prompt.

    Attributes:
        prompt: text, or messages.
        completion: the sample that was chosen: that with the highest reward, the first of them where several have it.
        reward: its reward.
        samples: all n completions, in the order they were drawn.
        rewards: their rewards.
        ended: of each, whether it ended in EOS or a stop string; False where it was cut off.
        token_ids: of each, as it was sampled, EOS and stop string included; None where the sampler does not tell.
        chosen: the place of `completion` among them.
    """

    prompt: Any
    completion: str
    reward: float
    samples: list[str]
    rewards: list[float]
    ended: list[bool]
    token_ids: list[list[int] | None]
    chosen: int


def append_outputs(file: Path, rows: Iterable[int], outputs: Iterable[BestOfNOutput]) -> None:
    """Append one line for each output, under the number of its row."""
    append_records(file, [{"row": row, **asdict(output)} for row, output in zip(rows, outputs, strict=True)])


def read_outputs(folder: Path, prompts: list[Any]) -> dict[int, BestOfNOutput]:
    """Return what earlier starts have sampled for `prompts`, by row; a line that was cut off half-way is left out.

    Raises:
        RunFolderError: where a line is no such output, or its row was sampled for another prompt.
    """
    found: dict[int, BestOfNOutput] = {}
    for file in _files(folder):
        for number, record in enumerate(recover_records(file), start=1):
            row, output = _parse(record, f"{file}, line {number}")
            if row >= len(prompts) or output.prompt != prompts[row]:
                raise RunFolderError(
                    f"{file} holds samples of another dataset: its row {row} is {excerpt(output.prompt)}. Choose "
                    "another output_dir, or remove the file."
                )
            found[row] = output
    return found


def _parse(record: dict[str, Any], where: str) -> tuple[int, BestOfNOutput]:
    try:
        return int(record.pop("row")), BestOfNOutput(**record)
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{where} is {excerpt(record)}, which is no output of BestOfNTrainer; remove the line, or choose another "
            "output_dir."
        ) from error


def has_outputs(folder: Path) -> bool:
    """Say whether an earlier start has sampled anything."""
    return any(file.stat().st_size > 0 for file in _files(folder))


def remove_outputs(folder: Path) -> None:
    """Delete what an earlier run has sampled."""
    for file in _files(folder):
        file.unlink()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("best_of_n-*.jsonl"))
