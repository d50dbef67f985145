"""The settings of a trained arm: which are the trainer's and which the method's, of the right kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from genrlhf.errors import ConfigError, excerpt
from genrlhf.models.processes import has_accelerator, join_processes
from genrlhf.studies.code import named_digest
from genrlhf.studies.given import described
from genrlhf.studies.recipe import Sampling, near_miss
from genrlhf.trainers.run_folder import CHANGES_NOTHING

if TYPE_CHECKING:
    from genrlhf.studies.arms import Arm

__all__ = ["ArmSettings", "settings_of"]

_OF_THE_STUDY = {
    "output_dir": "the study has a folder for every stage",
    "overwrite_output_dir": "other settings have another folder",
    "resume_from_checkpoint": "a study goes on from the newest checkpoint by itself",
    "seed": "it is one of the study's seeds",
}


@dataclass(frozen=True)
class ArmSettings:
    """Settings of one arm.

    Attributes:
        config: fields of the trainer's settings, those of the method's recipe among them.
        method: fields of the method's own.
    """

    config: Mapping[str, Any]
    method: Mapping[str, Any]

    def known(self) -> dict[str, Any]:
        """Return those that change what is trained, and not how it is watched, kept or computed.

        Code and models that they name are known by what they are, too: `named` has their digests, where there are any.
        """
        sides = {
            "config": {name: value for name, value in self.config.items() if name not in CHANGES_NOTHING},
            "method": dict(self.method),
        }
        named = {
            f"{side}.{name}": digest
            for side, settings in sides.items()
            for name, value in settings.items()
            if isinstance(value, str) and (digest := named_digest(value)) is not None
        }
        known = {
            side: {name: described(value) if callable(value) else value for name, value in settings.items()}
            for side, settings in sides.items()
        }
        return {**known, **({"named": named} if named else {})}

    def build(self, arm: Arm, output_dir: str, seed: int) -> tuple[Any, Any]:
        """Return the trainer's settings and the method's as objects; None where it has none of its own.

        Raises:
            ConfigError: for values that cannot be, or not together.
        """
        assert arm.method is not None
        kind, own = arm.method.config_class(), arm.method.settings_class()
        common = {
            "output_dir": output_dir,
            "seed": seed,
            "disable_tqdm": True,
            "report_to": "none",
            "save_total_limit": 1,
            "dataloader_pin_memory": False,
        }
        if join_processes().num_processes > 1 and not has_accelerator():
            # Else settings would take each of the processes for one alone.
            common["use_cpu"] = True
        there = {each.name for each in fields(kind)}
        try:
            config = kind(**{**{name: value for name, value in common.items() if name in there}, **self.config})
            settings = None if own is None else own(**self.method)
            arm.method.check_settings(config, settings)
            return config, settings
        except (ConfigError, ValueError, TypeError) as error:
            raise ConfigError(f"methods.{arm.name}: {' '.join(str(error).split())}") from error


def settings_of(arm: Arm, sampling: Sampling) -> ArmSettings:
    """Sort the settings of an arm, over those of its method's recipe and what the study says of sampling.

    Args:
        arm: that is trained.
        sampling: the study's: trainers that sample draw as long completions, as many at a time.

    Raises:
        ConfigError: naming a setting that there is not, or whose value is of another kind.
    """
    assert arm.method is not None
    try:
        arm.method.check()
    except ConfigError as error:
        raise ConfigError(f"methods.{arm.name}: {error}") from error
    config, own = arm.method.config_class(), arm.method.settings_class()
    kinds = {"config": _kinds(config), "method": _kinds(own) if own is not None else {}}
    twice = set(kinds["config"]) & set(kinds["method"])
    if twice:
        raise ConfigError(
            f"methods.{arm.name}: the method {arm.method.name!r} has a setting {min(twice)!r}, which its trainer has "
            "too; rename it."
        )
    found: dict[str, dict[str, Any]] = {"config": dict(arm.method.recipe), "method": {}}
    shared = {"max_new_tokens": sampling.max_new_tokens, "sampling_batch_size": sampling.batch_size}
    found["config"] |= {name: value for name, value in shared.items() if name in kinds["config"]}
    for name, value in arm.entry.settings.items():
        where = f"methods.{arm.name}.{name}"
        if name in _OF_THE_STUDY:
            raise ConfigError(f"{where} cannot be set here: {_OF_THE_STUDY[name]}; leave it out.")
        side = next((side for side in kinds if name in kinds[side]), None)
        if side is None:
            every = [*arm.entry.__class__.model_fields, *kinds["config"], *kinds["method"]]
            hint = near_miss(name, ["from" if each == "source" else each for each in every])
            remedy = f"genrlhf train {arm.method.name} --help lists them."
            raise ConfigError(f"{where} is no setting of {arm.method.name}{hint + '?' if hint else '; ' + remedy}")
        found[side][name] = _fitting(value, kinds[side][name], where)
    return ArmSettings(found["config"], found["method"])


def _kinds(settings: type[Any]) -> dict[str, Any]:
    """Return the kinds of the fields of a dataclass; `Any` where they cannot be told."""
    try:
        hints = get_type_hints(settings)
    except (NameError, TypeError, AttributeError):
        hints = {}
    return {each.name: hints.get(each.name, Any) for each in fields(settings) if each.init}


def _fitting(value: Any, kind: Any, where: str) -> Any:
    if isinstance(value, bool) and kind in (int, float):
        raise ConfigError(f"{where} is {value}; it must be a number.")
    try:
        fitting = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{where} is {excerpt(value)}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from error
    except (PydanticUserError, PydanticSchemaGenerationError):
        return value
    # Numbers that came as texts are numbers; what is a name for an enum stays one.
    return fitting if isinstance(fitting, (int, float)) else value
