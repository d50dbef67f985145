"""How well a completion goes with a critique, or with a class of critiques, as a reward."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ConfigError, ModelError, excerpt
from genrlhf.models.carp import MODEL_TYPE, CARPModel, class_names
from genrlhf.models.encoders import padded, text_tokens
from genrlhf.models.fingerprint import module_fingerprint
from genrlhf.models.folders import load_from
from genrlhf.models.loading import load_tokenizer
from genrlhf.ops.contrastive import class_logits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CRITIQUES", "CARPReward", "is_carp", "load_carp", "passage_text"]

CRITIQUES = "critique_tokenizer"
"""The folder of the tokenizer of critiques, in that of the model."""


class CARPReward:
    """The cosine of a completion to a critique, or the log-probability of a class.

    CARP (Matiana et al. 2021, arXiv 2110.03111), and CoOp CARP (Castricato et al. 2022, arXiv 2210.07792): with u the
    encoding of the completion, v of the critique, w_k of the classes and e^τ the scale,

        u·v,  or  log softmax_k(e^τ u·w)[target].

    Without learned context, classes are encoded by their names alone (zero-shot).

    Args:
        model: the encoders, with learned classes or without.
        tokenizers: of passages, and of critiques.
        target: the class; by default the model's.
        critique: the critique, in place of a class; by default the model's.
        classes: their names, of which the target is one; by default the model's.
        batch_size: texts a forward pass.
        device: where to run it; None leaves the model where it is.

    Raises:
        ConfigError: where there is neither class nor critique, or the class is unknown.
        ModelError: where names of classes are the same tokens.
    """

    name = "carp"

    def __init__(
        self,
        model: CARPModel,
        tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
        *,
        target: str | None = None,
        critique: str | None = None,
        classes: Sequence[str] | None = None,
        batch_size: int = 64,
        device: torch.device | str | None = None,
    ) -> None:
        if target is not None and critique is not None:
            raise ConfigError(f"target is {target!r} and critique {critique!r}; a reward is for one of them.")
        config = model.config
        if target is None and critique is None:
            target, critique = config.target, None if config.target is not None else config.target_critique
        known = list(classes if classes is not None else config.classes or ())
        if critique is None and target is None:
            remedy = f"one of the classes {', '.join(map(repr, known))}" if known else "a critique"
            raise ConfigError(
                "This CARP model says what goes together, and not what is wanted: give CARPReward.load(…) "
                f"{remedy}, or train it with target or critique set."
            )
        if critique is None and target not in known:
            there = ", ".join(map(repr, known[:20])) if known else "none; name them by classes"
            raise ConfigError(f"The target {target!r} is no class of this CARP model; there are {there}.")
        self.model = model.to(device).eval() if device is not None else model.eval()
        self.model.requires_grad_(False)
        self.tokenizers, self.batch_size = tokenizers, batch_size
        self.target, self.critique, self.classes = target, critique, known
        learned = classes is None or list(classes) == config.classes
        with torch.no_grad():
            if critique is not None:
                self._goals = self.encode("critique", [critique])
            else:
                room = None if config.text_length is None else config.text_length - config.context_size
                names = class_names(tokenizers[1], known, max_length=room)
                self._goals = self.model.encode_classes(names, context=learned)

    @classmethod
    def load(cls, folder: str | PathLike[str], **options: Any) -> CARPReward:
        """Return the reward that a trainer saved in `folder`; `options` are those of the class.

        Raises:
            ModelError: where there is none.
        """
        return cls(*load_carp(folder), **options)

    def settings(self) -> dict[str, Any]:
        """Return what the rewards depend on."""
        goal = {"target": self.target, "critique": self.critique, "classes": self.classes}
        return {**goal, "digest": module_fingerprint(self.model)}

    def encode(self, side: str, texts: Sequence[str]) -> torch.Tensor:
        """Return vectors of length 1, (B, D) float32, of texts on a side, "passage" or "critique"; each text once."""
        tokenizer = self.tokenizers[side == "critique"]
        return encode_texts(self.model, side, tokenizer, texts, batch_size=self.batch_size)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """Return the reward of every completion."""
        whole = self.model.config.with_prompt
        texts = [passage_text(p if whole else "", c) for p, c in zip(prompts, completions, strict=True)]
        units = self.encode("passage", texts)
        if self.critique is not None:
            found: list[float] = (units @ self._goals[0]).tolist()
            return found
        scores = class_logits(units, self._goals, self.model.log_scale).log_softmax(-1)
        rewards: list[float] = scores[:, self.classes.index(str(self.target))].tolist()
        return rewards


@torch.no_grad()
def encode_texts(
    model: CARPModel, side: str, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, batch_size: int = 64
) -> torch.Tensor:
    """Return vectors of length 1, (B, D) float32, each different text once, those of like length together."""
    different = list(dict.fromkeys(texts))
    tokens = text_tokens(tokenizer, different, max_length=model.config.text_length)
    order = sorted(range(len(different)), key=lambda place: len(tokens[place]))
    found: dict[str, torch.Tensor] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        ids, mask = padded([tokens[place] for place in part])
        units = model.encode(side, ids.to(model.device), mask.to(model.device))
        found |= {different[place]: unit for place, unit in zip(part, units, strict=True)}
    return torch.stack([found[text] for text in texts])


def passage_text(prompt: Any, completion: Any) -> str:
    """Return what an encoder reads of a prompt (text, or messages) and a completion."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else "\n".join(str(message.get("content")) for message in value)

    before = text(prompt)
    # Messages of their own have nothing that parts them from the answer.
    return before + ("\n" if before and not isinstance(prompt, str) else "") + text(completion)


def is_carp(source: Any) -> bool:
    """Whether a name is the folder of a CARP model."""
    if not isinstance(source, (str, PathLike)):
        return False
    try:
        config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def load_carp(
    folder: str | PathLike[str],
) -> tuple[CARPModel, tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]]:
    """Return the model in a folder, in float32, and the tokenizers of passages and critiques.

    Raises:
        ModelError: where there is none, or not all of it.
    """
    if not is_carp(folder):
        raise ModelError(f"{excerpt(str(folder))} is no folder of a CARP model; give one that `carp` has trained.")
    model = load_from(CARPModel, str(folder), fresh=lambda key: False, dtype="float32", trust_remote_code=False)
    tokenizers = [
        load_tokenizer(str(place), trust_remote_code=False, needs_eos=False)
        for place in (Path(folder), Path(folder) / CRITIQUES)
    ]
    if model.config.with_prompt:  # of what is too long the start of the prompt is lost
        tokenizers[0].truncation_side = "left"
    return model, (tokenizers[0], tokenizers[1])
