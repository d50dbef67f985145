"""The base of an adapter that is trained: where plain PEFT finds it again, or a copy of it beside the adapter."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from genrlhf.errors import ConfigError, excerpt
from genrlhf.models.adapters import BASE_FOLDER, adapter_at, is_peft_model
from genrlhf.models.quantisation import is_quantised

if TYPE_CHECKING:
    from peft import PeftConfig

__all__ = ["AdapterBase", "refuse_unmergeable"]

# Adapters that start as a part of the base's weights, which they take away from them.
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def refuse_unmergeable(peft_config: PeftConfig | None) -> None:
    """Raise `ConfigError` for an adapter that cannot be merged, so that no trainer could go on from its folder."""
    if peft_config is not None and peft_config.is_prompt_learning:
        raise ConfigError(
            f"An adapter of the kind {peft_config.peft_type.value} puts tokens of its own before the text and cannot "
            "be merged into a model; use one of the layers, such as LoRA."
        )


def _refuse_unmatched(model: Any, peft_config: PeftConfig) -> None:
    """Raise `ConfigError` where `target_modules` names no module of the model."""
    wanted = getattr(peft_config, "target_modules", None)
    if not isinstance(wanted, (list, set, tuple)) or not wanted or getattr(peft_config, "target_parameters", None):
        return
    names = [name for name, _ in model.named_modules()]
    if any(f".{name}".endswith(f".{target}") for name in names for target in wanted):
        return
    weights = {name: getattr(each, "weight", None) for name, each in model.named_modules()}
    layers = sorted({name.rpartition(".")[2] for name, weight in weights.items() if getattr(weight, "ndim", 0) == 2})
    raise ConfigError(
        f"target_modules is {excerpt(', '.join(sorted(wanted)), 100)}, and no layer of {type(model).__name__} is "
        f"called so; it has {excerpt(', '.join(layers), 200)}, and the text 'all-linear' stands for all of them."
    )


class AdapterBase:
    """What `base_model_name_or_path` must say of an adapter that is about to be trained.

    The name that a model was loaded by does not do where it stands for an adapter that was merged, where the weights in
    memory are others (a model that was trained or whose embeddings were resized), or where a classifier from there
    would read its score at another token. Then a copy of the base goes into a folder `base_model`.

    Args:
        model: with pad token, before an adapter is put on it, or in PEFT's wrapper.
        given: what the user gave: a name or folder, which the model was loaded from, or a module.
        peft_config: of an adapter that will be put on it.
        revision: of the model on the hub.

    Raises:
        ConfigError: where the base must be copied, and the adapter changes it as it is put on; for an adapter that
            cannot be merged, so that no trainer could go on from its folder.
    """

    def __init__(
        self, model: Any, given: Any, *, peft_config: PeftConfig | None = None, revision: str | None = None
    ) -> None:
        refuse_unmergeable(peft_config if peft_config is not None else model.active_peft_config)
        if peft_config is not None:
            _refuse_unmatched(model, peft_config)
        name = str(getattr(model.config, "_name_or_path", "") or "")
        # An adapter is loaded from other places than it was trained in.
        self.name = str(Path(name).resolve()) if Path(name).is_dir() else name
        self.revision = revision
        self.stands_for_base = _stands_for(name, model, loaded=isinstance(given, str))
        start = getattr(peft_config, "init_lora_weights", None)
        if not self.stands_for_base and isinstance(start, str) and start.startswith(_CHANGE_THE_BASE):
            raise ConfigError(
                f"init_lora_weights={start!r} takes the adapter's start out of the base, and this base is not at "
                f"{name!r} as it is in memory; save it as a model, give that folder, or leave init_lora_weights out."
            )

    def write(self, model: Any, folder: Path) -> Path:
        """Write a copy of the base to `folder`, whole or not at all, and return its place.

        Args:
            model: the base, in PEFT's wrapper or not.
            folder: the copy goes into `base_model` there.
        """
        target = folder / BASE_FOLDER
        staging = folder / f".{BASE_FOLDER}-{os.getpid()}"
        inner = model.get_base_model() if is_peft_model(model) else model
        try:
            inner.save_pretrained(staging, state_dict=dict(base_state(inner)))
            shutil.rmtree(target, ignore_errors=True)
            staging.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return target

    def name_in(self, model: Any, place: Path | None) -> None:
        """Tell the adapters of a model where their base is: at `place`, or where it was loaded from."""
        for config in model.peft_config.values():
            config.base_model_name_or_path = self.name if place is None else str(place.resolve())
            config.revision = (self.revision or config.revision) if place is None else None


def base_state(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and tensors of a model as they are without the adapters that PEFT has put into its layers."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    if isinstance(module, BaseTunerLayer):
        yield from base_state(module.get_base_layer(), prefix)
        return
    if isinstance(module, AuxiliaryTrainingWrapper):
        yield from base_state(module.original_module, prefix)
        return
    own: dict[str, torch.Tensor] = {}
    module._save_to_state_dict(own, prefix, keep_vars=False)
    yield from own.items()
    for name, child in module.named_children():
        yield from base_state(child, f"{prefix}{name}.")


def _stands_for(name: str, model: Any, *, loaded: bool) -> bool:
    """Say whether loading from `name` gives the model in memory."""
    if not name or adapter_at(name) is not None:
        return False
    inner = model.get_base_model() if is_peft_model(model) else model
    if inner.get_output_embeddings() is None and not _same_padding(name, inner):
        return False
    # What is held in 4 or 8 bits cannot be compared with what it was made from.
    return loaded or is_quantised(inner) or _holds(name, inner)


def _same_padding(name: str, model: Any) -> bool:
    """Say whether a classifier from `name` would take the same token for padding, or none."""
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        return True
    there = config.get_text_config().pad_token_id
    return there is None or there == model.config.get_text_config().pad_token_id


def _holds(name: str, model: Any) -> bool:
    """Say whether the safetensors at `name` hold the weights of a model, up to its precision; False if that is unclear.

    A score head counts for nothing: the adapter of a classifier holds it.
    """
    prefix = f"{model.base_model_prefix}."
    saved: dict[str, Path] = {}
    try:
        for file in _weight_files(name):
            with safe_open(file, "pt") as weights:
                saved |= dict.fromkeys(weights.keys(), file)
        seen: dict[int, bool] = {}
        for key, tensor in base_state(model):
            there = next((k for k in (key, prefix + key, key.removeprefix(prefix)) if k in saved), None)
            if there is None:
                if not key.startswith(("score.", "classifier.")) and not seen.get(tensor.data_ptr()):
                    return False
                continue
            with safe_open(saved[there], "pt") as weights:
                same = torch.equal(weights.get_tensor(there).to(tensor.dtype), tensor.cpu())
            if not same:
                return False
            seen[tensor.data_ptr()] = True
    except (OSError, ValueError, SafetensorError):
        return False
    return bool(saved)


def _weight_files(name: str) -> list[Path]:
    folder = Path(name)
    if folder.is_dir():
        return sorted(folder.glob("*.safetensors"))
    for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME):
        found = cached_file(name, file, local_files_only=True, _raise_exceptions_for_missing_entries=False)
        if found is not None:
            return sorted(Path(found).parent.glob("*.safetensors"))
    return []
