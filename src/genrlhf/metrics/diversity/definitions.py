"""Which of several definitions of a measure is meant."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from genrlhf.errors import ConfigError

__all__ = ["DEFINITIONS", "Definition", "check_definition"]

Definition: TypeAlias = Literal["published", "kirk2023", "released-code"]
"""As its authors define a measure; as Kirk et al. (arXiv 2310.06452) describe their use of it; as their code does."""

DEFINITIONS: tuple[Definition, ...] = get_args(Definition)


def check_definition(definition: str) -> None:
    """Raise `ConfigError` unless there is such a definition."""
    if definition not in DEFINITIONS:
        raise ConfigError(f"definition is {definition!r}; give one of {', '.join(map(repr, DEFINITIONS))}.")
