"""Pairs and labelled completions as users bring them, tokenised as a language model is asked and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from genrlhf.data.chat import template_options
from genrlhf.data.pairs import as_pair, as_preference
from genrlhf.data.schema import check_text
from genrlhf.data.turns import common_length
from genrlhf.errors import DataError, excerpt
from genrlhf.trainers.sft_data import DemonstrationEncoder, Encoded

__all__ = ["LabelEncoder", "PairEncoder", "check_room", "split_prompt", "unpaired", "with_kl_completions"]


class PairEncoder(DemonstrationEncoder):
    """Makes `prompt_ids`, `chosen_ids` and `rejected_ids` of a row; the completions end as demonstrations do."""

    def wanted(self, columns: list[str]) -> list[str]:
        """Return the columns that rows of these columns are made of."""
        return ["chosen", "rejected"]

    def __call__(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the columns, the number of tokens of the longer text, and what is to be said of them.

        Raises:
            DataError: where prompt and completions are no text, do not go together, or are the same; it begins with
                `where`.
        """
        for column in ("prompt", "chosen", "rejected"):
            # What may be left out may be empty too.
            if column in row and (row[column] or column != "prompt"):
                check_text(row[column], f"{where}, column {column!r}")
        prompt, chosen, rejected = as_preference(row, where=where)
        if chosen == rejected:
            raise DataError(
                f"{where}: chosen and rejected are both {excerpt(chosen)}, and say nothing of what is better; drop the "
                "row."
            )
        options = template_options(row, where)
        texts = [self.tokens(prompt, completion, options, where) for completion in (chosen, rejected)]
        prompt_ids, (chosen_ids, rejected_ids) = split_prompt(texts, where)
        return {
            "prompt_ids": prompt_ids,
            "chosen_ids": chosen_ids,
            "rejected_ids": rejected_ids,
            **self._notes(texts),
        }


class LabelEncoder(DemonstrationEncoder):
    """Makes `prompt_ids`, `completion_ids` and `label` of a row."""

    def wanted(self, columns: list[str]) -> list[str]:
        """Return the columns that rows of these columns are made of."""
        return ["prompt", "completion", "label"]

    def __call__(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the columns, the number of tokens, and what is to be said of them.

        Raises:
            DataError: where there is no text, or no label; it begins with `where`.
        """
        for column in ("prompt", "completion"):
            check_text(row[column], f"{where}, column {column!r}")
        if row["label"] not in (0, 1):
            raise DataError(
                f"{where}, column 'label' is {excerpt(row['label'])}; give true for a completion that is wanted, false "
                "for one that is not."
            )
        prompt, completion = as_pair(row["prompt"], row["completion"], where=where)
        text = self.tokens(prompt, completion, template_options(row, where), where)
        prompt_ids, (completion_ids,) = split_prompt([text], where)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            "label": bool(row["label"]),
            **self._notes([text]),
        }


def split_prompt(texts: Sequence[Encoded], where: str) -> tuple[list[int], list[list[int]]]:
    """Return the tokens that come before what is learnt of all texts, and the rest of each.

    A completion may change the last tokens of its prompt; they then count as its own.

    Raises:
        DataError: where nothing of a text is learnt; it begins with `where`.
    """
    if not all(any(text.mask) for text in texts):
        raise DataError(f"{where}: the chat template leaves the completion out; use another template, or drop the row.")
    shared = min(text.mask.index(True) for text in texts)
    for text in texts[1:]:
        shared = min(shared, common_length(texts[0].ids, text.ids))
    return texts[0].ids[:shared], [text.ids[shared:] for text in texts]


def check_room(rows: Any, max_length: int | None) -> None:
    """Raise `DataError` for tokens of a prompt that leave none of its completions within `max_length`."""
    if max_length is None or not isinstance(rows, Dataset):
        return
    for number, ids in enumerate(rows["prompt_ids"]):
        if len(ids) >= max_length:
            raise DataError(
                f"Row {number}: the prompt has {len(ids)} tokens, and max_length={max_length} leaves none for a "
                "completion; raise it, or shorten the prompt."
            )


def unpaired(pairs: Dataset) -> Dataset:
    """Return two labelled rows for each pair of `PairEncoder`, side by side."""

    def two(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        prompts, chosen, rejected = (rows[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids"))
        return {
            "prompt_ids": [ids for ids in prompts for _ in range(2)],
            "completion_ids": [ids for both in zip(chosen, rejected, strict=True) for ids in both],
            "label": [True, False] * len(prompts),
        }

    return pairs.map(two, batched=True, remove_columns=list(pairs.column_names))


def with_kl_completions(rows: Any, batch_size: int) -> Any:
    """Return labelled rows with `KL_completion_ids`: each one's is the completion before it in its batch.

    Of such pairs, whose completions answer other prompts, `trl.KTOTrainer` estimates the KL from the reference
    (Ethayarajh et al. 2024, arXiv 2402.01306, section 4.1).
    """

    def shifted(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        completions = batch["completion_ids"]
        return {**batch, "KL_completion_ids": [completions[-1], *completions[:-1]]}

    return rows.map(shifted, batched=True, batch_size=batch_size)
