"""What a method is: a loop, what it adds to it, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from genrlhf.errors import ConfigError
from genrlhf.methods.checks import check_named, check_parts, check_words
from genrlhf.places import load_place

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
class Method:
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

    def config_class(self) -> type[Any]:
        """Return the class of the trainer's settings."""
        found: type[Any] = _load(self.config, self.name)
        return found

    def settings_class(self) -> type[Any] | None:
        """Return the class of the method's own settings.

        Raises:
            ConfigError: where it is no dataclass, whose fields are the settings.
        """
        if self.settings is None:
            return None
        found: Any = _load(self.settings, self.name)
        if not isinstance(found, type) or not is_dataclass(found):
            raise ConfigError(
                f"The method {self.name!r} has settings={self.settings!r}, which is no dataclass; put "
                "@dataclass(frozen=True) above the class, whose fields are the settings."
            )
        return found

    def check(self) -> None:
        """Load all that the method names, which nobody needs to list it.

        Raises:
            ConfigError: for a part that is not there, a recipe of what is no setting, or a trainer that does not take
                the method's own object.
        """
        check_parts(
            self,
            trainer=_load(self.trainer, self.name),
            config=self.config_class(),
            has_settings=self.settings_class() is not None,
        )

    def check_settings(self, args: Any, settings: Any) -> None:
        """Check what goes together as the trainer will, where it has a `check_functions`, without building it.

        Args:
            args: an object of `config_class`.
            settings: an object of `settings_class`, None for none.

        Raises:
            ConfigError: as the trainer does.
        """
        check = getattr(_load(self.trainer, self.name), "check_functions", None)
        if check is not None and settings is not None:
            check(args, **{self.argument: settings})

    def build(
        self,
        model: Any,
        args: Any,
        train_dataset: Any,
        *,
        eval_dataset: Any = None,
        reward: Any = None,
        settings: Any = None,
        **options: Any,
    ) -> Any:
        """Return the trainer.

        Args:
            model: to start from: a name, a folder or a module.
            args: an object of `config_class`.
            train_dataset: rows of what the method needs.
            eval_dataset: likewise.
            reward: as `PPOTrainer` takes it, where the method needs one.
            settings: an object of `settings_class`, by default with its defaults.
            options: further arguments of the trainer.

        Raises:
            ConfigError: for a reward that is missing, or not wanted, and as `check` does.
        """
        from genrlhf.trainers.card import MadeBy  # which is heavy, and a list of methods needs none of it

        wants = "reward" in self.needs
        if wants != (reward is not None):
            raise ConfigError(f"The method {self.name!r} {'needs a reward' if wants else 'takes no reward'}.")
        self.check()
        if wants:
            options["reward"] = reward
        kind = self.settings_class()
        if kind is not None:
            options[self.argument] = kind() if settings is None else settings
        trainer = _load(self.trainer, self.name)
        built = trainer(model=model, args=args, train_dataset=train_dataset, eval_dataset=eval_dataset, **options)
        built.made_by = MadeBy(self.name, self.label, self.paper)
        return built

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


def _load(place: str, name: str) -> Any:
    return load_place(place, f"The method {name!r} names {place!r}, which")
