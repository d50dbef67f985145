"""What is compared: models, and files or rows of outputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from genrlhf.errors import ConfigError, excerpt
from genrlhf.models.fingerprint import model_fingerprint
from genrlhf.models.loading import check_causal_lm
from genrlhf.studies.compare_inputs import GivenOutputs

if TYPE_CHECKING:
    import os

__all__ = ["Source", "Sources", "is_outputs_file"]

_NAME = re.compile(r"\w[\w.@+-]*")
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".eval")

Source: TypeAlias = Union[str, "os.PathLike[str]", Sequence[Mapping[str, Any]]]
"""A model by its name or folder, a file of outputs, or rows of outputs."""


def is_outputs_file(source: str) -> bool:
    """Say whether a source is a file of outputs, by what is there or else by how its name ends; otherwise a model."""
    name = source.lower().removesuffix(".gz")
    path = Path(source).expanduser()
    return source == "-" or path.is_file() or path.is_fifo() or (name.endswith(_SUFFIXES) and not path.is_dir())


@dataclass
class Sources:
    """Sources by their names, told apart.

    Attributes:
        names: of all, in the order of tables.
        models: names or folders of models.
        given: outputs of files and rows.
        known: what the record says of each.
    """

    names: list[str]
    models: dict[str, str] = field(default_factory=dict)
    given: dict[str, GivenOutputs] = field(default_factory=dict)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, sources: Mapping[str, Source], *, trust_remote_code: bool, free: Collection[str] = (), **roles: str | None
    ) -> Sources:
        """Tell models from outputs.

        Args:
            sources: by their names.
            trust_remote_code: run code that a model's repository ships.
            free: names that must be among those of the sources.
            roles: further ones, by the settings that they are given as.

        Raises:
            ConfigError: there are none, or a name cannot be one or is none of them.
            DataError: a file without outputs.
            ModelError: a model that is no causal language model.
        """
        found = cls(list(sources))
        if not sources:
            raise ConfigError("There is nothing to compare; give at least one model or file of outputs.")
        for name in sources:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{excerpt(name)} is no name; use letters, digits and . _ - @ +.")
        for role, one in (*roles.items(), *(("free", name) for name in free)):
            if one is not None and one not in sources:
                raise ConfigError(f"{role} is {excerpt(one)}, which is none of {', '.join(found.names)}.")
        for name, source in sources.items():
            found._take(name, source, trust_remote_code)
        return found

    def _take(self, name: str, source: Any, trust_remote_code: bool) -> None:
        if not isinstance(source, (str, Path)):
            self.given[name] = GivenOutputs.of(name, source)
            self.known[name] = {"rows": len(self.given[name].rows)}
        elif is_outputs_file(str(source)):
            from genrlhf.integrations import load_outputs

            self.given[name] = GivenOutputs.of(name, load_outputs(source))
            self.known[name] = {"file": str(source), "rows": len(self.given[name].rows)}
        else:
            check_causal_lm(str(source), trust_remote_code=trust_remote_code)
            self.models[name] = str(source)
            self.known[name] = {"model": str(source), "weights": model_fingerprint(str(source))}
