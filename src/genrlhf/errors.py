"""The errors that genrlhf raises on purpose.

::

    GenRLHFError
    ├── CheckpointError   what a run keeps on disk could not be written, is not whole or not there
    ├── ConfigError    a setting that cannot work (also a ValueError)
    │   └── RunFolderError   an output folder that holds another run
    ├── DataError      a dataset, file or row that cannot be used (also a ValueError)
    ├── ModelError     a model or tokenizer that cannot play the role asked of it (also a ValueError)
    ├── RewardError    a reward that returned the wrong number of values, or no finite ones
    ├── ShapeError     tensors whose shapes or dtypes do not go together (also a ValueError)
    └── JudgeError     a judge that could not be asked or understood

Every message says what was wrong, where (file and row, or prompt) and what to do about it. The command line prints
the message of a `GenRLHFError` in one line and exits with status 1; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import traceback
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GenRLHFError",
    "JudgeError",
    "ModelError",
    "RewardError",
    "RunFolderError",
    "ShapeError",
    "excerpt",
    "line_of",
    "printable",
]


class GenRLHFError(Exception):
    """Base of every error that the library raises on purpose."""


class CheckpointError(GenRLHFError):
    """A checkpoint, or another file that a run keeps, could not be written, is not whole, or is not there."""


class ConfigError(GenRLHFError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class RunFolderError(ConfigError):
    """An output folder holds a run with other settings."""


class DataError(GenRLHFError, ValueError):
    """A dataset, file or row cannot be used."""


class ModelError(GenRLHFError, ValueError):
    """A model or tokenizer cannot play the role asked of it."""


class RewardError(GenRLHFError):
    """A reward function returned the wrong number of values, or values that are not finite numbers."""


class ShapeError(GenRLHFError, ValueError):
    """Tensors do not have the shapes or dtypes that an operation needs."""


class JudgeError(GenRLHFError):
    """A judge could not be asked, or its answer could not be understood."""


def excerpt(text: object, limit: int = 80) -> str:
    """Quote the start of `text` for an error message, at most `limit` characters long, on one line."""
    shown = repr(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


_PACKAGE = Path(__file__).parent
_BETWEEN = (contextlib.__file__, importlib.__file__)


def line_of(error: BaseException) -> str:
    """Return the line of a user's code that an error comes from, such as " (my_methods.py, line 12)"; "" for none.

    It is the innermost line beside the first one that is not of this package.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and _PACKAGE not in Path(frame.filename).parents
        and frame.filename not in _BETWEEN
    ]
    frames = frames[:1] + [each for each in frames[1:] if Path(each.filename).parent == Path(frames[0].filename).parent]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


# C0 and C1 controls with DEL; bidirectional marks, embeddings, overrides and isolates; line and paragraph separators;
# interlinear annotations; half surrogate pairs; tags, which show as nothing. Joiners stay: scripts and emoji need them.
_ACTS_ON_A_TERMINAL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: object) -> str:
    """Return `text` on one line, with what a terminal would act on rather than show escaped as `repr` does.

    For every text in a message or table that comes from a model, a file, a file's name, a server or a prompt.
    """
    return _ACTS_ON_A_TERMINAL.sub(lambda found: repr(found.group())[1:-1], str(text))
