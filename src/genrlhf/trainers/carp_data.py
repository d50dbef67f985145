"""Rows of passages and critiques, and the classes that passages have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from genrlhf.data.schema import check_columns, check_rows
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.ops import spherical_clusters
from genrlhf.rewards.carp import encode_texts, passage_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from genrlhf.models.carp import CARPModel

__all__ = ["Classes", "critiques_of", "passages_of"]


def passages_of(dataset: Dataset, *, source: str, with_prompt: bool) -> list[str]:
    """Return the passages of rows: the column `passage`, or else `completion`, behind its `prompt` if asked for.

    Raises:
        DataError: where there are none, naming the row.
    """
    there = dataset.column_names
    if "passage" in there:
        check_rows(dataset, ["passage"], source=source)
        return [passage_text("", each) for each in dataset["passage"][:]]
    if "completion" not in there:
        what = "critiques without passages" if "critique" in there else "no passages"
        raise DataError(
            f"{source} has {what}: it has no column 'passage', nor 'completion', only {', '.join(map(repr, there))}; "
            "give every critique the passage that it is of."
        )
    if with_prompt:
        check_columns(there, ["prompt"], source=source)
    check_rows(dataset, ["completion"], source=source)
    prompts = dataset["prompt"][:] if with_prompt else [""] * len(dataset)
    return [passage_text(prompt, each) for prompt, each in zip(prompts, dataset["completion"][:], strict=True)]


def critiques_of(dataset: Dataset, *, source: str) -> list[str]:
    """Return the column `critique` of rows.

    Raises:
        DataError: where one is missing, naming the row.
    """
    check_rows(dataset, ["critique"], source=source)
    return [passage_text("", each) for each in dataset["critique"][:]]


@dataclass(frozen=True)
class Classes:
    """The classes of passages, and which of them each row of a dataset is of.

    Attributes:
        names: K of them.
        of_rows: `(dataset, source) -> (N, K)` float32, distributions over the classes.
        of_text: the class of a critique, where classes are of critiques; None where they are not.
    """

    names: list[str]
    of_rows: Callable[[Dataset, str], torch.Tensor]
    of_text: Callable[[str], str] | None = None

    @classmethod
    def found_in(
        cls,
        dataset: Dataset,
        *,
        named: Sequence[str] | None,
        count: int,
        seed: int,
        model: CARPModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> Classes:
        """Return the classes of the training rows: by `label`, by `distribution`, else by clustering `critique`.

        Args:
            dataset: the training rows.
            named: names of the classes; None for the labels that there are.
            count: clusters of critiques.
            seed: of the clustering.
            model: encodes critiques.
            tokenizer: of critiques.

        Raises:
            DataError: where there are none of these, or all rows are of one class.
            ConfigError: for distributions over classes without names.
        """
        there = dataset.column_names
        if "label" in there:
            found = _of_labels(dataset, named)
        elif "distribution" in there:
            found = _of_distributions(named)
        elif "critique" in there:
            return _of_clusters(dataset, count, seed, model, tokenizer)
        else:
            raise DataError(
                "train_dataset has no classes: it has no column 'label', 'distribution' or 'critique', only "
                f"{', '.join(map(repr, there))}; give every passage one."
            )
        targets = found.of_rows(dataset, "train_dataset")
        if bool((targets == targets[0]).all()):
            only = found.names[int(targets[0].argmax())]
            raise DataError(
                f"All {len(targets)} rows of train_dataset are of one class, {only!r}, which nothing could be told "
                "from; give rows of others too."
            )
        return found


def _of_labels(dataset: Dataset, named: Sequence[str] | None) -> Classes:
    names = list(named) if named is not None else sorted({str(label) for label in dataset["label"][:]})
    places = {name: place for place, name in enumerate(names)}

    def of_rows(rows: Dataset, source: str) -> torch.Tensor:
        check_columns(rows.column_names, ["label"], source=source)
        found = []
        for row, label in enumerate(rows["label"][:]):
            if label is None or str(label) not in places:
                raise DataError(
                    f"{source}, row {row}: the label {excerpt(label)} is none of the classes "
                    f"{', '.join(map(repr, names[:20]))}; mend it, or drop the row."
                )
            found.append(places[str(label)])
        return torch.nn.functional.one_hot(torch.tensor(found), len(names)).float()

    return Classes(names, of_rows)


def _of_distributions(named: Sequence[str] | None) -> Classes:
    if named is None:
        raise ConfigError("train_dataset has distributions over classes without names; set classes to them, in order.")
    names = list(named)

    def of_rows(rows: Dataset, source: str) -> torch.Tensor:
        check_columns(rows.column_names, ["distribution"], source=source)
        found = []
        for row, values in enumerate(rows["distribution"][:]):
            fine = isinstance(values, list) and len(values) == len(names)
            fine = fine and all(isinstance(each, (int, float)) and 0 <= each < math.inf for each in values)
            if not fine or sum(values) <= 0:
                raise DataError(
                    f"{source}, row {row}: the distribution is {excerpt(values)}; give {len(names)} numbers of 0 or "
                    "more, not all 0, one for each class."
                )
            found.append([each / sum(values) for each in values])
        return torch.tensor(found)

    return Classes(names, of_rows)


def _of_clusters(
    dataset: Dataset, count: int, seed: int, model: CARPModel, tokenizer: PreTrainedTokenizerBase
) -> Classes:
    critiques = critiques_of(dataset, source="train_dataset")
    different = len(set(critiques))
    remedy = "lower num_classes, or give more critiques, or a column 'label'."
    if different < count:
        raise DataError(f"train_dataset has {different} different critiques, too few for {count} classes; {remedy}")
    units = encode_texts(model, "critique", tokenizer, critiques)
    try:
        labels, centres = spherical_clusters(units, count, seed=seed)
    except DataError as error:
        raise DataError(
            f"The critiques of train_dataset collapse: their encodings cannot be {count} classes ({error}) Train the "
            f"encoders longer, or {remedy}"
        ) from error
    cosines = units.cpu().to(centres) @ centres.mT
    # Each by the critique that is nearest to its centre.
    names = [critiques[int(cosines[:, k].masked_fill(labels != k, -2).argmax())] for k in range(count)]

    def nearest(texts: Sequence[str]) -> torch.Tensor:
        found = encode_texts(model, "critique", tokenizer, texts).cpu().to(centres) @ centres.mT
        return found.argmax(-1)

    def of_rows(rows: Dataset, source: str) -> torch.Tensor:
        places = labels if rows is dataset else nearest(critiques_of(rows, source=source))
        return torch.nn.functional.one_hot(places, count).float()

    return Classes(names, of_rows, lambda text: names[int(nearest([text])[0])])
