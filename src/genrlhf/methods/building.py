"""From what a method says of itself to its settings and its trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from genrlhf.errors import ConfigError
from genrlhf.methods.checks import check_parts
from genrlhf.places import load_place

__all__ = ["Buildable"]


class Buildable:
    """Loads what a `Method` names, checks it and builds its trainer; the attributes are those of `Method`."""

    name: str
    label: str
    paper: str
    needs: tuple[Any, ...]
    trainer: str
    config: str
    recipe: Mapping[str, Any]
    settings: str | None
    argument: str

    def config_class(self) -> type[Any]:
        """Return the class of the trainer's settings."""
        found: type[Any] = self._load(self.config)
        return found

    def settings_class(self) -> type[Any] | None:
        """Return the class of the method's own settings.

        Raises:
            ConfigError: where it is no dataclass, whose fields are the settings.
        """
        if self.settings is None:
            return None
        found: Any = self._load(self.settings)
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
            trainer=self._load(self.trainer),
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
        check = getattr(self._load(self.trainer), "check_functions", None)
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
        trainer = self._load(self.trainer)
        built = trainer(model=model, args=args, train_dataset=train_dataset, eval_dataset=eval_dataset, **options)
        built.made_by = MadeBy(self.name, self.label, self.paper)
        return built

    def _load(self, place: str) -> Any:
        return load_place(place, f"The method {self.name!r} names {place!r}, which")
