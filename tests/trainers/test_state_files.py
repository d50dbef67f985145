"""States of objects as JSON and safetensors."""

from __future__ import annotations

import collections
import enum
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrlhf.errors import ConfigError
from genrlhf.trainers.state_files import check_state, load_state, save_state, state_digest


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def test_an_optimizer_after_some_steps(tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
    save_state(state, tmp_path / "a", name="it")
    found = load_state(tmp_path / "a")
    assert equal(dict(state["net"]), found["net"]) and equal(state["optimizer"], found["optimizer"])
    assert {file.suffix for file in (tmp_path / "a").iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize(
    "state",
    [
        {},
        None,
        {1: "a", "1": "b", (1, 2): None, None: [True, 1, 1.0], "deep": {"tensor": "0", "list": [(), ([],)]}},
        [math.nan, math.inf, -0.0, 2**80, "ümlaut \ud800 \x00"],
        (torch.zeros(0), torch.tensor(3), torch.ones(2, 3, dtype=torch.bfloat16), torch.arange(6).view(2, 3).T),
        {"rng": torch.Generator().manual_seed(3).get_state(), "python": random.Random(3).getstate()},
    ],
)
def test_what_comes_back_is_what_was_there(state: Any, tmp_path: Path) -> None:
    save_state(state, tmp_path, name="it")
    assert equal(state, load_state(tmp_path))
    assert state_digest(state, name="it") == state_digest(load_state(tmp_path), name="it")


def test_one_tensor_under_two_names(tmp_path: Path) -> None:
    tensor = torch.arange(4.0)
    save_state({"a": tensor, "b": tensor, "c": tensor[1:3]}, tmp_path, name="it")
    assert equal(load_state(tmp_path), {"a": tensor, "b": tensor, "c": tensor[1:3]})


def test_a_digest_tells_states_apart() -> None:
    states: list[Any] = [
        {"a": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.float64)},
        {"b": torch.zeros(4)},
        {"a": torch.tensor([0, 0, 0, 1e-30])},
        {"a": [0.0] * 4},
        {"a": (0.0,) * 4},
    ]
    assert len({state_digest(state, name="it") for state in states}) == len(states)


class Kind(enum.Enum):
    ONE = 1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {"a": {"b": [0, np.zeros(2)]}},
            r"holds a numpy.ndarray at state_dict\(\)\['a'\]\['b'\]\[1\]; a checkpoint keeps",
        ),
        ({"a": {1, 2}}, r"holds a builtins.set at state_dict\(\)\['a'\]"),
        (b"bytes", "holds a builtins.bytes"),
        ({"a": Kind.ONE}, "Kind at"),
        ({"f": lambda: 0}, "holds a builtins.function at"),
        ({"a": torch.zeros(2).to_sparse()}, "holds a torch.Tensor"),
        (collections.namedtuple("Pair", "a b")(1, 2), "Pair at"),  # would come back as a tuple
    ],
)
def test_what_no_file_can_hold(state: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=f"The state of the reward r .*{words}"):
        check_state(state, name="the reward r")
