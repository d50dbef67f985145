"""The rows of AlpacaFarm's shape: its splits, evaluation sets and comparisons."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from genrlhf.data.files import SUFFIXES
from genrlhf.data.schema import check_columns
from genrlhf.data.sources import Source, read_part, renamed, source_name
from genrlhf.data.splits import split_rows
from genrlhf.data.tasks.instructions import (
    INSTRUCTION_COLUMNS,
    completions_of,
    evaluation_rows,
    instruction_key,
    instruction_prompts,
    with_output,
)
from genrlhf.data.tasks.rows import check_map, tenth, where, with_columns, without
from genrlhf.errors import ConfigError, DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "ALPACA_EVAL",
    "HUB_SETS",
    "HUB_SOURCE",
    "ID_TEST",
    "PAIR_COLUMNS",
    "PREFERENCES",
    "SEQUENTIAL",
    "inputs_of",
    "maps_by_set",
    "read_evaluation",
    "read_pairs",
    "read_parts",
]

HUB_SOURCE = "tatsu-lab/alpaca_farm"
ID_TEST = "UCL-DARK/alpaca-farm-id-test"
ALPACA_EVAL = "tatsu-lab/alpaca_eval"
SEQUENTIAL = "UCL-DARK/sequential-instructions"

HUB_SETS = {"id": ID_TEST, "alpaca_eval": ALPACA_EVAL, "sequential_instructions": SEQUENTIAL}
"""The evaluation sets that are read where nothing else is said and the rows are the hub's."""

PARTS = ("sft", "preference", "unlabeled", "val")
"""The splits of AlpacaFarm's instructions."""

PREFERENCES = ("alpaca_human_preference", "alpaca_noisy_multi_preference", "alpaca_gpt4_preference")
"""AlpacaFarm's comparisons: of people, of its pool of simulated annotators, and of GPT-4."""

PAIR_COLUMNS = ("output_1", "output_2", "preference")

logger = logging.getLogger("genrlhf.data.tasks.alpaca_farm")


def read_parts(source: Source, columns: Mapping[str, str] | None, chat: bool) -> dict[str, Dataset]:
    """Return the splits of a source as rows of `prompt` and `completion`, of inputs for RL `reference`."""
    name = source_name(source)
    return {part: _rows(rows, f"{name} ({part})", part, chat) for part, rows in _found(source, columns, name).items()}


def _found(source: Source, columns: Mapping[str, str] | None, name: str) -> dict[str, Dataset]:
    """Return the rows of every split that there is, `sft` among them."""
    found: dict[str, Dataset] = {}
    if source == HUB_SOURCE:
        found = {part: read_part(f"{_hub(HUB_SOURCE)}/alpaca_instructions/{part}.json", part) for part in PARTS}
    elif isinstance(source, Mapping):
        found = {part: source[part] for part in PARTS if part in source}
    elif isinstance(source, (str, os.PathLike)) and (folder := Path(source).expanduser()).is_dir():
        inside = folder / "alpaca_instructions"
        folder = inside if inside.is_dir() else folder
        found = {part: read_part(file, part) for part in PARTS if (file := _file(folder, part)) is not None}
    else:
        rows = renamed(read_part(source, "sft"), columns, source=name)
        if "split" not in rows.column_names:
            return {"sft": rows}
        labels = rows["split"][:]
        for number, label in enumerate(labels):
            if label not in PARTS:
                listed = ", ".join(map(repr, PARTS))
                raise DataError(f"{name}, row {number}, column 'split' is {excerpt(label)}; give one of {listed}.")
        return _with_sft(
            {part: where(rows, [label == part for label in labels]) for part in PARTS if part in labels}, name
        )
    return _with_sft({part: _renamed(rows, columns, part, name) for part, rows in found.items()}, name)


def _renamed(rows: Dataset, columns: Mapping[str, str] | None, part: str, name: str) -> Dataset:
    """Return the rows of a part with our names; instructions for RL need have no output."""
    answers = () if part in ("sft", "val") else ("output", "completion")
    there = {o: t for o, t in (columns or {}).items() if t in rows.column_names or o not in answers}
    return renamed(rows, there, source=f"{name} ({part})")


def _with_sft(found: dict[str, Dataset], name: str) -> dict[str, Dataset]:
    if "sft" not in found:
        listed = ", ".join(map(repr, found)) or "none"
        raise DataError(
            f"{name} has no split 'sft' to train on, of {', '.join(map(repr, PARTS))} only {listed}; add it."
        )
    return found


def _hub(name: str) -> str:
    """Return where the files of a hub dataset are, whose loading script `datasets` refuses."""
    return f"hf://datasets/{name}"


def _file(folder: Path, stem: str) -> Path | None:
    return next((file for suffix in SUFFIXES if (file := folder / f"{stem}{suffix}").is_file()), None)


def _rows(dataset: Dataset, name: str, split: str, chat: bool) -> Dataset:
    """Return rows of `prompt`, `completion` (`reference`, if there is one, where RL takes its inputs) and the rest."""
    own = "prompt" in dataset.column_names and "instruction" not in dataset.column_names
    answer = "completion" if own else "output"
    if split not in ("sft", "val"):
        dataset = dataset.remove_columns([column for column in ("split",) if column in dataset.column_names])
        return evaluation_rows(dataset, source=name, chat=chat)
    dataset = with_output(dataset, [answer], source=name)
    made = {
        "prompt": instruction_prompts(dataset, source=name, chat=chat),
        "completion": completions_of(dataset[answer][:], chat=chat),
    }
    return with_columns(dataset, made, drop=[answer, "split", "reference"])


