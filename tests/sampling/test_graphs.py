"""Decoding steps of fixed shapes, recorded and repeated: on a processor, by a tape in place of a CUDA graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from genrlhf.sampling import TransformersSampler, sample_seeds, shared_decoding
from genrlhf.sampling.shared_prefix import SharedPrefixCache
from genrlhf.types import Generation, MaskingPolicy, SamplingParams
from tests.helpers import EOS_ID, tiny_llama, tiny_opt, tiny_tokenizer
from tests.host_waits import count_waits
from tests.sampling.families import FAMILIES

PROMPTS = ["the sea", "a", "two old men and a boat", "rain"]


class Tape(TorchDispatchMode):
    """Repeats operations as a CUDA graph does: on the memory that they were recorded with, without their Python."""

    repeats = 0

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.entries.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        Tape.repeats += 1
        for func, args, kwargs, before in self.entries:
            now = func(*args, **kwargs)
            for old, new in zip(*(x if isinstance(x, (list, tuple)) else [x] for x in (before, now)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def record(step: Any) -> Any:
    tape = Tape()
    with tape:
        result = step()
    # A graph has not been run when it was recorded: whoever reads results before a replay reads nonsense.
    result.fill_(float("nan"))
    return tape, result


class LateEnds:
    """Knows of a step when the next one is on its way, as with a GPU."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.before = np.zeros(len(recorder.ended), dtype=bool)

    def __call__(self) -> np.ndarray:
        known, self.before = self.before, self.recorder.ended.numpy().copy()
        return known


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    Tape.repeats = 0
    with ExitStack() as stack:
        module = "genrlhf.sampling"
        stack.enter_context(patch.object(shared_decoding, "has_fixed_steps", lambda model: True))
        stack.enter_context(patch.object(shared_decoding, "_KnownEnds", LateEnds))
        stack.enter_context(patch(f"{module}.graphs.record", record))
        yield


def draw(model: Any, params: SamplingParams, **options: Any) -> Generation:
    sampler = TransformersSampler(model, tiny_tokenizer(), batch_size=64)
    return sampler.generate(PROMPTS, 4, params, sample_seeds(3, range(4), 4), **options)


def assert_same(found: Generation, wanted: Generation) -> None:
    assert torch.equal(found.completion_ids, wanted.completion_ids)
    assert torch.equal(found.completion_mask, wanted.completion_mask)
    assert torch.equal(found.ended, wanted.ended)
    mask = wanted.completion_mask
    for name in ("logprobs", "entropy", "last_hidden"):
        one, other = getattr(found, name), getattr(wanted, name)
        assert torch.allclose(one[mask], other[mask], atol=1e-5), name
    if wanted.trunk is not None and found.trunk is not None:
        assert torch.allclose(found.trunk.prompt, wanted.trunk.prompt, atol=1e-5)
        assert torch.allclose(found.trunk.completion[mask], wanted.trunk.completion[mask], atol=1e-5)
        if wanted.trunk.closing is not None and found.trunk.closing is not None:
            cut = ~wanted.ended
            assert torch.allclose(found.trunk.closing[cut], wanted.trunk.closing[cut], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_repeated_steps_give_what_steps_sent_anew_give(family: str) -> None:
    model, params = FAMILIES[family](), SamplingParams(max_new_tokens=30, logprobs=True)
    with patch.object(type(model), "device", torch.device("cuda")):
        fixed = shared_decoding.has_fixed_steps(model)
    assert fixed is (getattr(model.config, "sliding_window", None) is None)
    assert not shared_decoding.has_fixed_steps(model)
    if not fixed:  # a window slides from step to step
        return
    wanted = draw(model, params, boundary=1)
    with as_on_a_gpu():
        found = draw(model, params, boundary=1)
    assert Tape.repeats > 10
    assert_same(found, wanted)


def often_ending() -> Any:
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight[EOS_ID] = model.lm_head.weight.mean(0) + 0.6
    return model


@pytest.mark.parametrize("boundary", [None, 1])
def test_ended_sequences_leave_and_wider_responses_are_recorded_again(boundary: int | None) -> None:
    model, params = often_ending(), SamplingParams(max_new_tokens=30, logprobs=True)
    wanted = draw(model, params, boundary=boundary)
    assert wanted.ended.any()
    with as_on_a_gpu(), patch.object(shared_decoding, "WIDTH", 8):
        found = draw(model, params, boundary=boundary)
    assert Tape.repeats > 3
    assert_same(found, wanted)


def test_a_masking_policy_takes_its_own_steps() -> None:
    model, params = tiny_llama(), SamplingParams(max_new_tokens=30, logprobs=True)
    masking = MaskingPolicy(tiny_llama(seed=5), 0.5)
    wanted = draw(model, params, masking=masking)
    with as_on_a_gpu():
        found = draw(model, params, masking=masking)
    assert Tape.repeats > 20
    assert_same(found, wanted)


def test_a_step_that_cannot_be_recorded_is_sent_anew_each_time() -> None:
    def fails(step: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    model, params = tiny_llama(), SamplingParams(max_new_tokens=30, logprobs=True)
    wanted = draw(model, params, boundary=1)
    with as_on_a_gpu(), patch("genrlhf.sampling.graphs.record", fails):
        found = draw(model, params, boundary=1)
    assert Tape.repeats == 0
    assert_same(found, wanted)


# GPT-2 in transformers looks at a number of its own in every forward pass.
@pytest.mark.parametrize("build", [tiny_llama, tiny_opt])
@pytest.mark.parametrize(
    "settings", [{}, {"logprobs": True}, {"top_p": 0.9, "min_new_tokens": 3}, {"repetition_penalty": 1.2}, {"top_k": 5}]
)
def test_no_token_makes_the_host_wait(build: Any, settings: dict[str, Any]) -> None:
    model = build()

    def waits(new: int) -> int:
        with as_on_a_gpu():
            sampler = TransformersSampler(model, tiny_tokenizer(), batch_size=64)
            # Not the EOS, which would change how many steps there are.
            params = SamplingParams(max_new_tokens=new, **settings)
            with patch("genrlhf.sampling.transformers_sampler.stop_token_ids", lambda *_: []):
                return count_waits(lambda: sampler.generate(PROMPTS, 4, params, sample_seeds(3, range(4), 4))).total()

    assert waits(24) == waits(12)


def test_keys_and_values_go_with_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[weakref.ref[SharedPrefixCache]] = []
    start = SharedPrefixCache.start

    def noting(self: SharedPrefixCache, *args: Any, **kwargs: Any) -> None:
        caches.append(weakref.ref(self))
        start(self, *args, **kwargs)

    monkeypatch.setattr(SharedPrefixCache, "start", noting)
    model = tiny_llama()
    gc.collect()
    gc.disable()
    try:
        with as_on_a_gpu():
            draw(model, SamplingParams(max_new_tokens=30))
        assert Tape.repeats > 10
        assert [cache() for cache in caches] == [None]
    finally:
        gc.enable()
