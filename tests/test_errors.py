"""The error hierarchy is the one drawn in its docstring."""

from __future__ import annotations

import inspect
import re

import pytest

from genrlhf import errors
from genrlhf.errors import excerpt


def drawn() -> dict[str, tuple[str | None, bool]]:
    """Read from the tree the parent of every error and whether it says "also a ValueError"; deeper is further in."""
    found: dict[str, tuple[str | None, bool]] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ([│├└─ ]*)(\w+Error)\b(.*)$", line)
        if match:
            depth = len(match[1])
            while stack and stack[-1][0] >= depth:
                stack.pop()
            parent = stack[-1][1] if stack else None
            found[match[2]] = (parent, "also a ValueError" in match[3])
            stack.append((depth, match[2]))
    return found


def defined() -> dict[str, type]:
    return {n: c for n, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__}


def test_tree_shows_exactly_the_errors_there_are() -> None:
    assert set(drawn()) == set(defined())
    assert set(defined()) | {"excerpt", "printable"} == set(errors.__all__)
    assert drawn()["RunFolderError"] == ("ConfigError", False)


@pytest.mark.parametrize("name", sorted(defined()))
def test_bases_are_as_drawn(name: str) -> None:
    parent, value_error = drawn()[name]
    error = defined()[name]
    assert error.__bases__[0] is (Exception if parent is None else defined()[parent])
    inherited = parent is not None and issubclass(defined()[parent], ValueError)
    assert issubclass(error, ValueError) == (value_error or inherited)
    assert error.__doc__


def test_every_error_is_caught_as_the_base() -> None:
    for error in defined().values():
        with pytest.raises(errors.GenRLHFError, match="what happened"):
            raise error("what happened")


def test_excerpt_quotes_on_one_line_and_cuts() -> None:
    assert excerpt("two\nlines") == r"'two\nlines'"
    assert excerpt(None) == "None"
    assert excerpt("x" * 78) == "'" + "x" * 78 + "'"
    cut = excerpt("x" * 79)
    assert cut == "'" + "x" * 78 + "…"
    assert len(cut) == 80
    assert excerpt("abcdef", 5) == "'abc…"