def inputs_of(rows: Dataset) -> Dataset:
    """Return demonstrations as inputs, whose reference is a text; other rows as they are."""
    if "completion" not in rows.column_names:
        return rows
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in rows["completion"][:]]
    return with_columns(rows, {"prompt": rows["prompt"][:], "reference": texts}, drop=["completion"])


def maps_by_set(given: Mapping[str, Mapping[str, str]] | None) -> dict[str, Mapping[str, str]]:
    """Return the maps of columns by evaluation set.

    Raises:
        ConfigError: a set that there is not, or a name that is not read.
    """
    for shift, columns in (given or {}).items():
        if shift not in HUB_SETS or not isinstance(columns, Mapping):
            raise ConfigError(
                f"evaluation_columns has {excerpt({shift: columns})}; it goes from {', '.join(map(repr, HUB_SETS))} "
                "to a map of columns each."
            )
        known = (*INSTRUCTION_COLUMNS, "output", "reference", "prompt", "dataset")
        check_map(columns, known, f"evaluation_columns[{shift!r}]")
    return dict(given or {})


def read_evaluation(source: Source, columns: Mapping[str, str] | None, chat: bool) -> Dataset:
    """Return the rows of an evaluation set: `prompt`, `reference` and what else there is."""
    name = source_name(source)
    if source == ALPACA_EVAL:
        source = f"{_hub(ALPACA_EVAL)}/alpaca_eval.json"
    elif isinstance(source, (str, os.PathLike)) and (file := _file(Path(source).expanduser(), "alpaca_eval")):
        source = file
    rows = read_part(source, "eval" if isinstance(source, Mapping) and "eval" in source else "train")
    return evaluation_rows(renamed(rows, columns, source=name), source=name, chat=chat)


def read_pairs(
    given: Source | None,
    columns: Mapping[str, str] | None,
    source: Source,
    closed: set[str],
    chat: bool,
    n_validation: int | None,
    seed: int,
) -> dict[str, Dataset]:
    """Return the preferences as "train" and "validation", none where there are none."""
    found = _comparisons(given, source)
    if found is None:
        return {}
    name = source_name(found)
    rows = read_part(found, "preference" if isinstance(found, Mapping) and "preference" in found else "train")
    rows = renamed(rows, columns, source=name)
    if not {"chosen", "rejected"} <= set(rows.column_names):
        rows = _chosen(rows, name, chat)
    rows = with_output(rows, ["chosen", "rejected"], source=name)
    prompts = instruction_prompts(rows, source=name, chat=chat)
    sides = {side: rows[side][:] for side in ("chosen", "rejected")}
    if chat:
        sides = {s: completions_of(v, chat=True) if isinstance(v[0], str) else v for s, v in sides.items()}
    pairs = with_columns(rows, {"prompt": prompts, **sides}, drop=["split"])
    pairs = without(pairs, closed, key=instruction_key, told=name)
    size = min(n_validation or tenth(pairs), tenth(pairs))
    return split_rows(pairs, {"validation": size, "train": None}, seed=seed, by="prompt", source=name)


def _comparisons(given: Source | None, source: Source) -> Source | None:
    folder = Path(source).expanduser() if isinstance(source, (str, os.PathLike)) else None
    named = PREFERENCES[0] if given is None else given
    if not (isinstance(named, str) and named in PREFERENCES):
        return given
    if source == HUB_SOURCE:
        return f"{_hub(HUB_SOURCE)}/{named}.json"
    file = _file(folder, named) if folder is not None and folder.is_dir() else None
    if file is None and given is not None:
        raise DataError(f"{source_name(source)} has no {named}.json; give the file of the comparisons.")
    return file


def _chosen(rows: Dataset, name: str, chat: bool) -> Dataset:
    """Return comparisons of two outputs as `chosen` and `rejected`, without ties."""
    check_columns(rows.column_names, [*INSTRUCTION_COLUMNS[:1], *PAIR_COLUMNS], source=name)
    verdicts = rows["preference"][:]
    for number, verdict in enumerate(verdicts):
        if verdict not in (0, 1, 1.5, 2):
            raise DataError(
                f"{name}, row {number}, column 'preference' is {excerpt(verdict)}; give 1 or 2, or 0 or 1.5 for a tie."
            )
    decided = [verdict in (1, 2) for verdict in verdicts]
    if not all(decided):
        logger.warning("%s: %d of %d pairs are left out, which are ties.", name, decided.count(False), len(decided))
    rows = where(rows, decided)
    first = [verdict == 1 for verdict in rows["preference"][:]]
    both = list(zip(first, rows["output_1"][:], rows["output_2"][:], strict=True))
    made = {
        "chosen": [a if one else b for one, a, b in both],
        "rejected": [b if one else a for one, a, b in both],
    }
    return with_columns(rows, made, drop=PAIR_COLUMNS)
