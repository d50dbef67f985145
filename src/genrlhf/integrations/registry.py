"""The formats of outputs that are known, and which of them a file is in."""

from __future__ import annotations

from typing import Any

from genrlhf.errors import ConfigError, DataError
from genrlhf.integrations.samples import OutputsFormat
from genrlhf.integrations.tools.alpaca_eval import ALPACA_EVAL
from genrlhf.integrations.tools.completions import TRL
from genrlhf.integrations.tools.inspect_ai import INSPECT
from genrlhf.integrations.tools.lighteval import LIGHTEVAL
from genrlhf.integrations.tools.lm_eval import LM_EVAL
from genrlhf.integrations.tools.noveltybench import NOVELTYBENCH
from genrlhf.integrations.tools.openai_batch import OPENAI_BATCH
from genrlhf.integrations.tools.own import GENRLHF
from genrlhf.integrations.tools.pipelines import PIPELINES
from genrlhf.integrations.tools.vllm import VLLM

__all__ = ["FORMATS", "columns_of", "format_named", "recognise"]

FORMATS: tuple[OutputsFormat, ...] = (
    GENRLHF,
    ALPACA_EVAL,
    PIPELINES,
    TRL,
    LM_EVAL,
    LIGHTEVAL,
    INSPECT,
    NOVELTYBENCH,
    OPENAI_BATCH,
    VLLM,
)
"""All formats, ours first."""


def format_named(name: str) -> OutputsFormat:
    """Return a format by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    for one in FORMATS:
        if one.name == name:
            return one
    raise ConfigError(f"There is no format {name!r} of outputs; give one of {', '.join(one.name for one in FORMATS)}.")


def recognise(record: Any, file: str) -> OutputsFormat:
    """Return the format that a file is in, by what its first record holds.

    Rows of ours may have further columns, also those by which others are known.

    Raises:
        DataError: it is in no known format, or might be in several.
    """
    if GENRLHF.recognise(record):
        return GENRLHF
    found = [one for one in FORMATS if one.recognise(record)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{file} may be in the format {' or '.join(one.name for one in found)}; say which with --format (format=), "
            "or name its columns."
        )
    raise DataError(
        f"{file} is in no known format of outputs: {columns_of(record)}; say which column holds what with "
        "--prompt-column and --outputs-column, and --group-by where a row holds one sample (prompt_column=, "
        "outputs_column=, group_by=)."
    )


def columns_of(record: Any) -> str:
    """Say which columns a record has, those within objects by a path with dots."""
    if not isinstance(record, dict):
        return f"its first row is a {type(record).__name__}, not an object"
    names: list[str] = []
    for name, value in record.items():
        names.append(str(name))
        if isinstance(value, dict):
            names += [f"{name}.{inner}" for inner in value]
    shown = [name if len(name) <= 60 else f"{name[:59]}…" for name in names[:30]]
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return f"its columns are {', '.join(map(repr, shown))}{more}" if names else "its first row has no columns"
