"""What tells one model, or its weights, from another of the same name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor

from genrlhf.data.asking import ASKING_FILE
from genrlhf.data.file_digest import file_digest
from genrlhf.models.adapters import BASE_FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["file_digest", "model_fingerprint", "module_fingerprint", "tokenizer_fingerprint"]

ENTRIES = 8192

# What a config says of where a model comes from, or of how it is run; the weights give the same results all the same.
_NO_PART_OF_THE_MODEL = ("transformers_version", "use_cache", "architectures", "dtype", "torch_dtype")
_SETTINGS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def model_fingerprint(model: str) -> str:
    """Return a digest of the model in a folder, or the name itself for a model on the hub.

    Names, sizes and 512 evenly spaced blocks of every safetensors file are read, so that a 7B model takes no longer
    than a small one, and config, tokenizer and how the model is asked. Training changes every block of the layers that
    it trains, the paper's last fifth among them. Of an adapter its base counts, too.

    Args:
        model: a folder or hub name.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(f"{file.name}:{file_digest(file)}:".encode())
    for name in _SETTINGS:
        digest.update(_settings_of(folder / name))
    for name in ("chat_template.jinja", ASKING_FILE):
        if (file := folder / name).is_file():
            digest.update(file.read_bytes())
    adapter = _json(folder / "adapter_config.json")
    base = adapter.pop("base_model_name_or_path", None)
    if (folder / BASE_FOLDER).is_dir():  # where trainers put a base that lies nowhere else; the folder may have moved
        base = str(folder / BASE_FOLDER)
    digest.update(json.dumps(adapter, sort_keys=True).encode())
    if isinstance(base, str) and Path(base).resolve() != folder.resolve():
        digest.update(model_fingerprint(base).encode())
    return digest.hexdigest()[:16]


def _settings_of(file: Path) -> bytes:
    return json.dumps(_essential(_json(file)), sort_keys=True).encode()


def _json(file: Path) -> dict[str, Any]:
    """Return a JSON object, or nothing: whoever loads the model says what is wrong with the file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _essential(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if not (k.startswith("_") or k in _NO_PART_OF_THE_MODEL)}


def module_fingerprint(model: torch.nn.Module) -> str:
    """Return a digest of a module in memory: config, names, shapes and dtypes, and up to 8,192 entries of each tensor.

    The entries are evenly spaced. Quantised weights count by their shape alone, since devices round them differently.

    Args:
        model: any module.
    """
    digest = hashlib.sha256()
    config: Any = getattr(model, "config", None)
    if hasattr(config, "to_dict"):
        digest.update(json.dumps(_essential(config.to_dict()), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}:".encode())
        if tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
            digest.update(_entries(tensor))
    return digest.hexdigest()[:16]


def _entries(tensor: torch.Tensor) -> bytes:
    local = tensor.detach()
    if isinstance(local, DTensor):
        local = local.to_local()
    flat = local.reshape(-1)
    if not flat.numel():
        return b""
    chosen = flat[:: max(1, flat.numel() // ENTRIES)]
    # Through bytes, since NumPy has no bfloat16; exact, and NaN too.
    return bytes(chosen.contiguous().cpu().view(torch.uint8).numpy().tobytes())


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest of a tokenizer's vocabulary, rules, special tokens and chat template."""
    digest = hashlib.sha256()
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        # They are what the last call asked for.
        rules.pop("truncation", None)
        rules.pop("padding", None)
    else:
        rules = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else type(tokenizer).__name__
    specials = {key: str(value) for key, value in getattr(tokenizer, "special_tokens_map", {}).items()}
    template = getattr(tokenizer, "chat_template", None)
    digest.update(json.dumps([rules, specials, template], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
