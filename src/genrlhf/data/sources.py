"""Where rows come from: files, folders and hub datasets, all read into named splits."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from genrlhf.data.files import STDIN, SUFFIXES, read_rows
from genrlhf.errors import DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SPLITS", "Source", "read_split", "read_splits", "source_name"]

SPLITS = ("train", "validation", "test")
"""The splits that are understood; a source may have only some of them."""

Source: TypeAlias = Union[str, "os.PathLike[str]", "Dataset", Mapping[str, "Dataset"]]
"""A file of rows, a folder, the name of a dataset on the hub, or what `datasets.load_dataset` returned."""

logger = logging.getLogger(__name__)


def source_name(source: Source) -> str:
    """Return what messages call a source."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"the given {type(source).__name__}"


def read_splits(source: Source) -> dict[str, Dataset]:
    """Read a source into its splits, "train" first.

    A file (see `read_rows`) or single dataset is divided by its column `split`, where it has one; otherwise all of it
    is "train". A folder or hub name goes to `datasets.load_dataset`, which knows files such as `train.jsonl` and
    `data/train-00000-of-00001.parquet`.

    Args:
        source: a string names a file or folder if there is one of this name or if it looks like a path, and a dataset
            on the hub otherwise.

    Returns:
        The splits among "train", "validation" and "test" that there are; "train" always.

    Raises:
        DataError: a source that is missing or cannot be read, or has no rows to train on.
    """
    name = source_name(source)
    if isinstance(source, (str, os.PathLike)):
        found = _load(os.fspath(source))
    else:
        found = dict(source) if isinstance(source, Mapping) else {"train": source}
    if len(found) == 1:
        (dataset,) = found.values()
        found = _by_column(dataset, name) if "split" in dataset.column_names else found
    splits = {split: found[split] for split in SPLITS if split in found and len(found[split])}
    if "train" not in splits:
        raise DataError(
            f"{name} has no rows in a split 'train', only the splits {', '.join(map(repr, found))}; add it."
        )
    if further := sorted(set(found) - set(SPLITS)):
        logger.warning("%s: the splits %s are not used.", name, ", ".join(map(repr, further)))
    return splits


def read_split(source: str, split: str) -> Dataset:
    """Read one split of a source, whatever its splits are called; a file or single split is taken whole.

    Raises:
        DataError: a source that is missing or cannot be read, or has several splits and not this one.
    """
    found = _load(source)
    if len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        raise DataError(f"{source} has no split {split!r}; give one of {', '.join(map(repr, found))}.")
    return found[split]


def _load(source: str) -> dict[str, Dataset]:
    if source == STDIN:
        return {"train": read_rows(source)}
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_dataset(str(path))
    if path.is_file() or source.endswith(SUFFIXES):
        return {"train": read_rows(path)}
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise DataError(f"{source} does not exist; give a file, a folder, or the name of a dataset on the hub.")
    return _load_dataset(source)


def _load_dataset(source: str) -> dict[str, Dataset]:
    from datasets import load_dataset

    try:
        return dict(load_dataset(source))
    # The errors of hub, network, file readers and Arrow have no base in common; all mean that there are no rows.
    except Exception as error:
        cause = error.__cause__ or error
        raise DataError(
            f"{source} cannot be loaded: {type(cause).__name__}: {excerpt(str(cause), 300)}. Give a file, a folder of "
            "files such as train.jsonl, the name of a dataset on the hub (which needs a network or its cache), or what "
            "datasets.load_dataset returned."
        ) from error


def _by_column(dataset: Dataset, name: str) -> dict[str, Dataset]:
    rows: dict[str, list[int]] = {}
    for number, split in enumerate(dataset["split"][:]):
        if split not in SPLITS:
            known = ", ".join(map(repr, SPLITS))
            raise DataError(f"{name}, row {number}, column 'split' is {excerpt(split)}; give one of {known}.")
        rows.setdefault(split, []).append(number)
    return {split: dataset.select(numbers) for split, numbers in rows.items()}
