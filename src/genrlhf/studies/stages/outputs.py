"""Outputs on disk: JSONL, a row an input, appended as they come by one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from accelerate import PartialState
from datasets import Dataset

from genrlhf.data.log import append_records, recover_records, replace_records
from genrlhf.errors import RunFolderError, excerpt
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.trainers.shared import decided_by_main
from genrlhf.types import RewardFunction

__all__ = ["Draw", "draw_outputs"]

Draw: TypeAlias = Callable[[Sequence[Any], Sequence[int], int], list[list[str]]]
"""`(prompts, their rows, outputs a prompt) -> outputs`; what a row draws does not depend on the rows beside it."""


def draw_outputs(
    file: Path,
    dataset: Dataset,
    name: str,
    draw: Draw,
    *,
    counts: Sequence[int],
    batch_size: int,
    reward: RewardFunction | None = None,
) -> list[dict[str, Any]]:
    """Return a row of `prompt`, `outputs`, `dataset` (and `reference`) for every input, drawing what is not on disk.

    Every process appends its share to a file of its own beside `file`, which is written whole at the end. Inputs are
    drawn in the same batches whatever is there already and however many processes there are, so that a start that was
    killed ends with the same outputs, bit for bit.

    Args:
        file: where the rows go.
        dataset: rows of `prompt` and maybe `reference`.
        name: what the set is called.
        draw: draws them.
        counts: outputs of each input.
        batch_size: sequences drawn at a time.
        reward: scores them; a row then has their `rewards`, too.

    Raises:
        RewardError: a reward is not a finite number.
        RunFolderError: where `file` holds outputs of other inputs.
    """
    state, prompts = PartialState(), list(dataset["prompt"])
    if not decided_by_main(file.is_file):
        done = set(decided_by_main(lambda: [row["row"] for row in _there(file, prompts, name)]))
        for number, (each, chunk) in enumerate(_chunks(counts, batch_size)):
            if number % state.num_processes != state.process_index or done.issuperset(chunk):
                continue
            outputs = draw([prompts[i] for i in chunk], chunk, each)
            added = [_row(dataset, i, texts, name) for i, texts in zip(chunk, outputs, strict=True)]
            if reward is not None:
                _score(added, reward)
            fresh = [{"row": i, **row} for i, row in zip(chunk, added, strict=True) if i not in done]
            append_records(_part(file, state.process_index), fresh)
        state.wait_for_everyone()
        decided_by_main(lambda: _gather(file, prompts, name))
    return recover_records(file)


def _part(file: Path, process: int | str) -> Path:
    return file.with_name(f"{file.stem}.process-{process}.jsonl")


def _there(file: Path, prompts: Sequence[Any], name: str) -> list[dict[str, Any]]:
    """Return the rows that earlier starts have drawn, in order."""
    found: dict[int, dict[str, Any]] = {}
    for part in sorted(file.parent.glob(_part(file, "*").name)):
        for row in recover_records(part):
            number = row.get("row")
            if not (isinstance(number, int) and 0 <= number < len(prompts) and row.get("prompt") == prompts[number]):
                raise RunFolderError(
                    f"{part} has an output for {excerpt(row.get('prompt'))}, which is no row of {name!r}; remove it."
                )
            found[number] = row
    return [found[number] for number in sorted(found)]


def _gather(file: Path, prompts: Sequence[Any], name: str) -> None:
    """Write what all processes have drawn into one file, whole or not at all."""
    rows = [{key: value for key, value in row.items() if key != "row"} for row in _there(file, prompts, name)]
    replace_records(file, rows)
    for part in file.parent.glob(_part(file, "*").name):
        part.unlink()


def _chunks(counts: Sequence[int], batch_size: int) -> Iterator[tuple[int, list[int]]]:
    """Group inputs that have as many outputs each into batches, each with that number."""
    for each, group in groupby(range(len(counts)), key=counts.__getitem__):
        members, size = list(group), max(1, batch_size // each)
        for start in range(0, len(members), size):
            yield each, members[start : start + size]


def _row(dataset: Dataset, number: int, outputs: list[str], name: str) -> dict[str, Any]:
    row = {"prompt": dataset[number]["prompt"], "outputs": outputs, "dataset": name}
    if "reference" in dataset.column_names:
        row["reference"] = dataset[number]["reference"]
    return row


def _score(rows: list[dict[str, Any]], reward: RewardFunction) -> None:
    """Give the rows the rewards of their outputs, asked for at once."""
    prompts = [row["prompt"] for row in rows for _ in row["outputs"]]
    outputs = [text for row in rows for text in row["outputs"]]
    rewards = iter(check_rewards(reward(prompts, outputs), prompts, outputs, name=reward_name(reward)))
    for row in rows:
        row["rewards"] = [next(rewards) for _ in row["outputs"]]
