"""The outputs of every method on disk: JSONL, a row an input, appended as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from datasets import Dataset

from genrlhf.data.log import append_records, recover_records
from genrlhf.errors import RunFolderError, excerpt
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.studies.recipe import Recipe
from genrlhf.types import RewardFunction

__all__ = ["Draw", "draw_outputs"]

Draw = Callable[[Sequence[Any], Sequence[int], int], list[list[str]]]
"""`(prompts, their rows, outputs a prompt) -> outputs`; what a row draws does not depend on the rows beside it."""


def draw_outputs(
    file: Path,
    dataset: Dataset,
    name: str,
    recipe: Recipe,
    draw: Draw,
    *,
    times: int = 1,
    reward: RewardFunction | None = None,
) -> list[dict[str, Any]]:
    """Return a row of `prompt`, `outputs`, `dataset` (and `reference`) for every input, drawing what `file` lacks.

    Args:
        file: where the rows go.
        dataset: rows of `prompt` and maybe `reference`.
        name: what the set is called.
        recipe: how many outputs an input gets.
        draw: draws them.
        times: this many for each that the recipe asks for.
        reward: scores them; a row then has their `rewards`, too.

    Raises:
        RewardError: a reward is not a finite number.
        RunFolderError: where `file` holds outputs of other inputs.
    """
    rows = recover_records(file)
    prompts = list(dataset["prompt"])
    for number, row in enumerate(rows):
        if number >= len(prompts) or row["prompt"] != prompts[number]:
            raise RunFolderError(
                f"{file}, row {number} is an output for {excerpt(row['prompt'])}, which is no row of {name!r}; choose "
                "another folder, or remove the file."
            )
    for each, chunk in _chunks(range(len(rows), len(prompts)), recipe, times):
        outputs = draw([prompts[i] for i in chunk], chunk, each)
        added = [_row(dataset, i, texts, name) for i, texts in zip(chunk, outputs, strict=True)]
        if reward is not None:
            _score(added, reward)
        append_records(file, added)
        rows += added
    return rows


def _chunks(rows: Iterable[int], recipe: Recipe, times: int) -> Iterator[tuple[int, list[int]]]:
    """Group rows that have as many outputs each into batches, each with that number."""
    for each, group in groupby(rows, key=lambda row: times * recipe.outputs_of(row)):
        members, size = list(group), max(1, recipe.sampling_batch_size // each)
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
