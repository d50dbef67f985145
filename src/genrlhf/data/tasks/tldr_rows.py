"""Posts and pairs of TL;DR's shape, read into the rows that trainers take."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from genrlhf.data.formats import as_completion, parse_tldr_prompt, tldr_prompt
from genrlhf.data.schema import check_rows
from genrlhf.data.sources import Source, read_part, read_splits, source_name
from genrlhf.data.splits import split_rows
from genrlhf.data.tasks.comparisons import as_preferences, is_comparisons
from genrlhf.data.tasks.rows import only_text, prompt_key, prompt_keys, size_of, tenth, where, with_columns, without
from genrlhf.data.tasks.shifts import Shifts
from genrlhf.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["LINE_BREAKS", "PAIR_COLUMNS", "POST_COLUMNS", "news_pairs", "read_pairs", "read_posts"]

POST_COLUMNS = ("subreddit", "title", "post", "summary")
PAIR_COLUMNS = ("prompt", "chosen", "rejected")
LINE_BREAKS = {"stiennon": "\n\n", "kirk": "\n"}
"""What stands between the parts of a prompt, by the name of its format."""

VALIDATION = {"valid1": "validation", "valid2": "validation"}
"""What Stiennon et al. call the splits of their comparisons that are not trained on."""

logger = logging.getLogger("genrlhf.data.tasks.tldr")


def read_posts(source: Source, name: str, columns: Mapping[str, str] | None, line_break: str) -> Dataset:
    """Return all rows of a source, with the columns prompt, completion, subreddit, split, and what else it has."""
    from datasets import concatenate_datasets

    made = []
    for split, dataset in read_splits(source, columns=columns).items():
        place = f"{name} ({split})"
        there = dataset.column_names
        if "prompt" in there:
            check_rows(dataset, ["prompt", "completion"], source=place)
            only_text(dataset, ("prompt", "completion"), place, "TL;DR")
            prompts = [prompt.rstrip() for prompt in dataset["prompt"][:]]
            summaries, drop = dataset["completion"][:], ["reference"]
        elif set(POST_COLUMNS[1:]) & set(there):
            check_rows(dataset, POST_COLUMNS, source=place)
            only_text(dataset, POST_COLUMNS, place, "TL;DR")
            prompts = [tldr_prompt(*parts) for parts in zip(*(dataset[c][:] for c in POST_COLUMNS[:3]), strict=True)]
            summaries, drop = dataset["summary"][:], ["reference", "summary"]
        else:
            raise DataError(
                f"{place} has the columns {', '.join(map(repr, there))}; it needs 'prompt' and 'completion', or "
                f"{', '.join(map(repr, POST_COLUMNS))}."
            )
        subreddits = [_subreddit(prompt, f"{place}, row {i}") for i, prompt in enumerate(prompts)]
        if line_break != "\n\n":
            prompts = [_with_breaks(prompt, line_break) for prompt in prompts]
        columns_made = {"prompt": prompts, "completion": [as_completion(text) for text in summaries]}
        if "subreddit" not in there:
            columns_made["subreddit"] = subreddits
        made.append(with_columns(dataset, {**columns_made, "split": [split] * len(dataset)}, drop=drop))
    try:
        return concatenate_datasets(made)
    except ValueError as error:
        raise DataError(f"the splits of {name} have different columns ({error}); make them alike.") from error


def _with_breaks(prompt: str, line_break: str) -> str:
    subreddit, title, post = parse_tldr_prompt(prompt)
    parts = (f"SUBREDDIT: r/{subreddit}", f"TITLE: {title}", f"POST: {post}", "TL;DR:")
    return line_break.join(parts)


def _subreddit(prompt: str, place: str) -> str:
    try:
        return parse_tldr_prompt(prompt).subreddit
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def read_pairs(
    source: Source,
    columns: Mapping[str, str] | None,
    shifts: Shifts,
    held: set[str],
    n_validation: int | float | None,
    seed: int,
    line_break: str,
) -> dict[str, Dataset]:
    """Return the preference pairs in distribution, as "train" and "validation"."""
    name = source_name(source)
    parts = {}
    for split, dataset in read_splits(source, columns=columns, labels=VALIDATION).items():
        place = f"{name} ({split})"
        pairs = _as_pairs(dataset, place)
        kept = _usable(pairs, shifts, held)
        if sum(kept) < len(kept):
            logger.warning(
                "%s: %d of %d pairs are left out (out of distribution, held-out prompts, no TL;DR prompts, or both "
                "sides the same).",
                place,
                len(kept) - sum(kept),
                len(kept),
            )
        parts[split] = _broken(where(pairs, kept), line_break)
    train, validation = parts["train"], parts.get("validation", parts.get("test"))
    if validation is None or not len(validation):
        at_most = min(size_of(n_validation, len(train)) or len(train), tenth(train))
        return split_rows(train, {"validation": at_most, "train": None}, seed=seed, by="prompt", source=name)
    size = size_of(n_validation, len(validation))
    wanted = None if size is None else min(size, len(validation))
    train = without(train, prompt_keys(validation["prompt"][:]))
    return {
        "train": split_rows(train, {"train": None}, seed=seed, source=name)["train"],
        "validation": split_rows(validation, {"validation": wanted}, seed=seed, source=name)["validation"],
    }


def news_pairs(source: Source, columns: Mapping[str, str] | None, line_break: str) -> Dataset:
    """Return the pairs of summaries of articles, from all comparisons of a source (its validation split, of several).

    Raises:
        DataError: there is none.
    """
    name = source_name(source)
    pairs = _as_pairs(read_part(source, "validation", columns=columns), name)
    kept = [
        prompt.startswith("ARTICLE:") and chosen != rejected
        for prompt, chosen, rejected in zip(*(pairs[c][:] for c in PAIR_COLUMNS), strict=True)
    ]
    if not any(kept):
        raise DataError(f"{name} has no comparison of an article, whose prompt begins with 'ARTICLE:'; give another.")
    return _broken(where(pairs, kept), line_break)


def _as_pairs(dataset: Dataset, place: str) -> Dataset:
    if is_comparisons(dataset):
        return as_preferences(dataset, source=place)
    check_rows(dataset, PAIR_COLUMNS, source=place)
    only_text(dataset, PAIR_COLUMNS, place, "TL;DR")
    made = {
        "prompt": [prompt.rstrip() for prompt in dataset["prompt"][:]],
        "chosen": [as_completion(text) for text in dataset["chosen"][:]],
        "rejected": [as_completion(text) for text in dataset["rejected"][:]],
    }
    return with_columns(dataset, made, drop=["split"])


def _broken(pairs: Dataset, line_break: str) -> Dataset:
    """Return pairs with their prompts in the format of `line_break`."""
    if line_break == "\n\n":
        return pairs

    prompts = [
        f"{prompt.removesuffix('TL;DR:').rstrip()}{line_break}TL;DR:"
        if prompt.startswith("ARTICLE:")
        else _with_breaks(prompt, line_break)
        for prompt in pairs["prompt"][:]
    ]
    return with_columns(pairs, {"prompt": prompts})


def _usable(pairs: Dataset, shifts: Shifts, held: set[str]) -> list[bool]:
    usable = []
    for prompt, chosen, rejected in zip(*(pairs[c][:] for c in PAIR_COLUMNS), strict=True):
        try:
            post = parse_tldr_prompt(prompt)
        # Comparisons of news articles, which are mixed in with those of posts; they are counted by the caller.
        except DataError:
            usable.append(False)
            continue
        usable.append(shifts.has(post) and chosen != rejected and prompt_key(prompt) not in held)
    return usable
