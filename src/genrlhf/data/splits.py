"""Splits of a dataset: by subreddit, by length, and at random but the same whatever the order of the rows."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.data.formats import parse_tldr_prompt
from genrlhf.data.schema import check_rows
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.text import count_words

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["in_subreddits", "longer_posts", "split_by_length", "split_by_subreddit", "split_rows"]


def split_by_subreddit(dataset: Dataset, ood: Sequence[str], *, source: str = "dataset") -> tuple[Dataset, Dataset]:
    """Return the rows of all subreddits but those in `ood`, and the rows of those in `ood`.

    Args:
        dataset: rows with a column `subreddit`.
        ood: subreddits to keep apart, out of distribution.
        source: what the dataset is called in messages.

    Raises:
        ConfigError: `ood` is a string rather than a list of them.
        DataError: a subreddit that does not occur, or no row outside of `ood`.
    """
    outside = in_subreddits(dataset, ood, source=source)
    return _divide(dataset, [not out for out in outside])


def in_subreddits(dataset: Dataset, ood: Sequence[str], *, source: str = "dataset") -> list[bool]:
    """Return which rows `split_by_subreddit` puts out of distribution, with its errors."""
    if isinstance(ood, str):
        raise ConfigError(f"ood is the string {ood!r}; give a list of subreddits, [{ood!r}].")
    check_rows(dataset, ["subreddit"], source=source)
    subreddits = dataset["subreddit"][:]
    there = sorted(set(subreddits))
    for name in ood:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(f"{source} has no subreddit {name!r}; {hint}It has {_listed(there)}.")
    if set(ood) == set(there):
        raise DataError(
            f"every row of {source} is out of distribution: ood names all its subreddits, {_listed(there)}; leave at "
            "least one out."
        )
    outside = set(ood)
    return [name in outside for name in subreddits]


def split_by_length(
    dataset: Dataset, max_words: int, *, source: str = "dataset", count: Callable[[str], int] = count_words
) -> tuple[Dataset, Dataset]:
    """Return the rows whose post has at most `max_words` words, and the rows with longer posts.

    Words are what blanks and line breaks separate, in scripts without blanks characters (see `count_words` in
    `genrlhf.text`). Kirk et al. (2024, arXiv 2310.06452) split TL;DR at 245 words, and count what single blanks
    separate: `count=lambda post: len(post.split(" "))`.

    Args:
        dataset: rows with a column `post`, or with TL;DR prompts in the column `prompt`.
        max_words: length of the longest post on the first side.
        source: what the dataset is called in messages.
        count: of the words of a post.

    Raises:
        ConfigError: `max_words` is below 1.
        DataError: a row without a post.
    """
    return _divide(dataset, [not longer for longer in longer_posts(dataset, max_words, source=source, count=count)])


def longer_posts(
    dataset: Dataset, max_words: int, *, source: str = "dataset", count: Callable[[str], int] = count_words
) -> list[bool]:
    """Return which rows have a post of more than `max_words` words, with the errors of `split_by_length`."""
    if max_words < 1:
        raise ConfigError(f"max_words is {max_words}; give 1 or more.")
    if "post" in dataset.column_names:
        check_rows(dataset, ["post"], source=source)
        posts = dataset["post"][:]
    else:
        check_rows(dataset, ["prompt"], source=source)
        posts = [_post(prompt, f"{source}, row {number}") for number, prompt in enumerate(dataset["prompt"][:])]
    return [count(post) > max_words for post in posts]


def split_rows(
    dataset: Dataset,
    sizes: Mapping[str, int | float | None],
    *,
    seed: int = 0,
    by: str | Sequence[str] | None = None,
    source: str = "dataset",
) -> dict[str, Dataset]:
    """Split a dataset at random, by a hash of the content of each row.

    Where a row goes, and the order within a split, depend on the content and the seed alone, not on the order of the
    dataset. With fractions a row stays where it is when others come or go. Larger sizes of the first split contain
    smaller ones. Split a split again with another `seed`: with the same one, fractions would not be random.

    Args:
        dataset: any rows.
        sizes: the number of rows of every split, or their shares of the dataset (floats up to 1 in all; the splits
            come out about as large), in the order in which they are filled. One of them may be None: it takes what
            the others leave. Rows that no split takes are left out.
        seed: another one gives another split.
        by: columns that make the identity of a row, all by default. Rows that agree in them (such as several
            completions of one prompt) never come into different splits; where a count would cut such a group in two,
            its further rows are left out.
        source: what the dataset is called in messages.

    Raises:
        ConfigError: sizes that are negative, mixed, or more than the whole.
        DataError: too few rows for `sizes`, or a split without rows.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"prompt": ["a", "b", "c", "d", "e"]})
        >>> parts = split_rows(rows, {"validation": 2, "train": None})
        >>> len(parts["validation"]), len(parts["train"])
        (2, 3)
    """
    _check_sizes(sizes)
    columns = dataset.column_names if by is None else [by] if isinstance(by, str) else list(by)
    check = [name for name in columns if name not in dataset.column_names]
    if check:
        raise DataError(f"{source} has no column {check[0]!r}, only {_listed(dataset.column_names)}; change by={by!r}.")
    keys = _hashes(dataset.select_columns(columns), seed)
    # The rows of one key in an order of their own, so that the result is the same whatever the order of the dataset.
    contents = _hashes(dataset, seed) if by is not None else keys
    order = sorted(range(len(keys)), key=lambda i: (keys[i], contents[i]))
    if any(isinstance(size, float) for size in sizes.values()):
        taken = _by_share(order, keys, sizes)
    else:
        taken = _by_count(order, keys, sizes, source)
    for name, rows in taken.items():
        if not rows and sizes[name] != 0:
            raise DataError(
                f"{source} has too few rows ({len(dataset)}): none is left for {name!r} (sizes {dict(sizes)}); give "
                "more rows, or ask for fewer."
            )
    import numpy as np

    # Arrays: of lists every number would be pickled, for the fingerprint.
    return {name: dataset.select(np.array(rows, dtype=np.int64)) for name, rows in taken.items()}


def _check_sizes(sizes: Mapping[str, int | float | None]) -> None:
    given = {name: size for name, size in sizes.items() if size is not None}
    for name, size in given.items():
        if isinstance(size, bool) or not isinstance(size, (int, float)) or not size >= 0:
            raise ConfigError(
                f"the size of split {name!r} is {size!r}; give a count, a fraction, or None for the rest."
            )
    if len(sizes) - len(given) > 1:
        raise ConfigError(f"sizes {dict(sizes)} leave the rest to more than one split; give all but one a size.")
    fractions = [isinstance(size, float) for size in given.values()]
    if any(fractions) and not all(fractions):
        raise ConfigError(f"sizes {dict(sizes)} mix counts and fractions; give only one kind (1.0 is a fraction).")
    if any(fractions) and sum(given.values()) > 1 + 1e-9:
        raise ConfigError(f"the fractions {dict(sizes)} add up to more than 1; make them smaller.")


def _by_share(order: list[int], keys: list[int], sizes: Mapping[str, int | float | None]) -> dict[str, list[int]]:
    rest = next((name for name, size in sizes.items() if size is None), None)
    edges: list[tuple[float, str]] = []
    edge = 0.0
    for name, size in sizes.items():
        if size is not None:
            edge += size
            # Sums such as 0.7 + 0.2 + 0.1 end a little below 1.
            edges.append((1.0 if math.isclose(edge, 1.0) else edge, name))
    taken: dict[str, list[int]] = {name: [] for name in sizes}
    for i in order:
        side = next((name for edge, name in edges if keys[i] < edge * 2**64), rest)
        if side is not None:
            taken[side].append(i)
    return taken


def _by_count(
    order: list[int], keys: list[int], sizes: Mapping[str, int | float | None], source: str
) -> dict[str, list[int]]:
    taken: dict[str, list[int]] = {name: [] for name in sizes}
    at = 0
    for name, size in sizes.items():
        if size is None:
            continue
        end = at + int(size)
        if end > len(order):
            raise DataError(
                f"{source} has too few rows: {len(order)} (rows that belong together are not cut in two), and "
                f"{_listed(sizes)} want {' + '.join(str(n) for n in sizes.values() if n is not None)}; give more rows, "
                "or ask for fewer."
            )
        taken[name] = order[at:end]
        at = end
        while 0 < at < len(order) and keys[order[at]] == keys[order[at - 1]]:
            at += 1
    for name, size in sizes.items():
        if size is None:
            taken[name] = order[at:]
    return taken


def _hashes(dataset: Dataset, seed: int) -> list[int]:
    names = sorted(dataset.column_names)
    columns = dataset[:]
    hashes = []
    encode = json.JSONEncoder(default=repr).encode
    for values in zip(*(columns[name] for name in names), strict=True):
        content = encode([seed, names, values])
        hashes.append(int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big"))
    return hashes


def _post(prompt: Any, where: str) -> str:
    try:
        return parse_tldr_prompt(prompt).post
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _divide(dataset: Dataset, first: Sequence[bool]) -> tuple[Dataset, Dataset]:
    rows = range(len(first))
    return dataset.select([i for i in rows if first[i]]), dataset.select([i for i in rows if not first[i]])


def _listed(names: Any, limit: int = 20) -> str:
    shown = [excerpt(name, 40) for name in names]
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")
