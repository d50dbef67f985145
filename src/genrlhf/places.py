"""Objects by where they are: "package.module:name"."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from genrlhf.errors import ConfigError, line_of

__all__ = ["given_or_placed", "load_place", "loading", "look_in_current_folder", "model_or_placed"]


def load_place(place: str, what: str) -> Any:
    """Return what "package.module:name" names; a module may lie in the current folder, as for `python -m`.

    Args:
        place: of the object.
        what: it is, for messages.

    Raises:
        ConfigError: there is none, or its module cannot be imported, for whatever reason.
    """
    module, _, name = place.partition(":")
    look_in_current_folder()
    return loading(lambda: getattr(importlib.import_module(module), name), what)


def look_in_current_folder() -> None:
    """Let modules lie in the current folder, as for `python -m`."""
    # Behind all else, or a file there would stand for a library of its name. It stays: a module may import on its own,
    # later, and so may whoever looks for its source.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def given_or_placed(value: Any, what: str) -> Any:
    """Return a callable that is given, or what "package.module:name" names; of a class an object. None stays None.

    Args:
        value: of a setting.
        what: the setting, for messages.

    Raises:
        ConfigError: there is none, or it cannot be called.
    """
    found = value
    if isinstance(value, str):
        if ":" not in value:
            raise ConfigError(f"{what} is {value!r}; give a function, or where one is: package.module:name.")
        found = load_place(value, f"{what}={value!r}")
    if isinstance(found, type):
        found = loading(found, f"{what}, a {found.__name__},")
    if found is not None and not callable(found):
        raise ConfigError(f"{what} is a {type(found).__name__}, which cannot be called; give a function.")
    return found


def model_or_placed(value: Any, what: str) -> Any:
    """Return the name or folder of a model as it is, and for "package.module:name" what it names; of a class an object.

    Raises:
        ConfigError: there is none.
    """
    if isinstance(value, str) and ":" in value and not os.path.exists(value):
        value = load_place(value, f"{what}={value!r}")
    return loading(value, f"{what}, a {value.__name__},") if isinstance(value, type) else value


def loading(load: Callable[[], Any], what: str) -> Any:
    """Return what `load` returns, or raise `ConfigError`: a module of others can raise, and print, anything."""
    try:
        # Standard output belongs to whoever asked.
        with contextlib.redirect_stdout(sys.stderr):
            return load()
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())[:300].rstrip(".")
        kind = type(error).__name__
        told = isinstance(error, (ImportError, AttributeError)) and words
        reason = words if told else f"{kind}: {words}" if words else kind
        raise ConfigError(f"{what} cannot be loaded: {reason}{line_of(error)}.") from error
