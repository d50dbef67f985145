"""Completions packed behind the prompt that they share against whole texts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from genrlhf.models import freeze_layers, packing
from genrlhf.models.completions import completion_logits
from genrlhf.models.packing import PackedText
from genrlhf.models.policy import PolicyWithValue
from genrlhf.models.trunk import Trunk, trunk_states
from genrlhf.types import Tokens
from tests.helpers import PAD_ID, VOCAB_SIZE, tiny_llama
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES

GROUPS = (0, 0, 0, 1, 1, 1, 1, 2)
LENGTHS = (4, 1, 2, 4, 3, 4, 1, 2)
WIDE = {"sliding_window": 64}
"""Windows that a test's texts fit in."""


def tokens() -> tuple[torch.Tensor, ...]:
    """Prompts of 9, 6 and 5 tokens with 3, 4 and 1 completions, the prompts padded wider than the longest."""
    generator = torch.Generator().manual_seed(0)
    prompts = torch.full((3, 11), PAD_ID)
    for row, length in enumerate((9, 6, 5)):
        prompts[row, -length:] = torch.randint(4, VOCAB_SIZE, (length,), generator=generator)
    completions = torch.randint(4, VOCAB_SIZE, (8, 4), generator=generator)
    mask = torch.arange(4) < torch.tensor(LENGTHS).unsqueeze(-1)
    prompts = prompts[list(GROUPS)]
    return prompts, prompts != PAD_ID, completions.masked_fill(~mask, PAD_ID), mask


def gradients(model: Any, logits: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    found = torch.autograd.grad(logits[mask].log_softmax(-1).square().mean(), list(trained.values()))
    return dict(zip(trained, found, strict=True))


@pytest.fixture
def lengths_seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and their lengths, of all packed texts but those of a trial."""
    seen: list[tuple[int, int]] = []
    after_prompt = PackedText.after_prompt

    def watched(self: PackedText, hidden: torch.Tensor, count: int) -> torch.Tensor:
        if len(self.readout) == len(GROUPS):
            seen.append((self.source.shape[0], self.source.shape[1]))
        return after_prompt(self, hidden, count)

    monkeypatch.setattr(PackedText, "after_prompt", watched)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_whole_texts(family: str, lengths_seen: list[tuple[int, int]]) -> None:
    model = FAMILIES[family](**(WIDE if FAMILIES[family]().config.to_dict().get("sliding_window") else {}))
    batch = tokens()
    found, whole = completion_logits(model, Tokens(*batch), groups=GROUPS), completion_logits(model, Tokens(*batch))
    # The longest prompt, and the completions of each but for their last tokens.
    assert lengths_seen == [(3, 9 + 3 + 2 + 3)]
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(one[batch[3]], other[batch[3]], atol=2e-5, rtol=1e-4)
    wanted = gradients(model, whole[0], batch[3])
    for name, gradient in gradients(model, found[0], batch[3]).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("kind", ["trunk", "lora", "eager", "float64", "checkpointing"])
def test_every_kind_of_model(kind: str, lengths_seen: list[tuple[int, int]]) -> None:
    model: Any = tiny_llama(num_hidden_layers=3)
    batch, trunk = tokens(), None
    if kind == "trunk":
        freeze_layers(model, 0.5)
        trunk = Trunk(2, trunk_states(model, 2, torch.cat(batch[::2], dim=1), torch.cat(batch[1::2], dim=1)))
    elif kind == "lora":
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]))
    elif kind == "eager":
        model.set_attn_implementation("eager")
    elif kind == "float64":
        model.double()
    else:
        model.train().gradient_checkpointing_enable({"use_reentrant": False})
    found = completion_logits(model, Tokens(*batch), trunk=trunk, groups=GROUPS)[0]
    whole = completion_logits(model, Tokens(*batch))[0]
    assert lengths_seen
    torch.testing.assert_close(found[batch[3]], whole[batch[3]], atol=2e-5, rtol=1e-4)
    wanted = gradients(model, whole, batch[3])
    for name, gradient in gradients(model, found, batch[3]).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("family", [*PLAIN_FAMILIES, "mistral", "gemma2"])
def test_models_that_cannot_are_given_whole_texts(family: str, lengths_seen: list[tuple[int, int]]) -> None:
    """Other kinds of layers, and windows that would slide over what lies between a prompt and a completion."""
    model = {**FAMILIES, **PLAIN_FAMILIES}[family]()
    batch = tokens()
    found, whole = (
        completion_logits(model, Tokens(*batch), groups=GROUPS)[0],
        completion_logits(model, Tokens(*batch))[0],
    )
    assert not lengths_seen
    assert torch.equal(found[batch[3]], whole[batch[3]])


def test_a_model_whose_class_does_otherwise_is_found_out(lengths_seen: list[tuple[int, int]]) -> None:
    class Own(type(tiny_llama())):  # type: ignore[misc]
        def forward(self, *args: Any, position_ids: Any = None, **options: Any) -> Any:
            return super().forward(*args, **options)

    model = tiny_llama()
    model.__class__ = Own
    completion_logits(model, Tokens(*tokens()), groups=GROUPS)
    assert not lengths_seen


def test_what_is_no_less_work_is_not_packed(lengths_seen: list[tuple[int, int]]) -> None:
    model, (prompt_ids, prompt_mask, completion_ids, completion_mask) = tiny_llama(), tokens()
    short = (prompt_ids[:, -1:], prompt_mask[:, -1:], completion_ids, torch.ones_like(completion_mask))
    completion_logits(model, Tokens(*short), groups=GROUPS)
    completion_logits(model, Tokens(prompt_ids, prompt_mask, completion_ids, completion_mask), groups=range(8))
    assert not lengths_seen


def test_rows_are_no_longer_than_is_worth_it() -> None:
    """64 completions of 100 tokens behind a prompt of 10, in a model of width 16: √(10 · 106) / 100 is below 1."""
    lengths = torch.tensor([[10] * 64, [100] * 64]).numpy()
    assert packing._rows(lengths, [0] * 64, 96) == [[place] for place in range(64)]
    # √(200 · 3656) / 48 is 17.8.
    assert [len(row) for row in packing._rows(lengths * 0 + [[200], [48]], [0] * 64, 3456)] == [16] * 4


def test_a_policy_says_the_same_of_packed_completions(lengths_seen: list[tuple[int, int]]) -> None:
    policy, batch = PolicyWithValue(tiny_llama(), None, temperature=0.7, entropy_bonus=True), tokens()
    found, whole = policy(*batch, groups=GROUPS), policy(*batch)
    assert lengths_seen
    for one, other in ((found.logprobs, whole.logprobs), (found.entropy, whole.entropy)):
        torch.testing.assert_close(one[batch[3]], other[batch[3]], atol=1e-5, rtol=1e-4)
