"""TL;DR summarisation of posts, from the hub or from files of the same shape."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.data.formats import as_completion, parse_tldr_prompt, tldr_prompt
from genrlhf.data.schema import check_rows
from genrlhf.data.sources import SPLITS, Source, read_splits, source_name
from genrlhf.data.splits import split_by_length, split_by_subreddit, split_rows
from genrlhf.data.task import Task
from genrlhf.data.tasks.task_info import TaskInfo
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.text import count_words

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["HUB_PREFERENCES", "HUB_SOURCE", "TASK", "load_tldr"]

HUB_SOURCE = "trl-lib/tldr"
"""Reddit posts with the summaries of their authors, as filtered by Stiennon et al. (2020)."""

HUB_PREFERENCES = "trl-lib/tldr-preference"
"""The pairs of summaries that people compared for Stiennon et al. (2020)."""

_POST_COLUMNS = ("subreddit", "title", "post", "summary")

logger = logging.getLogger(__name__)


def load_tldr(
    source: Source = HUB_SOURCE,
    *,
    preferences: Source | None = None,
    ood_subreddits: Sequence[str] = (),
    max_words: int | None = None,
    n_train: int | None = None,
    n_validation: int | None = None,
    n_evaluation: int | None = None,
    seed: int = 0,
) -> Task:
    """Load TL;DR summarisation, or data of its shape, with a shift by subreddit, by length of the post, or both.

    Rows have the columns `prompt` (in the format of `tldr_prompt`) and `completion`, or `subreddit`, `title`, `post`
    and `summary`; further columns are kept (but `reference`, if there is one). The source's own train, validation and
    test splits are used; those that are missing are a tenth of its in-distribution training rows each. Training and
    validation rows are in distribution only, and no prompt of an evaluation set is trained on or validated with. Rows
    are chosen and put in order by their content and the seed (`split_rows`).

    The task has the evaluation sets "id" and, with `ood_subreddits` or `max_words`, "ood", which takes all rows that
    are out of distribution, from every split. With both shifts, "ood" has both at once, and "longer" and
    "unseen_subreddits" have one each. Its prompts are those of the demonstrations, with the completion as `reference`.

    Args:
        source: a file, a folder, the name of a hub dataset, or a loaded dataset.
        preferences: rows of `prompt`, `chosen`, `rejected`, from the like. By default the comparisons that belong to
            the default source, and none for other sources. Pairs that are out of distribution or whose prompt is held
            out are left out.
        ood_subreddits: subreddits that are out of distribution.
        max_words: words of the longest post in distribution; 245 in Kirk et al. (2024, arXiv 2310.06452).
        n_train: number of demonstrations; all by default. Fewer of them are always a part of more.
        n_validation: number of validation demonstrations, and at most so many validation pairs.
        n_evaluation: number of prompts in every evaluation set.
        seed: of the choice of rows.

    Raises:
        ConfigError: a number below 1.
        DataError: a source that cannot be read, a missing or empty column, a prompt of another format, an unknown
            subreddit, no row in distribution, or too few rows.
    """
    for option, value in [("n_train", n_train), ("n_validation", n_validation), ("n_evaluation", n_evaluation)]:
        if value is not None and value < 1:
            raise ConfigError(f"load_tldr({option}={value}): give 1 or more, or None.")
    name = source_name(source)
    rows = _read(source, name)
    pools = _shifts(rows, ood_subreddits, max_words, name)
    parts = _parts(pools.pop("id"), {"test": n_evaluation, "validation": n_validation}, seed, name)
    pools = {"id": parts["test"], **pools}
    held = _keys(prompt for pool in pools.values() for prompt in pool["prompt"][:])
    validation = _without(parts["validation"], held)
    train = _without(parts["train"], held | _keys(validation["prompt"][:]))

    def take(dataset: Dataset, n: int | None, what: str) -> Dataset:
        return split_rows(dataset, {what: n}, seed=seed, source=f"{name} ({what})")[what]

    demonstrations = take(train, n_train, "train").remove_columns("split")
    validated = take(validation, n_validation, "validation").remove_columns("split")
    evaluation = {
        shift: _as_inputs(take(_distinct(take(pool, None, shift)), n_evaluation, shift).remove_columns("split"))
        for shift, pool in pools.items()
    }
    if preferences is None and source == HUB_SOURCE:
        preferences = HUB_PREFERENCES
    pairs: dict[str, Dataset] = {}
    if preferences is not None:
        closed = held | _keys(validated["prompt"][:])
        pairs = _read_pairs(preferences, ood_subreddits, max_words, closed, n_validation, seed)
    return Task(
        name="tldr",
        demonstrations=demonstrations,
        prompts=_as_inputs(_distinct(demonstrations)),
        evaluation=evaluation,
        preferences=pairs.get("train"),
        validation={"demonstrations": validated, **({"preferences": pairs["validation"]} if pairs else {})},
    )


def _read(source: Source, name: str) -> Dataset:
    """All rows of a source, with the columns prompt, completion, subreddit, split, and what else it has."""
    from datasets import concatenate_datasets

    made = []
    for split, dataset in read_splits(source).items():
        where = f"{name} ({split})"
        there = dataset.column_names
        if "prompt" in there:
            check_rows(dataset, ["prompt", "completion"], source=where)
            _only_text(dataset, ("prompt", "completion"), where)
            prompts = [prompt.rstrip() for prompt in dataset["prompt"][:]]
            summaries, drop = dataset["completion"][:], ["reference"]
        elif set(_POST_COLUMNS[1:]) & set(there):
            check_rows(dataset, _POST_COLUMNS, source=where)
            _only_text(dataset, _POST_COLUMNS, where)
            prompts = [tldr_prompt(*parts) for parts in zip(*(dataset[c][:] for c in _POST_COLUMNS[:3]), strict=True)]
            summaries, drop = dataset["summary"][:], ["reference", "summary"]
        else:
            raise DataError(
                f"{where} has the columns {', '.join(map(repr, there))}; it needs 'prompt' and 'completion', or "
                f"{', '.join(map(repr, _POST_COLUMNS))}."
            )
        columns = {"prompt": prompts, "completion": [as_completion(text) for text in summaries]}
        subreddits = [_subreddit(prompt, f"{where}, row {i}") for i, prompt in enumerate(prompts)]
        if "subreddit" not in there:
            columns["subreddit"] = subreddits
        made.append(_with_columns(dataset, {**columns, "split": [split] * len(dataset)}, drop=drop))
    try:
        return concatenate_datasets(made)
    except ValueError as error:
        raise DataError(f"the splits of {name} have different columns ({error}); make them alike.") from error


def _only_text(dataset: Dataset, columns: Sequence[str], name: str) -> None:
    for column in columns:
        if getattr(dataset.features[column], "dtype", None) not in ("string", "large_string"):
            raise DataError(
                f"{name}, column {column!r} holds {excerpt(dataset[0][column])}, but TL;DR needs plain text; give "
                "strings."
            )


def _with_columns(dataset: Dataset, columns: dict[str, list[str]], drop: Sequence[str]) -> Dataset:
    from datasets import Dataset, Features, Value

    further = [name for name in dataset.column_names if name not in columns and name not in drop]
    features = {name: Value("string") for name in columns} | {name: dataset.features[name] for name in further}
    return Dataset.from_dict({**columns, **{name: dataset[name][:] for name in further}}, Features(features))


def _subreddit(prompt: str, where: str) -> str:
    try:
        return parse_tldr_prompt(prompt).subreddit
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _shifts(rows: Dataset, ood_subreddits: Sequence[str], max_words: int | None, name: str) -> dict[str, Dataset]:
    """The rows in distribution as "id", and those of every evaluation set that is out of distribution."""
    seen, unseen = split_by_subreddit(rows, ood_subreddits, source=name) if ood_subreddits else (rows, None)
    if max_words is None:
        return {"id": seen} if unseen is None else {"id": seen, "ood": unseen}
    short, long = split_by_length(seen, max_words, source=name)
    if not len(short) or not len(long):
        side = "longer" if not len(short) else "no longer"
        raise DataError(f"all posts in distribution of {name} are {side} than max_words={max_words}; choose another.")
    if unseen is None:
        return {"id": short, "ood": long}
    unseen_short, unseen_long = split_by_length(unseen, max_words, source=name)
    return {"id": short, "ood": unseen_long, "longer": long, "unseen_subreddits": unseen_short}


def _parts(rows: Dataset, wanted: Mapping[str, int | None], seed: int, name: str) -> dict[str, Dataset]:
    """The splits of the rows in distribution; those that the source lacks come from its training rows."""
    parts = {split: _where(rows, [label == split for label in rows["split"][:]]) for split in SPLITS}
    tenth = _tenth(_distinct(parts["train"]))
    for split, size in wanted.items():
        if not len(parts[split]):
            # Prompts are chosen, not rows: of one prompt there may be several completions.
            inputs = split_rows(_distinct(parts["train"]), {split: size or tenth}, seed=seed, by="prompt", source=name)
            keys = _keys(inputs[split]["prompt"][:])
            parts[split] = _where(parts["train"], [_key(prompt) in keys for prompt in parts["train"]["prompt"][:]])
            parts["train"] = _without(parts["train"], keys)
    return parts


def _read_pairs(
    source: Source,
    ood_subreddits: Sequence[str],
    max_words: int | None,
    held: set[str],
    n_validation: int | None,
    seed: int,
) -> dict[str, Dataset]:
    """The preference pairs in distribution, as "train" and "validation"."""
    name = source_name(source)
    parts = {}
    for split, dataset in read_splits(source).items():
        where = f"{name} ({split})"
        check_rows(dataset, ["prompt", "chosen", "rejected"], source=where)
        _only_text(dataset, ("prompt", "chosen", "rejected"), where)
        columns = {
            "prompt": [prompt.rstrip() for prompt in dataset["prompt"][:]],
            "chosen": [as_completion(text) for text in dataset["chosen"][:]],
            "rejected": [as_completion(text) for text in dataset["rejected"][:]],
        }
        pairs = _with_columns(dataset, columns, drop=["split"])
        kept = _usable(pairs, set(ood_subreddits), max_words, held)
        if sum(kept) < len(kept):
            logger.warning(
                "%s: %d of %d pairs are left out (out of distribution, held-out prompts, no TL;DR prompts, or both "
                "sides the same).",
                where,
                len(kept) - sum(kept),
                len(kept),
            )
        parts[split] = _where(pairs, kept)
    train, validation = parts["train"], parts.get("validation", parts.get("test"))
    if validation is None or not len(validation):
        size = min(n_validation or len(train), _tenth(train))
        return split_rows(train, {"validation": size, "train": None}, seed=seed, by="prompt", source=name)
    wanted = None if n_validation is None else min(n_validation, len(validation))
    train = _without(train, _keys(validation["prompt"][:]))
    return {
        "train": split_rows(train, {"train": None}, seed=seed, source=name)["train"],
        "validation": split_rows(validation, {"validation": wanted}, seed=seed, source=name)["validation"],
    }


def _usable(pairs: Dataset, outside: set[str], max_words: int | None, held: set[str]) -> list[bool]:
    usable = []
    for prompt, chosen, rejected in zip(pairs["prompt"][:], pairs["chosen"][:], pairs["rejected"][:], strict=True):
        try:
            post = parse_tldr_prompt(prompt)
        # Comparisons of news articles, which are mixed in with those of posts; they are counted by the caller.
        except DataError:
            usable.append(False)
            continue
        short = max_words is None or count_words(post.post) <= max_words
        usable.append(short and post.subreddit not in outside and chosen != rejected and _key(prompt) not in held)
    return usable


def _key(prompt: str) -> str:
    """What makes a prompt the same one: its words, however they are spaced."""
    return " ".join(prompt.split())


def _keys(prompts: Iterable[str]) -> set[str]:
    return {_key(prompt) for prompt in prompts}


def _tenth(dataset: Dataset) -> int:
    return max(1, len(dataset) // 10)


def _where(dataset: Dataset, kept: Sequence[bool]) -> Dataset:
    return dataset.select([i for i, keep in enumerate(kept) if keep])


def _without(dataset: Dataset, keys: set[str]) -> Dataset:
    return _where(dataset, [_key(prompt) not in keys for prompt in dataset["prompt"][:]])


def _as_inputs(demonstrations: Dataset) -> Dataset:
    return demonstrations.rename_column("completion", "reference")


def _distinct(dataset: Dataset) -> Dataset:
    """The first row of every prompt."""
    first: dict[str, Any] = {}
    for number, prompt in enumerate(dataset["prompt"][:]):
        first.setdefault(_key(prompt), number)
    return dataset.select(list(first.values()))


TASK = TaskInfo(
    name="tldr",
    about="summaries of Reddit posts (Stiennon et al. 2020), or of texts of your own in their shape",
    load=load_tldr,
    sets=("id", "ood", "longer", "unseen_subreddits"),
    needs=f"{HUB_SOURCE} and {HUB_PREFERENCES} from the hub, or files, folders and datasets of their shape",
    prompt="SUBREDDIT: r/…, TITLE: …, POST: …, TL;DR:, with an empty line between them",
    filters="those of Stiennon et al., done in the hub's data",
)
