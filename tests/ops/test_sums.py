"""Sums that suit the device."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path

import pytest
import torch

import genrlhf
from genrlhf.ops import running_sum, widened, widest_dtype
from genrlhf.ops.sums import _running_sum_in_passes


def test_widest_is_float64_but_on_apples_gpus() -> None:
    assert [widest_dtype(torch.device(name)) for name in ("cpu", "cuda", "mps")] == [
        torch.float64,
        torch.float64,
        torch.float32,
    ]
    assert widened(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float64


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100, 129])
def test_passes_add_up_what_a_loop_adds_up(size: int) -> None:
    values = torch.randint(0, 1000, (3, size), generator=torch.Generator().manual_seed(size)).double()
    expected = [list(accumulate(row)) for row in values.tolist()]
    assert _running_sum_in_passes(values).tolist() == expected
    assert running_sum(values).tolist() == expected


def test_a_running_sum_has_the_dtype_that_is_asked_for() -> None:
    assert running_sum(torch.ones(2, 3), torch.float64).dtype == torch.float64
    assert running_sum(torch.ones(2, 3)).dtype == torch.float32


def test_what_runs_on_a_device_asks_for_its_widest_dtype() -> None:
    """MPS has no float64: whoever wants it for a tensor of the model's device takes it from `sums`."""
    on_the_processor = {
        *("ops/sums.py", "ops/best_of_n.py"),
        *("trainers/best_of_n_choice.py", "trainers/cut_off.py", "trainers/ppo/batches.py"),
    }
    root = Path(genrlhf.__file__).parent
    found = {
        f"{path.relative_to(root)}: {line.strip()}"
        for folder in ("ops", "sampling", "models", "trainers")
        for path in (root / folder).rglob("*.py")
        if str(path.relative_to(root)) not in on_the_processor
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\.double\(\)|dtype=torch\.float64", line)
    }
    # Drawn on the processor, whatever the device, so that the completions are the same.
    assert {line for line in found if not line.startswith("sampling/choose.py")} == set()
