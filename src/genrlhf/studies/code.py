"""A digest of the code of a method, so that a stage is made anew when its method is another and not otherwise."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError, excerpt
from genrlhf.methods.method import Method
from genrlhf.models.fingerprint import model_fingerprint
from genrlhf.places import look_in_current_folder
from genrlhf.studies.canonical import canonical_text
from genrlhf.studies.source import PLACE, SourceReader
from genrlhf.types import HasSettings

__all__ = ["method_code_digest", "named_digest"]

_MARKS = ("config.json", "adapter_config.json", "modules.json")
"""One of which a folder has that holds a model."""

# What a method is called makes nothing else of it.
_LABELS = ("name", "label", "paper")


def method_code_digest(*things: Any) -> str:
    """Return a digest of what methods, functions, classes, objects and modules do.

    Of code, the definitions count that are used, directly or through others of the same module or of other modules of
    the user's (the package of the object, and what is not installed); comments, docstrings, layout and other
    definitions do not. Libraries count by the names that are used of them, and of genrlhf the module in which a trainer
    or setting is defined, with its package where it has one of its own (`trainers/ppo`). Of objects their settings
    count, too: what `settings()` returns, the fields of a dataclass, or the attributes; of functions what they have
    captured.

    Args:
        things: each a `Method`, a function, a class, an object, a module, or where one is: "package.module:name".

    Raises:
        ConfigError: where the source of something cannot be found, or an object has attributes without one form as
            JSON and no `settings()`.
    """
    reader = SourceReader()
    told = [_told(thing, reader, 0) for thing in things]
    return hashlib.sha256(canonical_text([told, reader.found]).encode()).hexdigest()[:16]


def named_digest(text: str) -> str | None:
    """Return a digest of what a setting names: the code at "package.module:name", or the model in a folder.

    Args:
        text: of a setting, maybe with a kind before it, such as "embedding:FOLDER".

    Returns:
        None for a text that names neither.
    """
    for folder in (text, text.partition(":")[2]):
        if folder and any((Path(folder).expanduser() / mark).is_file() for mark in _MARKS):
            return model_fingerprint(str(Path(folder).expanduser()))
    if not PLACE.fullmatch(text):
        return None
    look_in_current_folder()
    try:
        return method_code_digest(text)
    except ConfigError:  # a text with a colon, or what is found to be missing when it is loaded
        return None


def _told(thing: Any, reader: SourceReader, depth: int) -> Any:
    """Return what is known of a thing beside its code, which goes to `reader`."""
    if depth > 20:
        raise ConfigError(f"{excerpt(thing)} holds itself; give it a method settings().")
    told = functools.partial(_told, reader=reader, depth=depth + 1)
    if isinstance(thing, str):
        return reader.of_place(thing) if PLACE.fullmatch(thing) else thing
    if isinstance(thing, Method):
        held = {each.name: getattr(thing, each.name) for each in dataclasses.fields(thing)}
        return {name: told(value) for name, value in held.items() if name not in _LABELS}
    if isinstance(thing, types.ModuleType):
        return reader.of(thing.__name__, None)
    if isinstance(thing, functools.partial):
        return [told(thing.func), told(thing.args), told(thing.keywords)]
    if isinstance(thing, types.MethodType):
        return [thing.__func__.__qualname__, told(thing.__self__)]
    if isinstance(thing, types.FunctionType):
        function = inspect.unwrap(thing)
        captured = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
        return [reader.of_object(function), {name: told(value) for name, value in captured.items() if value != thing}]
    if isinstance(thing, (type, types.BuiltinFunctionType)):
        return reader.of_object(thing)
    if isinstance(thing, Mapping):
        return {str(name): told(value) for name, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [told(value) for value in thing]
    if type(thing).__module__ == "builtins":
        return thing
    return [reader.of_object(type(thing)), _held(thing, told)]


def _held(thing: Any, told: Any) -> Any:
    if isinstance(thing, HasSettings):
        return told(thing.settings())
    if dataclasses.is_dataclass(thing):
        return {each.name: told(getattr(thing, each.name)) for each in dataclasses.fields(thing)}
    return {name: told(value) for name, value in getattr(thing, "__dict__", {}).items()}
