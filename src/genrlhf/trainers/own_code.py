"""Code of a method's own, which a loop calls: what it raises by accident is told with its name and its line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate.utils.memory import should_reduce_batch_size

from genrlhf.errors import ConfigError, GenRLHFError, excerpt, line_of

__all__ = ["check_call", "named_errors"]


def check_call(
    function: Callable[..., Any], arguments: Sequence[str], what: str, *, by_name: Sequence[str] = ()
) -> None:
    """Raise `ConfigError` where a function cannot be called with these arguments, by place.

    Args:
        function: somebody's own.
        arguments: their names.
        what: it is, such as "advantage".
        by_name: what it could have had parameters for besides, which the message says.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of a function that is not written in Python
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        more = f" Parameters called {', '.join(by_name)} get these." if by_name else ""
        raise ConfigError(
            f"{what} is called with ({', '.join(arguments)}), and takes {signature}: {error}.{more}"
        ) from error


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Say of an accident in a `with` block whose it is; errors of ours, and want of memory, pass.

    Args:
        what: is called there, such as "The objective Focal".

    Raises:
        GenRLHFError: in the place of any other `Exception`.
    """
    try:
        yield
    except GenRLHFError:
        raise
    except Exception as error:
        if should_reduce_batch_size(error):
            # The Trainer tries again with fewer rows, where `auto_find_batch_size` says so.
            raise
        raise GenRLHFError(f"{what} raised {excerpt(error, 300)}{line_of(error)}.") from error
