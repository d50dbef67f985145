"""Shifts inside TL;DR: by subreddit, by the length of the post, and by a score of it."""

from __future__ import annotations

import difflib
import logging
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from genrlhf.data.formats import TLDRPost, parse_tldr_prompt
from genrlhf.data.splits import in_subreddits, longer_posts
from genrlhf.data.tasks.rows import where
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.text import count_words

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Shifts", "WordsBy"]

logger = logging.getLogger(__name__)

WordsBy = Literal["words", "blanks"]
"""How a post is counted: in words (`count_words`), or in the pieces between single blanks, as Kirk et al. do."""


@dataclass(frozen=True)
class Shifts:
    """What is in distribution, and what is out of it.

    Attributes:
        ood_subreddits: those that are out of distribution.
        id_subreddits: those that are in it, all others being out; not with `ood_subreddits`.
        max_words: words of the longest post in distribution.
        words_by: how they are counted. "blanks" is `len(post.split(" "))`: a line break separates nothing, two blanks
            count twice.
        score: of a post; in distribution are those up to the median of the training rows.
        threshold: that median, once it is known.
    """

    ood_subreddits: Sequence[str] = ()
    id_subreddits: Sequence[str] = ()
    max_words: int | None = None
    words_by: WordsBy = "words"
    score: Callable[[str], float] | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.ood_subreddits and self.id_subreddits:
            raise ConfigError(
                "id_subreddits and ood_subreddits are both given; give one, all others are on its other side."
            )
        if isinstance(self.id_subreddits, str):
            raise ConfigError(f"id_subreddits is a string; give a list of subreddits, [{self.id_subreddits!r}].")
        if self.words_by not in ("words", "blanks"):
            raise ConfigError(f"words_by is {self.words_by!r}; give 'words' or 'blanks'.")

    def count(self, post: str) -> int:
        """Return the length of a post."""
        return len(post.split(" ")) if self.words_by == "blanks" else count_words(post)

    def has(self, post: TLDRPost) -> bool:
        """Whether a post is in distribution."""
        if post.subreddit in self.ood_subreddits or (self.id_subreddits and post.subreddit not in self.id_subreddits):
            return False
        if self.max_words is not None and self.count(post.post) > self.max_words:
            return False
        return self.score is None or self.threshold is None or self.score(post.post) <= self.threshold

    def pools(self, rows: Dataset, name: str) -> dict[str, Dataset]:
        """Return the rows in distribution as "id", those out of it in every way as "ood", and each shift alone.

        Raises:
            DataError: an unknown subreddit, or nothing on one side of a shift.
        """
        masks = self._masks(rows, name)
        if not masks:
            return {"id": rows}
        numbers = [sum(flags) for flags in zip(*masks.values(), strict=True)]
        pools = {
            "id": where(rows, [n == 0 for n in numbers]),
            "ood": where(rows, [n == len(masks) for n in numbers]),
        }
        if len(masks) > 1:
            for shift, mask in masks.items():
                pools[shift] = where(rows, [out and n == 1 for out, n in zip(mask, numbers, strict=True)])
        if unused := len(rows) - sum(map(len, pools.values())):
            logger.warning("%s: %d rows, out of distribution in two ways of three, are not used.", name, unused)
        return pools

    def _masks(self, rows: Dataset, name: str) -> dict[str, list[bool]]:
        """Return for every shift, by its name where it is alone, which rows are out of distribution."""
        masks: dict[str, list[bool]] = {}
        unseen = [False] * len(rows)
        if outside := self._outside(rows, name):
            unseen = in_subreddits(rows, outside, source=name)
        if self.max_words is not None:
            masks["longer"] = longer_posts(rows, self.max_words, source=name, count=self.count)
            seen = {long for long, out in zip(masks["longer"], unseen, strict=True) if not out}
            if len(seen) == 1:
                side = "longer" if seen == {True} else "no longer"
                raise DataError(
                    f"all posts in distribution of {name} are {side} than max_words={self.max_words}; choose another."
                )
        if outside:
            masks["unseen_subreddits"] = unseen
        if self.threshold is not None:
            masks["higher_score"] = [value > self.threshold for value in self._scores(rows, name)]
        return masks

    def _outside(self, rows: Dataset, name: str) -> list[str]:
        if not self.id_subreddits:
            return list(self.ood_subreddits)
        there = set(rows["subreddit"][:])
        for wanted in self.id_subreddits:
            if wanted not in there:
                close = difflib.get_close_matches(str(wanted), there, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                listed = ", ".join(map(repr, sorted(there)[:20])) + (" …" if len(there) > 20 else "")
                raise DataError(f"{name} has no subreddit {wanted!r}; {hint}It has {listed}.")
        outside = sorted(there - set(self.id_subreddits))
        if not outside:
            raise DataError(f"id_subreddits names all subreddits of {name}; leave at least one out.")
        return outside

    def with_threshold(self, rows: Dataset, name: str) -> Shifts:
        """Return the shifts with the median score of the training rows of a source.

        Raises:
            ConfigError: a score that is no finite number.
            DataError: no row lies above the median.
        """
        if self.score is None:
            return self
        values = self._scores(where(rows, [split == "train" for split in rows["split"][:]]), name)
        threshold = statistics.median(values)
        if max(values) <= threshold:
            raise DataError(
                f"no post to train on of {name} scores above the median, {threshold:g}; give a score with more values."
            )
        made = Shifts(**{**vars(self), "threshold": threshold})
        logger.info("%s: posts that score up to %g are in distribution.", name, threshold)
        return made

    def _scores(self, rows: Dataset, name: str) -> list[float]:
        if self.score is None:
            return []
        posts = (
            rows["post"][:] if "post" in rows.column_names else [parse_tldr_prompt(p).post for p in rows["prompt"][:]]
        )
        values = []
        for number, post in enumerate(posts):
            value = self.score(post)
            try:
                finite = math.isfinite(value)
            except TypeError:
                finite = False
            if not finite:
                raise ConfigError(
                    f"score returned {excerpt(value)} for row {number} of {name}, {excerpt(post)}; it must return a "
                    "finite number."
                )
            values.append(float(value))
        return values
