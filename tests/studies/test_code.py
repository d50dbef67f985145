"""The digest of a method's code: another one where the method does something else, and not otherwise."""

from __future__ import annotations

import functools
import importlib
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import ConfigError
from genrlhf.methods import Method, get_method
from genrlhf.studies.code import method_code_digest
from genrlhf.studies.source import SourceReader

METHODS = '''
"""Two methods in one module."""

import math
from dataclasses import dataclass

from own_package.helpers import scale
from . import shared
import beside

LIMIT = 3


def _clip(x):
    """Clip."""
    return min(x, LIMIT)  # at most


@dataclass
class First:
    """The first."""

    beta: float = 0.5

    def __call__(self, x):
        return scale(_clip(x))


def second(x):
    return shared.shift(math.exp(x)) + beside.more(x)


TABLE = {}
TABLE["second"] = second

if __name__ == "__main__":
    print(second(1))
'''
HELPERS = "def scale(x):\n    return 2 * x\n\n\ndef unused(x):\n    return x\n"
SHARED = "def shift(x):\n    return x + 1\n"
BESIDE = "def more(x):\n    return x\n"


class Sources:
    """Modules of a user, which are written, changed, and imported anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "own_package").mkdir()
        self.files = {
            "own_package/__init__.py": "from own_package.methods import First, second\n",
            "own_package/methods.py": METHODS,
            "own_package/helpers.py": HELPERS,
            "own_package/shared.py": SHARED,
            "beside.py": BESIDE,
        }
        for name, text in self.files.items():
            (folder / name).write_text(text)

    def change(self, name: str, old: str, new: str) -> None:
        text = self.files[name]
        assert old in text
        self.files[name] = text.replace(old, new)
        (self.folder / name).write_text(self.files[name])
        self.forget()

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in ("own_package", "beside")]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def digests(self) -> tuple[str, str]:
        """Return those of the two methods, by where they are; of the objects themselves they are as stable."""
        self.forget()
        module = importlib.import_module("own_package.methods")
        places = [method_code_digest(f"own_package.methods:{name}") for name in ("First", "second")]
        objects = [method_code_digest(module.First), method_code_digest(module.second)]
        assert objects == [method_code_digest(module.First), method_code_digest(module.second)]
        return places[0] + objects[0], places[1] + objects[1]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Sources(tmp_path)
    yield made
    made.forget()


@pytest.mark.parametrize(
    ("file", "old", "new", "which"),
    [
        ("own_package/methods.py", "min(x, LIMIT)", "max(x, LIMIT)", "first"),
        ("own_package/methods.py", "LIMIT = 3", "LIMIT = 4", "first"),
        ("own_package/methods.py", "beta: float = 0.5", "beta: float = 0.6", "first"),
        ("own_package/methods.py", "@dataclass\n", "@dataclass(frozen=True)\n", "first"),
        ("own_package/helpers.py", "2 * x", "3 * x", "first"),
        ("own_package/methods.py", "math.exp(x)", "math.log(x)", "second"),
        ("own_package/shared.py", "x + 1", "x + 2", "second"),
        ("beside.py", "return x", "return -x", "second"),
        ("own_package/methods.py", 'TABLE["second"] = second', "second.fast = True", "second"),
        ("own_package/methods.py", "import math\n", "import cmath as math\n", "second"),
        ("own_package/methods.py", "  # at most", "  # at the most", "none"),
        ("own_package/methods.py", '"""Clip."""', '"""Clip it."""', "none"),
        ("own_package/methods.py", "LIMIT = 3", "LIMIT  =  3\n\n\n", "none"),
        ("own_package/methods.py", "print(second(1))", "print(second(2))", "none"),
        ("own_package/helpers.py", "def unused(x):\n    return x", "def unused(x):\n    return 2 * x", "none"),
    ],
)
def test_changes_of_code(sources: Sources, file: str, old: str, new: str, which: str) -> None:
    first, second = sources.digests()
    sources.change(file, old, new)
    changed = sources.digests()
    assert (changed[0] != first, changed[1] != second) == (which == "first", which == "second")


def test_a_package_leads_to_where_a_thing_is_defined(sources: Sources) -> None:
    assert method_code_digest("own_package:First") == method_code_digest("own_package.methods:First")


def test_a_method_outside_the_package_is_known_by_its_code_and_not_by_its_label(sources: Sources) -> None:
    def of(**changes: Any) -> str:
        given = {
            "name": "own",
            "label": "Own",
            "paper": "x",
            "loop": "supervised",
            "needs": ("demonstrations",),
            "trainer": "genrlhf.trainers:SFTTrainer",
            "config": "genrlhf.trainers:SFTConfig",
            "settings": "own_package:First",
        }
        return method_code_digest(Method(**{**given, **changes}))

    before = of()
    assert of(label="Mine", name="mine", paper="y") == before
    assert len({before, of(recipe={"learning_rate": 1}), of(needs=("prompts",)), of(trainer="trl:SFTTrainer")}) == 4
    sources.change("own_package/helpers.py", "2 * x", "3 * x")
    assert of() != before


def test_the_methods_of_the_package_differ_and_are_of_their_own_files() -> None:
    names = ("sft", "gem", "ppo", "rloo", "reward_model", "best_of_n", "dpo")
    assert len({method_code_digest(get_method(name)) for name in names}) == len(names)
    reader = SourceReader()
    reader.of_place("genrlhf.methods.gem:GEM")
    assert {place.split(":")[0] for place in reader.found} == {"genrlhf.methods.gem"}
    reader.of_place("genrlhf.trainers:PPOTrainer")
    assert "genrlhf.trainers.ppo.loss:loss_items" in reader.found
    reader.of_place("trl:DPOTrainer")
    packages = {place.split(":")[0].rpartition(".")[0] for place in reader.found}
    assert packages == {"genrlhf.methods", "genrlhf.trainers.ppo"}


def by_factor(factor: float) -> Callable[[float], float]:
    def times(x: float) -> float:
        return factor * x

    return times


@dataclass
class WithFields:
    beta: float
    inner: Any = None


class WithSettings:
    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.calls: set[object] = {object()}

    def settings(self) -> dict[str, float]:
        return {"beta": self.beta}


class Bare:
    def __init__(self, beta: float) -> None:
        self.beta = beta

    def call(self, x: float) -> float:
        return self.beta * x


@pytest.mark.parametrize(
    "make",
    [
        by_factor,
        lambda beta: functools.partial(by_factor, beta),
        WithFields,
        lambda beta: WithFields(0.0, by_factor(beta)),
        WithSettings,
        Bare,
        lambda beta: Bare(beta).call,
        lambda beta: {"a": [by_factor(beta), None, True, 1.0]},
    ],
    ids=["closure", "partial", "dataclass", "inner", "settings", "object", "method", "mapping"],
)
def test_what_an_object_holds_counts(make: Callable[[float], Any]) -> None:
    assert method_code_digest(make(0.5)) == method_code_digest(make(0.5))
    assert method_code_digest(make(0.5)) != method_code_digest(make(0.7))


def test_what_cannot_be_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="no one form as JSON"):
        method_code_digest(WithFields(0.1, {1, object()}))
    scope: dict[str, Any] = {"__name__": "made_up"}
    exec("def f(x):\n    return x\n", scope)
    with pytest.raises(ConfigError, match="The code of 'made_up:f' cannot be found"):
        method_code_digest(scope["f"])
    with pytest.raises(ConfigError, match="defines no nothing at its top"):
        method_code_digest("tests.studies.toys:nothing")


def test_a_function_of_a_notebook_counts_with_what_it_calls() -> None:
    def digest(text: str, cell: str) -> str:
        scope: dict[str, Any] = {"__name__": "a_notebook"}
        linecache.cache[cell] = (len(text), None, text.splitlines(True), cell)
        exec(compile(text, cell, "exec"), scope)
        return method_code_digest(scope["f"])

    text = "def g(x):\n    return x\n\ndef f(x):\n    return g(x)\n"
    assert digest(text, "<cell 1>") == digest(text, "<cell 2>")
    assert len({digest(text, "<cell 1>"), digest(text.replace("return x", "return -x"), "<cell 3>")}) == 2


def test_what_holds_itself() -> None:
    loop = types.SimpleNamespace()
    loop.me = loop
    with pytest.raises(ConfigError, match="holds itself"):
        method_code_digest(loop)


def test_a_library_in_a_folder_of_its_own_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "some_library-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "some_library").mkdir()
    (tmp_path / "site" / "some_library" / "__init__.py").write_text("def helped(x):\n    return x\n")
    (tmp_path / "plain.py").write_text("from some_library import helped\n\n\ndef mine(x):\n    return helped(x)\n")
    for place in (tmp_path / "site", tmp_path):
        monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    reader = SourceReader()
    reader.of_place("plain:mine")
    assert reader.found.keys() == {"plain:mine", "plain:mine uses helped"}
