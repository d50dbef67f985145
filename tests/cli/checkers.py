"""Checkers that the tests of `--checker` name."""

from __future__ import annotations

from typing import Any

STATES = {"us_state": {"ohio", "texas", "utah", "iowa", "maine", "idaho"}}


def is_state(prompts: list[str], completions: list[str], *, family: list[str], **_: Any) -> list[bool]:
    assert len(prompts) == len(completions) == len(family)
    return [text.lower() in STATES[name] for text, name in zip(completions, family, strict=True)]


def scores(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [0.5] * len(completions)


def raises(prompts: list[str], completions: list[str], **_: Any) -> list[bool]:
    raise KeyError("answers")
