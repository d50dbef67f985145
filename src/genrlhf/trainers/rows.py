"""Datasets of rows as users bring them, and as trainers read them: one pass, with a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import datasets
from datasets import Dataset, IterableDataset

from genrlhf.data.schema import check_columns
from genrlhf.errors import ConfigError, DataError

__all__ = ["Rows", "columns_of", "encode_rows", "refuse_endless", "shown_bars"]

Rows: TypeAlias = Dataset | IterableDataset
"""A dataset, or a stream of rows."""

Encoder: TypeAlias = Callable[[Mapping[str, Any], str], dict[str, Any]]
"""`(row, its place in messages) -> the columns that are trained on`."""


def columns_of(dataset: Rows) -> list[str]:
    """Return the names of the columns, of a stream maybe those of its first row."""
    if dataset.column_names is not None:
        return list(dataset.column_names)
    return list(next(iter(dataset), {}))


def refuse_endless(dataset: Any, max_steps: int) -> None:
    """Raise `ConfigError` where a stream is to be trained on, and nothing says for how long."""
    if isinstance(dataset, IterableDataset) and max_steps <= 0:
        raise ConfigError("train_dataset is an IterableDataset, which has no length; set max_steps.")


def encode_rows(dataset: Rows, encode: Encoder, wanted: list[str], *, source: str, args: Any) -> Rows:
    """Return what `encode` makes of every row, in place of its columns; a stream is encoded as it is read.

    Args:
        dataset: rows.
        encode: gets a row and its place, "train_dataset, row 3", which its errors begin with.
        wanted: columns that have to be there.
        source: what the dataset is called in messages.
        args: the settings; `disable_tqdm` hides the bar, `dataset_num_proc` is the number of processes.

    Raises:
        DataError: where there are no rows or columns, or from `encode`.
    """
    columns = columns_of(dataset)
    sized = isinstance(dataset, Dataset)
    if (sized and len(dataset) == 0) or not columns:
        raise DataError(f"{source} is empty; give at least one row.")
    check_columns(columns, wanted, source=source)
    if sized and dataset.format["type"] == "custom":
        raise ConfigError(
            f"{source} has a transform (with_transform), which may give other rows every time, and rows are tokenised "
            "once; use dataset.map."
        )

    def one(row: dict[str, Any], number: int) -> dict[str, Any]:
        return encode(row, f"{source}, row {number}")

    if not sized:
        one(dict(next(iter(dataset))), 0)  # fails now rather than in the first step
        return dataset.map(one, with_indices=True, remove_columns=columns)
    with shown_bars(args), args.main_process_first(desc=source):
        return dataset.map(
            one,
            with_indices=True,
            remove_columns=columns,
            num_proc=getattr(args, "dataset_num_proc", None),
            desc=f"Tokenising {source}",
        )


@contextmanager
def shown_bars(args: Any) -> Iterator[None]:
    """Show the bars of `datasets` on the main process, unless `disable_tqdm`."""
    before = datasets.are_progress_bars_disabled()
    shown = not args.disable_tqdm and args.process_index == 0
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    try:
        yield
    finally:
        (datasets.disable_progress_bars if before else datasets.enable_progress_bars)()
