"""The error hierarchy is the one drawn in its docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from genrlhf import errors
from genrlhf.errors import excerpt, line_of
from genrlhf.places import load_place


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
    assert set(defined()) | {"excerpt", "line_of", "printable"} == set(errors.__all__)
    assert drawn()["RunFolderError"] == ("ConfigError", False)


def test_the_line_of_an_error_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_a_user.py").write_text(
        "def deep():\n    return [].x\n\n\ndef call():\n    deep()\n", encoding="utf-8"
    )
    (tmp_path / "imports.py").write_text("import json\nimport not_there_at_all\n", encoding="utf-8")
    (tmp_path / "through.py").write_text("import json\njson.loads('{')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("of_a_user")
    with pytest.raises(AttributeError) as raised:
        module.call()
    tail = raised.value.with_traceback(raised.tb.tb_next)  # without the frame of this test
    assert line_of(tail) == " (of_a_user.py, line 2)"
    assert line_of(ValueError("of nowhere")) == ""
    for place, expected in (
        ("imports:X", r"No module named 'not_there_at_all' \(imports\.py, line 2\)\.$"),
        ("through:X", r"JSONDecodeError: .* \(through\.py, line 2\)\.$"),
        ("of_a_user:X", r"no attribute 'X'\.$"),
        ("not_there_at_all:X", r"No module named 'not_there_at_all'\.$"),
    ):
        with pytest.raises(errors.ConfigError, match=expected):
            load_place(place, "It")


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
