"""What lies at a name, and in one line why it cannot be loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig

from genrlhf.errors import ModelError

__all__ = ["is_score", "load_from", "one_line", "read_config"]

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
_REMEDY = "Give the folder of a saved model or a name on the hub (and mind HF_HUB_OFFLINE)."

_LOADING_ERRORS = (
    *(OSError, ValueError, RuntimeError, ImportError, KeyError, AttributeError, TypeError, SafetensorError),
    StrictDataclassError,
)
"""What transformers, peft and their readers raise over a model that cannot be loaded; they have no base in common."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return the message of an error on one line, with a full stop, at most `limit` characters long."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def read_config(name: str, *, trust_remote_code: bool, revision: str | None = None) -> Any:
    """Return the config of the model at a name or folder.

    Raises:
        ModelError: where there is none, saying what is there instead.
    """
    _refuse_other_folders(Path(name))
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code, **_at(revision))
    except _LOADING_ERRORS as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"The model {name!r} needs code that its repository ships; read it, and set trust_remote_code=True to "
                "run it."
            ) from error
        raise ModelError(f"There is no model at {name!r}: {one_line(error)} {_REMEDY}") from error


def is_score(key: str) -> bool:
    """Whether a weight is one of the last layer of a classifier."""
    return key.startswith(("score.", "classifier."))


def load_from(auto_class: Any, name: str, *, fresh: Callable[[str], bool] = is_score, **kwargs: Any) -> Any:
    """Return `auto_class.from_pretrained(name, **kwargs)`, from safetensors, with every weight read from there.

    Args:
        auto_class: a class of transformers that has `from_pretrained`.
        name: a hub name or folder.
        fresh: whether a weight of this name need not be there, since it is drawn.
        kwargs: of `from_pretrained`, `trust_remote_code` among them. `use_safetensors=False` reads `pytorch_model.bin`.

    Raises:
        ModelError: where it cannot be loaded, or lacks weights that are not drawn.
    """
    folder = Path(name)
    safe = kwargs.setdefault("use_safetensors", True) and "gguf_file" not in kwargs
    if safe and folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        raise ModelError(
            f"{name!r} has a {CONFIG} but no safetensors"
            + (
                ", only pickled weights, which can run code as they are read; load the model with transformers and "
                "call save_pretrained, or set model_init_kwargs={'use_safetensors': False}."
                if pickled
                else "; it was not saved to its end, or its weights lie elsewhere."
            )
        )
    try:
        model, report = auto_class.from_pretrained(name, output_loading_info=True, **kwargs)
    except torch.OutOfMemoryError:
        raise
    except _LOADING_ERRORS as error:
        raise ModelError(f"The model {name!r} cannot be loaded: {one_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not fresh(key))
    if missing:
        # transformers draws them at random and goes on.
        raise ModelError(
            f"The model {name!r} lacks {len(missing)} of the weights of a {type(model).__name__}, such as "
            f"{', '.join(missing[:2])}; it was not saved to its end, or is another kind of model."
        )
    return model


def _at(revision: str | None) -> dict[str, str]:
    return {} if revision is None else {"revision": revision}


def _refuse_other_folders(folder: Path) -> None:
    """Raise where `folder` is one that holds no model, saying what it holds."""
    if folder.suffix == ".gguf" and folder.is_file():
        _refuse(folder, f"it is a GGUF file. {_GGUF}")
    if not folder.is_dir():
        return
    if (folder / CONFIG).is_file():
        try:
            if not isinstance(json.loads((folder / CONFIG).read_text(encoding="utf-8")), dict):
                raise ValueError("no JSON object")
        except (OSError, ValueError) as error:
            _refuse(
                folder, f"its {CONFIG} cannot be read ({one_line(error).rstrip('.')}). Save or copy the model anew."
            )
        return
    newest = _newest_checkpoint(folder)
    if newest is not None:
        _refuse(
            folder,
            f"it holds checkpoints of a run only. Give the newest, {str(newest)!r}, or go on with the run until it "
            "ends, which leaves its model there (or call save_model()).",
        )
    if (folder / "trainer_state.json").is_file():
        _refuse(folder, "it holds the state of a run without its model. Give another checkpoint.")
    if any(folder.glob("*.gguf")):
        _refuse(folder, f"it holds a GGUF file. {_GGUF}")
    _refuse(folder, f"the folder has neither {CONFIG} nor {ADAPTER_CONFIG}. {_REMEDY}")


_GGUF = "Load that with transformers (gguf_file=…), call save_pretrained, and give the new folder."


def _refuse(folder: Path, reason: str) -> None:
    raise ModelError(f"There is no model at {str(folder)!r}: {reason}")


def _newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run that holds a model, None where there is none."""
    numbers = {
        int(path.name.removeprefix("checkpoint-")): path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
        and any((path / name).is_file() for name in (CONFIG, ADAPTER_CONFIG))
        and not _unfinished(path)
    }
    return numbers[max(numbers)] if numbers else None


def _unfinished(checkpoint: Path) -> bool:
    """Say whether a checkpoint of ours was cut off while it was written."""
    try:
        content = json.loads((checkpoint / "genrlhf_checkpoint.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("finished") is False
