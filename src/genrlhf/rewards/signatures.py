"""What a reward function is called with: by keyword where its parameters have our names, by position where not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genrlhf.errors import RewardError

__all__ = ["RESERVED", "SAMPLED", "bind", "with_samples"]

RESERVED = ("prompts", "completions")
"""The names under which a reward gets prompts and completions, which no column may have."""

SAMPLED = ("completion_ids", "ended")
"""The names under which a reward gets the tokens of completions, and whether they ended, unless a column has them."""


def with_samples(
    columns: Mapping[str, Sequence[Any]], token_ids: Sequence[list[int] | None], ended: Sequence[bool]
) -> dict[str, Sequence[Any]]:
    """Return the columns that a reward gets with completions.

    Args:
        columns: of the dataset, a value a completion.
        token_ids: `completion_ids`, EOS included; left out where some are None.
        ended: False for a completion that was cut off.
    """
    known = {"ended": ended} if None in token_ids else {"completion_ids": token_ids, "ended": ended}
    return {**known, **columns}


def bind(
    function: Callable[..., Any],
    prompts: Sequence[Any],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    *,
    name: str,
) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and keyword arguments to call a reward function with.

    - Parameters called `prompts` and `completions` get these, in whatever order they stand.
    - Where there are none of these names, the first two parameters get prompts and completions; where one of them is
      missing, another parameter in its place gets it.
    - Columns go by name, to parameters of their names and to `**kwargs`; a function without `**kwargs` gets no others,
      and a parameter that holds prompts or completions is not given again.
    - What tells nothing of its parameters, as some built-in functions, gets prompts and completions by position.

    Raises:
        RewardError: where a parameter that has to be given is none of these, or one that is given by position has the
            name of the other, as in f(completion, prompt); it is named.
    """
    texts: dict[str, Any] = {"prompts": prompts, "completions": completions}
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return [prompts, completions], {}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if all(p.kind in variable for p in parameters.values()) and callable(forward := getattr(function, "forward", None)):
        # A module of torch takes anything, and hands it on.
        parameters = dict(inspect.signature(forward).parameters)
    kinds = {key: parameter.kind for key, parameter in parameters.items()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds.values()
    takes_more = inspect.Parameter.VAR_POSITIONAL in kinds.values()
    by_name = {
        key: p
        for key, p in parameters.items()
        if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    positional = [
        key
        for key, p in parameters.items()
        if p.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    rest = {key: values for key, values in columns.items() if key not in RESERVED}
    named = [key for key in RESERVED if key in by_name]
    if not named and (len(positional) >= 2 or takes_more):
        _refuse_swapped(positional[:2], name)
        free = rest.items() if takes_any else ((key, rest[key]) for key in by_name if key in rest)
        arguments = {key: values for key, values in free if key not in positional[:2]}
        _refuse_missing(parameters, {*positional[:2], *arguments}, rest, name)
        return [prompts, completions], arguments
    keywords = {key: texts[key] for key in (RESERVED if takes_any else named)}
    keywords |= {key: values for key, values in rest.items() if takes_any or key in by_name}
    args: list[Any] = []
    for place, text in enumerate(RESERVED):
        # f(queries, completions) wants prompts where they stand in (prompts, completions).
        other = positional[place] if named and text not in named and place < len(positional) else None
        if other is None or other in keywords or parameters[other].default is not inspect.Parameter.empty:
            continue
        keywords.pop(text, None)
        if kinds[other] is inspect.Parameter.POSITIONAL_ONLY:
            args = [texts[text]]
        else:
            keywords[other] = texts[text]
    _refuse_missing(parameters, {*keywords, *positional[: len(args)]}, rest, name)
    return args, keywords


def _refuse_swapped(parameters: Sequence[str], name: str) -> None:
    """Raise `RewardError` for f(completion, prompt), which by position would get the prompts as completions."""
    for parameter, place in zip(parameters, RESERVED, strict=False):
        other = next(key for key in RESERVED if key != place)
        if parameter.startswith(other[:-1]):
            raise RewardError(
                f"The reward {name} has the parameter {parameter!r} where {place} are given by position; call it "
                f"{other!r}, and it gets them by name in any place."
            )


def _refuse_missing(
    parameters: Mapping[str, inspect.Parameter], given: set[str], columns: Mapping[str, Any], name: str
) -> None:
    """Raise `RewardError` where a parameter without a default gets nothing."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [
        key
        for key, p in parameters.items()
        if p.kind not in variable and p.default is inspect.Parameter.empty and key not in given
    ]
    if missing:
        there = ", ".join(map(repr, (*RESERVED, *columns)))
        raise RewardError(
            f"The reward {name} wants {', '.join(map(repr, missing))}, and there are {there}; give the dataset such a "
            "column, or the parameter a default."
        )
