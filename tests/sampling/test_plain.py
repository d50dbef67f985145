"""What the sampler makes of models that it draws from by their own `generate`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import GenerationConfig

from genrlhf.errors import ModelError
from genrlhf.models.completions import completion_logits
from genrlhf.ops import chosen_logprobs
from genrlhf.sampling import TransformersSampler, generate
from genrlhf.sampling.habits import Habits, habits_of
from genrlhf.types import SamplingParams
from tests.decoders.configs import build
from tests.helpers import EOS_ID, PAD_ID, tiny_llama, tiny_tokenizer
from tests.sampling.test_autoregressive import left_padded
from tests.sampling.test_habits import deaf_bloom

PROMPTS = ["a", "hello w", "xyz", "abc"]


def shapes_of(model: Any) -> list[tuple[int, ...]]:
    """Return a list to which every prompt that goes through the model adds its shape."""
    shapes: list[tuple[int, ...]] = []

    def note(_module: Any, args: tuple[torch.Tensor, ...], _output: Any) -> None:
        if args[0].shape[1] > 1:
            shapes.append(tuple(args[0].shape))

    model.get_input_embeddings().register_forward_hook(note)
    return shapes


def test_prompts_are_grouped_by_length_where_padding_is_read_as_text() -> None:
    model = deaf_bloom()
    habits_of(model)
    shapes = shapes_of(model)
    drawn = TransformersSampler(model, tiny_tokenizer()).generate(
        PROMPTS, 2, SamplingParams(max_new_tokens=4, logprobs=True), list(range(8))
    )
    assert shapes == [(2, 7), (4, 3)]
    logits, _ = completion_logits(model, drawn.tokens)
    found = chosen_logprobs(logits, drawn.completion_ids, temperature=1.0)
    assert drawn.logprobs is not None
    mask = drawn.completion_mask
    torch.testing.assert_close(found[mask], drawn.logprobs[mask], atol=1e-5, rtol=0)


def test_a_model_that_reads_one_text_at_a_time_gets_one() -> None:
    model = build("rwkv")
    habits_of(model)
    shapes = shapes_of(model)
    drawn = TransformersSampler(model, tiny_tokenizer()).sample(
        PROMPTS[1:], 2, SamplingParams(max_new_tokens=4, temperature=0), seed=0
    )
    assert {shape[0] for shape in shapes} == {1}
    ids = torch.tensor([tiny_tokenizer()("xyz")["input_ids"]])
    config = GenerationConfig(max_new_tokens=4, do_sample=False, pad_token_id=PAD_ID, eos_token_id=EOS_ID)
    alone: Any = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    assert drawn[1] == [tiny_tokenizer().decode(alone[0, 3:], skip_special_tokens=True)] * 2


@pytest.mark.parametrize(("name", "what"), [("roformer", "read the padding"), ("rwkv", "read one text at a time")])
def test_batches_that_the_model_cannot_read_are_refused_by_its_name(name: str, what: str) -> None:
    ids, mask = left_padded([[40, 41], [50]])
    with pytest.raises(ModelError, match=f"'{name}' {what}"):
        generate(build(name), ids, mask, SamplingParams(), seeds=[0, 1], eos_token_ids=[EOS_ID], pad_token_id=PAD_ID)


def test_a_model_whose_generate_is_not_true_to_it_is_refused_for_training_only() -> None:
    sampler = TransformersSampler(build("roberta"), tiny_tokenizer())
    with pytest.raises(ModelError, match="'roberta' find other probabilities"):
        sampler.generate(PROMPTS, 1, SamplingParams(max_new_tokens=2), [0] * 4)
    assert len(sampler.sample(PROMPTS, 1, SamplingParams(max_new_tokens=2), seed=0)) == 4


def test_adapters_that_put_states_before_the_text() -> None:
    model = get_peft_model(tiny_llama(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    # The padding would lie between them and the text.
    assert habits_of(model) == Habits(True, False, True)
    drawn = TransformersSampler(model, tiny_tokenizer()).generate(
        PROMPTS, 2, SamplingParams(max_new_tokens=4, logprobs=True), list(range(8))
    )
    logits, _ = completion_logits(model, drawn.tokens)
    found = chosen_logprobs(logits, drawn.completion_ids, temperature=1.0)
    assert drawn.logprobs is not None
    mask = drawn.completion_mask
    torch.testing.assert_close(found[mask], drawn.logprobs[mask], atol=1e-5, rtol=0)
