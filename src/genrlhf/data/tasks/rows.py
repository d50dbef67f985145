"""What the loaders of tasks do with rows: tell prompts apart, keep parts disjoint, and take sizes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError, DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "as_inputs",
    "check_map",
    "check_sizes",
    "distinct",
    "named_rows",
    "only_text",
    "prompt_key",
    "prompt_keys",
    "size_of",
    "tenth",
    "where",
    "with_columns",
    "without",
]

logger = logging.getLogger(__name__)


def prompt_key(prompt: Any) -> str:
    """Return what makes a prompt the same one: its words, however they are spaced; of messages, those of all turns."""
    if isinstance(prompt, str):
        return " ".join(prompt.split())
    return " ".join(f"{turn['role']}: {' '.join(str(turn['content']).split())}" for turn in prompt)


def prompt_keys(prompts: Iterable[Any]) -> set[str]:
    """Return the keys of prompts."""
    return {prompt_key(prompt) for prompt in prompts}


def where(dataset: Dataset, kept: Sequence[bool]) -> Dataset:
    """Return the rows that are kept."""
    import numpy as np

    # An array: of a list every number would be pickled, for the fingerprint.
    return dataset.select(np.flatnonzero(np.array(kept, dtype=bool)))


def without(
    dataset: Dataset, keys: set[str], *, key: Callable[[Any], str] = prompt_key, told: str | None = None
) -> Dataset:
    """Return the rows whose prompt is not among `keys`.

    Args:
        dataset: rows with a column `prompt`.
        keys: of the prompts that are held out.
        key: of a prompt.
        told: what the rows are called in the warning that says how many are left out; None for no warning.
    """
    kept = [key(prompt) not in keys for prompt in dataset["prompt"][:]]
    if told and not all(kept):
        logger.warning(
            "%s: %d of %d rows are left out, whose prompts are held out.", told, len(kept) - sum(kept), len(kept)
        )
    return where(dataset, kept)


def distinct(dataset: Dataset) -> Dataset:
    """Return the first row of every prompt."""
    import numpy as np

    first: dict[str, int] = {}
    for number, prompt in enumerate(dataset["prompt"][:]):
        first.setdefault(prompt_key(prompt), number)
    return dataset.select(np.array(list(first.values()), dtype=np.int64))


def tenth(dataset: Dataset) -> int:
    """Return a tenth of the number of rows, at least 1."""
    return max(1, len(dataset) // 10)


def as_inputs(demonstrations: Dataset) -> Dataset:
    """Return demonstrations as inputs: the completion becomes the reference."""
    return demonstrations.rename_column("completion", "reference")


def named_rows(dataset: Dataset, name: str) -> Dataset:
    """Return the rows of an evaluation set with the column `dataset`, which those have that come with one."""
    if "dataset" in dataset.column_names:
        return dataset
    from datasets import Dataset, Features, Value

    # Adding a column to a selection writes it anew, with a progress bar.
    features = Features({**dataset.features, "dataset": Value("string")})
    return Dataset.from_dict({**dataset[:], "dataset": [name] * len(dataset)}, features)


def with_columns(dataset: Dataset, columns: Mapping[str, list[Any]], drop: Sequence[str] = ()) -> Dataset:
    """Return a dataset of these columns, of text unless they hold other things, and its further ones but `drop`."""
    from datasets import Dataset, Features, Value

    further = [name for name in dataset.column_names if name not in columns and name not in drop]
    made = Dataset.from_dict(dict(columns))
    texts = {name for name, values in columns.items() if not values or isinstance(values[0], str)}
    features = {name: Value("string") if name in texts else made.features[name] for name in columns}
    features |= {name: dataset.features[name] for name in further}
    return Dataset.from_dict({**columns, **{name: dataset[name][:] for name in further}}, Features(features))


def only_text(dataset: Dataset, columns: Sequence[str], name: str, task: str) -> None:
    """Raise `DataError` unless these columns hold strings."""
    for column in columns:
        if getattr(dataset.features[column], "dtype", None) not in ("string", "large_string"):
            raise DataError(
                f"{name}, column {column!r} holds {excerpt(dataset[0][column])}, but {task} needs plain text; give "
                "strings."
            )


def check_map(columns: Mapping[str, str] | None, known: Sequence[str], option: str) -> None:
    """Raise `ConfigError` unless a map of columns goes from names that a loader reads to others."""
    for ours, theirs in (columns or {}).items():
        if ours not in known or not isinstance(theirs, str):
            raise ConfigError(
                f"{option} says that {ours!r} is called {excerpt(theirs)}; it goes from {', '.join(map(repr, known))} "
                "to the names of your columns."
            )


def check_sizes(loader: str, sizes: Mapping[str, Any], shares: Sequence[str] = ()) -> None:
    """Raise `ConfigError` unless sizes are counts from 1, None or, for those in `shares`, fractions below 1."""
    for option, value in sizes.items():
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            continue
        if option in shares and isinstance(value, float) and 0 < value < 1:
            continue
        share = "; a share is a number between 0 and 1, such as 0.1" if option in shares else ""
        raise ConfigError(f"{loader}({option}={value}): give 1 or more, or None{share}.")


def size_of(size: int | float | None, total: int) -> int | None:
    """Return a size as a count: a share is rounded down, to at least 1."""
    return max(1, math.floor(size * total)) if isinstance(size, float) else size
