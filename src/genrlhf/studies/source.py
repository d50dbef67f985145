"""The definitions that an object's code is made of, read from the sources of modules without running them."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError, excerpt

__all__ = ["PLACE", "SourceReader"]

PLACE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_][\w.]*")

# Known by the names that are used of them.
_LIBRARIES = frozenset("torch transformers trl peft accelerate datasets numpy genrlhf builtins".split())  # noqa: SIM905
_INSTALLED = tuple({str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("purelib", "platlib", "stdlib")})


class SourceReader:
    """Gathers definitions, each with those that it uses.

    Attributes:
        found: a digest of every definition, by "module:name".
    """

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def of_place(self, place: str) -> str:
        """Gather what "module:name" is made of, and return where it is defined."""
        module, _, name = place.partition(":")
        return self.of(module, name.split(".")[0])

    def of_object(self, thing: Any) -> str:
        """Gather what a function or class is made of, and return its name."""
        module, name = str(thing.__module__), str(thing.__qualname__)
        first = name.split(".")[0]
        if _source(module) is None and inspect.isfunction(thing):
            self._of_source(thing, f"{module}:{name}")
            return f"{module}:{name}"
        # A lambda has no name that its module knows.
        self.of(module, first if first.isidentifier() else None)
        return f"{module}:{name}"

    def _of_source(self, function: Any, place: str) -> None:
        """Gather a function of a notebook, whose module is no file, with the functions that it calls."""
        try:
            text = inspect.getsource(function)
        except (OSError, TypeError):
            raise _unknown(place) from None
        if place not in self.found:
            self.found[place] = hashlib.sha256(text.encode()).hexdigest()[:16]
            for used in inspect.getclosurevars(function).globals.values():
                if inspect.isfunction(used) and _top(used.__module__) not in _LIBRARIES:
                    self.of_object(used)

    def of(self, module: str, name: str | None) -> str:
        """Gather what a name of a module is made of, or all of the module, and return where it is defined.

        Raises:
            ConfigError: where the module has no source, or it has no such name.
        """
        if _top(module) in {*sys.stdlib_module_names, *_LIBRARIES} - {"__main__", "genrlhf"}:
            return f"{module}:{name}"
        source = _source(module)
        if source is None:
            raise _unknown(f"{module}:{name}")
        while name is not None and (target := source.import_of(name)) and target[0].split(".")[0] == _top(module):
            inner = _source(target[0])
            if inner is None or (target[1] is not None and not inner.knows(target[1])):
                break
            module, name, source = target[0], target[1], inner
        if name is not None and not source.knows(name) and _top(module) not in _LIBRARIES:
            raise ConfigError(f"{module} defines no {name} at its top; give the place of something that it defines.")
        self._add(module, name, source)
        return f"{module}:{name}"

    def _add(self, module: str, name: str | None, source: _Source) -> None:
        pending: list[tuple[str, str | None, _Source]] = [(module, name, source)]
        while pending:
            module, name, source = pending.pop()
            place = f"{module}:{name or '*'}"
            if place in self.found:
                continue
            statements = source.all() if name is None else source.statements_of(name)
            self.found[place] = _digest(statements)
            for used in sorted({used for statement in statements for used in _names(statement)}):
                if target := source.import_of(used):
                    inner = _source(target[0]) if _followed(target[0], module) else None
                    if inner is None:
                        self.found[f"{place} uses {used}"] = f"{target[0]}:{target[1]}"
                    elif target[1] is None or inner.knows(target[1]):
                        pending.append((*target, inner))
                elif source.knows(used):
                    pending.append((module, used, source))
                else:
                    for star in source.stars:
                        inner = _source(star) if _followed(star, module) else None
                        if inner is not None and inner.knows(used):
                            pending.append((star, used, inner))


class _Source:
    """The top-level statements of a module by the names that they bind."""

    def __init__(self, module: str, tree: ast.Module, *, is_package: bool) -> None:
        self.package = module if is_package else module.rpartition(".")[0]
        self.bound: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        self.stars: list[str] = []
        self.others: list[ast.stmt] = []
        for statement in _flat(tree.body):
            self._bind(statement)

    def _bind(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                self.imports[alias.asname or alias.name.split(".")[0]] = (alias.name, None)
        elif isinstance(statement, ast.ImportFrom):
            home = self._absolute(statement)
            for alias in statement.names:
                if alias.name == "*":
                    self.stars.append(home)
                    continue
                inner = f"{home}.{alias.name}"
                is_module = _is_package(home) and _spec(inner) is not None
                self.imports[alias.asname or alias.name] = (inner, None) if is_module else (home, alias.name)
        else:
            names = _bound_by(statement)
            for name in names:
                self.bound.setdefault(name, []).append(statement)
            if not names and not _is_text(statement):
                self.others.append(statement)

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        parts = self.package.split(".")
        base = parts[: len(parts) - statement.level + 1]
        return ".".join([*base, *([statement.module] if statement.module else [])])

    def knows(self, name: str) -> bool:
        """Say whether the module binds a name."""
        return name in self.bound or name in self.imports

    def import_of(self, name: str) -> tuple[str, str | None] | None:
        """Return from where a name is imported: a module and a name in it, None for the module itself."""
        return None if name in self.bound else self.imports.get(name)

    def statements_of(self, name: str) -> list[ast.stmt]:
        """Return what binds a name, and the statements that bind none and speak of it, such as a registration."""
        return [*self.bound.get(name, []), *(each for each in self.others if name in _names(each))]

    def all(self) -> list[ast.stmt]:
        """Return all statements but imports."""
        return [*(each for statements in self.bound.values() for each in statements), *self.others]


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, those under a top-level `if` or `try` among them, but not what only a script runs."""
    for statement in body:
        if isinstance(statement, ast.If):
            if "__name__" not in _names(statement.test):
                yield from _flat([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            handled = [each for handler in statement.handlers for each in handler.body]
            yield from _flat([*statement.body, *handled, *statement.orelse, *statement.finalbody])
        else:
            yield statement


def _bound_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _digest(statements: list[ast.stmt]) -> str:
    forms = [_form(statement) for statement in statements]
    return hashlib.sha256(json.dumps(forms).encode()).hexdigest()[:16]


def _form(node: Any) -> Any:
    """Return code without its place, comments and docstrings, alike in all versions of Python."""
    if isinstance(node, list):
        return [_form(each) for each in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name != "ctx"}
    body = fields.get("body")
    if isinstance(body, list) and _is_text(body[0]):
        fields["body"] = body[1:]
    return [type(node).__name__, {name: _form(value) for name, value in fields.items()}]


def _followed(module: str, origin: str) -> bool:
    """Say whether the definitions of `module` count for what `origin` imports from it."""
    if _top(module) == "genrlhf":
        # Below genrlhf.trainers and its like, a package is of one method.
        home = ".".join(origin.split(".")[:3])
        return home.count(".") == 2 and _is_package(home) and f"{module}.".startswith(f"{home}.")
    if _top(module) in _LIBRARIES or _top(module) in sys.stdlib_module_names:
        return False
    return _top(module) == _top(origin) or not _is_installed(module)


def _unknown(place: str) -> ConfigError:
    return ConfigError(
        f"The code of {excerpt(place)} cannot be found, so that it is not known when it changes: put it into a module "
        "of its own file."
    )


def _top(module: str) -> str:
    return module.split(".")[0]


def _spec(module: str) -> Any:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None


def _is_package(module: str) -> bool:
    """Say whether a module is a package whose modules are looked for; in a library, nothing is."""
    spec = None if _top(module) in _LIBRARIES - {"genrlhf"} else _spec(module)
    return spec is not None and spec.submodule_search_locations is not None


def _is_installed(module: str) -> bool:
    """Say whether a module is a library's: of the environment, or of a folder with the records of an installer."""
    spec = _spec(module)
    if spec is None or str(Path(spec.origin or "").resolve()).startswith(_INSTALLED):
        return True
    top = _spec(_top(module))
    origin = Path(getattr(top, "origin", None) or spec.origin or "").resolve()
    return _has_records(origin.parents[1] if origin.name == "__init__.py" else origin.parent)


@lru_cache(maxsize=512)
def _has_records(folder: Path) -> bool:
    return any(folder.glob("*.dist-info"))


def _source(module: str) -> _Source | None:
    """Return the source of a module, None where there is none."""
    if module == "__main__":
        get_source, file = None, getattr(sys.modules["__main__"], "__file__", None)
    else:
        spec = _spec(module)
        get_source, file = getattr(getattr(spec, "loader", None), "get_source", None), getattr(spec, "origin", None)
    try:
        text = get_source(module) if get_source is not None else None
        if text is None and file is not None and file.endswith(".py"):
            text = Path(file).read_text(encoding="utf-8")
    except (ImportError, OSError, UnicodeDecodeError):
        text = None
    return None if text is None else _parsed(module, text, is_package=_is_package(module))


@lru_cache(maxsize=512)
def _parsed(module: str, text: str, *, is_package: bool) -> _Source:
    try:
        return _Source(module, ast.parse(text), is_package=is_package)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"The source of {module} cannot be read: {error}.") from error
