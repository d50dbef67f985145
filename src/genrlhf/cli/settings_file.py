"""Values of a YAML file for fields of dataclasses: what does not fit is refused before it gets anywhere."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from genrlhf.errors import ConfigError, excerpt

__all__ = ["fitting_values"]

_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}


def fitting_values(kinds: Sequence[type[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that the fields can have; one value alone stands for a list of one.

    Texts are left for the parser, which reads them as it reads the command line's; those of a list it would leave.

    Args:
        kinds: dataclasses with the fields.
        values: by the names of fields; other names are left as they are.

    Raises:
        ConfigError: a value is of another kind than its field.
    """
    hints: dict[str, Any] = {}
    for kind in kinds:
        known = _hints(kind)
        hints |= {field.name: known[field.name] for field in fields(kind) if field.name in known}
    return {name: _fitting(name, value, hints[name]) if name in hints else value for name, value in values.items()}


def _hints(kind: type[Any]) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except (NameError, TypeError, AttributeError):
        return {}


def _fitting(name: str, value: Any, hint: Any) -> Any:
    members = _members(hint)
    lists = [one for one in members if get_origin(one) is list]
    if value is not None and len(lists) == len(members) and not isinstance(value, (list, dict)):
        value = [value]
    if isinstance(value, list) and len(lists) == 1 and (items := get_args(lists[0])):
        value = [_number(one, items[0]) for one in value]
    if not _fits(value, hint):
        wanted = " or ".join(dict.fromkeys(_shown(one) for one in members))
        raise ConfigError(
            f"{name} in the file of --config must be {wanted}, not {excerpt(value)}; what YAML does not take for a "
            "text is one in quotes."
        )
    return value


def _members(hint: Any) -> list[Any]:
    """Return the kinds of a union, or of one, without None."""
    union = get_origin(hint) in (Union, types.UnionType)
    return [one for one in (get_args(hint) if union else (hint,)) if one is not type(None)]


def _number(value: Any, kind: Any) -> Any:
    if isinstance(value, str) and kind in (int, float):
        # YAML takes 1e-3 for a text.
        with suppress(ValueError):
            return kind(value)
    return value


def _fits(value: Any, hint: Any) -> bool:
    members = _members(hint)
    if value is None:
        return len(members) < len(get_args(hint)) or not all(one in (int, float, bool) for one in members)
    return any(_fits_one(value, one) for one in members)


def _fits_one(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits_item(item, *get_args(kind)) for item in value)
    if get_origin(kind) is dict or kind is dict:
        return isinstance(value, (dict, str))
    if kind is bool:
        return isinstance(value, (bool, str))
    if kind in (int, float):
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return number or isinstance(value, str)
    if kind is str or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return isinstance(value, str)
    return True


def _fits_item(value: Any, kind: Any = Any) -> bool:
    # The parser leaves the texts of a list as they are.
    if kind in (int, float) and isinstance(value, str):
        return False
    return value is not None and _fits(value, kind)


def _shown(kind: Any) -> str:
    if get_origin(kind) is list:
        return "a list" + "".join(f" of which each is {_shown(item)}" for item in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "a text"
    return _KINDS.get(get_origin(kind) or kind, str(kind))
