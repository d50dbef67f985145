"""What is held, computed and trained in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genrlhf.errors import ConfigError
from genrlhf.models import freeze_layers
from genrlhf.models.precision import default_precision, hold_in_training_precision, is_low_precision, with_precision_of
from genrlhf.trainers import PPOConfig, RewardModelConfig, SFTConfig
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt, tiny_reward_model
from tests.trainers.runs import QUIET


@pytest.fixture(autouse=True)
def plain_products() -> Iterator[None]:
    """Leave torch's precision of products as it was."""
    yield
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.fp32_precision = "none"
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.backends.mkldnn.matmul.fp32_precision = "none"
    else:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2, tiny_opt, tiny_reward_model])
def test_what_is_trained_is_held_in_float32(build: Any) -> None:
    model = build().bfloat16()
    freeze_layers(model, 0.5)
    hold_in_training_precision(model)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16), name


@pytest.mark.parametrize(
    ("dtype", "mixed", "low"),
    [
        (torch.float32, "no", False),
        (torch.float64, "no", False),
        (torch.float32, "bf16", True),
        (torch.bfloat16, "no", True),
        (torch.float16, "no", True),
    ],
)
def test_what_counts_as_low_precision(dtype: torch.dtype, mixed: str, low: bool) -> None:
    model = tiny_llama()
    model.model.layers[1].to(dtype)
    assert is_low_precision(model, mixed) is low


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_rounded_products_of_float32_count_as_low_precision(setting: str) -> None:
    assert not is_low_precision(tiny_llama(), "no")
    torch.set_float32_matmul_precision(setting)
    assert is_low_precision(tiny_llama(), "no")


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="needs torch 2.9, which has this setting")
def test_tf32_as_transformers_sets_it_counts_as_low_precision() -> None:
    torch.backends.fp32_precision = "tf32"
    assert is_low_precision(tiny_llama(), "no")
    torch.backends.fp32_precision = "ieee"
    assert not is_low_precision(tiny_llama(), "no")


@pytest.mark.parametrize("config", [SFTConfig, RewardModelConfig, PPOConfig])
def test_weights_in_bfloat16_ask_for_mixed_precision(
    tmp_path: Path, config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    args = config(str(tmp_path), **QUIET)
    assert with_precision_of(tiny_llama(), args) is args
    changed = with_precision_of(tiny_llama().bfloat16(), args)
    assert (changed.bf16, changed.mixed_precision) == (True, "bf16")
    assert (args.bf16, args.mixed_precision) == (False, "no")
    assert "The model's weights are bfloat16" in caplog.text
    chosen = config(str(tmp_path), bf16=True, **QUIET)
    assert with_precision_of(tiny_llama().bfloat16(), chosen) is chosen
    with pytest.raises(ConfigError, match=r"weights are float16.*load it in float32 or bfloat16.*or set fp16=True"):
        with_precision_of(tiny_llama().half(), args)
    assert with_precision_of(tiny_llama().half(), chosen) is chosen


@pytest.mark.parametrize(
    ("settings", "on_gpu"),
    [
        ({}, True),
        ({"bf16": False}, False),
        ({"fp16": True}, False),
        ({"use_cpu": True}, False),
        ({"launched": True}, False),
        ({"bf16": True, "use_cpu": True}, True),
    ],
)
def test_bfloat16_where_a_gpu_has_it_and_nothing_else_was_chosen(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], on_gpu: bool
) -> None:
    given = {"bf16": None, "fp16": False, "use_cpu": False, **settings}
    if given.pop("launched", False):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        args = SimpleNamespace(**given)
        default_precision(args)
        assert args.bf16 is (on_gpu and (gpu or bool(given["bf16"])))


def test_ppo_has_the_default_of_the_other_trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.models.precision.torch.cuda.is_bf16_supported", lambda: True)
    for config in (SFTConfig, RewardModelConfig, PPOConfig):
        assert config.__dataclass_fields__["bf16"].default is None, config
        assert config(str(tmp_path), **QUIET).bf16 is False
