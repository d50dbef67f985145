"""What fits together in a method, told in one line where it does not."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError

if TYPE_CHECKING:
    from genrlhf.methods.building import Buildable

__all__ = ["check_named", "check_parts", "check_words"]


def check_words(name: str, loop: str, needs: Any, loops: Sequence[str], known: Sequence[str]) -> None:
    """Raise `ConfigError` for a loop, or something that is needed, of another name than there are."""
    if loop not in loops:
        raise ConfigError(f"The method {name!r} has loop {loop!r}; it must be one of {', '.join(loops)}.")
    if isinstance(needs, str):
        raise ConfigError(f"The method {name!r} has needs={needs!r}, a text; give a tuple of them.")
    if not needs or set(needs) - set(known):
        raise ConfigError(
            f"The method {name!r} needs {', '.join(map(repr, needs)) or 'nothing'}; give some of {', '.join(known)}, "
            "first what its dataset holds."
        )


def check_named(name: str, loop: str, trainer: str, config: str, usual: str | None) -> None:
    """Raise `ConfigError` where trainer and config are not both named, nor the loop has its `usual` ones."""
    if usual is None and not (trainer and config):
        raise ConfigError(f"The method {name!r} of loop {loop!r} needs trainer and config; name both.")
    if bool(trainer) != bool(config):
        raise ConfigError(f"The method {name!r} names one of trainer and config; name both, or neither.")


def check_parts(method: Buildable, *, trainer: Any, config: type[Any], has_settings: bool) -> None:
    """Check that what a method names goes together.

    Args:
        method: that names it.
        trainer: its class.
        config: the class of its settings.
        has_settings: whether the method has settings of its own, whose object the trainer gets.

    Raises:
        ConfigError: for a recipe of what is no setting, a trainer that does not take the method's own object, or takes
            other settings than `config`.
    """
    known = [each.name for each in fields(config)]
    if unknown := sorted(set(method.recipe) - set(known)):
        raise ConfigError(f"The recipe of {method.name!r} has {unknown[0]!r}, which is no setting of its trainer.")
    if has_settings and not _takes(trainer, method.argument):
        raise ConfigError(
            f"The method {method.name!r} has argument={method.argument!r}, which {method.trainer} does not take; name "
            "the argument of the trainer that gets the object of `settings`, such as objective or advantage."
        )
    wanted = _settings_of(trainer)
    if wanted and not issubclass(config, wanted):
        raise ConfigError(
            f"The method {method.name!r} has config={method.config!r}, and the settings of {method.trainer} are "
            f"{' or '.join(kind.__name__ for kind in wanted)}."
        )


def _takes(trainer: Any, argument: str) -> bool:
    """Whether a class takes an argument by its name, itself or where it hands on what it does not know."""
    for kind in getattr(trainer, "__mro__", [trainer]):
        begin = vars(kind).get("__init__") if isinstance(kind, type) else kind
        if begin is None:
            continue
        parameters = inspect.signature(begin).parameters
        if argument in parameters:
            return True
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return False
    return False


def _settings_of(trainer: Any) -> tuple[type[Any], ...]:
    """Return the dataclasses that a trainer says its `args` are of; none where it does not say."""
    if not isinstance(trainer, type) or "args" not in inspect.signature(trainer).parameters:
        return ()
    # As a text, which cannot be resolved as a whole: what only a type checker sees stands in it too.
    said = str(inspect.signature(trainer).parameters["args"].annotation)
    there = vars(sys.modules[trainer.__module__])
    found = (there.get(word) for word in re.findall(r"\w+", said))
    return tuple(each for each in found if isinstance(each, type) and is_dataclass(each))
