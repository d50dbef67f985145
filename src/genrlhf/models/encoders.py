"""Encoders of texts, from transformers or sentence-transformers: a model, its tokenizer, and how it is pooled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModel, PreTrainedModel

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.adapters import is_peft_model, merged_copy
from genrlhf.models.folders import load_from, read_config
from genrlhf.models.loading import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["POOLINGS", "Encoder", "load_encoder", "padded", "pooled", "text_tokens"]

POOLINGS = ("mean", "cls", "last", "max")


@dataclass(frozen=True)
class Encoder:
    """An encoder of texts.

    Attributes:
        model: without any head.
        tokenizer: its tokenizer.
        pooling: how its tokens become one vector, one of `POOLINGS`.
        name: where it came from.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pooling: str
    name: str


def load_encoder(
    source: Any,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    pooling: str = "auto",
    trust_remote_code: bool = False,
) -> Encoder:
    """Return an encoder in float32.

    Args:
        source: a name or folder of a model of transformers or of sentence-transformers, such a model (its head is left
            out, and an adapter of PEFT merged), or a `SentenceTransformer`.
        tokenizer: by default the one saved with the model.
        pooling: one of `POOLINGS`, or "auto": what sentence-transformers say, else the mean.
        trust_remote_code: run code that a repository ships.

    Raises:
        ModelError: where it cannot be loaded, has both encoder and decoder, or code of its own.
        ConfigError: for another pooling.
    """
    if pooling not in ("auto", *POOLINGS):
        raise ConfigError(f"pooling is {pooling!r}; it must be auto or one of {', '.join(POOLINGS)}.")
    said: str | None = None
    if isinstance(source, torch.nn.Sequential):
        modules: Any = list(source)
        found = getattr(modules[0], "auto_model", None) or getattr(modules[0], "model", None)
        tokenizer = tokenizer or getattr(source, "tokenizer", None)
        said = _pooling_of(modules[1].get_config_dict()) if len(modules) > 1 else None
        name = str(getattr(getattr(found, "config", None), "_name_or_path", ""))
    elif isinstance(source, PreTrainedModel) or is_peft_model(source):
        found = (merged_copy(source) if is_peft_model(source) else source).base_model
        name = str(getattr(found.config, "_name_or_path", ""))
    else:
        name = str(source)
        folder, said = _of_sentence_transformers(Path(name))
        config = read_config(str(folder), trust_remote_code=trust_remote_code)
        if getattr(config, "is_encoder_decoder", False):
            raise _both(name, config)
        found = load_from(
            AutoModel,
            str(folder),
            fresh=lambda key: "pool" in key,
            dtype="float32",
            trust_remote_code=trust_remote_code,
        )
        tokenizer = tokenizer or load_tokenizer(str(folder), trust_remote_code=trust_remote_code, needs_eos=False)
    if not isinstance(found, PreTrainedModel):
        raise ModelError(f"{type(source).__name__} is no encoder of transformers or sentence-transformers; give one.")
    if getattr(found.config, "is_encoder_decoder", False):
        raise _both(name or type(found).__name__, found.config)
    if not type(found).__module__.startswith("transformers."):
        raise ModelError(
            f"The encoder {name or type(found).__name__!r} has code of its own ({type(found).__module__}), which a "
            "saved reward could not be loaded with; give one whose class is in transformers."
        )
    read = tokenizer or load_tokenizer(found, trust_remote_code=trust_remote_code, needs_eos=False)
    return Encoder(found.float(), read, (said or "mean") if pooling == "auto" else pooling, name)


def _both(name: str, config: Any) -> ModelError:
    return ModelError(f"The model {name!r} ({config.model_type}) has an encoder and a decoder; give an encoder alone.")


def _of_sentence_transformers(folder: Path) -> tuple[Path, str | None]:
    """Return where the model of transformers lies in a folder of sentence-transformers, and its pooling."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = {str(each["type"]).rsplit(".", 1)[-1]: folder / each["path"] for each in modules}
    except (OSError, ValueError, KeyError, TypeError):
        return folder, None
    if "Dense" in kinds:
        raise ModelError(f"{str(folder)!r} has a layer behind its pooling, which is not read here; give its encoder.")
    said = None
    if "Pooling" in kinds:
        said = _pooling_of(json.loads((kinds["Pooling"] / "config.json").read_text(encoding="utf-8")))
    return kinds.get("Transformer", folder), said


def _pooling_of(config: Any) -> str | None:
    """Return a pooling by its name here, of what sentence-transformers says; None for one that is not known here."""
    named = config.get("pooling_mode")
    names = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last", "max_tokens": "max"}
    on = [ours for theirs, ours in names.items() if config.get(f"pooling_mode_{theirs}")]
    if isinstance(named, str):
        on = [{"lasttoken": "last"}.get(named, named)]
    return on[0] if len(on) == 1 and on[0] in POOLINGS else None


def text_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_length: int | None) -> list[list[int]]:
    """Return the tokens of texts, special ones among them, each cut to `max_length` and at least one."""
    options: dict[str, Any] = {"truncation": True, "max_length": max_length} if max_length else {}
    found: list[list[int]] = tokenizer(list(texts), **options)["input_ids"] if texts else []
    # Of an empty text there may be nothing left to pool.
    other = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id
    return [ids or [other or 0] for ids in found]


def padded(tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids, (B, T) int64, padded on the right with 0, and the mask, (B, T) bool."""
    width = max(map(len, tokens))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in tokens])
    mask = torch.arange(width) < torch.tensor([len(row) for row in tokens]).unsqueeze(1)
    return ids, mask


def pooled(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return one vector of the states of each text, (B, d).

    Args:
        states: (B, T, d).
        mask: (B, T) bool, padded on the right.
        pooling: one of `POOLINGS`.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(-1) - 1]
    if pooling == "max":
        return states.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)
    return (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
