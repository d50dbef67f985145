"""One rule for the checkpoints of all trainers: a folder is whole, or it is passed over and said to be not.

A checkpoint begins with a file `genrlhf_checkpoint.json` that says that it is unfinished, and ends with the same file
naming every other one, its size and a digest of it. Older checkpoints are deleted only then. Those without the file, of
plain transformers or an older version, count as whole where every part of theirs can be read.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError

from genrlhf.errors import CheckpointError, GenRLHFError, excerpt
from genrlhf.models.weights import load_whole_state, weights_by_own_names
from genrlhf.trainers.checkpoint_files import Manifest, flaw_of, read_state, stored_processes
from genrlhf.trainers.finite import refuse_unless_finite
from genrlhf.trainers.shared import decided_by_main

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

__all__ = [
    "ResumableTrainer",
    "checkpoints_in",
    "discard",
    "newest_complete_checkpoint",
    "readable",
]

PREFIX = "checkpoint-"
DISCARDED = ".discarded-"


def checkpoints_in(output_dir: Path) -> dict[int, Path]:
    """Return the folders of checkpoints, whole or not, by their step, the newest first."""
    numbers = {
        int(number): path
        for path in output_dir.glob(f"{PREFIX}*")
        # Not isdigit() alone, which holds of "²" too.
        if path.is_dir() and (number := path.name.removeprefix(PREFIX)).isascii() and number.isdigit()
    }
    return dict(sorted(numbers.items(), reverse=True))


class _Found(NamedTuple):
    folder: Path | None
    flaws: list[str]


def _newest(output_dir: Path) -> _Found:
    flaws: list[str] = []
    for folder in checkpoints_in(output_dir).values():
        flaw = flaw_of(folder)
        if flaw is None:
            return _Found(folder, flaws)
        warnings.warn(f"{folder} {flaw}; it is passed over.", stacklevel=3)
        flaws.append(f"{folder.name} {flaw}")
    return _Found(None, flaws)


def newest_complete_checkpoint(output_dir: Path) -> Path | None:
    """Return the newest checkpoint in `output_dir` that can be resumed from; a warning names those that cannot."""
    return _newest(output_dir).folder


def discard(folder: Path) -> None:
    """Delete a checkpoint; a kill meanwhile leaves no part of it under its name."""
    if folder.is_dir():
        gone = folder.with_name(DISCARDED + folder.name)
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _rotate(output_dir: Path, *, limit: int | None, protected: set[Path]) -> None:
    """Delete checkpoints beyond `limit`: those that are not whole first, then those that were written first."""
    for left in output_dir.glob(f"{DISCARDED}{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    if limit is None or limit <= 0:
        return
    folders = list(checkpoints_in(output_dir).values())
    kept = {folder.resolve() for folder in protected}
    others = [folder for folder in reversed(folders) if folder.resolve() not in kept]
    others.sort(key=lambda folder: (Manifest.unfinished(folder), -folder.stat().st_mtime_ns), reverse=True)
    for folder in others[: max(0, len(folders) - max(limit, len(folders) - len(others)))]:
        discard(folder)


@contextmanager
def readable(what: Path) -> Iterator[None]:
    """Turn what reading a checkpoint may raise into a `CheckpointError` that names `what`."""
    try:
        yield
    except GenRLHFError:
        raise
    except Exception as error:
        reason = excerpt((str(error).splitlines() or [type(error).__name__])[0])
        raise CheckpointError(
            f"{what} could not be read ({reason}): it is damaged, or belongs to another model. Resume from another "
            "checkpoint."
        ) from error


def _of_the_disk(error: Exception) -> bool:
    # Writers in Rust and C++ report a full disk as RuntimeError, SafetensorError or a bare Exception.
    return isinstance(error, (OSError, RuntimeError, SafetensorError)) or type(error) is Exception


def _said(error: Exception) -> str:
    # Of a disk on which there is no room, torch says where in its own source a position was another one.
    torchs = isinstance(error, RuntimeError) and "inline_container" in str(error)
    return "a file of it took no more: the disk may be full" if torchs else str(error)


class ResumableTrainer:
    """Checkpoints that survive a kill at any byte, and resuming from them: a mixin in front of `transformers.Trainer`.

    The hooks of the Trainer that are overridden here are private: `tests/trainers/test_checkpoint.py` holds what we
    expect of them.
    """

    args: Any
    accelerator: Any
    model: Any
    state: TrainerState
    control: TrainerControl
    _open_checkpoint: Path | None = None
    _loads_from: Path | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`.

        Args:
            resume_from_checkpoint: True goes on from the newest checkpoint that is whole; a folder from that one.
            kwargs: of the Trainer.

        Raises:
            CheckpointError: where a checkpoint cannot be written, or there is none to resume from.
        """
        if resume_from_checkpoint:
            resume_from_checkpoint = str(decided_by_main(lambda: self._chosen(resume_from_checkpoint)))
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)  # type: ignore[misc]

    def _chosen(self, asked: Any) -> Path:
        if asked is True:
            folder, flaws = _newest(Path(self.args.output_dir))
            if folder is None:
                found = f" ({'; '.join(flaws[:2])})" if flaws else ""
                raise CheckpointError(
                    f"There is no complete checkpoint in {self.args.output_dir}{found}; leave resume_from_checkpoint "
                    "out to start anew."
                )
        elif not isinstance(asked, (str, Path)):
            raise CheckpointError(
                f"resume_from_checkpoint is {asked!r}; give True for the newest checkpoint, or the folder of one."
            )
        else:
            folder = Path(asked)
            flaw = flaw_of(folder)
            if flaw is not None:
                raise CheckpointError(f"{folder} {flaw}; resume from another checkpoint.")
        self._refuse_other_circumstances(folder)
        return folder

    def _refuse_other_circumstances(self, folder: Path) -> None:
        """Raise `CheckpointError` where this run could not go on as the one that wrote the checkpoint would have."""
        there, here = stored_processes(folder), self.args.world_size
        if there not in (None, here):
            raise CheckpointError(
                f"{folder} was written by {there} process{'es' * (there != 1)}, and this run has {here}: batches, "
                "random numbers and rollouts would be dealt out otherwise; resume with as many."
            )
        rows = Manifest.read(folder).batch_size
        if rows not in (None, self._rows_per_step()):
            raise CheckpointError(
                f"{folder} was written with {rows} rows an optimizer step, and this run has {self._rows_per_step()}, "
                "so that its place in the data is not known; resume with the same batch size and accumulation."
            )
        step = read_state(folder)["global_step"]
        if 0 < self.args.max_steps < step:
            raise CheckpointError(
                f"{folder} lies {step} steps into the training, behind its end at max_steps={self.args.max_steps}; "
                "raise that, or resume from an earlier checkpoint."
            )

    def _rows_per_step(self) -> int:
        args = self.args
        return int(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # The Trainer asks only after a step whether there were enough; a run resumed at its end would take another.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)  # type: ignore[misc]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log figures; see `transformers.Trainer.log`.

        Raises:
            ModelError: where training has made weights NaN or infinite.
        """
        super().log(logs, *args, **kwargs)  # type: ignore[misc]
        if "loss" in logs:
            refuse_unless_finite(self.model, self.state.global_step)

    def _save_beside(self, folder: Path) -> None:
        """Write what a trainer keeps beside the files of transformers; on every process."""

    def _load_beside(self, folder: Path) -> None:
        """Read what `_save_beside` wrote; on every process, when the model has been read."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run_dir = Path(self._get_output_dir(trial))  # type: ignore[attr-defined]
        folder = run_dir / f"{PREFIX}{self.state.global_step}"
        writes = bool(self.args.should_save)
        self._together(folder, lambda: refuse_unless_finite(self.model, self.state.global_step))
        self._together(folder, lambda: _begin(folder) if writes else None)
        self._together(folder, lambda: self._save_beside(folder))
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        self._open_checkpoint = folder
        try:
            self._together(folder, lambda: super(ResumableTrainer, self)._save_checkpoint(model, trial))  # type: ignore[misc]
        finally:
            self.args.save_total_limit = limit
            self._open_checkpoint = None
        manifest = Manifest(processes=self.args.world_size, batch_size=self._rows_per_step())
        self._together(folder, lambda: manifest.write(folder) if writes else None)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder))
        if writes:
            best = self.state.best_model_checkpoint
            _rotate(run_dir, limit=limit, protected={folder, *([Path(best)] if best else [])})

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; see `transformers.Trainer.save_model`."""

        def write() -> None:
            super(ResumableTrainer, self).save_model(output_dir, _internal_call=_internal_call)  # type: ignore[misc]

        if self._open_checkpoint is None:
            write()
        else:
            # The Trainer has its processes wait for each other behind this, where the best model is kept: one that
            # failed would wait for their agreement, and they for it, for ever.
            self._together(self._open_checkpoint, write)

    def _together(self, folder: Path, write: Callable[[], None]) -> None:
        """Have every process write a part of a checkpoint, in which none waits for another.

        Raises:
            CheckpointError: on all of them where one has failed; what there is of the checkpoint has been removed.
        """
        self._agree(self._attempt(write), folder)

    def _attempt(self, write: Callable[[], None]) -> Exception | None:
        try:
            write()
        except Exception as error:
            return error
        return None

    def _agree(self, error: Exception | None, folder: Path) -> None:
        """Go on where all processes have written their parts; else remove what there is of them, and raise."""
        failed = torch.tensor(float(error is not None), device=self.accelerator.device)
        if not self.accelerator.reduce(failed, reduction="sum"):
            return
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)
        if error is not None and not _of_the_disk(error):
            raise error
        reason = "another process failed" if error is None else _said(error)
        raise CheckpointError(
            f"The checkpoint {folder} could not be written ({reason}), and what there was of it has been removed; "
            "earlier ones are untouched. Make room, and go on with resume_from_checkpoint=True (a study: by the same "
            "command)."
        ) from error

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # The Trainer asks for this before the checkpoint is whole; `_save_checkpoint` does afterwards.
        if self._open_checkpoint is None:
            super()._push_from_checkpoint(checkpoint_folder)  # type: ignore[misc]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._loads_from = Path(resume_from_checkpoint)
        with readable(self._loads_from):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # The Trainer warns of weights that a checkpoint lacks, and trains on with those of another model.
        state = self.model.state_dict()
        lost = set(load_result.missing_keys) & set(state)
        tied = {tensor.data_ptr() for name, tensor in state.items() if name not in lost}
        lost = {name for name in lost if state[name].data_ptr() not in tied}
        if lost and self._loads_from is not None:
            saved = weights_by_own_names(self.model, self._loads_from)
            if saved is not None:
                load_whole_state(self.model, saved)
                return
        if lost:
            raise CheckpointError(
                f"The checkpoint has no {', '.join(sorted(lost)[:3])}: it belongs to another model. Resume from "
                "another checkpoint."
            )
        super()._issue_warnings_after_load(load_result)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with readable(Path(checkpoint or "") / "optimizer.pt or scheduler.pt"):
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            self._load_beside(Path(checkpoint))

    def _load_scaler(self, checkpoint: str | None) -> None:
        with readable(Path(checkpoint or "") / "scaler.pt"):
            super()._load_scaler(checkpoint)  # type: ignore[misc]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with readable(Path(checkpoint or "") / "rng_state.pth"):
            super()._load_rng_state(checkpoint)  # type: ignore[misc]

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        flaw = flaw_of(best, resuming=False)
        if flaw is not None:
            raise CheckpointError(f"{best}, the best checkpoint, {flaw}; load_best_model_at_end cannot load it.")
        self._loads_from = best
        with readable(best):
            self._load_best(best)

    def _load_best(self, folder: Path) -> None:
        super()._load_best_model()  # type: ignore[misc]


def _begin(folder: Path) -> None:
    """Make the folder of a checkpoint anew, with a word that it is unfinished."""
    discard(folder)
    folder.mkdir(parents=True)
    Manifest.begin(folder)
