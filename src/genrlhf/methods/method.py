"""What a method is: a loop, what it adds to it, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from genrlhf.methods.building import Buildable
from genrlhf.methods.checks import check_named, check_words

__all__ = ["LOOPS", "NEEDS", "Loop", "Method", "Need"]

Loop: TypeAlias = Literal["supervised", "sample_and_tune", "rollout", "pairs"]
LOOPS: tuple[str, ...] = get_args(Loop)

_OF_LOOP = {"supervised": "SFT", "sample_and_tune": "SampleAndTune", "rollout": "PPO"}
"""How the classes begin that a method of a loop has where it names no others."""

Need: TypeAlias = Literal["demonstrations", "preferences", "labels", "prompts", "critiques", "reward", "feedback"]
NEEDS: tuple[str, ...] = get_args(Need)
"""Rows of `prompt`, `completion`; `chosen`, `rejected`; `completion`, `label`; `prompt`; `passage`, `critique`.

And a reward; or feedback on completions, which a setting of the method gives, or a column of the rows.
"""


@dataclass(frozen=True)
class Method(Buildable):
    """A way to post-train a model.

    Attributes:
        name: on the command line and in files, such as "ppo".
        label: in tables.
        paper: authors, year and arXiv id or venue.
        loop: that it runs on.
        needs: what it is trained with; the first is what its dataset holds.
        trainer: "module:class" of the trainer; by default that of the loop, which loop "pairs" has none of.
        config: "module:class" of its settings; likewise.
        recipe: settings whose defaults differ from the config's.
        settings: "module:class" of a dataclass of further settings, whose object the trainer gets as `argument`; None
            for none. Where that object has an attribute `asking`, an `Asking`, it says what stands around a prompt when
            the model is asked: kept beside the model, read by studies.
        argument: see `settings`.
        makes: what is trained: a policy, which writes, or a reward, which scores.

    Example:
        >>> from genrlhf.methods import get_method
        >>> get_method("gem").loop
        'supervised'
    """

    name: str
    label: str
    paper: str
    loop: Loop
    needs: tuple[Need, ...]
    trainer: str = ""
    config: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    settings: str | None = None
    argument: str = "objective"
    makes: Literal["policy", "reward"] = "policy"

    def __post_init__(self) -> None:
        check_words(self.name, self.loop, self.needs, LOOPS, NEEDS)
        usual = _OF_LOOP.get(self.loop)
        check_named(self.name, self.loop, self.trainer, self.config, usual)
        if usual is not None and not self.trainer:
            object.__setattr__(self, "trainer", f"genrlhf.trainers:{usual}Trainer")
            object.__setattr__(self, "config", f"genrlhf.trainers:{usual}Config")
        object.__setattr__(self, "recipe", MappingProxyType(dict(self.recipe)))

    def to_dict(self) -> dict[str, Any]:
        """Return what `genrlhf methods --json` prints of it."""
        return {
            "label": self.label,
            "paper": self.paper,
            "loop": self.loop,
            "needs": list(self.needs),
            "trainer": self.trainer,
            "recipe": dict(self.recipe),
        }
