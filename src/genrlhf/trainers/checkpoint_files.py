"""What lies in the folder of a checkpoint, and what is wrong with it."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from genrlhf.data.file_digest import file_digest

__all__ = ["MANIFEST", "Manifest", "flaw_of", "read_state", "stored_processes"]

MANIFEST = "genrlhf_checkpoint.json"

# Nobody resumes from these, and a user may tidy them away.
_NEVER_READ = ("README.md", "training_args.bin")


@dataclass(frozen=True)
class Manifest:
    """The list of the files of a checkpoint.

    Attributes:
        files: size and digest of every file, by its path in the folder; None in a checkpoint that has no list.
        finished: whether the checkpoint was written to its end.
        processes: how many wrote it; None where that is not known.
        batch_size: rows of an optimizer step, over all processes; None where that is not known.
    """

    files: dict[str, list[Any]] | None = None
    finished: bool = True
    processes: int | None = None
    batch_size: int | None = None
    damage: str | None = field(default=None, compare=False)

    @staticmethod
    def begin(folder: Path) -> None:
        """Mark a checkpoint as unfinished."""
        _write_durably(folder / MANIFEST, {"finished": False})

    @staticmethod
    def unfinished(folder: Path) -> bool:
        """Say whether a checkpoint was never written to its end, without looking at its files."""
        return not Manifest.read(folder).finished

    def write(self, folder: Path) -> None:
        """List all files of `folder`, once the disk has them."""
        files = {}
        for file in _files(folder):
            _sync(file)
            files[file.relative_to(folder).as_posix()] = [file.stat().st_size, file_digest(file)]
        for inner in {file.parent for file in _files(folder)}:
            _sync(inner)
        content = {"finished": True, "processes": self.processes, "batch_size": self.batch_size, "files": files}
        _write_durably(folder / MANIFEST, content)
        _sync(folder.parent)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return what a checkpoint says of itself; one that says nothing has no list of files."""
        file = folder / MANIFEST
        if not file.is_file():
            return cls()
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content == {"finished": False}:
                return cls(finished=False)
            manifest = cls(**content)
            good = isinstance(manifest.files, dict) and all(
                isinstance(size, int) and isinstance(digest, str) for size, digest in manifest.files.values()
            )
            if not good or manifest.finished is not True:
                raise ValueError("no list of files")
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(finished=False, damage=f"has a damaged {MANIFEST}")
        return manifest


def flaw_of(folder: Path, *, resuming: bool = True) -> str | None:
    """Return what is wrong with a checkpoint, as the end of a sentence, or None.

    Args:
        folder: of the checkpoint.
        resuming: whether optimizer, scheduler and random numbers are needed, too.
    """
    if not folder.is_dir():
        return "is not there"
    manifest = Manifest.read(folder)
    if not manifest.finished:
        return manifest.damage or "was cut off while it was written"
    if manifest.files is not None:
        flaw = _unlike(folder, manifest.files)
    elif not (folder / TRAINER_STATE_NAME).is_file():
        return f"was cut off while it was written: it has no {TRAINER_STATE_NAME}"
    else:
        flaw = next((flaw for file in _files(folder) if (flaw := _unreadable(file))), None)
    if flaw is None:
        flaw = _missing_shard(folder) or _bad_state(folder)
    return flaw or _missing_part(folder, resuming=resuming)


def read_state(folder: Path) -> dict[str, Any]:
    """Return the content of `trainer_state.json`."""
    state: dict[str, Any] = json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    return state


def stored_processes(folder: Path) -> int | None:
    """Return how many processes wrote a checkpoint: as it says, or as many as have left random numbers."""
    processes = Manifest.read(folder).processes
    if processes is None:
        processes = len(list(folder.glob("rng_state_*.pth"))) or (1 if (folder / "rng_state.pth").is_file() else None)
    return processes


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that a checkpoint is read from."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name not in (MANIFEST, *_NEVER_READ):
            yield file


def _unlike(folder: Path, files: dict[str, list[Any]]) -> str | None:
    for name, (size, digest) in files.items():
        file = folder / name
        if not file.is_file():
            return f"has lost its {name}"
        found = file.stat().st_size
        if found != size:
            return f"has a damaged {name} of {found} bytes, where {size} were written"
        if file_digest(file) != digest:
            return f"has a {name} that was changed after it was written (remove {MANIFEST} to take it as it is)"
    return None


def _unreadable(file: Path) -> str | None:
    """Say that a file is cut off, going by its format; what is of no known one is taken as it is."""
    name, size = file.name, file.stat().st_size
    try:
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        elif file.suffix == ".safetensors":
            with file.open("rb") as data:
                length = int.from_bytes(data.read(8), "little")
                header = json.loads(data.read(length) if length < size else b"")
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
            if size != 8 + length + max(ends, default=0):
                raise ValueError("cut off")
        elif file.suffix in (".pt", ".pth", ".bin"):
            with zipfile.ZipFile(file) as archive:
                archive.namelist()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        return f"has a damaged {name}, which cannot be read"
    return None


def _missing_shard(folder: Path) -> str | None:
    for index in folder.glob("*.index.json"):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return f"has a damaged {index.name}"
        for name in sorted(names):
            if not (folder / name).is_file():
                return f"has lost its {name}"
    return None


def _bad_state(folder: Path) -> str | None:
    try:
        content = read_state(folder)
        step, unknown = content["global_step"], set(content) - {f.name for f in fields(TrainerState)}
    except (OSError, ValueError, KeyError, TypeError):
        return f"has no readable {TRAINER_STATE_NAME}"
    if unknown:
        return f"has a {TRAINER_STATE_NAME} with fields that are not known here: {', '.join(sorted(unknown))}"
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        return f"has a {TRAINER_STATE_NAME} whose global_step is {step!r}"
    return None


def _missing_part(folder: Path, *, resuming: bool) -> str | None:
    """Say which part was lost or never saved, whatever the way it was sharded."""
    names = {path.name for path in folder.iterdir()}
    deepspeed = any(name.startswith("global_step") for name in names)

    def has(*starts: str) -> bool:
        return any(name.startswith(starts) for name in names)

    weights = has("model.safetensors", "pytorch_model", "adapter_model") or any(folder.glob("model-*-of-*.safetensors"))
    if not (weights or deepspeed or any(folder.glob("*/adapter_model*"))):
        return "has no weights"
    if not resuming:
        return None
    reason = "which was lost, or left out by save_only_model=True; without it training cannot go on as it was"
    if not (has("optimizer") or deepspeed or any(folder.glob("rank*-optimizer.pt"))):
        return f"has no optimizer.pt, {reason}"
    if not (has("scheduler.pt") or deepspeed):
        return f"has no scheduler.pt, {reason}"
    if not has("rng_state"):
        return f"has no rng_state.pth, {reason}"
    return None


def _write_durably(file: Path, content: dict[str, Any]) -> None:
    # Two nodes with `save_on_each_node` may share one disk.
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        _sync(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(file.parent)


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
