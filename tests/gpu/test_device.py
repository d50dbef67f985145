"""What a GPU may do otherwise than a processor; without one the same is tested on the processor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import GenerationConfig, LlamaForSequenceClassification

from genrlhf.models.attention import leave_out_cudnn_attention
from genrlhf.rewards import load_reward
from genrlhf.sampling import TransformersSampler, graphs, sample_seeds
from genrlhf.sampling.graphs import record
from genrlhf.trainers import RewardModelConfig, RewardModelTrainer, SFTConfig, SFTTrainer
from genrlhf.types import Generation, SamplingParams
from tests.helpers import EOS_ID, PAD_ID, tiny_gpt2, tiny_llama, tiny_opt, tiny_reward_model, tiny_tokenizer
from tests.host_waits import count_waits
from tests.trainers.runs import (
    QUIET,
    best_of_n,
    interrupted_and_whole,
    largest_difference,
    logged,
    ppo_trainer,
    weights,
)

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HERE: dict[str, Any] = {"use_cpu": DEVICE.type == "cpu"}
PROMPTS = ["the sea", "a", "two old men and a boat", "rain, and more rain"]
FAMILIES = [tiny_llama, tiny_gpt2, tiny_opt]
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def _no_determinism_left_behind() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def draw(model: Any, params: SamplingParams, n: int = 1, batch_size: int = 64) -> Generation:
    sampler = TransformersSampler(model, tiny_tokenizer(), batch_size=batch_size)
    return sampler.generate(PROMPTS, n, params, sample_seeds(7, range(len(PROMPTS)), n))


def rows_of(generation: Generation) -> list[tuple[list[int], list[int]]]:
    """Prompt and completion of every row, without padding."""
    return [
        (generation.prompt_ids[i][generation.prompt_mask[i]].tolist(), generation.completion_ids[i][mask].tolist())
        for i, mask in enumerate(generation.completion_mask)
    ]


@pytest.mark.parametrize("build", FAMILIES)
def test_greedy_is_that_of_transformers(build: Any) -> None:
    model = build().to(DEVICE)
    for prompt, completion in rows_of(draw(model, SamplingParams(max_new_tokens=12, temperature=0.0))):
        config = GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=EOS_ID, pad_token_id=PAD_ID)
        inputs = torch.tensor([prompt], device=DEVICE)
        plain = model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config)
        assert plain[0, len(prompt) :].tolist() == completion


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("build", FAMILIES)
def test_log_probs_are_those_of_an_unpadded_forward_pass(build: Any, dtype: torch.dtype) -> None:
    model = build().to(DEVICE, dtype)
    generation = draw(model, SamplingParams(max_new_tokens=12, logprobs=True), n=3)
    assert generation.logprobs is not None and generation.logprobs.device.type == DEVICE.type
    for (prompt, completion), found in zip(rows_of(generation), generation.logprobs, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion], device=DEVICE)).logits[0, len(prompt) - 1 : -1]
        wanted = logits.double().log_softmax(-1)[range(len(completion)), completion]
        error = (found[: len(completion)].double() - wanted).abs().max()
        assert error < (1e-5 if dtype == torch.float32 else 0.25)


def test_a_completion_does_not_depend_on_the_batch() -> None:
    params = SamplingParams(max_new_tokens=12)
    model = tiny_llama().to(DEVICE)
    assert rows_of(draw(model, params, n=5)) == rows_of(draw(model, params, n=5, batch_size=2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_repeated_steps_draw_what_steps_sent_anew_draw(dtype: torch.dtype) -> None:
    model, recorded = tiny_llama().to(DEVICE, dtype), []
    params = SamplingParams(max_new_tokens=24, logprobs=True)
    found = {}
    for cuda_graphs in (True, False):
        sampler = TransformersSampler(model, tiny_tokenizer(), cuda_graphs=cuda_graphs)
        with patch.object(graphs, "record", lambda step: recorded.append(record(step)) or recorded[-1]):
            found[cuda_graphs] = sampler.generate(PROMPTS, 3, params, sample_seeds(7, range(4), 3), boundary=1)
    assert bool(recorded) is (DEVICE.type == "cuda")
    pairs = [a == b for a, b in zip(*(rows_of(each) for each in found.values()), strict=True)]
    assert sum(pairs) >= len(pairs) - (1 if dtype == torch.float32 else len(pairs) // 2)
    same = torch.tensor(pairs, device=DEVICE)
    width = min(each.completion_ids.shape[1] for each in found.values())
    mask = found[True].completion_mask[:, :width] & same.unsqueeze(-1)
    limit = 1e-5 if dtype == torch.float32 else 0.25
    one, other = found.values()
    for name in ("logprobs", "last_hidden"):
        difference = (getattr(one, name)[:, :width][mask] - getattr(other, name)[:, :width][mask]).abs().max()
        assert difference < limit, name
    assert one.trunk is not None and other.trunk is not None
    states = [each.completion[:, :width][mask] for each in (one.trunk, other.trunk)]
    assert (states[0] - states[1]).abs().max() < limit


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.9}, {"logprobs": True, "repetition_penalty": 1.2}])
def test_no_token_makes_the_host_wait(settings: dict[str, Any]) -> None:
    model = tiny_llama().to(DEVICE)
    model.generation_config.eos_token_id = None
    sampler = TransformersSampler(model, tiny_tokenizer())

    def waits(new: int) -> int:
        params = SamplingParams(max_new_tokens=new, min_new_tokens=new, **settings)
        return count_waits(lambda: sampler.generate(PROMPTS, 4, params, sample_seeds(3, range(4), 4))).total()

    waits(4)
    # A recorded graph waits for itself to begin.
    assert waits(40) - waits(20) <= 1


@pytest.mark.parametrize("filters", [{"top_p": 0.8}, {"top_k": 5}, {"min_p": 0.05}, {"repetition_penalty": 1.3}])
def test_the_device_draws_what_the_processor_draws(filters: dict[str, Any]) -> None:
    params = SamplingParams(max_new_tokens=12, **filters)
    here, there = draw(tiny_llama().to(DEVICE), params, n=4), draw(tiny_llama(), params, n=4)
    pairs = [a == b for a, b in zip(rows_of(here), rows_of(there), strict=True)]
    # The last bits of the logits differ, and with them now and then a token.
    assert sum(pairs) >= len(pairs) - 1


@pytest.mark.parametrize("settings", [{}, {"bf16": True}, {"freeze_layers": 0.5}, {"freeze_layers": 0.5, "bf16": True}])
@pytest.mark.parametrize("build", FAMILIES)
def test_the_first_ratio_is_one_and_the_updates_move_the_policy(
    tmp_path: Path, build: Any, settings: dict[str, Any]
) -> None:
    trainer = ppo_trainer(tmp_path, model=build(), **HERE, **settings)
    before = weights(trainer.policy)
    trainer.train()
    assert trainer.policy.device.type == DEVICE.type
    ratios = logged(trainer, "policy/ratio")
    assert ratios[0] == pytest.approx(1, abs=1e-5)
    assert ratios[1] != ratios[0]
    assert largest_difference(weights(trainer.policy), before) > 0
    trained = [parameter for parameter in trainer.policy.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}


def test_nlpo_draws_from_the_mask_on_the_device(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, mask_top_p=0.5, **HERE)
    trainer.train()
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1, abs=1e-5)


def test_lora_trains_an_adapter_on_the_device(tmp_path: Path) -> None:
    adapter = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"])
    trainer = ppo_trainer(tmp_path, peft_config=adapter, bf16=True, **HERE)
    before = weights(trainer.policy)
    trainer.train()
    after = weights(trainer.policy)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("lora_" in name for name in moved)
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1, abs=1e-5)


def reward_like(policy: Any) -> Any:
    torch.manual_seed(3)
    policy.config.num_labels = 1
    model = LlamaForSequenceClassification(policy.config).eval()
    model.model.load_state_dict(policy.model.state_dict())
    return model


def test_scores_from_the_trunk_are_those_of_the_whole_reward_model(tmp_path: Path) -> None:
    found = {}
    for name in ("trunk", "whole"):
        policy = tiny_llama()
        reward = reward_like(policy)
        if name == "whole":
            scored = load_reward(reward, tokenizer=tiny_tokenizer(), batch_size=8, device=DEVICE)
            reward = lambda prompts, completions, scored=scored, **columns: scored(prompts, completions)  # noqa: E731
        trainer = ppo_trainer(
            tmp_path / name,
            model=policy,
            reward=reward,
            reward_processing_class=tiny_tokenizer(),
            freeze_layers=0.5,
            **HERE,
        )
        trainer.train()
        found[name] = logged(trainer, "objective/scores")
    assert found["trunk"][0] == pytest.approx(found["whole"][0], abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"bf16": True, "freeze_layers": 0.5}])
def test_a_resumed_run_ends_with_the_very_weights(tmp_path: Path, settings: dict[str, Any]) -> None:
    options = {"full_determinism": True, "num_rollouts": 3, **HERE, **settings}

    def make(folder: Path, callbacks: Any) -> Any:
        return ppo_trainer(folder, callbacks=callbacks, **options)

    resumed, whole = interrupted_and_whole(make, tmp_path, stop=3)
    assert largest_difference(weights(resumed.collector.model), weights(whole.collector.model)) == 0


@pytest.mark.parametrize("filters", [{}, {"top_p": 0.9}])
def test_full_determinism_repeats_a_run(tmp_path: Path, filters: dict[str, Any]) -> None:
    found = []
    for number in range(2):
        trainer = ppo_trainer(tmp_path / str(number), full_determinism=True, **HERE, **filters)
        trainer.train()
        found.append(weights(trainer.collector.model))
    assert largest_difference(*found) == 0


@pytest.mark.parametrize("bf16", [False, True])
def test_the_other_trainers_learn_on_the_device(tmp_path: Path, bf16: bool) -> None:
    quiet = {**QUIET, **HERE, "bf16": bf16, "logging_steps": 1, "max_steps": 8, "learning_rate": 1e-2}
    pairs = [{"prompt": f"{a}:", "completion": a.upper() * 3} for a in "abcdefgh"]
    preferences = [{"prompt": f"{a}:", "chosen": a.upper() * 3, "rejected": a * 3} for a in "abcdefgh"]
    sft = SFTTrainer(
        model=tiny_llama(),
        args=SFTConfig(str(tmp_path / "sft"), **quiet),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tiny_tokenizer(),
    )
    reward = RewardModelTrainer(
        model=tiny_reward_model(),
        args=RewardModelConfig(str(tmp_path / "reward"), **quiet),
        train_dataset=Dataset.from_list(preferences),
        processing_class=tiny_tokenizer(),
    )
    for trainer in (sft, reward):
        trainer.train()
        losses = logged(trainer, "loss")
        assert losses[-1] < losses[0]
    rows = Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS])
    chosen = best_of_n(tmp_path / "best", train_dataset=rows, bf16=bf16, **HERE)
    assert chosen.train().global_step == 3


@pytest.mark.parametrize("width", [40, 64, 128, 192])
def test_attention_has_finite_gradients_where_nothing_is_attended_to_much(width: int) -> None:
    # cuDNN has none at 64 and 192, see `leave_out_cudnn_attention`.
    leave_out_cudnn_attention()
    dtype = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
    query, key, value = (torch.randn(2, 4, width, 16, device=DEVICE, dtype=dtype) for _ in range(3))
    query, key = (query.abs() * 8).requires_grad_(), -key.abs() * 8
    mask = torch.ones(width, width, dtype=torch.bool, device=DEVICE).tril().expand(2, 1, -1, -1).clone()
    mask[1, :, :, :7] = False
    torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).sum().backward()
    assert query.grad is not None and query.grad.isfinite().all()
