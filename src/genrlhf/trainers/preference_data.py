"""Preferences as users bring them, tokenised as a reward model reads them when it scores."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from genrlhf.data.chat import TEMPLATE_COLUMNS, template_options
from genrlhf.data.pairs import as_preference
from genrlhf.data.schema import check_text
from genrlhf.errors import DataError, excerpt
from genrlhf.models.scoring import encode_pair, keep_end
from genrlhf.trainers.rows import Rows, columns_of, encode_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["PreferenceEncoder", "encode_preferences", "preferred"]

logger = logging.getLogger(__name__)

_LENGTH = "genrlhf_length"


@dataclass(frozen=True)
class PreferenceEncoder:
    """Makes `chosen_ids` and `rejected_ids` (and `margin`) of a row.

    Attributes:
        tokenizer: of the reward model.
        max_length: tokens of prompt and completion; None for no limit.
        truncate: longer texts lose the start of the prompt.
        close: the score is read at an EOS behind the completion, see `reads_at_eos`.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int | None
    truncate: bool
    close: bool

    def __call__(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the columns, and the length of the longer text before it is cut.

        Raises:
            DataError: where prompt and completions are no text, or do not go together; it begins with `where`.
        """
        for column in ("prompt", "chosen", "rejected"):
            if column in row:
                check_text(row[column], f"{where}, column {column!r}")
        prompt, chosen, rejected = as_preference(row, where=where)
        options = template_options(row, where)
        encoded: dict[str, Any] = {
            name: encode_pair(self.tokenizer, prompt, text, options=options, close=self.close, where=where)
            for name, text in (("chosen_ids", chosen), ("rejected_ids", rejected))
        }
        encoded[_LENGTH] = max(len(ids) for ids in encoded.values())
        if self.truncate and self.max_length is not None:
            for name in ("chosen_ids", "rejected_ids"):
                encoded[name] = keep_end(self.tokenizer, encoded[name], self.max_length)
        # A column has a value in every row, and what is not said is no margin.
        return encoded | ({"margin": _margin(row["margin"], where)} if "margin" in row else {})


def _margin(value: Any, where: str) -> float:
    """Return the margin of a row, 0 where it is None."""
    with suppress(TypeError, ValueError):
        margin = 0.0 if value is None else float(value)
        if math.isfinite(margin):
            return margin
    raise DataError(f"{where}, column 'margin' is {excerpt(value)}; give a finite number, or None for no margin.")


def encode_preferences(dataset: Rows, encoder: PreferenceEncoder, *, source: str, args: Any) -> Rows:
    """Return `chosen_ids` and `rejected_ids` (and `margin`), and say how many pairs were too long.

    Raises:
        DataError: for rows that cannot be used, and where none is left.
    """
    _warn_of_repeated_prompts(dataset, source)
    encoded = encode_rows(dataset, encoder, ["chosen", "rejected"], source=source, args=args)
    limit = encoder.max_length
    if not isinstance(encoded, Dataset):
        if limit is not None and not encoder.truncate:
            encoded = encoded.filter(lambda row: row[_LENGTH] <= limit)
        return encoded.remove_columns(_LENGTH)
    lengths = encoded[_LENGTH][:]
    encoded = encoded.remove_columns(_LENGTH)
    kept = [row for row, length in enumerate(lengths) if limit is None or length <= limit]
    if len(kept) == len(lengths):
        return encoded
    logger.warning(
        "%d of %d pairs of %s are longer than max_length=%d tokens; %s.",
        len(lengths) - len(kept),
        len(lengths),
        source,
        limit,
        "their prompts lose the start" if encoder.truncate else "they are left out",
    )
    if encoder.truncate:
        return encoded
    if not kept:
        raise DataError(f"No pair of {source} is as short as max_length={limit} tokens; raise it or truncate_prompt.")
    return encoded.select(kept)


def preferred(dataset: Dataset) -> tuple[list[Any], list[Any], dict[str, list[Any]]]:
    """Return the prompts of preferences, their chosen completions, and the columns that the chat template reads."""
    pairs = [as_preference(row, where=f"train_dataset, row {number}") for number, row in enumerate(dataset)]
    columns = {name: dataset[name][:] for name in TEMPLATE_COLUMNS if name in dataset.column_names}
    return [pair.prompt for pair in pairs], [pair.chosen for pair in pairs], columns


def _warn_of_repeated_prompts(dataset: Rows, source: str) -> None:
    """Warn where all completions begin with the text of their prompts, which would then be scored twice."""
    if not isinstance(dataset, Dataset) or not {"prompt", "chosen", "rejected"} <= set(columns_of(dataset)):
        return
    for rows in dataset.select_columns(["prompt", "chosen", "rejected"]).iter(batch_size=1000):
        for prompt, *texts in zip(rows["prompt"], rows["chosen"], rows["rejected"], strict=True):
            if not all(isinstance(t, str) and isinstance(prompt, str) and t.startswith(prompt) for t in texts):
                return
    logger.warning(
        "In all rows of %s, chosen and rejected begin with the text of the prompt, which is then read twice; leave the "
        "column prompt out (dataset.remove_columns('prompt')) if they hold it themselves.",
        source,
    )
