"""What SFT learns is the distribution of the model's own forward pass, whatever its head is made of."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch.nn.functional import cross_entropy

from genrlhf.models.families import without_router_logits
from genrlhf.trainers.lm_head import has_fused_head, keep_whole_head
from tests.decoders.configs import DECODERS, build, known
from tests.helpers import tiny_llama
from tests.trainers.runs import logged, sft_trainer, weights

trl_utils = pytest.importorskip("trl.trainer.utils")
FIELDS = ("log_probs", "entropy", "is_top1")

pytestmark = pytest.mark.skipif(
    not hasattr(trl_utils, "add_fused_lm_head"), reason="this version of TRL has no fused LM head"
)


def labelled() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two right-padded rows, of which the second has labels at three places only."""
    ids = torch.randint(10, 250, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[1, :2] = -100
    return {"input_ids": ids, "attention_mask": mask}, labels


def with_head(model: Any, *, tried: bool = True) -> Any:
    forward = model.forward
    trl_utils.add_fused_lm_head(model, outputs=FIELDS)
    keep_whole_head(model, forward, tried=tried)
    return model


TRLS_FAILS = {"dbrx", "doge", "llama4_text"}
"""Whose balancing loss TRL's head looks for at another place; a trial finds that out."""


# XLNet reads ahead, and does not come to this.
@pytest.mark.parametrize("name", map(known, sorted(set(DECODERS) - {"xlnet"} - TRLS_FAILS)))
def test_a_model_that_cannot_be_tried_is_judged_by_what_it_is_made_of(name: str) -> None:
    heads = [with_head(build(name), tried=tried).forward.__func__.__code__.co_name for tried in (True, False)]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("name", map(known, sorted(set(DECODERS) - {"xlnet"})))
def test_scores_are_those_of_the_forward_pass(name: str) -> None:
    model = build(name)
    inputs, labels = labelled()
    with torch.no_grad():
        logits = model(**inputs, use_cache=False, **without_router_logits(model)).logits[:, :-1].float()
        found = with_head(model)(**inputs, labels=labels, fused_lm_head=True)
    wanted = labels[:, 1:]
    kept = wanted != -100
    logp = logits.log_softmax(-1)
    right = -cross_entropy(logits.transpose(1, 2), wanted, ignore_index=-100, reduction="none")
    torch.testing.assert_close(found.log_probs, right, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.entropy[kept], -(logp.exp() * logp).sum(-1)[kept], atol=1e-4, rtol=0)
    assert torch.equal(found.is_top1[kept].bool(), (logits.argmax(-1) == wanted)[kept])
    assert torch.equal(found.label_mask, kept)


def test_trls_head_stays_where_it_is_true_to_the_model() -> None:
    for model, kept in ((tiny_llama(), True), (build("bert"), False)):
        forward = model.forward
        trl_utils.add_fused_lm_head(model, outputs=FIELDS)
        before = model.forward
        keep_whole_head(model, forward)
        assert (model.forward == before) == kept
        assert has_fused_head(model)
        # As `generate` looks for the arguments that a model takes.
        assert "input_ids" in inspect.signature(model.forward).parameters


@pytest.mark.parametrize("name", ["bert", "modernbert-decoder", "electra", "llama"])
@pytest.mark.parametrize("adapted", [False, True])
def test_training_takes_the_step_of_the_forward_passs_loss(name: str, adapted: bool, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "max_steps": 1,
        "optim": "sgd",
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_grad_norm": 1e9,
        "logging_steps": 1,
    }
    if adapted:
        settings["peft_config"] = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=2)
    trainer = sft_trainer(tmp_path, model=build(name), **settings)
    start = weights(trainer.model)
    total, count = torch.zeros(()), 0
    for row in trainer.train_dataset:
        ids, labels = (torch.tensor([row[key]]) for key in ("input_ids", "labels"))
        logits = trainer.model(input_ids=ids, use_cache=False).logits
        total = total + cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum")
        count += int((labels[:, 1:] != -100).sum())
    trained = {name: parameter for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    gradients = torch.autograd.grad(total / count, list(trained.values()), allow_unused=True)
    trainer.train()
    assert logged(trainer, "loss")[0] == pytest.approx(float(total.detach()) / count, abs=1e-5)
    after = weights(trainer.model)
    for key, gradient in zip(trained, gradients, strict=True):
        step = torch.zeros_like(start[key]) if gradient is None else -0.1 * gradient
        torch.testing.assert_close(after[key] - start[key], step, atol=1e-5, rtol=1e-3)


def test_a_batch_without_a_label_has_a_gradient_of_zero() -> None:
    model = with_head(build("bert").train())
    inputs, labels = labelled()
    found = model(**inputs, labels=torch.full_like(labels, -100), fused_lm_head=True)
    found.log_probs.sum().backward()
    assert float(found.loss) == 0
    assert all(p.grad is None or float(p.grad.abs().max()) == 0 for p in model.parameters())
