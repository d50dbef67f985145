"""Weights that are dealt out to processes: what cannot sample from them says so before it loads a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import ConfigError, ModelError
from genrlhf.methods.unlikelihood import Unlikelihood
from genrlhf.trainers import (
    BestOfNConfig,
    BestOfNTrainer,
    PPOConfig,
    PPOTrainer,
    SampleAndTuneConfig,
    SampleAndTuneTrainer,
    SFTConfig,
    SFTTrainer,
    sharding,
)
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.sharding import refuse_sharded_sampling, sharding_of
from genrlhf.trainers.supervised_batch import SupervisedBatch
from tests.trainers.runs import QUIET

NOWHERE = "there/is/no/such/model"


def dealt_out(patch: pytest.MonkeyPatch, kind: str) -> None:
    """Make a run look like one that accelerate has launched."""
    if kind == "ZeRO-3":
        patch.setattr(sharding, "is_deepspeed_zero3_enabled", lambda: True)
        return
    patch.setenv("ACCELERATE_USE_FSDP", "true")
    patch.setenv("FSDP_VERSION", kind[-1])


def makers(folder: Path) -> dict[str, Any]:
    """Constructors that would raise `ModelError`, of a model that is not there."""
    reward = lambda prompts, completions: [0.0] * len(prompts)  # noqa: E731
    return {
        "PPOTrainer": lambda: PPOTrainer(NOWHERE, reward, PPOConfig(str(folder), **QUIET)),
        "BestOfNTrainer": lambda: BestOfNTrainer(NOWHERE, reward, BestOfNConfig(str(folder), **QUIET)),
        "SampleAndTuneTrainer": lambda: SampleAndTuneTrainer(
            NOWHERE, SampleAndTuneConfig(str(folder), **QUIET), transform=lambda groups: []
        ),
        "Unlikelihood": lambda: SFTTrainer(NOWHERE, SFTConfig(str(folder), **QUIET), objective=Unlikelihood()),
    }


@pytest.mark.parametrize("kind", ["ZeRO-3", "FSDP1", "FSDP2"])
def test_who_samples_from_the_model_says_so_before_it_is_loaded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt_out(monkeypatch, kind)
    for name, make in makers(tmp_path).items():
        if name == "PPOTrainer" and kind == "FSDP2":
            continue  # gathers them
        with pytest.raises(ConfigError) as raised:
            make()
        if name == "PPOTrainer" and kind == "FSDP1":
            assert "FSDP1) does not give parameters back whole" in str(raised.value)
        else:
            assert name in str(raised.value) and f"not {kind}." in str(raised.value)
            assert ("FSDP2 or DDP" in str(raised.value)) is (name == "PPOTrainer")


class FromStart(Objective):
    needs_start = True

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        return batch.start_logits().logsumexp(-1)


@pytest.mark.parametrize("kind", ["ZeRO-3", "FSDP1", "FSDP2"])
def test_who_reads_the_model_as_it_starts_needs_its_weights_left_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt_out(monkeypatch, kind)
    told = (
        NOWHERE if kind == "FSDP2" else f"objective=FromStart reads the model as it starts.* {kind} takes these apart"
    )
    with pytest.raises(ModelError if kind == "FSDP2" else ConfigError, match=told):
        SFTTrainer(NOWHERE, SFTConfig(str(tmp_path), **QUIET), objective=FromStart())


def test_who_does_not_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for make in makers(tmp_path).values():
        with pytest.raises(ModelError, match=NOWHERE):
            make()
    dealt_out(monkeypatch, "FSDP2")
    for make in (
        makers(tmp_path)["PPOTrainer"],
        lambda: SFTTrainer(NOWHERE, SFTConfig(str(tmp_path), **QUIET), objective=Unlikelihood(seq_share=0)),
    ):
        with pytest.raises(ModelError, match=NOWHERE):
            make()


def test_settings_say_it_too(tmp_path: Path) -> None:
    assert sharding_of(SFTConfig(str(tmp_path), **QUIET)) is None
    for settings, kind in (({}, "FSDP2"), ({"version": 1}, "FSDP1")):
        args = SFTConfig(str(tmp_path), **QUIET, fsdp="full_shard", fsdp_config=settings)
        assert sharding_of(args) == kind
        with pytest.raises(ConfigError, match=f"this samples .* use ZeRO-2 or DDP, not {kind}"):
            refuse_sharded_sampling(args, "this")
