"""TL;DR summarisation of posts, from the hub or from files of the same shape."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from genrlhf.data.sources import Source, source_name
from genrlhf.data.splits import split_rows
from genrlhf.data.task import Task
from genrlhf.data.tasks.cnn_dailymail import HUB_SOURCE as CNN_DAILYMAIL
from genrlhf.data.tasks.cnn_dailymail import read_cnn_dailymail
from genrlhf.data.tasks.rows import (
    as_inputs,
    check_map,
    check_sizes,
    distinct,
    named_rows,
    prompt_keys,
    size_of,
    tenth,
    where,
    without,
)
from genrlhf.data.tasks.shifts import Shifts, WordsBy
from genrlhf.data.tasks.task_info import TaskInfo
from genrlhf.data.tasks.tldr_rows import LINE_BREAKS, PAIR_COLUMNS, POST_COLUMNS, news_pairs, read_pairs, read_posts
from genrlhf.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["HUB_PREFERENCES", "HUB_SOURCE", "TASK", "load_tldr"]

HUB_SOURCE = "trl-lib/tldr"
"""Reddit posts with the summaries of their authors, as filtered by Stiennon et al. (2020)."""

HUB_PREFERENCES = "trl-lib/tldr-preference"
"""The pairs of summaries that people compared for Stiennon et al. (2020)."""

logger = logging.getLogger(__name__)


def load_tldr(
    source: Source = HUB_SOURCE,
    *,
    columns: Mapping[str, str] | None = None,
    preferences: Source | None = None,
    preference_columns: Mapping[str, str] | None = None,
    prompts: Source | None = None,
    ood_subreddits: Sequence[str] = (),
    id_subreddits: Sequence[str] = (),
    max_words: int | None = None,
    words_by: WordsBy = "words",
    score: Callable[[str], float] | None = None,
    ood: Source | None = None,
    ood_columns: Mapping[str, str] | None = None,
    ood_preferences: Source | None = None,
    prompt_format: Literal["stiennon", "kirk"] = "stiennon",
    whole_test: bool = False,
    n_train: int | float | None = None,
    n_validation: int | float | None = None,
    n_evaluation: int | None = None,
    seed: int = 0,
) -> Task:
    """Load TL;DR summarisation, or data of its shape, with shifts by subreddit, length or score, or with news articles.

    Rows have the columns `prompt` (in the format of `tldr_prompt`) and `completion`, or `subreddit`, `title`, `post`
    and `summary`; further columns are kept (but `reference`, if there is one). The source's own train, validation and
    test splits are used; those that are missing are a tenth of its in-distribution training rows each. Training and
    validation rows are in distribution only. Rows whose prompt, by its words, is in an evaluation set are neither
    trained on nor validated with: they are left out, and a warning says how many. Rows are chosen and put in order by
    their content and the seed (`split_rows`).

    The task has the evaluation sets "id" and, with a shift inside TL;DR, "ood", which takes all rows that are out of
    distribution, from every split. With several such shifts, "ood" has all at once, and "longer", "unseen_subreddits"
    and "higher_score" have one each. With `ood` alone, "ood" has its articles, beside other shifts "cnn_dailymail".
    Its prompts are those of the demonstrations, with the completion as `reference`, unless `prompts` are given.

    Args:
        source: a file, a folder, the name of a hub dataset, or a loaded dataset.
        columns: what columns are called there and in `prompts`, such as `{"post": "body"}`.
        preferences: rows of `prompt`, `chosen`, `rejected`, from the like, or the comparisons of Stiennon et al. as
            published (`info`, `summaries`, `choice`). By default the comparisons that belong to the default source, and
            none for other sources. Pairs that are out of distribution or whose prompt is held out are left out.
        preference_columns: what columns are called there.
        prompts: a larger set of posts, of which the inputs for RL are taken.
        ood_subreddits: subreddits that are out of distribution.
        id_subreddits: the subreddits that are in distribution, all others being out of it; Kirk et al. (2024, arXiv
            2310.06452) name one.
        max_words: words of the longest post in distribution; 245 in Kirk et al.
        words_by: "words", or "blanks" for `len(post.split(" "))`, as Kirk et al. count: a line break separates nothing.
        score: a number for a post, such as a sentiment; posts up to the median of the training rows are in
            distribution.
        ood: articles, see `read_cnn_dailymail`; "cnn_dailymail" is CNN/DailyMail from the hub.
        ood_columns: what columns are called there.
        ood_preferences: comparisons of summaries of articles, as `preferences`; they become the validation rows
            "ood_preferences", with which the accuracy of a reward model out of distribution is measured.
        prompt_format: "stiennon" with an empty line between the parts of a prompt, as in the hub's data, or "kirk" with
            one line break.
        whole_test: adds the evaluation set "whole", the test rows in distribution and out of it together.
        n_train: number of demonstrations, or a share of them such as 0.1; all by default. They are drawn without
            replacement, and fewer of them are always a part of more.
        n_validation: number of validation demonstrations, and at most so many validation pairs; or a share of each.
        n_evaluation: number of prompts in every evaluation set.
        seed: of the choice of rows.

    Raises:
        ConfigError: a number below 1, options that contradict each other, or a score that is no number.
        DataError: a source that cannot be read, a missing or empty column, a prompt of another format, an unknown
            subreddit, no row in distribution, or too few rows.
    """
    sizes = {"n_train": n_train, "n_validation": n_validation, "n_evaluation": n_evaluation}
    check_sizes("load_tldr", sizes, shares=("n_train", "n_validation"))
    check_map(columns, (*POST_COLUMNS, "prompt", "completion", "split"), "columns")
    check_map(preference_columns, (*PAIR_COLUMNS, "split"), "preference_columns")
    if prompt_format not in LINE_BREAKS:
        raise ConfigError(f"prompt_format is {prompt_format!r}; give 'stiennon' or 'kirk'.")
    line_break, name = LINE_BREAKS[prompt_format], source_name(source)
    rows = read_posts(source, name, columns, line_break)
    shifts = Shifts(ood_subreddits, id_subreddits, max_words, words_by, score).with_threshold(rows, name)
    pools = shifts.pools(rows, name)
    made = {"test": n_evaluation, "validation": n_validation if isinstance(n_validation, int) else None}
    parts = _parts(pools.pop("id"), made, seed, name)
    pools = {"id": parts["test"], **pools}
    if whole_test:
        pools["whole"] = _whole(pools)
    if ood is not None:
        articles = read_cnn_dailymail(
            CNN_DAILYMAIL if ood == "cnn_dailymail" else ood, columns=ood_columns, line_break=line_break
        )
        pools["cnn_dailymail" if "ood" in pools else "ood"] = articles
    held = prompt_keys(prompt for pool in pools.values() for prompt in pool["prompt"][:])
    validation = without(parts["validation"], held, told=f"{name} (validation)")
    train = without(parts["train"], held | prompt_keys(validation["prompt"][:]), told=f"{name} (train)")

    def take(dataset: Dataset, n: int | float | None, what: str) -> Dataset:
        sizes = {what: size_of(n, len(dataset))}
        taken = split_rows(dataset, sizes, seed=seed, source=f"{name} ({what})")[what]
        return taken.remove_columns([column for column in ("split",) if column in taken.column_names])

    demonstrations = take(train, n_train, "train")
    validated = take(validation, n_validation, "validation")
    evaluation = {
        shift: named_rows(_as_references(take(distinct(take(pool, None, shift)), n_evaluation, shift)), "tldr")
        for shift, pool in pools.items()
    }
    if preferences is None and source == HUB_SOURCE:
        preferences = HUB_PREFERENCES
    closed = held | prompt_keys(validated["prompt"][:])
    pairs: dict[str, Dataset] = {}
    if preferences is not None:
        pairs = read_pairs(preferences, preference_columns, shifts, closed, n_validation, seed, line_break)
    validations = {"demonstrations": validated, **({"preferences": pairs["validation"]} if pairs else {})}
    if ood_preferences is not None:
        validations["ood_preferences"] = news_pairs(ood_preferences, preference_columns, line_break)
    inputs = as_inputs(distinct(demonstrations))
    if prompts is not None:
        inputs = _inputs(prompts, columns, shifts, closed, line_break)
    return Task(
        name="tldr",
        demonstrations=demonstrations,
        prompts=inputs,
        evaluation=evaluation,
        preferences=pairs.get("train"),
        validation=validations,
    )


def _parts(rows: Dataset, wanted: Mapping[str, int | None], seed: int, name: str) -> dict[str, Dataset]:
    """The splits of the rows in distribution; those that the source lacks come from its training rows."""
    parts = {split: where(rows, [label == split for label in rows["split"][:]]) for split in ("train", *wanted)}
    share = tenth(distinct(parts["train"]))
    for split, size in wanted.items():
        if not len(parts[split]):
            # Prompts are chosen, not rows: of one prompt there may be several completions.
            inputs = split_rows(distinct(parts["train"]), {split: size or share}, seed=seed, by="prompt", source=name)
            keys = prompt_keys(inputs[split]["prompt"][:])
            chosen = without(parts["train"], prompt_keys(parts["train"]["prompt"][:]) - keys)
            parts[split], parts["train"] = chosen, without(parts["train"], keys)
    return parts


def _whole(pools: Mapping[str, Dataset]) -> Dataset:
    """The test rows of all pools; where a source has no test split, all rows out of distribution."""
    from datasets import concatenate_datasets

    labels = [set(pool["split"][:]) for pool in pools.values()]
    own = any("test" in label for label in labels[1:]) or labels[0] == {"test"}
    outside = [where(p, [not own or x == "test" for x in p["split"][:]]) for n, p in pools.items() if n != "id"]
    return concatenate_datasets([pools["id"], *outside])


def _inputs(
    source: Source, columns: Mapping[str, str] | None, shifts: Shifts, closed: set[str], line_break: str
) -> Dataset:
    name = source_name(source)
    rows = read_posts(source, name, columns, line_break)
    seen = shifts.pools(rows, name)["id"]
    train = where(seen, [split == "train" for split in seen["split"][:]])
    return as_inputs(distinct(without(train, closed, told=f"{name} (prompts)"))).remove_columns("split")


def _as_references(rows: Dataset) -> Dataset:
    return as_inputs(rows) if "completion" in rows.column_names else rows


TASK = TaskInfo(
    name="tldr",
    about="summaries of Reddit posts (Stiennon et al. 2020), or of texts of your own in their shape",
    load=load_tldr,
    sets=("id", "ood", "longer", "unseen_subreddits", "higher_score", "cnn_dailymail", "whole"),
    needs=f"{HUB_SOURCE}, {HUB_PREFERENCES} and {CNN_DAILYMAIL} from the hub, or files and folders of their shape",
    prompt="SUBREDDIT: r/…, TITLE: …, POST: …, TL;DR: (ARTICLE: …, TL;DR: of news), with an empty line between them; "
    "prompt_format='kirk': with a line break",
    filters="those of Stiennon et al., done in the hub's data; rows whose prompt is evaluated are left out",
)
