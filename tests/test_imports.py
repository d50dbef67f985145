"""Imports run one way, and importing the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import genrlhf

SOURCE = Path(genrlhf.__file__).parent
BELOW_LOOPS = {"errors", "types", "text", "openai_client", "ops", "data", "models", "sampling", "rewards"}
PARTS: dict[str, set[str]] = {
    "__main__": {"cli"},
    "_lazy": set(),
    "errors": set(),
    "types": {"errors"},
    "tables": {"errors"},
    "pages": set(),
    "places": {"errors"},
    "yaml_files": {"errors"},
    "scripts": set(),
    "markdown": set(),
    "launchers": set(),
    "text": {"scripts"},
    "json_text": {"errors"},
    "openai_client": {"errors"},
    "ops": {"errors", "types"},
    "data": {"errors", "types", "scripts", "text", "json_text", "places", "ops"},
    "models": {"errors", "launchers", "types", "text", "ops", "data"},
    "sampling": {"errors", "types", "text", "openai_client", "ops", "data", "models"},
    "rewards": {"errors", "types", "text", "ops", "data", "models"},
    "trainers": {*BELOW_LOOPS, "launchers", "markdown"},
    "methods": {*BELOW_LOOPS, "places", "trainers", "metrics"},
    "metrics": {"errors", "types", "pages", "scripts", "text", "openai_client"},
    "integrations": {"errors", "types", "text", "json_text"},
    "integrations/callback": {*BELOW_LOOPS, "markdown", "metrics", "integrations"},
    "studies": {
        *BELOW_LOOPS,
        *(
            "json_text",
            "launchers",
            "pages",
            "places",
            "yaml_files",
            "trainers",
            "methods",
            "metrics",
            "integrations",
            "tables",
        ),
    },
    "annotators": {*BELOW_LOOPS, "yaml_files", "metrics", "studies"},
    "cli": {
        *BELOW_LOOPS,
        "annotators",
        "launchers",
        "places",
        "yaml_files",
        "trainers",
        "methods",
        "metrics",
        "tables",
        "integrations",
        "studies",
    },
}
"""Every part of the package, and the other parts it may import."""

CALLBACK = ("integrations/callback/", "integrations/diversity_callback.py")
"""What a Trainer calls back: it brings what samples and measures to others' trainers, and imports none of ours.

A file reader of `integrations` needs none of those, and stays as light as it was.
"""

FACADE = {"_lazy", "errors", "types", "data", "trainers"}
"""The parts whose names `genrlhf` itself offers."""

HEAVY = ("accelerate", "datasets", "nltk", "numpy", "peft", "sentence_transformers", "torch", "transformers", "trl")


def imported_modules(source: str, package: str) -> Iterator[str]:
    """Yield the modules that code imports at any depth, relative ones spelled out, but not for type checkers only."""
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from genrlhf import ops` imports a part too.
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif _is_import_call(node):
            yield node.args[0].value  # type: ignore[attr-defined]
        pending.extend(ast.iter_child_nodes(node))


def _is_import_call(node: ast.AST) -> bool:
    """Say whether a node is `import_module("…")` with the name written out."""
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "import_module"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )


def part_of(path: Path) -> str:
    if path.relative_to(SOURCE).as_posix().startswith(CALLBACK):
        return "integrations/callback"
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    package = ".".join(["genrlhf", *path.relative_to(SOURCE).parts[:-1]])
    modules = [module.split(".") for module in imported_modules(path.read_text(encoding="utf-8"), package)]
    return {module[1] for module in modules if module[0] == "genrlhf" and len(module) > 1}


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        allowed = FACADE
    else:
        assert part in PARTS, f"{part} has no place in the order of imports; give it one in PARTS"
        allowed = PARTS[part] | {part, "_lazy", "__version__"}
    assert imported_parts(path) <= allowed


def test_the_reader_of_imports_sees_all_kinds() -> None:
    source = """
import genrlhf.errors
from genrlhf import ops
from . import sibling
from ..data.schema import check_rows
if TYPE_CHECKING:
    from genrlhf.cli import main
else:
    import genrlhf.studies
def f():
    from genrlhf.metrics import EAD
    importlib.import_module("genrlhf.types")
"""
    assert set(imported_modules(source, "genrlhf.models.inner")) == {
        "genrlhf.errors",
        "genrlhf.ops",
        "genrlhf.models.inner.sibling",
        "genrlhf.models.data.schema.check_rows",
        "genrlhf.studies",
        "genrlhf.metrics.EAD",
        "genrlhf.types",
    }


@pytest.mark.parametrize(
    "module",
    [
        "genrlhf",
        "genrlhf.data",
        "genrlhf.data.embedded",
        "genrlhf.integrations",
        "genrlhf.metrics",
        "genrlhf.text",
        "genrlhf.trainers",
    ],
)
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
