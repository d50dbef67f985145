"""Methods by name: those of the package, of installed packages, and of any module that can be imported."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import Any

from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.places import load_place, loading

__all__ = ["ENTRY_POINTS", "METHODS", "get_method", "method_names"]

METHODS = (
    *("sft", "gem", "unlikelihood", "prompt_distillation_given", "chain_of_hindsight"),
    *("reward_model", "carp", "coop_carp", "dpo", "spl", "kto"),
    *("ppo", "nlpo", "rloo", "grpo", "dr_grpo", "maxrl", "pass_at_k"),
    *(
        "best_of_n",
        "diverse_best_of_n",
        "rrhf",
        "divpo",
        "spin",
        "hir",
        "ilf",
        "prompt_distillation",
        "chain_of_hindsight_sampled",
    ),
    *("darling", "frequency", "uniqueness", "dqo", "mara", "kl_cov", "clip_cov", "adversarial"),
)
"""Those of the package; each is `METHOD` in a module of its name."""

ENTRY_POINTS = "genrlhf.methods"
"""The group of entry points under which other packages offer methods."""


def method_names() -> list[str]:
    """Return the names of all methods: the package's, then those that installed packages offer."""
    return [*METHODS, *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(METHODS))]


def get_method(name: str) -> Method:
    """Return a method by its name, or by where it is: "package.module:NAME".

    Raises:
        ConfigError: where there is none, or what is there is no `Method`.

    Example:
        >>> get_method("ppo").needs
        ('prompts', 'reward')
    """
    if name in METHODS:
        return _checked(load_place(f"genrlhf.methods.{name}:METHOD", f"The method {name!r}"), name)
    if ":" in name:
        return _checked(load_place(name, f"The method {name!r}"), name)
    points = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
    if points:
        return _checked(loading(points[0].load, f"The method {name!r} of an installed package"), name)
    known = method_names()
    close = difflib.get_close_matches(str(name), known, n=2)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise ConfigError(
        f"There is no method {name!r}; {hint}There are {', '.join(known)}, and any other by where it is, such as "
        "my_package.my_method:METHOD."
    )


def _checked(found: Any, name: str) -> Method:
    if not isinstance(found, Method):
        raise ConfigError(f"The method {name!r} is a {type(found).__name__}; it must be a genrlhf.methods.Method.")
    return found
