"""JSON lines that grow while a job runs, and survive its being killed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from genrlhf.errors import CheckpointError, RunFolderError, excerpt

__all__ = ["append_records", "claim_file", "differences", "recover_records", "replace_records", "said_when_full"]

logger = logging.getLogger(__name__)


def append_records(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append one line for each record, all of them or none, and wait until the disk has them.

    Raises:
        CheckpointError: where the file cannot be written, as on a full disk.
    """
    data = b"".join(_line(record) for record in records)
    with said_when_full(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab", buffering=0) as lines:
            before = lines.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(data):
                    written += lines.write(data[written:])
                os.fsync(lines.fileno())
            except OSError:
                with suppress(OSError):
                    lines.truncate(before)
                raise


def replace_records(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the records to `file`, which has either all of its old lines or all of the new ones at any time."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.unlink(missing_ok=True)
    append_records(temporary, records)
    with said_when_full(file):
        temporary.replace(file)


def recover_records(file: Path) -> list[dict[str, Any]]:
    """Return the records of `file`, none where it does not exist; a last line that was cut off is removed, with a word.

    Raises:
        RunFolderError: for a whole line that is no JSON object, counted from 1.
    """
    if not file.is_file():
        return []
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(file, whole)
        logger.warning(
            "%s: the last line was cut off after %d bytes; it is removed, and its work done again.",
            file,
            len(data) - whole,
        )
    # Not splitlines(), which also splits at U+2028 and its like inside a text.
    lines = data[:whole].split(b"\n")[:-1]
    return [_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


def _line(record: Mapping[str, Any]) -> bytes:
    # Half of a surrogate pair, which a model may write, has no UTF-8 form; it is kept as an escape.
    text = json.dumps(record, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("no object")
    except ValueError as error:
        shown = excerpt(line.decode(errors="replace"))
        raise RunFolderError(f"{where} is {shown}, which is no JSON object; remove the line or the file.") from error
    return record


def claim_file(
    file: Path,
    run: Mapping[str, Any],
    *,
    place: Path,
    act: str,
    remedy: str,
    overwrite: bool = False,
    write: bool = True,
) -> bool:
    """Write the settings of a run to `file`, or refuse where other settings stand there.

    Args:
        file: where the settings are kept.
        run: the settings.
        place: what holds the run, for messages.
        act: what is refused, for messages.
        remedy: what can be done, for messages.
        overwrite: replace other settings.
        write: whether this process writes.

    Returns:
        Whether other settings stood there, which `overwrite` let these take the place of.

    Raises:
        RunFolderError: naming the settings that differ.
    """
    run = json.loads(json.dumps(run, default=str))
    differing: list[str] = []
    if file.is_file():
        there = _settings(file)
        for key, value in run.items():
            if key in there:
                differing += differences(key, there[key], value)
        unsaid = [key for key in run if key not in there]
        if unsaid and write:
            shown = ", ".join(unsaid[:5]) + f" and {len(unsaid) - 5} more" * (len(unsaid) > 5)
            logger.warning("%s, of another version, does not say %s: that is not compared.", file, shown)
        if differing and not overwrite:
            raise RunFolderError(
                f"Cannot {act} in {place}: it holds another run ({'; '.join(differing[:5])}). {remedy}"
            )
    if write:
        temporary = file.with_suffix(".tmp")
        with said_when_full(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as lines:
                lines.write(json.dumps(run, indent=2, sort_keys=True) + "\n")
                lines.flush()
                os.fsync(lines.fileno())
            temporary.replace(file)
    return bool(differing)


def _settings(file: Path) -> dict[str, Any]:
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(there, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise RunFolderError(
            f"{file} is no JSON object ({error}), so that it is not known what the folder holds; remove the file if "
            "you know that it is this run."
        ) from error
    return there


def differences(name: str, there: Any, here: Any) -> list[str]:
    """Say how two settings of a name differ; what has a digest is known by that, whatever its name."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [] if there == here else [f"{name} is {excerpt(there)} there and {excerpt(here)} here"]
    if "digest" in there and "digest" in here:
        rest = [{k: v for k, v in each.items() if k not in ("name", "digest")} for each in (there, here)]
        if there["digest"] == here["digest"]:
            return differences(name, *rest) if rest[0] != rest[1] else []
        shown = [f"{excerpt(each.get('name', ''))} (digest {each['digest']})" for each in (there, here)]
        return [f"{name} is {shown[0]} there and {shown[1]} here"]
    if there.get("name") != here.get("name"):
        return [f"{name} is {excerpt(there.get('name'))} there and {excerpt(here.get('name'))} here"]
    return [
        difference
        for key in sorted({*there, *here})
        for difference in differences(f"{name}.{key}", there.get(key), here.get(key))
    ]


@contextmanager
def said_when_full(file: Path) -> Iterator[None]:
    """Turn an error of the operating system on writing `file`, such as a full disk, into a `CheckpointError`."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{file} could not be written ({error.strerror or error}); what was there before is untouched. Make room, "
            "or choose another place; what was written is kept."
        ) from error
