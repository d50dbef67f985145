"""One text for one content: JSON of which equal values are written alike."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

from genrlhf.errors import ConfigError, excerpt

__all__ = ["canonical", "canonical_text"]

_EXACT = 2**53
_DEEPEST = 100


def canonical_text(value: Any, where: str = "the value") -> str:
    """Return JSON in ASCII, keys in order and without blanks.

    Example:
        >>> canonical_text({"b": (1.0, 0.5), "a": None})
        '{"a":null,"b":[1,0.5]}'
    """
    return json.dumps(canonical(value, where), sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any, where: str = "the value", depth: int = 0) -> Any:
    """Return a copy of `value` of what JSON has.

    A whole number is the same as an integer and as a float (1 and 1.0), and −0 is 0; a tuple is a list, a set a list in
    the order of its items' texts, a dataclass a mapping of its fields, and an enum's member its value.

    Args:
        value: the value.
        where: it stands, for messages.
        depth: of `where`.

    Raises:
        ConfigError: for a number that is not finite, a key that is no text, and any other object, such as a path (which
            says nothing of what lies there) or a function.
    """
    if depth > _DEEPEST:
        raise ConfigError(f"{where} is nested over {_DEEPEST} deep, or holds itself.")
    if value is None or isinstance(value, (bool, enum.Enum)):
        return canonical(value.value, where, depth + 1) if isinstance(value, enum.Enum) else value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Real):
        return _number(value, where)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where} has the key {excerpt(key)}; keys must be texts.")
        return {str(key): canonical(item, f"{where}, {key}", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item, f"{where}, item {place}", depth + 1) for place, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((canonical(item, f"{where}, an item", depth + 1) for item in value), key=canonical_text)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return canonical(held, where, depth)
    raise ConfigError(
        f"{where} is {excerpt(value)}, of the type {type(value).__name__}, which has no one form as JSON: give "
        "numbers, texts, lists and mappings, and a digest of the contents in place of a file, a model or a function."
    )


def _number(value: Any, where: str) -> int | float:
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Rational):
        raise ConfigError(f"{where} is {excerpt(value)}, a fraction; give a float.")
    number = float(value)
    if not math.isfinite(number):
        raise ConfigError(f"{where} is {number}; it must be finite.")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number
