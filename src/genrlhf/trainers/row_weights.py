"""Weights of rows: a column by which the losses of a row are multiplied."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.rows import Rows, columns_of
from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = [
    "check_row_weights",
    "check_transform_weights",
    "cross_entropy",
    "refuse_row_weights",
    "weighed",
    "with_weights",
]

logger = logging.getLogger(__name__)


def cross_entropy(batch: SupervisedBatch) -> torch.Tensor:
    """The objective of SFT; TRL's own loss knows nothing of rows."""
    return -batch.logprobs()


def weighed(losses: torch.Tensor, batch: SupervisedBatch, objective: Objective, column: str) -> torch.Tensor:
    """Return each loss times the weight of its row, w_row · loss, (N,) of tokens or (B,) of rows.

    The step still divides by the number of tokens (or rows), not by the sum of their weights: rows that weigh little
    make a small step. Divided by the weights, a row that is alone in its step would count as much as any other.

    Raises:
        DataError: for a weight that is negative or not finite.
    """
    for value in batch.columns[column]:
        _check(value, f"A row of a micro-batch, column {column!r}")
    weights = losses.new_tensor(batch.columns[column])
    return losses * (weights[batch.rows] if objective.unit == "token" else weights)


def refuse_row_weights(args: Any, objective: Objective | None) -> None:
    """Raise `ConfigError` where a row has no weight of its own: it lies in one line with others, or holds several."""
    column = args.weight_column
    for setting in ("packing", "padding_free"):
        if getattr(args, setting, False):
            raise ConfigError(
                f"{setting}=True makes one row of several, and weight_column={column!r} weighs each; set {setting} to "
                "False, or leave weight_column out."
            )
    if objective is not None and objective.unit == "group":
        raise ConfigError(
            f"weight_column={column!r} weighs rows, and objective={objective.title} looks at groups; leave it out."
        )
    if objective is not None and column in objective.columns:
        raise ConfigError(
            f"objective={objective.title} reads the column {column!r} itself; leave weight_column={column!r} out."
        )


def check_row_weights(datasets: Sequence[tuple[str, Rows]], column: str) -> None:
    """Check the weights in all datasets that are no streams, and say how far they go.

    Args:
        datasets: with their names; all but the first may be without weights.
        column: of the weights.

    Raises:
        DataError: naming the row of a weight that is negative or not finite; where the first dataset has none.
    """
    for number, (source, dataset) in enumerate(datasets):
        names = columns_of(dataset)
        if column not in names and number == 0:
            raise DataError(f"{source} has no column {column!r}, which weight_column names; it has {', '.join(names)}.")
        if column in names and isinstance(dataset, Dataset):
            values = list(dataset.with_format(None)[column])
            for row, value in enumerate(values):
                _check(value, f"{source}, row {row}, column {column!r}")
            if not any(values):
                raise DataError(f"{source}: all weights in column {column!r} are 0; there is nothing to learn.")
            logger.info("%s: a row's loss is multiplied by %r, %.4g to %.4g.", source, column, min(values), max(values))


def with_weights(dataset: Rows, column: str) -> Rows:
    """Return a dataset whose rows weigh 1 where nothing else stands there, such as one to evaluate on."""
    if column in columns_of(dataset):
        return dataset
    if isinstance(dataset, Dataset):
        return dataset.add_column(column, [1.0] * len(dataset))
    return dataset.map(lambda row: {**row, column: 1.0})


def check_transform_weights(
    rows: Sequence[Mapping[str, Any]], tune: str, column: str | None, read: Sequence[str]
) -> None:
    """Check the weights of rows that a transform has made, where they have some.

    Args:
        rows: that it made.
        tune: how they are tuned on.
        column: that weights would stand in; None for no weights.
        read: columns that the objective reads, and so makes of them what it likes.

    Raises:
        DataError: naming the row of a weight that is missing, negative or not finite; where all are 0; where rows are
            tuned on otherwise than "supervised".
    """
    if column is None or column in read or not any(column in row for row in rows):
        return
    if tune != "supervised":
        raise DataError(
            f"Rows of the transform have a {column!r}, which only those of tune='supervised' can; leave it out of rows "
            f"of tune={tune!r}."
        )
    for number, row in enumerate(rows):
        _check(row.get(column), f"Row {number} of the transform, {column!r}")
    if not any(row[column] for row in rows):
        raise DataError(f"All rows of the transform have a {column!r} of 0; there is nothing to learn.")


def _check(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise DataError(f"{where} is {excerpt(value)}; the weight of a row must be a finite number of 0 or more.")
