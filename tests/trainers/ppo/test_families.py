"""PPO on models that need care: recurrent ones, mixtures of experts, models that read padding as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import ModelError
from genrlhf.types import Generation, SamplingParams
from tests.decoders.configs import NOT_IN_PPO, UNLIKE_ANY_SAMPLER, build, known
from tests.helpers import EOS_ID, PAD_ID, tiny_tokenizer
from tests.trainers.runs import (
    best_of_n,
    interrupted_and_whole,
    largest_difference,
    ppo_trainer,
    prompt_rows,
    sft_trainer,
    weights,
)


@pytest.mark.parametrize(
    "name", ["rwkv", "roformer", "mamba", "mixtral", "qwen2_moe", "gpt_oss", "qwen3_next:reversed"]
)
@pytest.mark.parametrize("frozen", [0.0, 0.5])
def test_the_first_ratio_is_one(name: str, frozen: float, tmp_path: Path) -> None:
    trainer = ppo_trainer(
        tmp_path,
        model=build(name),
        tokenizer=tiny_tokenizer(),
        num_rollouts=1,
        freeze_layers=frozen,
        num_ppo_epochs=1,
        logging_steps=1,
    )
    trainer.train()
    log = next(entry for entry in trainer.state.log_history if "policy/ratio" in entry)
    assert log["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert log["objective/kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", map(known, sorted(NOT_IN_PPO)))
def test_what_cannot_be_compared_is_refused_before_other_models_are_loaded(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": build(name), "tokenizer": tiny_tokenizer(), "reward": str(tmp_path / "none")}
    with pytest.raises(ModelError, match=f"(?s)(of type|an) '?{name}"):
        ppo_trainer(tmp_path, **options)
    wanted = name if name in UNLIKE_ANY_SAMPLER else "There is no"
    with pytest.raises(ModelError, match=wanted):
        ppo_trainer(tmp_path, sampler=ForwardSampler(options["model"]), **options)


class ForwardSampler:
    """A user's sampler that draws from forward passes over each text alone."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def update_weights(self, model: Any) -> None:
        self.model = model

    @torch.no_grad()
    def generate(self, prompts: Any, n: int, params: SamplingParams, seeds: Any) -> Generation:
        tokenizer = tiny_tokenizer()
        texts = [tokenizer(prompt)["input_ids"] for prompt in prompts for _ in range(n)]
        drawn = []
        for text, seed in zip(texts, seeds, strict=True):
            generator, new = torch.Generator().manual_seed(seed), list[int]()
            while len(new) < params.max_new_tokens and new[-1:] != [EOS_ID]:
                logits = self.model(input_ids=torch.tensor([text + new]), use_cache=False).logits[0, -1]
                new.append(int(torch.multinomial(logits.softmax(-1), 1, generator=generator)))
            drawn.append(new)
        width = max(map(len, texts))
        mask = torch.tensor([[True] * len(new) + [False] * (params.max_new_tokens - len(new)) for new in drawn])
        return Generation(
            prompt_ids=torch.tensor([[PAD_ID] * (width - len(text)) + text for text in texts]),
            prompt_mask=torch.tensor([[False] * (width - len(text)) + [True] * len(text) for text in texts]),
            completion_ids=torch.tensor([new + [PAD_ID] * (params.max_new_tokens - len(new)) for new in drawn]),
            completion_mask=mask,
            ended=torch.tensor([new[-1] == EOS_ID for new in drawn]),
        )


@pytest.mark.parametrize("name", map(known, sorted(NOT_IN_PPO - UNLIKE_ANY_SAMPLER)))
def test_a_sampler_that_is_true_to_the_forward_pass_trains_them(name: str, tmp_path: Path) -> None:
    model = build(name)
    trainer = ppo_trainer(
        tmp_path,
        model=model,
        tokenizer=tiny_tokenizer(),
        sampler=ForwardSampler(model),
        num_rollouts=2,
        num_ppo_epochs=1,
        per_device_train_batch_size=4,
        max_new_tokens=4,
    )
    trainer.train()
    log = next(entry for entry in trainer.state.log_history if "policy/ratio" in entry)
    assert log["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert log["objective/kl"] == pytest.approx(0, abs=1e-4)
    rows = [{"prompt": "a"}, {"prompt": "hello w"}]
    scored = trainer.collector.sample_and_score(rows, range(2))
    for prompt, ids, mask, found in zip(
        rows, scored.completion_ids, scored.completion_mask, scored.logprobs, strict=True
    ):
        text, new = tiny_tokenizer()(prompt["prompt"])["input_ids"], ids[mask].tolist()
        alone = model.eval()(input_ids=torch.tensor([text + new]), use_cache=False).logits[0].log_softmax(-1)
        wanted = alone[len(text) - 1 : -1].gather(-1, ids[mask].unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(found[mask], wanted, atol=1e-5, rtol=0)


def test_a_reference_that_reads_ahead_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ref_model is of type 'xlnet'"):
        ppo_trainer(tmp_path, ref_model=build("xlnet"))


def test_fine_tuning_and_best_of_n_refuse_what_reads_ahead_before_the_work(tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": build("xlnet")}
    with pytest.raises(ModelError, match="The model is of type 'xlnet'"):
        sft_trainer(tmp_path / "sft", **options)
    with pytest.raises(ModelError, match="The model is of type 'xlnet'"):
        best_of_n(tmp_path / "best", train_dataset=prompt_rows(4), **options)
    # To evaluate it is only to draw from it.
    best_of_n(tmp_path / "best", **options)
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral"])
def test_families_that_are_saved_under_other_names_are_resumed(name: str, tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> Any:
        return ppo_trainer(
            folder,
            model=build(name),
            tokenizer=tiny_tokenizer(),
            num_rollouts=2,
            num_ppo_epochs=2,
            freeze_layers=0.5,
            callbacks=callbacks,
        )

    resumed, whole = interrupted_and_whole(make, tmp_path, 3)
    assert largest_difference(weights(resumed.collector.model), weights(whole.collector.model)) == 0
