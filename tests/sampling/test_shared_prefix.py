"""A prompt is stored once for all of its samples, and nothing else changes."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch

from genrlhf.models.completions import completion_logits
from genrlhf.models.families import shares_prefix
from genrlhf.ops import logprobs_and_entropy, position_ids
from genrlhf.sampling import generate
from genrlhf.sampling.shared_prefix import SharedPrefixCache
from genrlhf.types import SamplingParams
from tests.helpers import EOS_ID, PAD_ID, tiny_llama
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES
from tests.sampling.test_autoregressive import PROMPTS, draw, left_padded, raise_eos


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return FAMILIES[request.param]()


def test_the_families_share_and_others_do_not(model: Any) -> None:
    assert shares_prefix(model)
    assert not any(shares_prefix(build()) for build in PLAIN_FAMILIES.values())


def test_an_adapter_that_prepends_keys_does_not_share() -> None:
    from peft import LoraConfig, PrefixTuningConfig, get_peft_model

    assert shares_prefix(get_peft_model(tiny_llama(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])))
    prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert not shares_prefix(get_peft_model(tiny_llama(), prefix))


def test_every_prompt_goes_through_the_model_once_and_every_response_token_once(model: Any) -> None:
    shapes = []
    model.get_input_embeddings().register_forward_hook(
        lambda _module, args, _output: shapes.append(tuple(args[0].shape))
    )
    params = SamplingParams(max_new_tokens=4, min_new_tokens=4)
    draw(model, PROMPTS, params, n=3, seeds=list(range(12)))
    assert shapes == [(4, 7), (12, 1), (12, 1), (12, 1)]


@pytest.mark.parametrize("n", [1, 3])
def test_memory_grows_with_n_by_the_responses_only(model: Any, n: int) -> None:
    kept: list[SharedPrefixCache] = []
    start = SharedPrefixCache.start

    def spy(self: SharedPrefixCache, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        kept.append(self)

    with patch.object(SharedPrefixCache, "start", spy):
        draw(model, PROMPTS, SamplingParams(max_new_tokens=5, min_new_tokens=5), n=n, seeds=list(range(12)))
    (cache,) = kept
    for layer in cache.layers:
        assert layer.prompt_keys.shape[::2] == (4, 7)
        assert layer.keys.shape[::2] == (4 * n, 5)
        assert layer.prompt_values.shape == layer.prompt_keys.shape
        assert layer.values.shape == layer.keys.shape


def test_the_models_own_attention_is_back_afterwards(model: Any) -> None:
    before = model.config._attn_implementation
    draw(model, PROMPTS, SamplingParams(max_new_tokens=2), seeds=list(range(4)))
    assert model.config._attn_implementation == before
    with (
        patch("genrlhf.sampling.recorder.draw_tokens", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        draw(model, PROMPTS, SamplingParams(max_new_tokens=2), seeds=list(range(4)))
    assert model.config._attn_implementation == before


def test_long_completions_leave_the_window_of_sliding_layers_behind(model: Any) -> None:
    ids, mask = left_padded(PROMPTS)
    params = SamplingParams(max_new_tokens=20, min_new_tokens=20, temperature=0)
    ours = generate(model, ids, mask, params, n=2, seeds=[], eos_token_ids=[EOS_ID], pad_token_id=PAD_ID)
    theirs = model.generate(
        input_ids=ids, attention_mask=mask.long(), do_sample=False, max_new_tokens=20, min_new_tokens=20
    )
    expected = theirs[:, ids.shape[1] :].repeat_interleave(2, dim=0)
    assert ours.completion_ids.tolist() == expected.tolist()


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_logprobs_entropy_and_hidden_states_are_those_of_a_forward_pass(model: Any, temperature: float) -> None:
    raise_eos(model, 3.0)
    params = SamplingParams(max_new_tokens=12, temperature=temperature, top_k=50, logprobs=True)
    found = draw(model, PROMPTS, params, n=3, seeds=list(range(12)))
    assert found.logprobs is not None and found.entropy is not None and found.last_hidden is not None
    mask = found.completion_mask
    assert not mask.all()
    with torch.no_grad():
        logits, hidden = completion_logits(model, found.tokens._replace(completion_mask=mask))
    logprobs, entropy = logprobs_and_entropy(logits, found.completion_ids, temperature=temperature)
    torch.testing.assert_close(found.logprobs[mask], logprobs[mask], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found.entropy[mask], entropy[mask], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found.last_hidden[mask], hidden[mask], atol=1e-4, rtol=1e-4)
    assert (found.logprobs[~mask] == 0).all()


@pytest.mark.parametrize("boundary", [0, 1])
def test_trunk_states_are_what_enters_the_layer_of_every_token_the_last_included(model: Any, boundary: int) -> None:
    raise_eos(model, 3.0)
    ids, mask = left_padded(PROMPTS)
    found = generate(
        model,
        ids,
        mask,
        SamplingParams(max_new_tokens=12),
        n=3,
        seeds=list(range(12)),
        eos_token_ids=[EOS_ID],
        pad_token_id=PAD_ID,
        boundary=boundary,
    )
    without = draw(model, PROMPTS, SamplingParams(max_new_tokens=12), n=3, seeds=list(range(12)))
    assert torch.equal(found.completion_ids, without.completion_ids)
    assert without.trunk is None and found.trunk is not None
    assert len({int(length) for length in found.completion_mask.sum(-1)}) > 2
    whole = torch.cat([found.prompt_mask, found.completion_mask], dim=1)
    with torch.no_grad():
        states = model(
            input_ids=torch.cat([found.prompt_ids, found.completion_ids], dim=1),
            attention_mask=whole.long(),
            position_ids=position_ids(whole),
            output_hidden_states=True,
        ).hidden_states[boundary]
    width = ids.shape[1]
    torch.testing.assert_close(found.trunk.prompt[mask], states[::3, :width][mask], atol=1e-5, rtol=1e-5)
    counted = found.completion_mask
    torch.testing.assert_close(found.trunk.completion[counted], states[:, width:][counted], atol=1e-4, rtol=1e-4)
