"""What a trainer leaves in its folder: a model that loads by the folder's name, there as a whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from genrlhf.data.asking import ASKING_FILE, Asking
from genrlhf.errors import CheckpointError
from genrlhf.models.adapter_base import AdapterBase
from genrlhf.models.adapters import BASE_FOLDER
from genrlhf.trainers.card import CARD, MadeBy, is_ours, write_card
from genrlhf.trainers.finite import refuse_unless_finite

__all__ = ["LeavesModel", "take_place"]

STAGING = ".genrlhf-saving"
MARKS = ("config.json", "adapter_config.json")
"""Without these a folder is no model's: they go first and come last."""

_REPLACED = (
    "adapter_model.safetensors",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",
    ASKING_FILE,
    "genrlhf_reward.json",
    "value_head.safetensors",
    "value_model",
)
"""What belongs to a model that is replaced, and would be taken for a part of the new one."""


class LeavesModel:
    """Saves models that load anywhere, and leaves one in `output_dir` when training has ended: a mixin for trainers.

    With `save_strategy="no"` nothing is left there. A model that is there already is replaced once the new one has been
    written. A card lies beside it, unless somebody has written another one.
    """

    made_by: MadeBy | None = None
    """The method, for the card; that of the class unless a method of the registry has built the trainer."""

    args: Any
    accelerator: Any
    model: Any
    state: Any
    adapter_base: AdapterBase | None = None
    """Of the adapter that is trained; None where there is none."""

    asking: Asking | None = None
    """How the model is to be asked, where that is not by prompts alone; kept beside it."""

    _run_parts: dict[str, Any] | None = None
    """What the run was claimed with, see `claim_output_dir`."""

    leaves_model = True
    """Whether `train` does so; where another trainer does, it is False."""

    _copied_base: Path | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; see `transformers.Trainer.train`. The trained model lies in `output_dir` afterwards."""
        self._copy_base(resuming=bool(resume_from_checkpoint))
        result = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)  # type: ignore[misc]
        if self.leaves_model and self.args.save_strategy != "no":
            self.save_model()
            self.accelerator.wait_for_everyone()
        return result

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model and its tokenizer to `output_dir`, by default that of the settings.

        Raises:
            CheckpointError: where there is no room for it; what was there before is untouched.
            ModelError: where training has made weights NaN or infinite; the same.
        """
        if _internal_call:
            super().save_model(output_dir, _internal_call=True)  # type: ignore[misc]
            return
        refuse_unless_finite(self.model, self.state.global_step)
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        staging = folder / STAGING
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        try:
            super().save_model(str(staging), _internal_call=True)  # type: ignore[misc]
            if self.args.should_save and staging.is_dir():
                if is_ours(folder / CARD):
                    write_card(self, staging)
                else:
                    (staging / CARD).unlink(missing_ok=True)
                take_place(staging, folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise CheckpointError(
                f"The model could not be saved to {folder}: {error}. Make room, and save it again."
            ) from error
        if self.args.push_to_hub:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)  # type: ignore[attr-defined]

    def create_model_card(self, model_name: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Write the card to `output_dir`, as before pushing to the hub; one that somebody has written stays.

        Args:
            model_name: by default that of the repository, or of the folder.
            args: further ones of TRL's method, `dataset_name` and `tags`.
            kwargs: those of `transformers.Trainer.create_model_card`, or of TRL's.
        """
        folder = Path(self.args.output_dir)
        if self.accelerator.is_main_process and is_ours(folder / CARD):
            write_card(
                self, folder, model_name=model_name, **dict(zip(("dataset_name", "tags"), args, strict=False)), **kwargs
            )

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self._name_base(Path(output_dir if output_dir is not None else self.args.output_dir))
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        if self.asking is not None and self.args.should_save:
            self.asking.save(output_dir if output_dir is not None else self.args.output_dir)

    def _adapted_model(self) -> Any:
        """Return the model that is saved."""
        return self.accelerator.unwrap_model(self.model)

    def _copy_base(self, *, resuming: bool) -> None:
        """Write the base of the adapter that is trained to `output_dir`, where it is at no other place.

        Before the first checkpoint, which names it, and before the weights are dealt out to processes.
        """
        base, folder = self.adapter_base, Path(self.args.output_dir)
        if base is None or (base.stands_for_base and not _same(base.name, folder)):
            return
        there = folder / BASE_FOLDER
        if self.args.should_save and not (resuming and there.is_dir()):
            base.write(self._adapted_model(), folder)
        self._copied_base = there

    def _name_base(self, folder: Path) -> None:
        """Tell the adapter where its base is, before it is saved to `folder`; on the process that writes."""
        base = self.adapter_base
        if base is None or not self.args.should_save:
            return
        final = folder.parent if folder.name == STAGING else folder
        run = Path(self.args.output_dir)
        of_the_run = final.name.startswith("checkpoint-") or _same(final, run)
        place: Path | None = None
        if self._copied_base is not None and of_the_run:
            place = self._copied_base
        elif not base.stands_for_base or _same(base.name, final):
            place = final / BASE_FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            base.write(self._adapted_model(), folder)
        # PEFT compares the vocabulary with that of the base, which it looks for there.
        base.name_in(self._adapted_model(), place)


def _same(a: str | Path, b: str | Path) -> bool:
    return bool(str(a)) and Path(a).resolve() == Path(b).resolve()


def take_place(staging: Path, folder: Path) -> None:
    """Move what is in `staging`, a model, to `folder`, in the place of the model that is there.

    Cut off meanwhile, the folder holds no model rather than parts of two.
    """
    for name in (*MARKS, *_REPLACED):
        for old in folder.glob(name):
            _remove(old)
    for new in sorted(staging.iterdir(), key=lambda path: path.name in MARKS):
        _remove(folder / new.name)
        new.replace(folder / new.name)
    staging.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
