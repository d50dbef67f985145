"""Labels that people saved on a labelling page, as annotations."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from genrlhf.errors import DataError, excerpt

__all__ = ["MOST_BYTES", "read_labels"]

MOST_BYTES = 32 * 1024 * 1024
"""The largest file of labels that is read; a label takes about a hundred bytes."""

_FORMAT, _VERSION = "genrlhf-labels", 1
_CHOICES = ("A", "B", "tie", "skip")
_LONGEST_NAME = 100
_KEY = ("item", "page", "dataset", "instruction", "generator_a", "output_a", "generator_b", "output_b")
_WRITTEN = "give the key that was written with the page"


def read_labels(key_rows: Iterable[Mapping[str, Any]], label_files: Mapping[str, bytes | str]) -> list[dict[str, Any]]:
    """Return what people labelled in AlpacaEval's form, with the models' names and in the order of the first rows.

    The files are taken as data that anyone may have written. An annotator may save more than one: their labels are put
    together, as far as no pair has two.

    Args:
        key_rows: what `genrlhf.metrics.preference.validating.labelling.key_rows` returned for the page.
        label_files: by its name, for the messages, the content of every file that was saved on the page.

    Returns:
        A row for every label, by annotator and in the order of the page: `instruction`, `output_1`, `generator_1`,
        `output_2`, `generator_2`, `annotator`, `preference` (1: the first output is better, 2: the second, 1.5: no
        difference, None: skipped) and `dataset`.

    Raises:
        DataError: the key is none, or a file is not of labels, of another page, of nobody, without a label, or has
            labels that cannot be or that contradict one another.
    """
    key = _read_key(key_rows)
    page = next(iter(key.values()))["page"]
    if not label_files:
        raise DataError("There are no files of labels; give at least one that was saved on the page.")
    # By annotator and item, the choice and the file it is from.
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for name, content in label_files.items():
        document = _read_document(content, name, page)
        annotator = _annotator(document.get("annotator"), name)
        labels = found.setdefault(annotator, {})
        for number, label in enumerate(document["labels"]):
            item, choice = _read_label(label, f"{name}, label {number}", key)
            before, source = labels.setdefault(item, (choice, name))
            if before != choice:
                both = f"{name} has both" if source == name else f"the one is in {source}, the other in {name}"
                raise DataError(
                    f"{annotator} labelled item {item} {before!r} and {choice!r}: {both}; give only the file that "
                    "was saved last."
                )
    return [
        _annotation(key[item], annotator, labels[item][0])
        for annotator, labels in found.items()
        for item in key
        if item in labels
    ]


def _read_key(rows: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the key by their items."""
    key: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(rows):
        for name in _KEY:
            if not isinstance(row.get(name), str):
                raise DataError(f"The key, row {number} has {excerpt(row.get(name))} for {name!r}; {_WRITTEN}.")
        if row.get("first") not in ("a", "b"):
            raise DataError(f"The key, row {number} has {excerpt(row.get('first'))} for 'first'; {_WRITTEN}.")
        if key and row["page"] != next(iter(key.values()))["page"]:
            raise DataError(f"The key, row {number} is of another page than the rows before it; {_WRITTEN}.")
        if row["item"] in key:
            raise DataError(f"The key, row {number} has item {excerpt(row['item'])} a second time; {_WRITTEN}.")
        key[row["item"]] = row
    if not key:
        raise DataError(f"The key holds no rows; {_WRITTEN}.")
    return key


def _read_document(content: bytes | str, name: str, page: str) -> dict[str, Any]:
    """Return what a file holds, its labels a list with something in it."""
    if len(content) > MOST_BYTES:
        raise DataError(f"{name} is larger than {MOST_BYTES} bytes, which no file of labels is; give another.")
    saved = "give a file that was saved on the labelling page"
    try:
        document = json.loads(content.decode("utf-8-sig") if isinstance(content, bytes) else content)
    except (RecursionError, ValueError) as error:
        raise DataError(f"{name} cannot be read as JSON ({error}); {saved}.") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise DataError(f"{name} does not hold labels, but {_shown(document)}; {saved}.")
    version = document.get("version")
    if type(version) is not int or version != _VERSION:
        raise DataError(
            f"{name} holds labels of version {_shown(version)}, and this reads version {_VERSION}; use the genrlhf "
            "that wrote the page."
        )
    if document.get("page") != page:
        raise DataError(
            f"{name} holds labels of page {_shown(document.get('page'))}, and the key is that of page {page!r}; give "
            "the key that was written with the page."
        )
    labels = document.get("labels")
    if not isinstance(labels, list):
        raise DataError(f"{name} has {_shown(labels)} for its labels, which is no list; {saved}.")
    if not labels:
        raise DataError(f"{name} holds no label; leave it out.")
    return document


def _annotator(name: Any, file: str) -> str:
    """Return who labelled."""
    cleaned = name.strip() if isinstance(name, str) else ""
    if (
        not cleaned
        or len(cleaned) > _LONGEST_NAME
        or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in cleaned)
    ):
        raise DataError(
            f'{file} has the annotator {_shown(name)}; write who labelled as "annotator", in one line of at most '
            f"{_LONGEST_NAME} characters."
        )
    return cleaned


def _read_label(label: Any, where: str, key: Mapping[str, Any]) -> tuple[str, str]:
    """Return item and choice of a label."""
    if not isinstance(label, dict):
        raise DataError(f"{where} is {_shown(label)}, which is no object; save the labels on the page again.")
    item, choice = label.get("item"), label.get("choice")
    if not isinstance(item, str) or item not in key:
        raise DataError(
            f"{where} is of item {_shown(item)}, which the key does not have; give file and key of the same page."
        )
    if not isinstance(choice, str) or choice not in _CHOICES:
        raise DataError(f"{where} has the choice {_shown(choice)}; it must be one of {', '.join(_CHOICES)}.")
    return item, choice


def _annotation(row: Mapping[str, Any], annotator: str, choice: str) -> dict[str, Any]:
    first, second = ("a", "b") if row["first"] == "a" else ("b", "a")
    preferences = {first.upper(): 1, second.upper(): 2, "tie": 1.5, "skip": None}
    return {
        "instruction": row["instruction"],
        "output_1": row[f"output_{first}"],
        "generator_1": row[f"generator_{first}"],
        "output_2": row[f"output_{second}"],
        "generator_2": row[f"generator_{second}"],
        "annotator": annotator,
        "preference": preferences[choice],
        "dataset": row["dataset"],
    }


def _shown(value: Any) -> str:
    """Quote a value for a message; what holds others may be too large or too deep for it."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return excerpt(value)
