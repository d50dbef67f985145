"""Every method trains on a GPU what it trains on a processor; without a GPU one method stands for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.methods.everything import POLICIES, trained, trainer

ON_GPU = torch.cuda.is_available()


@pytest.mark.parametrize("name", POLICIES if ON_GPU else POLICIES[:1])
def test_a_method_trains_what_it_trains_on_a_processor(name: str, tmp_path: Path) -> None:
    settings = {"bf16": False, "tf32": False} if ON_GPU else {}
    processor = trained(trainer(name, tmp_path / "processor"))
    device = trained(trainer(name, tmp_path / "device", use_cpu=not ON_GPU, **settings))
    assert set(processor) == set(device)
    for key, weight in processor.items():
        torch.testing.assert_close(device[key].cpu(), weight.cpu(), rtol=0, atol=1e-5, msg=key)
