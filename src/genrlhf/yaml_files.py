"""YAML that users write: keys come once, and 1e-3 is a number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from genrlhf.errors import ConfigError

__all__ = ["read_yaml"]


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        names: list[str] = []
        for key, _ in node.value:
            if key.value in names:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is there twice; name each field once", key.start_mark
                )
            names.append(key.value)
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d[\d_]*)(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: str | Path, remedy: str) -> Any:
    """Return what a YAML file holds.

    Args:
        path: of the file.
        remedy: what to do where it is not there.

    Raises:
        ConfigError: it is not there, no YAML, or names a key twice.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error}); {remedy}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML that can be read: {' '.join(str(error).split())}") from error
