"""Checks of the strings that metrics are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.text import composed

__all__ = ["check_outputs", "check_texts", "for_encoder", "whole_characters"]


def check_texts(texts: Any, name: str) -> list[str]:
    """Return `texts` as a list, or raise `DataError` naming the row that is no string. Empty strings are fine."""
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
        raise DataError(f"{name} is {excerpt(texts)}; give a list of strings.")
    listed = list(texts)
    for row, text in enumerate(listed):
        if not isinstance(text, str):
            raise DataError(
                f"{name}, row {row} is {excerpt(text)}, not a string; make it text, or drop the row (an output that "
                "says nothing is '')."
            )
    return listed


def check_outputs(outputs: Any, *, at_least: int = 1, metric: str = "the metric") -> list[list[str]]:
    """Return `outputs` as a list of lists of strings, one list per input.

    Args:
        outputs: what the user gave.
        at_least: how many outputs every input must have.
        metric: what asks for so many, for the message.

    Raises:
        DataError: naming the input (counted from 0) that is wrong.
    """
    if isinstance(outputs, (str, bytes, Mapping)) or not isinstance(outputs, Iterable):
        raise DataError(f"outputs is {excerpt(outputs)}; give a list with one list of strings per input.")
    checked = []
    for row, texts in enumerate(outputs):
        if isinstance(texts, str):
            raise DataError(
                f"outputs, input {row} is the string {excerpt(texts)}; give a list of the outputs of that input, such "
                "as [first, second]."
            )
        checked.append(check_texts(texts, f"outputs, input {row}"))
        if len(checked[-1]) < at_least:
            raise DataError(
                f"outputs, input {row} has {len(checked[-1])} output(s), and {metric} needs at least {at_least}; "
                "sample more of them, or drop the input."
            )
    if not checked:
        raise DataError("outputs is empty; give the outputs of at least one input.")
    return checked


def for_encoder(text: str) -> str:
    """Return `text` as encoders are given it: whole characters in their composed form, in which equal texts are one."""
    return composed(whole_characters(text))


def whole_characters(text: str) -> str:
    """Return `text` with a question mark for every half of a character, which neither tokenizers nor files take."""
    return text.encode("utf-8", "replace").decode("utf-8")
