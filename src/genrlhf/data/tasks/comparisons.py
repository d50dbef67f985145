"""The comparisons of Stiennon et al. (2020) in the shape in which they were published, as preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrlhf.data.formats import as_completion, tldr_prompt
from genrlhf.data.tasks.cnn_dailymail import article_prompt
from genrlhf.errors import DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["as_preferences", "is_comparisons"]


def is_comparisons(dataset: Dataset) -> bool:
    """Whether rows have the columns `info`, `summaries` and `choice`."""
    return {"info", "summaries", "choice"} <= set(dataset.column_names)


def as_preferences(dataset: Dataset, *, source: str = "dataset") -> Dataset:
    """Return comparisons as rows of `prompt`, `chosen`, `rejected`, `worker`, `batch`, `confidence` and `valid`.

    `valid` is their own split: "train", "valid1" (used to select models) or "valid2" (for final figures). The prompt of
    an article is that of `article_prompt`.

    Args:
        dataset: rows with `info` (of a post or an article), two `summaries` with their `text`, and `choice`, 0 or 1.
        source: what it is called in messages.

    Raises:
        DataError: a row of another shape.
    """
    from datasets import Dataset

    made = []
    for number, row in enumerate(dataset):
        where = f"{source}, row {number}"
        texts = [summary.get("text") if isinstance(summary, dict) else None for summary in _listed(row["summaries"])]
        if row["choice"] not in (0, 1) or len(texts) != 2 or not all(isinstance(t, str) and t.strip() for t in texts):
            raise DataError(
                f"{where} has the choice {excerpt(row['choice'])} and the summaries {excerpt(texts)}; give two "
                "summaries with a text, and 0 or 1 for the better one."
            )
        made.append(
            {
                "prompt": _prompt(row["info"], where),
                "chosen": as_completion(texts[row["choice"]]),
                "rejected": as_completion(texts[1 - row["choice"]]),
                "worker": row.get("worker"),
                "batch": row.get("batch"),
                "confidence": (row.get("extra") or {}).get("confidence"),
                "valid": row.get("split"),
            }
        )
    if not made:
        raise DataError(f"{source} is empty; give at least one row.")
    return Dataset.from_list(made)


def _listed(summaries: Any) -> list[Any]:
    if isinstance(summaries, dict):  # lists of dictionaries were kept so by `datasets` of old
        return [dict(zip(summaries, values, strict=True)) for values in zip(*summaries.values(), strict=True)]
    return list(summaries) if isinstance(summaries, list) else []


def _prompt(info: Any, where: str) -> str:
    if isinstance(info, dict):
        post, article = info.get("post"), info.get("article")
        if isinstance(post, str) and post.strip():
            return tldr_prompt(str(info.get("subreddit") or ""), str(info.get("title") or ""), post)
        if isinstance(article, str) and article.strip():
            return article_prompt(article)
    raise DataError(f"{where}, column 'info' is {excerpt(info)}; give a post or an article there.")
