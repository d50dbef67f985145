"""NLPO: draws from the nucleus of a lagging policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import ModelError
from genrlhf.models.completions import completion_logits
from genrlhf.ops import nucleus
from genrlhf.ops.token_sets import unpack_bits
from genrlhf.types import Tokens
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.sampling.families import PLAIN_FAMILIES
from tests.trainers.runs import largest_difference, logged, ppo_trainer, prompt_rows, weights

LETTERS, JUNK = "abcd", "z"


def letters_and_junk(junk: float = 0.03) -> Any:
    """A model that writes a, b, c, d alike, and z now and then, whatever comes before."""
    model = tiny_llama()
    tokenizer = tiny_tokenizer()
    wanted = torch.zeros(model.config.vocab_size)
    for letter in LETTERS:
        wanted[tokenizer(letter)["input_ids"][0]] = (1 - junk) / len(LETTERS)
    wanted[tokenizer(JUNK)["input_ids"][0]] = junk
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    vocabulary = wanted.nonzero().flatten()
    for _ in range(150):
        ids = vocabulary[torch.randint(len(vocabulary), (16, 9), generator=generator)]
        ids[:, 0] = tokenizer("q")["input_ids"][0]
        loss = -(wanted * model(ids).logits.log_softmax(-1)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def proxy(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    """What is trained on: pays twice as much for junk as for an "a"."""
    return [(completion.count("a") + 2 * completion.count(JUNK)) / 8 for completion in completions]


def share(trainer: Any, letter: str) -> float:
    """How often the policy writes `letter`, without a mask."""
    trainer.collector.model.eval()
    texts = trainer.collector.sample_and_score(list(prompt_rows(64)), range(64)).texts
    return sum(text.count(letter) for text in texts) / sum(len(text) for text in texts)


def test_ppo_falls_for_a_rare_token_that_pays_and_nlpo_does_not(tmp_path: Path) -> None:
    settings = {"num_rollouts": 30, "learning_rate": 1e-2, "kl_coef": 0.0, "vf_coef": 1.0, "num_ppo_epochs": 4}
    rows = prompt_rows(64)
    common = {"reward": proxy, "train_dataset": rows, "per_device_train_batch_size": 64, "max_steps": -1, **settings}
    found = {}
    for name, masked in (("ppo", {}), ("nlpo", {"mask_top_p": 0.9, "mask_sync_rollouts": 5})):
        trainer = ppo_trainer(tmp_path / name, model=letters_and_junk(), **common, **masked)
        assert share(trainer, "a") < 0.35
        assert 0.01 < share(trainer, JUNK) < 0.06
        trainer.train()
        found[name] = share(trainer, "a"), share(trainer, JUNK)
    assert found["ppo"][1] > 0.8
    assert found["nlpo"][1] < 0.06
    assert found["nlpo"][0] > 0.8


def test_ratios_are_under_the_mask_and_the_kl_is_not(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, model=letters_and_junk(), mask_top_p=0.5, num_rollouts=1, num_ppo_epochs=1)
    rollout, scored = trainer.collector.collect(list(prompt_rows(16)), range(16))
    tokens = (rollout.prompt_ids, rollout.prompt_mask, rollout.completion_ids, rollout.completion_mask)
    with torch.no_grad():
        logits, _ = completion_logits(trainer.policy, Tokens(*tokens))
        output = trainer.collector.model(*tokens, None, rollout.allowed)
    mask = rollout.completion_mask
    allowed = unpack_bits(rollout.allowed, logits.shape[-1])
    assert torch.equal(allowed[mask], nucleus(logits, 0.5)[mask])
    assert allowed[mask].sum(-1).min() >= 2
    assert allowed[mask].sum(-1).max() <= 4
    chosen = rollout.completion_ids.unsqueeze(-1)
    whole = logits.log_softmax(-1).gather(-1, chosen).squeeze(-1)
    within = logits.masked_fill(~allowed, float("-inf")).log_softmax(-1).gather(-1, chosen).squeeze(-1)
    torch.testing.assert_close(rollout.logprobs[mask], within[mask], atol=1e-4, rtol=0)
    torch.testing.assert_close(output.logprobs[mask], within[mask], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.unmasked_logprobs[mask], whole[mask], atol=1e-5, rtol=0)
    assert (within - whole)[mask].min() > 0.25
    torch.testing.assert_close(scored.tensors["kl"], torch.zeros_like(whole), atol=1e-4, rtol=0)
    trainer.train()
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1.0, abs=1e-4)


def test_mask_lags_behind_and_catches_up(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, mask_top_p=0.9, mask_sync_rollouts=2, num_rollouts=4, logging_steps=100)
    start, seen = weights(trainer.policy), []
    collect = trainer.buffer.collect

    def watched(rows: Any, index: int) -> None:
        before = weights(trainer.policy)
        collect(rows, index)
        copy = weights(trainer.buffer.masking.copy)
        seen.append((largest_difference(copy, start), largest_difference(copy, before)))

    trainer.buffer.collect = watched
    trainer.train()
    assert [(lag == 0, behind == 0) for lag, behind in seen] == [
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    ]


def test_frozen_layers_are_shared_with_the_mask_and_a_resume_restores_it(tmp_path: Path) -> None:
    settings = {
        "mask_top_p": 0.8,
        "mask_sync_rollouts": 2,
        "freeze_layers": 0.5,
        "num_rollouts": 4,
        "save_strategy": "steps",
        "save_steps": 3,
        "min_new_tokens": 2,
    }
    whole = ppo_trainer(tmp_path / "whole", **settings)
    shared = {id(p) for p in whole.policy.parameters()} & {id(p) for p in whole.buffer.masking.copy.parameters()}
    assert len(shared) == sum(not p.requires_grad for p in whole.policy.parameters())
    whole.train()
    first = ppo_trainer(tmp_path / "cut", **{**settings, "num_rollouts": None, "max_steps": 3})
    first.train()
    again = ppo_trainer(tmp_path / "cut", **settings)
    again.train(resume_from_checkpoint=True)
    assert largest_difference(weights(whole.policy), weights(again.policy)) == 0


def test_the_mask_goes_where_the_policy_goes(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, mask_top_p=0.9, freeze_layers=0.5)
    trainer.policy.to("meta")
    trainer.buffer.masking.follow()
    assert {parameter.device.type for parameter in trainer.buffer.masking.copy.parameters()} == {"meta"}
    assert {buffer.device.type for buffer in trainer.buffer.masking.copy.buffers()} == {"meta"}


def test_families_without_a_shared_prompt_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="A masking policy needs a model of one of the families"):
        ppo_trainer(tmp_path, model=PLAIN_FAMILIES["falcon"](), mask_top_p=0.9)
