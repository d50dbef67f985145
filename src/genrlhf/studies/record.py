"""What stands in the folder of a stage that is done, and what is wrong with it."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrlhf.data.file_digest import file_digest
from genrlhf.data.log import said_when_full
from genrlhf.errors import CheckpointError, ConfigError, excerpt
from genrlhf.studies.graph import Stage

__all__ = ["RECORD", "Record", "flaw_of", "read_record", "write_record"]

RECORD = "stage.json"
"""Written last: a folder that has it is of a stage that is done."""

LOG = "launch.log"

TRAINING_LOG = "training.json"
"""What a trainer logged; see `genrlhf.studies.training_log`."""

# Nothing that follows reads these, and a user may tidy them away: optimizers, cards, logs.
_NOT_KEPT = ("README.md", "training_args.bin", "runs", LOG, TRAINING_LOG, RECORD)
_CHECKPOINT = "checkpoint-"


@dataclass(frozen=True)
class Record:
    """What the file of a stage that is done says.

    Attributes:
        name: under which the stage was made.
        kind: of the stage.
        key: of the stage.
        settings: of the stage.
        needs: name and key of every stage that it needed, by role.
        figures: what it returned.
        seconds: the start that ended took.
        files: size and digest of every file that it left, by its path in the folder.
    """

    name: str
    kind: str
    key: str
    settings: Mapping[str, Any]
    needs: Mapping[str, Mapping[str, str]]
    figures: Mapping[str, Any]
    seconds: float
    files: Mapping[str, list[Any]]


def read_record(folder: Path) -> Record | None:
    """Return what a stage's folder says of itself; None where the stage is not done.

    Raises:
        CheckpointError: where the file is damaged.
    """
    file = folder / RECORD
    try:
        content = json.loads(file.read_bytes())
        said = content.pop("digest")
        whole = content.pop("format") == "genrlhf-stage" and said == _digest(content)
        return Record(**content) if whole else _damaged(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _damaged(folder)


def _damaged(folder: Path) -> Record:
    raise CheckpointError(
        f"{folder / RECORD} is damaged: it is not what was written. Delete the folder, and the stage is made again."
    )


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def write_record(
    stage: Stage, folder: Path, figures: Any, seconds: float, report: Callable[[str], None] = lambda message: None
) -> Record:
    """Write that a stage is done, once the disk has its files, and return what will be read from then on.

    Args:
        stage: the stage.
        folder: that it filled.
        figures: that it returned; one that is not finite is kept as null, with a word.
        seconds: it took.
        report: says what is to be told.

    Raises:
        ConfigError: where the figures are no mapping of what JSON has.
        CheckpointError: where the disk is full, or cannot be written.
    """
    kept = _plain(figures, "figures", stage.name, report)
    if not isinstance(kept, dict):
        raise ConfigError(f"Stage {stage.name} returned {excerpt(figures)}; it must return a mapping of figures.")
    with said_when_full(folder / RECORD):
        files = {}
        for file in _files(folder):
            _sync(file)
            files[file.relative_to(folder).as_posix()] = [file.stat().st_size, file_digest(file)]
        content = {
            "name": stage.name,
            "kind": stage.kind,
            "key": stage.key,
            "settings": dict(stage.settings),
            "needs": {role: {"name": need.name, "key": need.key} for role, need in stage.needs.items()},
            "figures": kept,
            "seconds": round(seconds, 3),
            "files": files,
        }
        # As it will be read, so that the digest is of that.
        content = json.loads(json.dumps(content))
        whole = {"format": "genrlhf-stage", **content, "digest": _digest(content)}
        temporary = folder / f".{RECORD}.{os.getpid()}.tmp"
        try:
            temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
            _sync(temporary)
            temporary.replace(folder / RECORD)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync(folder)
        _sync(folder.parent)
    return Record(**content)


def flaw_of(stage: Stage, folder: Path) -> str | None:
    """Return what is wrong with the folder of a stage that says it is done, in a sentence with a remedy, or None."""
    remedy = f"Delete the folder {folder}, and the stage is made again."
    try:
        record = read_record(folder)
    except CheckpointError:
        return f"Stage {stage.name} has a damaged {RECORD} in {folder}. {remedy}"
    if record is None:
        return None
    if record.key != stage.key:
        return f"Stage {stage.name} has in {folder} the {RECORD} of another one ({excerpt(record.name)}). {remedy}"
    for name, (size, digest) in record.files.items():
        file = folder / name
        try:
            found = file.stat().st_size
            same = found == size and file_digest(file) == digest
        except (FileNotFoundError, NotADirectoryError):
            return f"Stage {stage.name} has lost its file {file}. {remedy}"
        if found != size:
            return f"Stage {stage.name} has a damaged {file}: {found} bytes, where {size} were written. {remedy}"
        if not same:
            return f"Stage {stage.name} has a {file} that was changed after it was written. {remedy}"
    return None


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that others may read, those in the folders of rounds among them."""
    for inner in sorted(folder.iterdir()):
        within = sorted(inner.rglob("*")) if inner.is_dir() else [inner]
        for file in within:
            if file.is_file() and not any(map(_is_passing, file.relative_to(folder).parts)):
                yield file


def _is_passing(name: str) -> bool:
    """Say whether a file or folder of this name is of use while a stage is made, or is what a kill has left."""
    return name.startswith((_CHECKPOINT, ".")) or name in _NOT_KEPT or name.endswith((".lock", ".tmp"))


def _plain(value: Any, where: str, stage: str, report: Callable[[str], None]) -> Any:
    """Return figures as JSON has them; records by their `to_dict`, arrays and scalars of libraries as plain ones."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}, {key}", stage, report) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}, item {place}", stage, report) for place, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        report(f"{stage}: {where} is {value}; null is kept in its place")
        return None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value)
    for turn in ("to_dict", "tolist"):
        if callable(getattr(value, turn, None)):
            return _plain(getattr(value, turn)(), where, stage, report)
    raise ConfigError(f"Stage {stage} returned {excerpt(value)} in {where}; return what JSON has.")


def _sync(path: Path) -> None:
    """Wait until the disk has a file or folder, where the file system can tell."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
