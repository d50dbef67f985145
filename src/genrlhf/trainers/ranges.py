"""The values that a setting may have, written beside its help: `n: Annotated[int, AT_LEAST_ONE] = field(…)`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from genrlhf.errors import ConfigError

__all__ = ["ABOVE_ZERO", "AT_LEAST_ONE", "BELOW_ONE", "PROBABILITY", "SHARE", "ZERO_OR_MORE", "Range", "check_ranges"]


@dataclass(frozen=True)
class Range:
    """Numbers that a setting may have.

    Attributes:
        wanted: what they are, in words.
        holds: says whether a number is one of them.
    """

    wanted: str
    holds: Callable[[float], bool]


AT_LEAST_ONE = Range("at least 1", lambda x: x >= 1)
SHARE = Range("in [0, 1]", lambda x: 0 <= x <= 1)
BELOW_ONE = Range("in [0, 1)", lambda x: 0 <= x < 1)
PROBABILITY = Range("above 0 and at most 1", lambda x: 0 < x <= 1)
ABOVE_ZERO = Range("above 0, and finite", lambda x: 0 < x < math.inf)
ZERO_OR_MORE = Range("0 or more, and finite", lambda x: 0 <= x < math.inf)


def check_ranges(config: Any) -> None:
    """Raise `ConfigError` for the first field of a dataclass that is neither None nor in its range, or is NaN."""
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name, None)
        for allowed in getattr(hint, "__metadata__", ()):
            if isinstance(allowed, Range) and value is not None and not allowed.holds(value):
                raise ConfigError(f"{name} must be {allowed.wanted}, not {value!r}.")
    for field in fields(config):
        if isinstance(value := getattr(config, field.name, None), float) and math.isnan(value):
            raise ConfigError(f"{field.name} is NaN; give a number.")
