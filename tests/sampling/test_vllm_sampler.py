"""The sampler over vLLM, against a stand-in for vLLM: vLLM itself is not installed here and was not run.

The stand-in has the signatures of vLLM 0.33.0 as far as the sampler uses them. What it shows is what the sampler asks
for and what it makes of the answers, not that vLLM answers so.
"""

from __future__ import annotations

import copy
import os
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.sampling.choose import sample_seeds
from genrlhf.sampling.vllm_sampler import VLLMSampler
from genrlhf.types import Generation, Sample, Sampler, SamplingParams
from tests.helpers import EOS_ID, PAD_ID, tiny_llama, tiny_tokenizer

PARAMS = SamplingParams(max_new_tokens=6)
CHAT = [{"role": "user", "content": "hello"}]


@dataclass
class FakeSamplingParams:
    n: int = 1
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None


class FakeLLM:
    """Draws `1 + seed % 4` letters "a", "b", …, and EOS where that is below `max_tokens`."""

    made: list[FakeLLM]
    finish_reason: str | None = None
    resets = True

    def __init__(self, model: str, *, tokenizer: str | None = None, seed: int = 0, **kwargs: Any) -> None:
        self.model, self.kwargs = model, kwargs
        self.multiprocessing = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING")
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=64))
        self.calls: list[tuple[list[Any], list[FakeSamplingParams]]] = []
        self.log: list[str] = []
        self.weights: dict[str, torch.Tensor] = {}
        self.made.append(self)

    def get_tokenizer(self) -> PreTrainedTokenizerFast:
        return tiny_tokenizer(chat_template=True)

    def generate(
        self,
        prompts: Any,
        sampling_params: Any = None,
        *,
        use_tqdm: bool = True,
        lora_request: Any = None,
        priority: Any = None,
        tokenization_kwargs: Any = None,
        mm_processor_kwargs: Any = None,
    ) -> list[Any]:
        assert not use_tqdm
        assert len(prompts) == len(sampling_params)
        self.calls.append((list(prompts), list(sampling_params)))
        return [SimpleNamespace(outputs=[self.draw(params)]) for params in sampling_params]

    def draw(self, params: FakeSamplingParams) -> Any:
        assert params.seed is not None
        assert params.max_tokens is not None
        tokenizer = tiny_tokenizer()
        letters = "abcd"[: 1 + params.seed % 4]
        ids = tuple([*tokenizer(letters)["input_ids"], EOS_ID][: params.max_tokens])
        reason = self.finish_reason or ("stop" if ids[-1] == EOS_ID else "length")
        logprobs = None
        if params.logprobs is not None:
            # The likeliest token stands beside the one drawn.
            logprobs = [
                {999: SimpleNamespace(logprob=-0.01), token: SimpleNamespace(logprob=-float(place + 1))}
                for place, token in enumerate(ids)
            ]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        return SimpleNamespace(index=0, text=text, token_ids=ids, logprobs=logprobs, finish_reason=reason)

    def collective_rpc(
        self, method: str, timeout: float | None = None, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> list[Any]:
        return [getattr(self, f"worker_{method}")(*args, **(kwargs or {}))]

    def worker_reload_weights(
        self, weights_iterator: Any = None, weights_path: str | None = None, is_checkpoint_format: bool = True
    ) -> None:
        assert is_checkpoint_format
        self.log.append("reload")
        # All of them are held before any is read, as vLLM holds those of a layer.
        held = list(weights_iterator)
        self.weights = {name: tensor.clone() for name, tensor in held}
        assert len(self.weights) == len(held)

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        self.log.append("reset")
        return self.resets


@pytest.fixture(autouse=True)
def llm(monkeypatch: pytest.MonkeyPatch) -> type[FakeLLM]:
    class LLM(FakeLLM):
        made: list[FakeLLM] = []  # noqa: RUF012

    module = ModuleType("vllm")
    module.LLM = LLM  # type: ignore[attr-defined]
    module.SamplingParams = FakeSamplingParams  # type: ignore[attr-defined]
    module.TokensPrompt = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    return LLM


def letters(seed: int) -> str:
    return "abcd"[: 1 + seed % 4]


def test_engine_runs_in_this_process_with_the_options_given(llm: type[FakeLLM]) -> None:
    sampler = VLLMSampler("folder", dtype="float32", gpu_memory_utilization=0.3)
    assert isinstance(sampler, Sampler)
    (engine,) = llm.made
    assert engine.model == "folder"
    assert engine.multiprocessing == "0"
    assert engine.kwargs == {
        "logprobs_mode": "processed_logprobs",
        "dtype": "float32",
        "gpu_memory_utilization": 0.3,
    }


def test_missing_vllm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"needs vLLM; pip install genrlhf\[vllm\]"):
        VLLMSampler("folder")


