"""Stages by their content, in an order in which each comes behind what it needs."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import ConfigError
from genrlhf.studies.canonical import canonical_text
from genrlhf.studies.graph import Graph, Stage, StageContext, in_order


def stage(name: str, settings: Mapping[str, Any] | None = None, **needs: Stage) -> Stage:
    return Stage(name, settings or {}, needs, lambda folder, context: {})


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Settings:
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": {"d": None, "c": True}}, '{"a":{"c":true,"d":null},"b":1}'),
        ([1.0, -0.0, 1e-3, 2.0**60, 10**20], "[1,0,0.001,1.152921504606847e+18,100000000000000000000]"),
        ({3, 1, 2}, "[1,2,3]"),
        (frozenset({"b", "a"}), '["a","b"]'),
        (Settings(), '{"names":["a"],"rate":0.5}'),
        ([Colour.RED, np.float32(0.5), np.int64(3), np.float64(2.0)], '["red",0.5,3,2]'),
        ("Ünï \ud800", '"\\u00dcn\\u00ef \\ud800"'),
    ],
)
def test_one_text_for_one_content(value: Any, text: str) -> None:
    assert canonical_text(value) == text


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "learning_rate is nan; it must be finite"),
        (float("-inf"), "learning_rate is -inf"),
        (Path("data"), "learning_rate is .*a digest of the contents"),
        (len, "of the type builtin_function_or_method"),
        (b"x", "of the type bytes"),
        ({1: 2}, "learning_rate has the key 1; keys must be texts"),
        (LOOP, "holds itself"),
        ([0.5, {"x": float("nan")}], "learning_rate, item 1, x is nan"),
    ],
    ids=["nan", "inf", "path", "function", "bytes", "key", "loop", "inner"],
)
def test_what_has_no_one_form_is_refused_by_its_place(value: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=f"settings of stage sft, {told}|{told}"):
        stage("sft", {"learning_rate": value})


def test_a_key_is_of_kind_settings_and_needs_by_role() -> None:
    base = stage("sft/seed-0", {"rate": 1e-3})
    same = stage("sft/other", {"rate": 0.001})
    assert base.key == same.key
    ppo = stage("ppo/a", {"kl": 1}, start=base)
    assert ppo.key == stage("ppo/b", {"kl": 1.0}, start=same).key
    others = [
        stage("ppo/a", {"kl": 2}, start=base),
        stage("ppo/a", {"kl": 1}, reward=base),
        stage("ppo/a", {"kl": 1}, start=stage("sft/seed-0", {"rate": 2e-3})),
        stage("ppo/a", {"kl": 1}),
        stage("nlpo/a", {"kl": 1}, start=base),
        Stage("ppo/a", {"kl": 1}, {"start": base}, lambda folder, context: {}, kind="train"),
    ]
    assert len({ppo.key, *(other.key for other in others)}) == 7
    assert ppo.place == f"ppo/a-{ppo.key[:8]}"


def test_a_key_does_not_change_with_what_is_changed_later() -> None:
    settings: dict[str, Any] = {"list": [1]}
    needs = {"start": stage("sft")}
    ppo = Stage("ppo", settings, needs, lambda folder, context: {})
    settings["list"].append(2)
    needs["start"] = ppo
    assert ppo.settings == {"list": [1]} and ppo.needs["start"].name == "sft"
    with pytest.raises(TypeError):
        ppo.needs["start"] = ppo  # type: ignore[index]


@pytest.mark.parametrize("name", ["a", "sample/ppo@1.0/id/seed-0", "_x", "A-1.b@c"])
def test_names(name: str) -> None:
    assert stage(name).name == name


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "-a", "a b", "a;b", "$(a)", "ä", "a\n", "@a", "x" * 200, 3]
)
def test_names_that_are_no_words_of_a_shell_or_no_files(name: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be called|shorten it"):
        stage(name)


def test_a_need_is_a_stage() -> None:
    with pytest.raises(ConfigError, match="Stage ppo needs 'sft' as 'start'; it must be a Stage"):
        stage("ppo", start="sft")  # type: ignore[arg-type]


def test_a_graph_has_what_is_needed_in_order() -> None:
    sft = stage("sft")
    reward = stage("reward", start=sft)
    graph = Graph([stage("ppo", start=sft, reward=reward), stage("gem")])
    assert [each.name for each in graph] == ["sft", "reward", "ppo", "gem"]
    assert len(graph) == 4 and "gem" in graph and graph["reward"] is reward
    with pytest.raises(ConfigError, match="no stage 'rewrad'; did you mean reward?"):
        graph["rewrad"]


def test_one_stage_made_twice_is_one_and_two_of_one_name_are_refused() -> None:
    assert len(Graph([stage("a", start=stage("sft")), stage("b", start=stage("sft"))])) == 3
    with pytest.raises(ConfigError, match=r"Two stages are called sft: rate is 1 in one and 2 in the other\. Rename"):
        Graph([stage("a", start=stage("sft", {"rate": 1})), stage("b", start=stage("sft", {"rate": 2}))])


def test_a_long_chain() -> None:
    last = stage("x0")
    for number in range(1, 3000):
        last = stage(f"x{number}", start=last)
    assert [each.name for each in Graph([last])][-1] == "x2999"


def test_cycles_and_what_is_not_there() -> None:
    with pytest.raises(ConfigError, match="Method b needs itself: b → c → b. Take one"):
        in_order({"a": ["b"], "b": ["c"], "c": ["b"]}, "Method")
    with pytest.raises(ConfigError, match="a needs itself: a → a"):
        in_order({"a": ["a"]})
    with pytest.raises(ConfigError, match="Stage a needs b, which is not there; there are a"):
        in_order({"a": ["b"]})


def test_a_stage_asks_only_for_what_it_needs() -> None:
    context = StageContext({"start": Path("x")}, {"start": {"loss": 1}})
    assert context.folder_of("start") == Path("x") and context.figures_of("start") == {"loss": 1}
    with pytest.raises(ConfigError, match="asks for 'reward', which it does not need; it needs start"):
        context.folder_of("reward")
