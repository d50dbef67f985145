"""Adapters of PEFT: their folders, their bases, and merging one into the other."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from genrlhf.errors import ModelError
from genrlhf.models.folders import ADAPTER_CONFIG, CONFIG, one_line
from genrlhf.models.quantisation import is_quantised

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["BASE_FOLDER", "AdapterFolder", "adapter_at", "is_model", "is_peft_model", "merge_adapter", "merged_copy"]

BASE_FOLDER = "base_model"
"""Where the base of an adapter lies beside it, if it is at no other place."""


class AdapterFolder(NamedTuple):
    """A saved adapter.

    Attributes:
        name: its folder, or its name on the hub.
        base: the folder or hub name of the model that it belongs to.
        revision: of the base on the hub.
        task: PEFT's name of what it was trained for, such as CAUSAL_LM or SEQ_CLS.
    """

    name: str
    base: str
    revision: str | None
    task: str | None


def is_model(value: Any) -> bool:
    """Say whether a value is a model of transformers, in PEFT's wrapper or not."""
    from transformers import PreTrainedModel

    return isinstance(value, PreTrainedModel) or is_peft_model(value)


def is_peft_model(model: Any) -> bool:
    """Say whether a module is a model in PEFT's wrapper."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def adapter_at(name: str) -> AdapterFolder | None:
    """Return the adapter at a folder or hub name, None where there is none.

    Raises:
        ModelError: where its config cannot be read, or does not say which model it belongs to.
    """
    file = _adapter_config(name)
    if file is None:
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        named = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file} is no config of an adapter: {one_line(error)} Save or copy the adapter anew."
        ) from error
    # That of a folder with several adapters lies in a folder of its own.
    folder = str(file.parent) if Path(name).is_dir() else name
    if not named and not (file.parent / BASE_FOLDER).is_dir():
        raise ModelError(
            f"{file} does not say which model the adapter belongs to; write its name or folder into "
            "base_model_name_or_path."
        )
    base = _find_base(file.parent, str(named or BASE_FOLDER))
    if Path(base).is_dir() and Path(base).resolve() == file.parent.resolve():
        raise ModelError(f"{file} names its own folder as the base of the adapter; give the folder of the base there.")
    return AdapterFolder(folder, base, config.get("revision"), config.get("task_type"))


def _adapter_config(name: str) -> Path | None:
    folder = Path(name)
    if (folder / ADAPTER_CONFIG).is_file():
        return folder / ADAPTER_CONFIG
    if folder.is_dir():
        if (folder / CONFIG).is_file():
            return None
        # PEFT gives an adapter that is not called "default" a folder of its name.
        inner = [p for p in folder.glob(f"*/{ADAPTER_CONFIG}") if not p.parent.name.startswith("checkpoint-")]
        if len(inner) > 1:
            names = ", ".join(sorted(repr(str(file.parent)) for file in inner))
            raise ModelError(f"{name!r} holds several adapters; give one of {names}.")
        return inner[0] if inner else None
    if folder.exists() or folder.is_absolute() or name.count("/") > 1:
        return None
    from transformers.utils.peft_utils import find_adapter_config_file

    try:
        found = find_adapter_config_file(name)
    except (OSError, ValueError):
        return None
    return None if found is None else Path(found)


def _find_base(folder: Path, named: str) -> str:
    """Return where the base of an adapter in `folder` lies, also after the folder was moved or from another place."""
    path = Path(named)
    places = (folder, *list(folder.resolve().parents)[:2])
    if path.name == BASE_FOLDER:
        # Beside a checkpoint it lies in the folder of the run.
        for place in places:
            if (place / BASE_FOLDER).is_dir():
                return str(place / BASE_FOLDER)
    if not path.is_absolute() and not path.is_dir():
        for place in places:
            if any((place / path / name).is_file() for name in (CONFIG, ADAPTER_CONFIG)):
                return str(place / path)
    return named


def merge_adapter(base: PreTrainedModel, adapter: AdapterFolder) -> PreTrainedModel:
    """Return `base` with a saved adapter merged into it, in place.

    A quantised base is dequantised: steps of 4 or 8 bits would swallow the adapter. Embeddings get as many rows as the
    adapter has saved, and weights that are tied but adapted on one side are untied.

    Raises:
        ModelError: where the adapter cannot be read, belongs to another model, or is of a kind that cannot be merged.
    """
    from peft import PeftModel

    if is_quantised(base):
        base = base.dequantize()
    _resize_embeddings(base, adapter)
    try:
        model = PeftModel.from_pretrained(base, adapter.name)
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(
            f"The adapter {adapter.name!r} cannot be loaded onto its base {adapter.base!r}: {one_line(error)}"
        ) from error
    merged = _merge(model, repr(adapter.name))
    # Not the name of the base, which does not hold what is merged here.
    merged.name_or_path = merged.config._name_or_path = adapter.name
    return merged


def merged_copy(model: PeftModel) -> PreTrainedModel:
    """Return a copy of a model in PEFT's wrapper, its adapter merged; `model` stays as it is.

    Raises:
        ModelError: where the model is quantised, or its adapter of a kind that cannot be merged.
    """
    if is_quantised(model.get_base_model()):
        raise ModelError(
            "The adapter of a quantised model cannot be merged without losing most of it; save the model and give its "
            "folder, whose base is loaded without quantisation."
        )
    return _merge(copy.deepcopy(model), f"the {type(model).__name__}")


def _resize_embeddings(base: PreTrainedModel, adapter: AdapterFolder) -> None:
    """Give the embeddings as many rows as those that lie with the adapter."""
    file = Path(adapter.name) / "adapter_model.safetensors"
    if not file.is_file():
        if Path(adapter.name).is_dir():
            pickled = (
                "only pickled weights, which can run code" if any(Path(adapter.name).glob("*.bin")) else "no weights"
            )
            raise ModelError(f"The adapter {adapter.name!r} has {pickled}; save it with safetensors.")
        return
    layers = (base.get_input_embeddings(), base.get_output_embeddings())
    names = [name for name, module in base.named_modules() if any(module is layer for layer in layers)]
    whole = {f"base_model.model.{name}.{part}weight" for name in names for part in ("", "base_layer.")}
    try:
        with safe_open(file, "pt") as weights:
            rows = {weights.get_slice(key).get_shape()[0] for key in whole & set(weights.keys())}
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {one_line(error)} Save or copy the adapter anew.") from error
    if len(rows) == 1 and rows != {base.get_input_embeddings().weight.shape[0]}:
        base.resize_token_embeddings(rows.pop(), mean_resizing=False)


def _merge(model: PeftModel, label: str) -> PreTrainedModel:
    config = model.active_peft_config
    if config.is_prompt_learning or not hasattr(model.base_model, "merge_and_unload"):
        raise ModelError(
            f"The adapter of {label} is of the kind {config.peft_type.value}, which cannot be merged into a model; use "
            "one that can, such as LoRA."
        )
    _untie_adapted(model.get_base_model())
    try:
        merged: PreTrainedModel = model.merge_and_unload()
    except (NotImplementedError, ValueError, AttributeError) as error:
        raise ModelError(f"The adapter of {label} cannot be merged into its base: {one_line(error)}") from error
    head, embeddings = merged.get_output_embeddings(), merged.get_input_embeddings()
    if head is not None and merged.config.tie_word_embeddings and head.weight is not embeddings.weight:
        for part in (merged.config, merged.config.get_text_config()):
            part.tie_word_embeddings = False
        merged.all_tied_weights_keys = merged.get_expanded_tied_weights_keys(all_submodels=True)
    return merged


def _untie_adapted(model: nn.Module) -> None:
    """Give adapted layers weights of their own: merged into a weight that is tied, an adapter would act twice."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            layer = module.get_base_layer()
            for name, parameter in list(layer._parameters.items()):
                if parameter is not None and owners[id(parameter)] > 1:
                    own = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
                    setattr(layer, name, own)
