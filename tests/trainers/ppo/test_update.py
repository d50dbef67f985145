from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from genrlhf.models.policy import PolicyWithValue
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt
from tests.trainers.runs import largest_difference, logged, ppo_trainer, prompt_rows, weights


@pytest.mark.parametrize("family", [tiny_llama, tiny_gpt2])
def test_one_update_against_a_loop(tmp_path: Path, family: Any) -> None:
    """One SGD step, written out token by token from the papers' equations."""
    scores: list[float] = []

    def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        scores.extend(completion.count("e") - 0.1 * len(completion) for completion in completions)
        return scores

    lr, lam, gamma, vf_coef, kl_coef = 0.05, 0.9, 0.97, 0.3, 0.2
    reference, policy = family(seed=5), family()
    trainer = ppo_trainer(
        tmp_path,
        reward=reward,
        ref_model=reference,
        model=policy,
        num_rollouts=1,
        num_ppo_epochs=1,
        optim="sgd",
        learning_rate=lr,
        max_grad_norm=1e9,
        lam=lam,
        gamma=gamma,
        vf_coef=vf_coef,
        kl_coef=kl_coef,
        temperature=0.8,
    )
    trainer.train()
    rollout = trainer.buffer.rollout
    assert rollout is not None
    model, bias = family(), torch.zeros(1, requires_grad=True)
    head = torch.zeros(16, requires_grad=True)
    advantages, returns, logps, values, kls = [], [], [], [], []
    for row in range(16):
        prompt = rollout.prompt_ids[row][rollout.prompt_mask[row]]
        completion = rollout.completion_ids[row][rollout.completion_mask[row]]
        ids = torch.cat([prompt, completion])[None]
        output = model(ids, output_hidden_states=True)
        start, length = len(prompt) - 1, len(completion)
        logp = (output.logits[0, start:-1] / 0.8).log_softmax(-1)[range(length), completion]
        value = output.hidden_states[-1][0, start:-1] @ head + bias
        with torch.no_grad():
            ref = (reference(ids).logits[0, start:-1] / 0.8).log_softmax(-1)[range(length), completion]
        rewards = [-kl_coef * float(logp[t].detach() - ref[t]) for t in range(length)]
        rewards[-1] += scores[row]
        advantage, following = 0.0, 0.0
        column: list[float] = []
        for t in reversed(range(length)):
            delta = rewards[t] + gamma * following - float(value[t].detach())
            advantage = delta + gamma * lam * advantage
            following = float(value[t].detach())
            column.insert(0, advantage)
        advantages += column
        returns += [a + float(v.detach()) for a, v in zip(column, value, strict=True)]
        logps.append(logp)
        kls.append(float((logp.detach() - ref).sum()))
        values.append(value)
    a = torch.tensor(advantages, dtype=torch.float64)
    a = ((a - a.mean()) / a.std()).float()  # as documented: the unbiased one
    logp, value = torch.cat(logps), torch.cat(values)
    # At ratio 1 the gradient of the clipped surrogate is that of −A log π; at V = V_old the value is not clipped.
    value_loss = 0.5 * (value - torch.tensor(returns)) ** 2
    loss = (-a * logp + vf_coef * value_loss).mean()
    loss.backward()
    trained = weights(trainer.policy)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(trained[name], parameter.detach() - lr * parameter.grad, atol=1e-5), name
    linear = trainer.collector.model.value_head.linear
    assert head.grad is not None and bias.grad is not None
    assert torch.allclose(linear.weight[0], -lr * head.grad, atol=1e-6)
    assert torch.allclose(linear.bias, -lr * bias.grad, atol=1e-6)
    assert float(head.grad.abs().max()) > 1e-3
    assert logged(trainer, "value/loss") == pytest.approx([float(value_loss.detach().mean())], rel=1e-4)
    assert logged(trainer, "policy/loss") == pytest.approx([0.0], abs=1e-5)
    assert logged(trainer, "objective/kl") == pytest.approx([sum(kls) / 16], abs=1e-4)
    assert logged(trainer, "objective/scores") == pytest.approx([sum(scores) / 16], abs=1e-5)
    expected = sum(scores) / 16 - kl_coef * sum(kls) / 16
    assert logged(trainer, "objective/rlhf_reward") == pytest.approx([expected], abs=1e-4)
    assert logged(trainer, "objective/completion_length") == [len(advantages) / 16]


@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2, tiny_opt])
def test_log_probs_and_values_come_from_sampling_and_the_first_ratio_is_one(tmp_path: Path, build: Any) -> None:
    trainer = ppo_trainer(tmp_path, model=build(), temperature=0.7)
    torch.nn.init.normal_(trainer.collector.model.value_head.linear.weight)
    rows, seeds = list(prompt_rows(16)), list(range(16))
    with patch.object(PolicyWithValue, "forward", side_effect=AssertionError("a second pass over the rollout")):
        rollout, _ = trainer.collector.collect(rows, seeds)
    with torch.no_grad():
        output = trainer.collector.model(
            rollout.prompt_ids, rollout.prompt_mask, rollout.completion_ids, rollout.completion_mask
        )
    mask = rollout.completion_mask
    ratio = (output.logprobs - rollout.logprobs).exp()[mask]
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-4, rtol=0)
    torch.testing.assert_close(rollout.values[mask], output.values[mask], atol=1e-4, rtol=1e-4)


def test_in_low_precision_the_rollout_is_scored_by_the_training_forward_pass(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, bf16=True)
    model = trainer.collector.model
    with patch.object(model, "forward", wraps=model.forward) as forward:
        rollout, _ = trainer.collector.collect(list(prompt_rows(16)), list(range(16)))
    assert forward.call_count == 1
    with torch.no_grad(), trainer.collector.autocast():
        output = model(rollout.prompt_ids, rollout.prompt_mask, rollout.completion_ids, rollout.completion_mask)
    mask = rollout.completion_mask
    assert torch.equal(output.logprobs[mask], rollout.logprobs[mask])


def test_another_sampler_gets_the_weights_before_every_rollout(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path)
    own, seen = trainer.collector.sampler, []

    class Watched:
        def update_weights(self, model: Any) -> None:
            seen.append(model)
            own.update_weights(model)

        def generate(self, *args: Any) -> Any:
            # What an engine of another library returns: ids, without hidden states.
            return replace(own.generate(*args), last_hidden=None, entropy=None)

    other = ppo_trainer(tmp_path / "other", sampler=Watched())
    other.train()
    trainer.train()
    assert seen == [other.policy] * 2
    assert largest_difference(weights(other.policy), weights(trainer.policy)) < 1e-5
