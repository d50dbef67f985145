"""The forward pass over completions gives what a pass over the unpadded text gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from genrlhf.models.completions import completion_logits
from genrlhf.types import Tokens
from tests.helpers import PAD_ID, VOCAB_SIZE, tiny_gpt2, tiny_llama, tiny_opt

PROMPTS = [[40], [50, 60, 70, 80, 90], [33, 44, 55]]
COMPLETIONS = [[101, 102, 103, 104], [111], [121, 122, 123]]


def wide_opt() -> Any:
    """An OPT whose word embeddings are narrower than its layers, as in opt-350m."""
    return tiny_opt(word_embed_proj_dim=8, hidden_size=16)


FAMILIES = {"llama": tiny_llama, "gpt2": tiny_gpt2, "opt": tiny_opt, "opt with projections": wide_opt}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return FAMILIES[request.param]()


def padded(extra: int = 0) -> tuple[torch.Tensor, ...]:
    p, t = max(map(len, PROMPTS)) + extra, max(map(len, COMPLETIONS)) + extra
    prompt_ids = torch.tensor([[PAD_ID] * (p - len(ids)) + ids for ids in PROMPTS])
    prompt_mask = torch.tensor([[j >= p - len(ids) for j in range(p)] for ids in PROMPTS])
    completion_ids = torch.tensor([ids + [PAD_ID] * (t - len(ids)) for ids in COMPLETIONS])
    completion_mask = torch.tensor([[j < len(ids) for j in range(t)] for ids in COMPLETIONS])
    return prompt_ids, prompt_mask, completion_ids, completion_mask


@torch.no_grad()
def unpadded_logits(model: Any, row: int) -> torch.Tensor:
    """Return the logits that predict the completion, from the plain text alone, in a batch of its own."""
    prompt, completion = PROMPTS[row], COMPLETIONS[row]
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
    return torch.stack([logits[len(prompt) - 1 + t] for t in range(len(completion))])


@pytest.mark.parametrize("extra", [0, 3])
def test_logits_are_those_of_the_unpadded_text(model: Any, extra: int) -> None:
    batch = padded(extra)
    with torch.no_grad():
        logits, hidden = completion_logits(model, Tokens(*batch))
    assert logits.shape == (*batch[2].shape, VOCAB_SIZE)
    for row, completion in enumerate(COMPLETIONS):
        expected = unpadded_logits(model, row)
        assert expected.std().item() > 0.1
        assert torch.allclose(logits[row, : len(completion)], expected, atol=2e-5)
    assert torch.allclose(model.get_output_embeddings()(hidden), logits, atol=1e-6)


def test_rows_of_like_length_go_through_the_model_together(model: Any) -> None:
    """Seventy texts of 5 to 40 tokens: as each is alone, in three passes that are as wide as their longest text."""
    generator = torch.Generator().manual_seed(1)
    lengths = [(int(p), int(c)) for p, c in zip(*torch.randint(2, 20, (2, 70), generator=generator), strict=True)]
    tokens = (torch.zeros(70, 20, dtype=torch.long), torch.zeros(70, 20).bool())
    prompt_ids, prompt_mask = (each.clone() for each in tokens)
    completion_ids, completion_mask = (each.clone() for each in tokens)
    for row, (p, c) in enumerate(lengths):
        prompt_mask[row, 20 - p :], completion_mask[row, :c] = True, True
    for ids, mask in ((prompt_ids, prompt_mask), (completion_ids, completion_mask)):
        ids[mask] = torch.randint(4, VOCAB_SIZE, (int(mask.sum()),), generator=generator)
    seen: list[tuple[int, ...]] = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _m, args, _out: seen.append(tuple(args[0].shape))
    )
    logits, hidden = completion_logits(model, Tokens(prompt_ids, prompt_mask, completion_ids, completion_mask))
    handle.remove()
    assert logits.shape == (70, 20, VOCAB_SIZE)
    assert hidden.shape[:2] == (70, 20)
    totals = sorted(p + c for p, c in lengths)
    assert seen == [(32, totals[31]), (32, totals[63]), (6, totals[69])]
    expected = torch.zeros_like(logits)
    for row, (p, c) in enumerate(lengths):
        text = torch.cat([prompt_ids[row, 20 - p :], completion_ids[row, :c]])[None]
        expected[row, :c] = model(input_ids=text).logits[0, p - 1 : p + c - 1]
    torch.testing.assert_close(logits[completion_mask], expected[completion_mask], atol=2e-5, rtol=1e-5)
    # The last layer's weights get their gradient from places that go no further than to its keys and values, too.
    weights = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = (torch.autograd.grad(each[completion_mask].tanh().mean(), weights) for each in (logits, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_hidden_states_have_the_width_of_the_head() -> None:
    model = wide_opt()
    _, hidden = completion_logits(model, Tokens(*padded()))
    assert hidden.shape[-1] == model.get_output_embeddings().in_features == 8
    llama = tiny_llama()
    with torch.no_grad():
        _, hidden = completion_logits(llama, Tokens(*padded()))
        full = llama.model(input_ids=torch.tensor([PROMPTS[1] + COMPLETIONS[1]])).last_hidden_state[0]
    assert torch.allclose(hidden[1, 0], full[len(PROMPTS[1]) - 1], atol=2e-5)


def test_only_what_is_needed_goes_through_the_head() -> None:
    model = tiny_llama()
    widths: list[int] = []
    model.lm_head.register_forward_hook(lambda _m, inputs, _out: widths.append(inputs[0].shape[1]))
    completion_logits(model, Tokens(*padded()))
    assert widths == [max(map(len, COMPLETIONS))]


def test_what_stands_on_padding_is_not_read(model: Any) -> None:
    prompt_ids, prompt_mask, completion_ids, completion_mask = padded(2)
    with torch.no_grad():
        logits, _ = completion_logits(model, Tokens(prompt_ids, prompt_mask, completion_ids, completion_mask))
        noisy_prompts = prompt_ids.masked_fill(~prompt_mask, 77)
        noisy_completions = completion_ids.masked_fill(~completion_mask, 78)
        other, _ = completion_logits(model, Tokens(noisy_prompts, prompt_mask, noisy_completions, completion_mask))
    assert torch.allclose(logits[completion_mask], other[completion_mask], atol=1e-6)


def test_no_hook_stays_behind() -> None:
    model = tiny_llama()
    head = model.get_output_embeddings()
    completion_logits(model, Tokens(*padded()))
    assert not head._forward_pre_hooks
    with pytest.raises(IndexError):
        completion_logits(model, Tokens(*(torch.full_like(x, 9999) if x.dtype == torch.int64 else x for x in padded())))
    assert not head._forward_pre_hooks


def test_a_peft_wrapper_gives_the_same(model: Any) -> None:
    expected, _ = completion_logits(model, Tokens(*padded()))
    adapter = LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules="all-linear", fan_in_fan_out=model.config.model_type == "gpt2"
    )
    wrapped = get_peft_model(model, adapter)
    logits, hidden = completion_logits(wrapped, Tokens(*padded()))
    assert torch.allclose(logits, expected, atol=1e-6)
    assert hidden.shape[:2] == logits.shape[:2]
