"""Where rows come from: files, folders and hub datasets, all read into named splits."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from genrlhf.data.files import STDIN, SUFFIXES, read_rows
from genrlhf.data.schema import check_columns
from genrlhf.errors import DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SPLITS", "Source", "read_part", "read_split", "read_splits", "renamed", "source_name"]

SPLITS = ("train", "validation", "test")
"""The splits that are understood; a source may have only some of them."""

Source: TypeAlias = Union[str, "os.PathLike[str]", "Dataset", Mapping[str, "Dataset"]]
"""A file of rows, a folder, the name of a dataset on the hub, or what `datasets.load_dataset` returned."""

logger = logging.getLogger(__name__)


def source_name(source: Source) -> str:
    """Return what messages call a source."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"the given {type(source).__name__}"


def read_splits(
    source: Source, *, columns: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
) -> dict[str, Dataset]:
    """Read a source into its splits, "train" first.

    A file (see `read_rows`) or single dataset is divided by its column `split`, where it has one; otherwise all of it
    is "train". A folder or hub name goes to `datasets.load_dataset`, which knows files such as `train.jsonl` and
    `data/train-00000-of-00001.parquet`.

    Args:
        source: a string names a file or folder if there is one of this name or if it looks like a path, and a dataset
            on the hub otherwise.
        columns: what columns are called in the source, by the name that is wanted of them.
        labels: further values of its column `split`, with the split that each means.

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
    found = {split: renamed(dataset, columns, source=f"{name} ({split})") for split, dataset in found.items()}
    if len(found) == 1:
        (dataset,) = found.values()
        found = _by_column(dataset, name, labels or {}) if "split" in dataset.column_names else found
    splits = {split: found[split] for split in SPLITS if split in found and len(found[split])}
    if "train" not in splits:
        raise DataError(
            f"{name} has no rows in a split 'train', only the splits {', '.join(map(repr, found))}; add it."
        )
    if further := sorted(set(found) - set(SPLITS)):
        logger.warning("%s: the splits %s are not used.", name, ", ".join(map(repr, further)))
    return splits


def read_part(
    source: Source, split: str, *, columns: Mapping[str, str] | None = None, config: str | None = None
) -> Dataset:
    """Read one split of a source, as `read_split` does, also of what is loaded already.

    Args:
        source: as of `read_splits`; a mapping without this split and with several others is an error.
        split: its name.
        columns: what columns are called in the source, by the name that is wanted of them.
        config: the configuration, where the source is a dataset on the hub that has several.

    Raises:
        DataError: a source that is missing or cannot be read, or has several splits and not this one.
    """
    name = source_name(source)
    if isinstance(source, (str, os.PathLike)):
        found = _load(os.fspath(source), config)
    else:
        found = dict(source) if isinstance(source, Mapping) else {split: source}
    return renamed(_one(found, split, name), columns, source=name)


def renamed(dataset: Dataset, columns: Mapping[str, str] | None, *, source: str = "dataset") -> Dataset:
    """Return a dataset whose columns have other names; a column that had a name wanted of another one is left out.

    Args:
        dataset: rows.
        columns: what columns are called in it, by the name that is wanted of them.
        source: what the dataset is called in messages.

    Raises:
        DataError: it has no such column.

    Example:
        >>> from datasets import Dataset
        >>> renamed(Dataset.from_list([{"body": "a", "n": 1}]), {"post": "body"}).column_names
        ['post', 'n']
    """
    wanted = {ours: theirs for ours, theirs in (columns or {}).items() if ours != theirs}
    check_columns(dataset.column_names, list(wanted.values()), source=source)
    moved = set(wanted.values())
    dataset = dataset.remove_columns([name for name in wanted if name in dataset.column_names and name not in moved])
    return dataset.rename_columns({theirs: ours for ours, theirs in wanted.items()})


def read_split(source: str, split: str) -> Dataset:
    """Read one split of a source, whatever its splits are called; a file or single split is taken whole.

    Raises:
        DataError: a source that is missing or cannot be read, or has several splits and not this one.
    """
    return _one(_load(source), split, source)


def _one(found: Mapping[str, Dataset], split: str, name: str) -> Dataset:
    if len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        raise DataError(f"{name} has no split {split!r}; give one of {', '.join(map(repr, found))}.")
    return found[split]


def _load(source: str, config: str | None = None) -> dict[str, Dataset]:
    if source == STDIN:
        return {"train": read_rows(source)}
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_dataset(str(path))
    if path.is_file() or (source.endswith(SUFFIXES) and "://" not in source):
        return {"train": read_rows(path)}
    if "://" not in source and (path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1):
        raise DataError(f"{source} does not exist; give a file, a folder, or the name of a dataset on the hub.")
    return _load_dataset(source, config)


def _load_dataset(source: str, config: str | None = None) -> dict[str, Dataset]:
    from datasets import load_dataset

    try:
        if "://" in source:
            # Hub datasets with a script are refused; their files are plain.
            return dict(load_dataset("json", data_files=source))
        return dict(load_dataset(source, config))
    # The errors of hub, network, file readers and Arrow have no base in common; all mean that there are no rows.
    except Exception as error:
        cause = error.__cause__ or error
        raise DataError(
            f"{source} cannot be loaded: {type(cause).__name__}: {excerpt(str(cause), 300)}. Give a file, a folder of "
            "files such as train.jsonl, the name of a dataset on the hub (which needs a network or its cache), or what "
            "datasets.load_dataset returned."
        ) from error


def _by_column(dataset: Dataset, name: str, labels: Mapping[str, str]) -> dict[str, Dataset]:
    rows: dict[str, list[int]] = {}
    for number, label in enumerate(dataset["split"][:]):
        split = labels.get(label, label)
        if split not in SPLITS:
            known = ", ".join(map(repr, SPLITS))
            raise DataError(f"{name}, row {number}, column 'split' is {excerpt(split)}; give one of {known}.")
        rows.setdefault(split, []).append(number)
    return {split: dataset.select(numbers) for split, numbers in rows.items()}
