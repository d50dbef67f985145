"""Soft preference learning: DPO with two weights, by TRL's own loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset

from genrlhf.errors import ConfigError
from genrlhf.methods import get_method
from genrlhf.ops import soft_preference_logits
from genrlhf.trainers import DPOTrainer
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.trainers.runs import largest_difference, logged, weights
from tests.trainers.test_preference_tuning import PAIRS, trainer

SGD: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}


def margins(model: Any) -> torch.Tensor:
    """log π(w) − log π(l) of every pair, one sequence at a time."""
    found = []
    for row in PAIRS:
        asked, sums = tiny_tokenizer()(row["prompt"])["input_ids"], []
        for name in ("chosen", "rejected"):
            ids = asked + tiny_tokenizer()(row[name] + "<eos>")["input_ids"]
            logp = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            sums.append(logp[range(len(ids) - 1), ids[1:]][len(asked) - 1 :].sum())
        found.append(sums[0] - sums[1])
    return torch.stack(found)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.1), (0.05, 0.2)])
def test_a_step_goes_down_the_loss_with_two_weights(alpha: float, beta: float, tmp_path: Path) -> None:
    made = trainer("dpo", tmp_path, alpha=alpha, beta=beta, max_steps=1, per_device_train_batch_size=8, **SGD)
    held_out = made.evaluate()["eval_loss"]
    made.train()
    model = tiny_llama()
    with torch.no_grad():
        reference = margins(model)
    loss = -torch.nn.functional.logsigmoid(alpha * margins(model) - beta * reference).mean()
    loss.backward()
    assert logged(made, "loss")[0] == pytest.approx(float(loss.detach()), abs=1e-6)
    assert held_out == pytest.approx(float(loss.detach()), abs=1e-6)
    # Rewards are those whose difference the loss is of.
    assert logged(made, "rewards/margins")[0] == pytest.approx(float((alpha - beta) * reference.mean()), abs=1e-5)
    expected = {name: p.detach() - 0.1 * p.grad for name, p in model.named_parameters()}
    assert largest_difference(weights(made.model), expected) < 1e-6
    # What the run is known by is what the user said.
    assert (made.args.alpha, made.args.beta) == (alpha, beta)


def test_equal_weights_are_dpo_in_every_digit(tmp_path: Path) -> None:
    plain = trainer("dpo", tmp_path / "dpo", beta=0.2)
    equal = trainer("dpo", tmp_path / "equal", beta=0.2, alpha=0.2)
    near = trainer("dpo", tmp_path / "near", beta=0.2, alpha=0.2 + 1e-12)
    for made in (plain, equal, near):
        made.train()
    assert largest_difference(weights(plain.model), weights(equal.model)) == 0
    assert logged(plain, "loss") == logged(equal, "loss")
    assert logged(near, "loss") == pytest.approx(logged(plain, "loss"), abs=1e-6)


def test_the_logits() -> None:
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 50, dtype=torch.float64)
    logits = soft_preference_logits(policy, reference, alpha=0.3, beta=0.1)
    # Swapping the pair costs the logit; a constant added to log π_ref cancels in its margin.
    loss, swapped = (-torch.nn.functional.logsigmoid(sign * logits) for sign in (1, -1))
    assert torch.allclose(loss - swapped, -logits, atol=1e-12)
    both = soft_preference_logits(policy, policy, alpha=0.2, beta=0.2)
    assert torch.allclose(-torch.nn.functional.logsigmoid(both), torch.log(torch.tensor(2.0).double()))
    assert torch.autograd.gradcheck(
        lambda p: soft_preference_logits(p, reference, alpha=0.3, beta=0.1), policy.requires_grad_(True)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha": 0.0}, "alpha must be above 0 and finite, not 0.0"),
        ({"alpha": -1.0}, "alpha must be above 0 and finite, not -1.0"),
        ({"alpha": 0.3, "beta": 0.0}, r"beta must be above 0, not 0\.0"),
        ({"alpha": 0.3, "loss_type": ["ipo"]}, r"alpha=0\.3 weighs .* loss_type=ipo changes"),
        ({"alpha": 0.3, "f_divergence_type": "js_divergence"}, "f_divergence_type=js_divergence changes"),
        ({"alpha": 0.3, "ld_alpha": 0.5}, r"ld_alpha=0\.5 changes"),
        ({"alpha": 0.3, "sync_ref_model": True}, "sync_ref_model=True changes"),
    ],
)
def test_what_cannot_go_together(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer("dpo", tmp_path, **given)


def test_a_stream_has_no_pass_before_training(tmp_path: Path) -> None:
    stream = IterableDataset.from_generator(lambda: iter(PAIRS))
    args = get_method("spl").config_class()(str(tmp_path), max_steps=1, alpha=0.3, report_to="none", use_cpu=True)
    with pytest.raises(ConfigError, match=r"With alpha all pairs are read once before training; give a datasets"):
        DPOTrainer(tiny_llama(), args, stream, processing_class=tiny_tokenizer())
    assert Dataset.from_list(PAIRS).num_rows == 8
