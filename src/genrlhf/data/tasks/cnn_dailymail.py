"""News articles with their highlights (CNN/DailyMail), the evaluation set out of distribution of TL;DR models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from genrlhf.data.formats import as_completion
from genrlhf.data.schema import check_rows
from genrlhf.data.sources import Source, read_part, source_name
from genrlhf.data.tasks.rows import check_map, distinct, named_rows, only_text, with_columns

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["HUB_CONFIG", "HUB_SOURCE", "article_prompt", "read_cnn_dailymail"]

HUB_SOURCE = "abisee/cnn_dailymail"
HUB_CONFIG = "3.0.0"

_COLUMNS = ("article", "highlights")


def article_prompt(article: str, *, line_break: str = "\n\n") -> str:
    r"""Write the prompt of an article, with what TL;DR's prompts end in.

    Args:
        article: any text; blanks around it are dropped.
        line_break: between the parts: "\n\n", or "\n" as Kirk et al. (2024) have it.

    Example:
        >>> article_prompt("LONDON (Reuters) -- It rains.")
        'ARTICLE: LONDON (Reuters) -- It rains.\n\nTL;DR:'
    """
    return f"ARTICLE: {article.strip()}{line_break}TL;DR:"


def read_cnn_dailymail(
    source: Source = HUB_SOURCE, *, columns: Mapping[str, str] | None = None, line_break: str = "\n\n"
) -> Dataset:
    """Read articles as an evaluation set: `prompt`, `reference` (a blank and the highlights, lines kept), `dataset`.

    Of several splits, test is read. Of articles that occur twice the first is taken. Further columns are kept.

    Args:
        source: a file, a folder, the name of a hub dataset, or a loaded dataset, with `article` and `highlights`.
        columns: what columns are called in it, by these names.
        line_break: see `article_prompt`.

    Raises:
        DataError: a source that cannot be read, or a missing or empty column.
    """
    check_map(columns, _COLUMNS, "ood_columns")
    if isinstance(source, (str, os.PathLike)) and (Path(source).expanduser() / HUB_CONFIG).is_dir():
        source = Path(source).expanduser() / HUB_CONFIG
    name = source_name(source)
    rows = read_part(source, "test", columns=columns, config=HUB_CONFIG if source == HUB_SOURCE else None)
    check_rows(rows, _COLUMNS, source=name)
    only_text(rows, _COLUMNS, name, "CNN/DailyMail")
    made = {
        "prompt": [article_prompt(article, line_break=line_break) for article in rows["article"][:]],
        "reference": [as_completion(text) for text in rows["highlights"][:]],
    }
    return named_rows(distinct(with_columns(rows, made, drop=["highlights", "split"])), "cnn_dailymail")
