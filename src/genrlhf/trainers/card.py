"""The model card of what a trainer has trained: from what, on what, by which method, with which figures."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import math
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from genrlhf import __version__
from genrlhf.errors import excerpt
from genrlhf.markdown import escaped, table
from genrlhf.models.carp import MODEL_TYPE
from genrlhf.trainers.run_folder import FREE

__all__ = ["CARD", "MadeBy", "is_ours", "write_card"]

CARD = "README.md"
MARK = "<!-- Written by genrlhf. A README.md without this line is left as it is. -->"
PEFT_STOCK = "# Model Card for Model ID"
"""What PEFT begins a card with where there is none."""

_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
_PASSING = ("runtime", "per_second", "total_flos", "seconds", "time/", "learning_rate", "grad_norm", "num_tokens")
"""Of the figures in the log those that say how long it took and how far it was, not what came of it."""

# They may hold tokens, or places on a machine.
_NOT_SHOWN = {"model_init_kwargs", "deepspeed", "fsdp_config", "accelerator_config", "seed", "data_seed"}


class MadeBy(NamedTuple):
    """The method that a model is trained by.

    Attributes:
        name: as in the registry, such as "ppo".
        label: for people.
        paper: authors, year and arXiv id or venue.
    """

    name: str
    label: str
    paper: str


def is_ours(file: Path) -> bool:
    """Say whether a card may be written anew: there is none, or one that was written for the want of another."""
    if not file.is_file():
        return True
    text = file.read_text(encoding="utf-8", errors="replace")
    return MARK in text or PEFT_STOCK in text


def write_card(trainer: Any, folder: Path, *, model_name: str | None = None, **metadata: Any) -> None:
    """Write the card of what a trainer has trained so far to `folder`, whole or not at all.

    Args:
        trainer: one of ours, with `made_by`.
        folder: of the model.
        model_name: by default that of the repository, or of the folder that is trained into.
        metadata: as `transformers.Trainer.create_model_card` takes it: `tags`, `language`, `license`, `dataset`,
            `dataset_tags`, `finetuned_from`; and TRL's `dataset_name`.
    """
    card = _Card(trainer, model_name, metadata)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{CARD}.tmp"
    temporary.write_text(card.text(), encoding="utf-8")
    temporary.replace(folder / CARD)


class _Card:
    """Gathers what is known of a training.

    Args:
        trainer: that of `write_card`.
        model_name: likewise.
        metadata: likewise.
    """

    def __init__(self, trainer: Any, model_name: str | None, metadata: Mapping[str, Any]) -> None:
        self.trainer, self.args = trainer, trainer.args
        kind = type(trainer).__name__
        self.made_by: MadeBy = trainer.made_by or MadeBy(kind.lower(), kind, "")
        # What the run was claimed with, where it has begun.
        self.parts: Mapping[str, Any] = getattr(trainer, "_run_parts", None) or {}
        hub = getattr(trainer, "hub_model_id", None) or self.args.hub_model_id
        self.name = model_name or str(hub or Path(self.args.output_dir).resolve().name).split("/")[-1]
        self.metadata = metadata
        self.base = str(metadata.get("finetuned_from") or getattr(trainer, "_base_name", "") or "")
        self.model = getattr(trainer, "policy", None) or trainer.model
        self.is_adapter = hasattr(self.model, "peft_config")

    def text(self) -> str:
        """Return the whole card."""
        head = yaml.safe_dump(_one_line(self._metadata()), sort_keys=False, allow_unicode=True, width=math.inf)
        parts = [self._intro(), self._data(), self._figures(), self._settings(), self._versions()]
        body = "\n\n".join("\n".join(part) for part in parts if part)
        text = f"---\n{head}---\n\n{MARK}\n\n{body}\n"
        # Half of a surrogate pair in a name has no UTF-8 form.
        return text.encode("utf-8", "replace").decode()

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, given in (
            ("language", self.metadata.get("language")),
            ("license", self.metadata.get("license")),
            ("datasets", self.metadata.get("dataset_tags") or self.metadata.get("dataset_name")),
        ):
            if given:
                found[key] = _listed(given) if key == "datasets" else given
        if (identifier := _hub_id(self.base)) is not None:
            found["base_model"] = identifier
        found["library_name"] = "peft" if self.is_adapter else "transformers"
        found["model_name"] = self.name
        found["pipeline_tag"] = self._pipeline()
        found["tags"] = list(dict.fromkeys(["genrlhf", self.made_by.name, *_listed(self.metadata.get("tags"))]))
        return found

    def _pipeline(self) -> str:
        if getattr(self.model.config, "model_type", None) == MODEL_TYPE:
            return "sentence-similarity"
        return "text-classification" if getattr(self.model.config, "num_labels", None) == 1 else "text-generation"

    def _intro(self) -> list[str]:
        base = self.parts.get("base_model") or {}
        digest = f" (weights {base['digest']})" if base.get("digest") else ""
        identifier = _hub_id(self.base)
        link = f"[{escaped(identifier)}](https://huggingface.co/{identifier})" if identifier else None
        start = link or escaped(_last_part(self.base)) or "a model that was given as an object"
        what = "An adapter" if self.is_adapter else "A model"
        lines = [
            f"# {escaped(self.name)}",
            "",
            f"{what} trained by **{escaped(self.made_by.label)}**{_with_links(self.made_by.paper)}, starting from "
            f"{start}{digest}, with genrlhf {__version__}.",
        ]
        told = {"objective": "Objective", "transform": "Transform", "advantage_function": "Advantages"}
        for part, what in {**told, "reward": "Reward"}.items():
            if self.parts.get(part) is not None:
                lines += ["", f"{what}: {escaped(_described(self.parts[part]))}."]
        return lines

    def _data(self) -> list[str]:
        data = self.parts.get("data")
        if not data:
            return []
        names = _listed(self.metadata.get("dataset")) or _listed(self.metadata.get("dataset_name"))
        called = [escaped(", ".join(names))] if names else []
        said = [*called, escaped(data["name"]), f"digest of the contents {escaped(data['digest'])}"]
        return ["## Data", "", f"{'; '.join(said)}."]

    def _figures(self) -> list[str]:
        history = [entry for entry in self.trainer.state.log_history if isinstance(entry, Mapping)]
        first, last = _ends(history)
        if not last:
            return []
        state = self.trainer.state
        epochs = f", {state.epoch:.4g} epoch(s)" if state.epoch else ""
        lines = ["## Figures", "", f"After {state.global_step} steps{epochs}."]
        diversity = [name for name in last if name.startswith("diversity/")]
        evaluation = [name for name in last if name.startswith("eval_")]
        training = [name for name in last if name not in diversity and name not in evaluation]
        if diversity:
            rows = [
                (name.removeprefix("diversity/"), first[name], last[name], last.get(f"{name}_stderr", ""))
                for name in diversity
                if not name.endswith("_stderr")
            ]
            lines += ["", *table(("diversity", "at the start", "now", "standard error"), rows)]
        for title, names in (("evaluation", evaluation), ("training, last logged", training)):
            if names:
                lines += ["", *table((title, "value"), [(name, last[name]) for name in names])]
        return lines

    def _settings(self) -> list[str]:
        rows = list(_changed(self.args))
        seeds = [(name, getattr(self.args, name, None)) for name in ("seed", "data_seed")]
        rows += [(name, value) for name, value in seeds if value is not None]
        adapter = self.parts.get("peft_config")
        lines = ["## Settings", "", f"Of `{type(self.args).__name__}`, those that are not its defaults:", ""]
        lines += table(("setting", "value"), rows)
        return [*lines, "", f"Adapter: {escaped(_described(adapter))}."] if adapter else lines

    def _versions(self) -> list[str]:
        rows = [("genrlhf", __version__), ("Python", platform.python_version())]
        return ["## Versions", "", *table(("package", "version"), [*rows, *_installed(_LIBRARIES)])]


def _one_line(value: Any) -> Any:
    """Return metadata whose texts have no line of their own, which might pass for the end of the front matter."""
    if isinstance(value, Mapping):
        return {key: _one_line(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_one_line(item) for item in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def _hub_id(name: str) -> str | None:
    """Return a name where it can be that of a repository, and is no folder here."""
    is_id = re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", name, re.ASCII) is not None
    return name if is_id and ".." not in name and "--" not in name and not os.path.isdir(name) else None


def _last_part(name: str) -> str:
    """Return the last folder of a path: a card is for others, whose machines have other ones."""
    return Path(name).name if os.sep in name else name


def _with_links(paper: str) -> str:
    """Return a paper in parentheses, with its arXiv numbers as links."""
    parts = re.split(r"(arXiv \d{4}\.\d{4,5})", paper)
    linked = "".join(
        f"[{part}](https://arxiv.org/abs/{part.removeprefix('arXiv ')})" if number % 2 else _spaced(part)
        for number, part in enumerate(parts)
    )
    return f" ({linked})" if linked else ""


def _spaced(text: str) -> str:
    """Escape a part of a sentence, and keep the blanks at its ends."""
    start, end = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :] if text.strip() else ""
    return f"{start}{escaped(text)}{end}"


def _described(part: Any) -> str:
    """Return what `trainers.describe` knows of something, in words."""
    if isinstance(part, Mapping):
        if "name" in part or "partial" in part:
            name = _last_part(str(part.get("name") or _described(part.get("partial"))))
            settings = part.get("settings")
            shown = ", ".join(f"{k}={_shown(v)}" for k, v in settings.items()) if isinstance(settings, Mapping) else ""
            digest = f" (digest {part['digest']})" if "digest" in part else ""
            return f"{name}({shown}){digest}" if shown else f"{name}{digest}"
        if "weight" in part:
            return f"{part['weight']:g} × {_described(part.get('reward'))}"
        return ", ".join(f"{key}={_described(value)}" for key, value in part.items() if value not in (None, [], {}))
    if isinstance(part, Sequence) and not isinstance(part, str):
        return " + ".join(map(_described, part)) if part and isinstance(part[0], Mapping) else _shown(part)
    return _shown(part)


def _ends(history: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the first and the last value of every figure in a log."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for entry in history:
        for name, value in entry.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if number and name not in ("step", "epoch") and not any(word in name for word in _PASSING):
                first.setdefault(name, float(value))
                last[name] = float(value)
    return first, last


def _changed(args: Any) -> Iterable[tuple[str, str]]:
    """Yield the settings that change what comes of a training and are not the defaults of their class."""
    given = args.to_dict()
    for field in dataclasses.fields(args):
        if field.name in _NOT_SHOWN or field.name.startswith("_"):
            continue
        if field.name in FREE and field.name not in ("num_train_epochs", "max_steps", "num_rollouts"):
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        value = given.get(field.name)
        if value == f"<{field.name.upper()}>":
            # As to_dict() writes whatever is called a token: those of text are no secrets.
            value = getattr(args, field.name)
        if _shown(value) != _shown(getattr(default, "value", default)):
            yield field.name, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return excerpt(_last_part(value))[1:-1]
    return excerpt(value)


# A card lies in every checkpoint, and to look them up takes longer than to write it.
_version = functools.cache(importlib.metadata.version)


def _installed(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, _version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _listed(given: Any) -> list[str]:
    """Return one text, or several, or none, as a list."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(map(str, given))
