from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import genrlhf

project = "genrlhf"
author = "The genrlhf contributors"
version = release = genrlhf.__version__
language = "en_GB"

sys.path.append(str(Path(__file__).parent / "_sphinx"))
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "mathml", "options"]
html_math_renderer = "mathml"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
# Fields of a record are described under "Attributes", and would otherwise be listed a second time.
napoleon_use_ivar = True
# Docstrings are written for the terminal: `name` is code, not a cross-reference.
default_role = "code"

html_theme = "furo"
html_title = f"genrlhf {release}"

# autodoc lists what a module holds, and these hold their names only once they have been asked for.
for _module in map(importlib.import_module, ("genrlhf.data", "genrlhf.metrics", "genrlhf.metrics.preference")):
    vars(_module).update({name: getattr(_module, name) for name in _module.__all__})


def _own_fields(config: type) -> list[dataclasses.Field[Any]]:
    """Return the fields that our configs add to those of other libraries, or change."""
    ours = {name for c in config.__mro__ if c.__module__.startswith("genrlhf.") for name in vars(c)["__annotations__"]}
    return [field for field in dataclasses.fields(config) if field.name in ours]


def _is_config(obj: object) -> bool:
    return isinstance(obj, type) and dataclasses.is_dataclass(obj) and obj.__name__.endswith("Config")


def _drop_signature(app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    # That of a config lists over a hundred fields of the libraries underneath.
    return ("(output_dir, ...)", None) if _is_config(obj) else None


def _describe_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if not _is_config(obj):
        return
    lines.append("")
    for field in _own_fields(obj):
        lines += [f"* ``{field.name}`` (default ``{field.default!r}``): {field.metadata['help']}"]
    lines.append("")


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", _drop_signature)
    app.connect("autodoc-process-docstring", _describe_fields)