def test_every_sample_is_drawn_with_its_own_seed() -> None:
    sampler = VLLMSampler("folder")
    prompts = ["p", "pp", "ppp"]
    seeds = sample_seeds(5, range(3), 2)
    whole = sampler.sample(prompts, 2, PARAMS, seed=5)
    assert whole == [[letters(seed) for seed in seeds[i : i + 2]] for i in (0, 2, 4)]
    some = dict(sampler.stream([prompts[2], prompts[0]], 2, PARAMS, 5, rows=[2, 0]))
    assert [[sample.text for sample in some[i]] for i in (0, 1)] == [whole[2], whole[0]]
    rest = dict(sampler.stream(prompts, 2, PARAMS, 5, done={0, 2}))
    assert {place: [sample.text for sample in samples] for place, samples in rest.items()} == {1: whole[1]}
    assert sampler.sample([], 2, PARAMS, seed=5) == []
    assert list(sampler.stream(prompts, 2, PARAMS, 5, done=range(3))) == []


def test_prompts_go_as_our_token_ids_and_in_bounded_calls(
    llm: type[FakeLLM], chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    sampler = VLLMSampler("folder", tokenizer=chat_tokenizer)
    sampler.sample(["ab", CHAT], 2, PARAMS, seed=0)
    ((prompts, _),) = llm.made[0].calls
    as_text = [chat_tokenizer.decode(prompt["prompt_token_ids"]) for prompt in prompts]
    assert as_text == ["ab", "ab", "[user]hello\n[assistant]", "[user]hello\n[assistant]"]
    assert len(list(sampler.stream(["x"] * 700, 2, PARAMS, 0))) == 700
    assert [len(prompts) for prompts, _ in llm.made[0].calls[1:]] == [1024, 376]


def test_all_parameters_are_passed_on(llm: type[FakeLLM]) -> None:
    sampler = VLLMSampler("folder")
    params = SamplingParams(
        max_new_tokens=9,
        min_new_tokens=2,
        temperature=0.7,
        top_k=5,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.2,
        stop=("\n", "###"),
    )
    sampler.generate(["p"], 1, params, seeds=[3])
    sampler.generate(["p"], 1, SamplingParams(logprobs=True), seeds=[4])
    (full, _), (default, _) = (call[1] + [None] for call in llm.made[0].calls)
    assert full == FakeSamplingParams(
        max_tokens=9,
        min_tokens=2,
        temperature=0.7,
        top_k=5,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.2,
        stop=["\n", "###"],
        seed=3,
    )
    assert default == FakeSamplingParams(max_tokens=48, seed=4, logprobs=0)


def test_samples_hold_what_vllm_says() -> None:
    sampler = VLLMSampler("folder")
    params = SamplingParams(max_new_tokens=3, logprobs=True)
    ((_, samples),) = sampler.stream(["p"], 16, params, seed=0)
    by_text = {sample.text: sample for sample in samples}
    ids = tiny_tokenizer()("abc")["input_ids"]
    assert by_text["ab"] == Sample("ab", "stop", 3, [-1.0, -2.0, -3.0], [*ids[:2], EOS_ID])
    assert by_text["abc"] == Sample("abc", "length", 3, [-1.0, -2.0, -3.0], ids)
    assert (by_text["ab"].ended, by_text["abc"].ended) == (True, False)
    ((_, samples),) = sampler.stream(["p"], 1, SamplingParams(max_new_tokens=3), seed=0)
    assert samples[0].logprobs is None


def test_generation_is_padded_as_documented(tokenizer: PreTrainedTokenizerFast) -> None:
    sampler = VLLMSampler("folder", tokenizer=tokenizer)
    params = SamplingParams(max_new_tokens=3, logprobs=True)
    found = sampler.generate(["x", "yz"], 2, params, seeds=[0, 1, 2, 3])
    a, b, c, x, y, z = (tokenizer.get_vocab()[letter] for letter in "abcxyz")
    assert isinstance(found, Generation)
    assert found.prompt_ids.tolist() == [[PAD_ID, x], [PAD_ID, x], [y, z], [y, z]]
    assert found.prompt_mask.tolist() == [[False, True], [False, True], [True, True], [True, True]]
    assert found.completion_ids.tolist() == [[a, EOS_ID, PAD_ID], [a, b, EOS_ID], [a, b, c], [a, b, c]]
    assert found.completion_mask.tolist() == [[True, True, False], [True] * 3, [True] * 3, [True] * 3]
    assert found.ended.tolist() == [True, True, False, False]
    assert found.logprobs is not None
    assert found.logprobs.tolist() == [[-1.0, -2.0, 0.0], [-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0]]
    assert [tensor.dtype for tensor in (found.prompt_ids, found.completion_ids, found.ended, found.logprobs)] == [
        torch.int64,
        torch.int64,
        torch.bool,
        torch.float32,
    ]
    assert found.entropy is None
    assert sampler.generate(["x"], 1, PARAMS, seeds=[0]).logprobs is None


@pytest.mark.parametrize(
    "filter_on",
    [{"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}, {"repetition_penalty": 1.1}, {"min_new_tokens": 1}],
)
def test_logprobs_with_a_filter_are_refused(filter_on: dict[str, Any]) -> None:
    sampler = VLLMSampler("folder")
    (name,) = filter_on
    with pytest.raises(ConfigError, match=f"logprobs cannot be had with {name}, because vLLM"):
        sampler.generate(["x"], 1, SamplingParams(logprobs=True, **filter_on), seeds=[0])
    sampler.generate(["x"], 1, SamplingParams(**filter_on), seeds=[0])
    sampler.generate(["x"], 1, SamplingParams(logprobs=True, temperature=0.5), seeds=[0])


def test_weights_are_passed_on_and_the_prefix_cache_is_reset(llm: type[FakeLLM]) -> None:
    sampler = VLLMSampler("folder")
    model = tiny_llama(seed=3)
    sampler.update_weights(model)
    (engine,) = llm.made
    assert engine.log == ["reload", "reset"]
    assert engine.weights.keys() == model.state_dict().keys()
    assert all(torch.equal(engine.weights[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(tensor.requires_grad for tensor in engine.weights.values())


def test_adapters_are_merged_and_the_model_stays_as_it_was(llm: type[FakeLLM]) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head"], init_lora_weights=False)
    model = get_peft_model(tiny_llama(seed=3).to(torch.bfloat16), config)
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["default"].weight += 1.0
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = copy.deepcopy(model).merge_and_unload().state_dict()
    base = tiny_llama(seed=3).to(torch.bfloat16).state_dict()
    sampler = VLLMSampler("folder")
    sampler.update_weights(model)
    (engine,) = llm.made
    assert engine.weights.keys() == expected.keys() == base.keys()
    assert all(torch.equal(engine.weights[name], tensor) for name, tensor in expected.items())
    changed = {name.split(".")[-2] for name, tensor in base.items() if not torch.equal(engine.weights[name], tensor)}
    assert changed == {"q_proj", "down_proj", "lm_head"}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(getattr(module, "merged", False) for module in model.modules())


def test_adapters_that_cannot_be_merged_are_refused() -> None:
    from peft import PrefixTuningConfig, TaskType, get_peft_model

    model = get_peft_model(tiny_llama(), PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2))
    with pytest.raises(ModelError, match="cannot be merged; train LoRA"):
        VLLMSampler("folder").update_weights(model)


def test_quantised_weights_are_refused() -> None:
    model = tiny_llama()
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match=r"lm_head\.weight is quantised, .*load the model without quantisation"):
        VLLMSampler("folder").update_weights(model)


@pytest.mark.parametrize("option", ["tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"])
def test_weights_need_one_device(option: str) -> None:
    with pytest.raises(ConfigError, match="update_weights needs a vLLM on one device"):
        VLLMSampler("folder", **{option: 2}).update_weights(tiny_llama())
    VLLMSampler("folder", **{option: 1}).update_weights(tiny_llama())


def test_prefix_cache_that_stays_is_an_error(llm: type[FakeLLM]) -> None:
    sampler = VLLMSampler("folder")
    llm.made[0].resets = False
    with pytest.raises(ModelError, match="did not reset its prefix cache"):
        sampler.update_weights(tiny_llama())


def test_other_ends_are_refused(llm: type[FakeLLM]) -> None:
    sampler = VLLMSampler("folder")
    llm.made[0].finish_reason = "abort"
    with pytest.raises(ModelError, match="finish_reason 'abort'"):
        sampler.sample(["x"], 1, PARAMS, seed=0)


def test_too_long_prompt_names_the_row() -> None:
    sampler = VLLMSampler("folder")
    assert len(sampler.sample(["x" * 58], 1, PARAMS, seed=0)) == 1
    with pytest.raises(DataError, match=r"row 1: the prompt 'x+.* has 59 tokens, and at most 58"):
        sampler.sample(["ok", "x" * 59], 1, PARAMS, seed=0)


def test_n_and_the_pad_token_are_checked() -> None:
    with pytest.raises(ConfigError, match="n, the samples of a prompt, must be at least 1, not 0"):
        VLLMSampler("folder").sample(["x"], 0, PARAMS, seed=0)
    with pytest.raises(ModelError, match="The tokenizer has no pad token"):
        VLLMSampler("folder", tokenizer=tiny_tokenizer(pad_token=None)).generate(["x"], 1, PARAMS, seeds=[0])
