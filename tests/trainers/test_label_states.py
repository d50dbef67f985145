"""What SFT leaves out on a processor against TRL's head, which computes all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

from genrlhf.models import freeze_layers
from genrlhf.models.structure import decoder_layers
from genrlhf.trainers import SFTConfig, label_states
from genrlhf.trainers.label_states import leave_out_the_rest
from tests.decoders.configs import build, known
from tests.trainers.runs import logged, sft_trainer, weights

trl_utils = pytest.importorskip("trl.trainer.utils")
FIELDS = ("log_probs", "entropy", "is_top1")

pytestmark = pytest.mark.skipif(
    not hasattr(trl_utils, "add_fused_lm_head"), reason="this version of TRL has no fused LM head"
)


def batch() -> dict[str, torch.Tensor]:
    """Five right-padded rows: labels behind a prompt, everywhere, in two turns, nowhere, and at the longest's end."""
    lengths, learnt = (6, 4, 11, 5, 12), ([4, 5], [0, 1, 2, 3], [2, 3, 7, 8], [], [10, 11])
    ids = torch.randint(10, 250, (5, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(12) < torch.tensor(lengths).unsqueeze(1)
    labels = torch.full_like(ids, -100)
    for row, places in enumerate(learnt):
        labels[row, places] = ids[row, places]
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels, "use_cache": False}  # type: ignore[dict-item]


def found_by(model: Any, **changes: Any) -> tuple[Any, list[torch.Tensor]]:
    """Return what the head says, and the gradients of a loss that weighs every label otherwise."""
    found = model(**{**batch(), **changes}, fused_lm_head=True)
    weighed = found.log_probs * torch.linspace(0.5, 2, found.log_probs.numel()).view_as(found.log_probs)
    trained = [p for p in model.parameters() if p.requires_grad]
    return found, list(torch.autograd.grad(weighed.sum(), trained, allow_unused=True))


@pytest.mark.parametrize(
    "name",
    map(known, ["llama", "gpt2", "opt", "gemma2", "cohere2", "granite", "gpt_oss", "mixtral", "deepseek_v3", "lfm2"]),
)
@pytest.mark.parametrize("frozen", [0, 0.5])
def test_loss_gradients_and_figures_are_those_of_trls_head(
    name: str, frozen: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_states, "ROWS_OF_LIKE_LENGTH", 2)
    model = build(name)
    freeze_layers(model, frozen)
    trl_utils.add_fused_lm_head(model, outputs=FIELDS)
    expected, gradients = found_by(model)
    before = model.forward
    leave_out_the_rest(model, SFTConfig(use_cpu=True))
    assert model.forward != before
    found, ours = found_by(model)
    assert found.keys() == expected.keys()
    for key in ("loss", "log_probs", "entropy"):
        torch.testing.assert_close(found[key], expected[key], atol=2e-6, rtol=1e-6)
    for key in ("is_top1", "label_mask"):
        assert torch.equal(found[key], expected[key])
    largest = max(float(each.abs().max()) for each in gradients if each is not None)
    for one, other in zip(ours, gradients, strict=True):
        if other is None:
            assert one is None or not one.any()
        else:
            torch.testing.assert_close(one, other, atol=2e-6 * largest, rtol=1e-5)


def test_no_position_is_computed_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest of two rows is as wide as its pass, and the last layer begins before its first label."""
    monkeypatch.setattr(label_states, "ROWS_OF_LIKE_LENGTH", 2)
    model: Any = build("llama")
    trl_utils.add_fused_lm_head(model, outputs=FIELDS)
    leave_out_the_rest(model, SFTConfig(use_cpu=True))
    seen: list[tuple[int, ...]] = []
    for layer in decoder_layers(model):
        layer.mlp.register_forward_hook(lambda _module, args, _output: seen.append(tuple(args[0].shape[:2])))
    found_by(model)
    assert seen == [(2, 5), (2, 4), (2, 11), (2, 10), (1, 12), (1, 3)]


def test_rows_without_a_label_have_a_gradient_of_zero() -> None:
    model = build("llama")
    trl_utils.add_fused_lm_head(model, outputs=FIELDS)
    leave_out_the_rest(model, SFTConfig(use_cpu=True))
    found, gradients = found_by(model, labels=torch.full((5, 12), -100))
    assert found.loss.item() == 0
    assert not any(each.any() for each in gradients if each is not None)


def test_what_it_does_not_know_is_left_to_trl() -> None:
    """Positions of rows that lie one behind the other, and generation."""
    model: Any = build("llama")
    trl_utils.add_fused_lm_head(model, outputs=FIELDS)
    ids, places = torch.tensor([[7, 8, 9, 10]]), torch.tensor([[0, 1, 0, 1]])
    given = {"labels": ids, "position_ids": places, "attention_mask": torch.ones_like(ids), "use_cache": False}
    expected = model(input_ids=ids, **given, fused_lm_head=True)
    logits = model(input_ids=ids).logits
    leave_out_the_rest(model, SFTConfig(use_cpu=True))
    assert torch.equal(model(input_ids=ids, **given, fused_lm_head=True).log_probs, expected.log_probs)
    assert torch.equal(model(input_ids=ids).logits, logits)


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_accumulation_steps": 2},
        {"peft_config": LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=2, lora_dropout=0.5)},
        {"weight_column": "weight"},
        {"loss_type": "dft", "gradient_checkpointing": True},
    ],
    ids=["accumulation", "lora", "weights", "dft"],
)
def test_a_run_ends_as_with_trls_head(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "ab" * (1 + n % 5), "completion": "c" * (1 + n % 3), "weight": 1.0 + n % 2} for n in range(16)]
    figures, ends = [], []
    for name in ("ours", "theirs"):
        torch.manual_seed(0)
        trainer = sft_trainer(
            tmp_path / name,
            train_dataset=Dataset.from_list(rows),
            **{"per_device_train_batch_size": 4, "max_steps": 2, "logging_steps": 1, "optim": "sgd", **settings},
        )
        trainer.train()
        figures.append([logged(trainer, key) for key in ("loss", "entropy", "mean_token_accuracy", "grad_norm")])
        ends.append(weights(trainer.model))
        monkeypatch.setattr("genrlhf.trainers.sft.leave_out_the_rest", lambda *_: None)
    for one, other in zip(*figures, strict=True):
        assert one == pytest.approx(other, rel=2e-6)
    for key, value in ends[1].items():
        torch.testing.assert_close(ends[0][key], value, atol=1e-6, rtol=1e-6)
