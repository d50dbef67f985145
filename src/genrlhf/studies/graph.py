"""A study as a graph: stages known by their content, in an order in which each comes behind what it needs."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from genrlhf.errors import ConfigError, excerpt
from genrlhf.studies.canonical import canonical, canonical_text

__all__ = ["Graph", "Stage", "StageContext", "in_order"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*(?:/[A-Za-z0-9_][A-Za-z0-9._@-]*)*")
_LONGEST = 160


@dataclass(frozen=True)
class StageContext:
    """What a stage is told while it runs.

    Attributes:
        folders: of the stages that it needs, by role.
        figures: of these stages, by role.
        report: says in one line what goes on.
        is_main: whether this process is the one that writes; False in all but one of the processes of a launcher.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    report: Callable[[str], None] = lambda message: None
    is_main: bool = True

    def folder_of(self, need: str) -> Path:
        """Return the folder of the stage that is needed as `need`."""
        return self.folders[self._known(need)]

    def figures_of(self, need: str) -> Mapping[str, Any]:
        """Return the figures of the stage that is needed as `need`."""
        return self.figures[self._known(need)]

    def _known(self, need: str) -> str:
        if need not in self.folders:
            raise ConfigError(f"A stage asks for {need!r}, which it does not need; it needs {_listed(self.folders)}.")
        return need


@dataclass(frozen=True, eq=False)
class Stage:
    """A piece of work that fills a folder, known by what it depends on.

    Attributes:
        name: such as "sample/ppo@1.0/id/seed-0": letters, digits and . _ - @ between slashes, unique in a graph.
        settings: all that changes what is made, as JSON: settings, and digests of data, base weights and the method's
            code.
        needs: the stages whose folders it reads, by the role that they have for it: "start", "reward", …
        run: fills the folder that it is given and returns figures, as JSON. The folder may hold what an earlier start
            has left, which is gone on with.
        launched: whether it runs in all processes of a launcher; others run in one.
        kind: what the stage does; by default the first part of its name. The time that is left is estimated from
            finished stages of the same kind.
        key: a digest of kind, settings, and keys of the needs, by role.

    Raises:
        ConfigError: for a name of another form, and for settings that have no one form as JSON.

    Example:
        >>> start = Stage("sft/seed-0", {"learning_rate": 1e-3}, {}, lambda folder, context: {})
        >>> Stage("ppo/seed-0", {"kl_coef": 0.05}, {"start": start}, lambda folder, context: {}).kind
        'ppo'
    """

    name: str
    settings: Mapping[str, Any]
    needs: Mapping[str, Stage]
    run: Callable[[Path, StageContext], Mapping[str, Any]]
    launched: bool = False
    kind: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and _NAME.fullmatch(self.name)):
            raise ConfigError(
                f"A stage cannot be called {excerpt(self.name)}: a name has letters, digits and . _ - @ between "
                "slashes, and no part begins with any of . - @."
            )
        if max(map(len, self.name.split("/"))) > _LONGEST:
            raise ConfigError(f"The name {excerpt(self.name)} has a part of over {_LONGEST} characters; shorten it.")
        for role, need in self.needs.items():
            if not (isinstance(role, str) and isinstance(need, Stage)):
                raise ConfigError(f"Stage {self.name} needs {excerpt(need)} as {excerpt(role)}; it must be a Stage.")
        settings = canonical(self.settings, f"settings of stage {self.name}")
        if not isinstance(settings, dict):
            raise ConfigError(f"settings of stage {self.name} is {excerpt(self.settings)}; give a mapping.")
        # Copies, or what is changed later would no longer be what the key says.
        object.__setattr__(self, "settings", MappingProxyType(settings))
        object.__setattr__(self, "needs", MappingProxyType(dict(self.needs)))
        object.__setattr__(self, "kind", self.kind or self.name.split("/")[0])
        known = {"kind": self.kind, "settings": settings, "needs": {r: need.key for r, need in self.needs.items()}}
        object.__setattr__(self, "key", hashlib.sha256(canonical_text(known).encode()).hexdigest())

    @property
    def needed(self) -> list[Stage]:
        """The stages that it needs, each once."""
        return list(dict.fromkeys(self.needs.values()))

    @property
    def place(self) -> str:
        """Where its folder lies below that of the stages: its name and the start of its key."""
        return f"{self.name}-{self.key[:8]}"


class Graph:
    """The stages that are given and all that they need, each behind what it needs.

    Args:
        stages: in the order in which they should come, as far as their needs let them.

    Raises:
        ConfigError: where two stages of different content have one name.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        found: dict[str, Stage] = {}
        pending = list(stages)[::-1]
        given: list[str] = [stage.name for stage in reversed(pending)]
        while pending:
            stage = pending.pop()
            known = found.setdefault(stage.name, stage)
            if known is not stage:
                if known.key != stage.key:
                    raise ConfigError(f"Two stages are called {stage.name}: {_difference(known, stage)}. Rename one.")
                continue
            pending.extend(stage.needs.values())
        order = in_order({name: [need.name for need in found[name].needed] for name in [*given, *found]})
        self.stages: tuple[Stage, ...] = tuple(found[name] for name in order)
        self._by_name = {stage.name: stage for stage in self.stages}

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Stage:
        """Return the stage of a name.

        Raises:
            ConfigError: where there is none.
        """
        if name not in self._by_name:
            close = difflib.get_close_matches(name, self._by_name, n=2, cutoff=0.5)
            hint = f"; did you mean {' or '.join(close)}?" if close else "."
            raise ConfigError(f"The study has no stage {excerpt(name)}{hint} --list shows its {len(self)} stages.")
        return self._by_name[name]


def in_order(needs: Mapping[str, Iterable[str]], what: str = "Stage") -> list[str]:
    """Return the names, each behind those that it needs, and otherwise in the order in which they are given.

    Args:
        needs: what every name needs.
        what: a name is of, for messages.

    Raises:
        ConfigError: for a cycle, and for a name that is needed and not there.

    Example:
        >>> in_order({"ppo": ["sft", "reward"], "reward": ["sft"], "sft": []})
        ['sft', 'reward', 'ppo']
    """
    order: dict[str, None] = {}
    for first in needs:
        path: dict[str, Iterator[str]] = {} if first in order else {first: iter(needs[first])}
        while path:
            name = next(reversed(path))
            below = next((other for other in path[name] if other not in order), None)
            if below is None:
                order[name] = None
                del path[name]
            elif below in path:
                names = list(path)
                circle = " → ".join([*names[names.index(below) :], below])
                raise ConfigError(f"{what} {below} needs itself: {circle}. Take one of these needs away.")
            elif below not in needs:
                raise ConfigError(f"{what} {name} needs {below}, which is not there; there are {_listed(needs)}.")
            else:
                path[below] = iter(needs[below])
    return list(order)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _difference(one: Stage, other: Stage) -> str:
    """Say how two stages of one name differ."""
    differing = [
        f"{name} is {excerpt(one.settings.get(name))} in one and {excerpt(other.settings.get(name))} in the other"
        for name in sorted({*one.settings, *other.settings})
        if one.settings.get(name) != other.settings.get(name)
    ]
    return "; ".join(differing[:3]) or "they need other stages, or are of another kind"
