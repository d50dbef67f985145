"""Every option of PPO by its effect."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from peft import LoraConfig

from genrlhf.errors import ConfigError
from genrlhf.ops import kl_estimate
from genrlhf.trainers import PPOConfig
from genrlhf.trainers.ppo.batches import minibatch
from genrlhf.trainers.ppo.hooks import check_hooks
from genrlhf.trainers.ppo.presets import PPO_PRESETS
from genrlhf.trainers.ppo.shaping import Shaping
from genrlhf.trainers.ppo.state import PPOState
from genrlhf.trainers.tally import Tally
from tests.helpers import tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import largest_difference, logged, ppo_trainer, prompt_rows, share_of_a, weights

SCORES = torch.tensor([4.0, -2.0, 1.0])
ENDED = torch.tensor([True, False, True])
LENGTHS = torch.tensor([3, 8, 5])


def shaping(state: PPOState, **settings: Any) -> Shaping:
    args = PPOConfig("x", use_cpu=True, **settings)
    return Shaping(args, state, check_hooks(args), lambda tensor: tensor)


def shaped(scores: torch.Tensor = SCORES, state: PPOState | None = None, **settings: Any) -> list[float]:
    scored: Any = SimpleNamespace(scores=scores, ended=ENDED, completion_mask=torch.arange(8) < LENGTHS.unsqueeze(-1))
    rules = shaping(state or PPOState(0.0), **{"missing_eos_score": None, **settings})
    return rules.scores(scored, Tally()).tolist()


def test_rules_for_scores() -> None:
    assert shaped() == [4, -2, 1]
    assert shaped(missing_eos_score=-7.0) == [4, -7, 1]
    assert shaped(missing_eos_penalty=1.5) == [4, -3.5, 1]
    assert shaped(length_penalty=0.5) == [2.5, -6, -1.5]
    assert shaped(clip_scores=1.5) == [1.5, -1.5, 1]
    assert shaped(clip_scores=1.5, missing_eos_score=-7.0, length_penalty=1.0) == [-1.5, -15, -4]


def test_scores_are_scaled_by_the_deviation_of_all_so_far() -> None:
    state = PPOState(0.0)
    first, second = SCORES, torch.tensor([10.0, 20.0, 0.0])
    assert shaped(first, state, scale_scores=True) == pytest.approx((first / first.std()).tolist())
    deviation = torch.cat([first, second]).std()
    assert shaped(second, state, scale_scores=True) == pytest.approx((second / deviation).tolist(), rel=1e-5)
    assert shaped(torch.full((3,), 2.0), PPOState(0.0), scale_scores=True) == [2, 2, 2]


def test_whitened_rewards_have_variance_one_and_keep_their_mean() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    kl = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)) * mask
    scores = torch.tensor([2.0, -1.0])
    plain = shaping(PPOState(0.3)).token_rewards(scores, kl, mask)
    white = shaping(PPOState(0.3), whiten_rewards=True).token_rewards(scores, kl, mask)
    assert plain[0, 0].item() == pytest.approx(-0.3 * kl[0, 0].item())
    assert white[mask].std().item() == pytest.approx(1.0, abs=1e-5)
    assert white[mask].mean().item() == pytest.approx(plain[mask].mean().item(), abs=1e-5)


def test_kl_in_the_loss_leaves_the_reward_alone_and_pulls_back(tmp_path: Path) -> None:
    common = {"num_rollouts": 6, "reward": lambda prompts, completions, **_: [0.0] * len(completions)}
    settings = {"kl_in_loss": True, "kl_estimator": "k2", "kl_coef": 3.0, "learning_rate": 1e-3}
    trainer = ppo_trainer(tmp_path, **common, **settings)
    with torch.no_grad():
        for parameter in trainer.policy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    trainer.train()
    kl = logged(trainer, "objective/kl")
    assert kl[-1] < 0.7 * kl[0]
    assert logged(trainer, "objective/rlhf_reward") == [0.0] * 6


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_loss_with_the_kl_in_it(tmp_path: Path, estimator: Any) -> None:
    trainers = [
        ppo_trainer(tmp_path / str(inside), kl_in_loss=inside, kl_estimator=estimator, kl_coef=0.7, temperature=0.8)
        for inside in (True, False)
    ]
    with torch.no_grad():
        for trainer in trainers:
            trainer.policy.model.layers[0].mlp.up_proj.weight.mul_(1.2)
    rollout, _ = trainers[0].collector.collect(list(prompt_rows(16)), range(16))
    batch = {"rollout": minibatch(rollout, torch.arange(16))}
    with_kl, without = (trainer.compute_loss(trainer.collector.model, batch).item() for trainer in trainers)
    kl = kl_estimate(rollout.logprobs, rollout.ref_logprobs, estimator)[rollout.completion_mask].mean().item()
    assert kl > 1e-4
    assert with_kl - without == pytest.approx(0.7 * kl, rel=1e-3)


def test_adaptive_coefficient_follows_the_kl_and_survives_a_resume(tmp_path: Path) -> None:
    settings = {"kl_target": 0.5, "kl_horizon": 64.0, "num_rollouts": 6, "save_strategy": "steps", "save_steps": 3}
    whole = ppo_trainer(tmp_path / "whole", **settings)
    whole.train()
    kl, coef = logged(whole, "objective/kl"), logged(whole, "objective/kl_coef")
    for before, after, seen in zip(coef[:-1], coef[1:], kl[:-1], strict=True):
        factor = 1 + min(max(seen / 0.5 - 1, -0.2), 0.2) * 16 / 64
        assert after == pytest.approx(before * factor, rel=1e-5)
    assert coef[1] < coef[0]
    assert max(coef) > coef[1]
    cut = ppo_trainer(tmp_path / "cut", **{**settings, "num_rollouts": None, "max_steps": 3})
    cut.train()
    again = ppo_trainer(tmp_path / "cut", **settings)
    again.train(resume_from_checkpoint=True)
    assert again.ppo_state == whole.ppo_state
    assert largest_difference(weights(whole.collector.model), weights(again.collector.model)) == 0


def test_entropy_bonus_keeps_the_entropy_up(tmp_path: Path) -> None:
    found = {}
    for coef in (0.0, 0.5):
        trainer = ppo_trainer(tmp_path / str(coef), reward=share_of_a, num_rollouts=25, entropy_coef=coef)
        trainer.train()
        found[coef] = logged(trainer, "objective/entropy")[-1]
    assert found[0.5] > found[0.0] + 0.1
    assert logged(trainer, "policy/entropy")[-1] == pytest.approx(found[0.5], abs=0.1)


def test_updates_stop_where_the_policy_went_too_far(tmp_path: Path) -> None:
    settings = {
        "num_ppo_epochs": 6,
        "num_rollouts": 2,
        "learning_rate": 2e-2,
        "save_strategy": "steps",
        "save_steps": 4,
    }
    free = ppo_trainer(tmp_path / "free", **settings)
    free.train()
    approx = logged(free, "policy/approx_kl")
    limit = (approx[1] + approx[2]) / 2
    stopped = ppo_trainer(tmp_path / "stopped", **settings, early_stop_kl=limit)
    stopped.train()
    assert logged(stopped, "policy/stopped")[:6] == [0, 0, 0, 1, 1, 1]
    steps = ppo_trainer(tmp_path / "steps", **{**settings, "num_rollouts": None, "max_steps": 3})
    steps.train()
    checkpoint = tmp_path / "stopped" / "checkpoint-4"
    at_four = ppo_trainer(tmp_path / "other")
    at_four._load_from_checkpoint(str(checkpoint))
    assert at_four.ppo_state.stopped
    again = ppo_trainer(tmp_path / "stopped", **settings, early_stop_kl=limit)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert largest_difference(weights(stopped.policy), weights(again.policy)) == 0


def test_value_clip_can_be_off_and_several_samples_share_a_prompt(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        asked.append(list(prompts))
        assert len(set(completions)) > 12
        return share_of_a(prompts, completions)

    trainer = ppo_trainer(tmp_path, reward=reward, samples_per_prompt=4, value_clip_range=None, num_rollouts=1)
    trainer.train()
    (prompts,) = asked
    assert len(prompts) == 16
    assert [prompts[i : i + 4] for i in range(0, 16, 4)] == [[prompts[i]] * 4 for i in range(0, 16, 4)]
    assert set(logged(trainer, "value/clip_fraction")) == {0.0}


def test_stop_strings_and_filters_reach_the_sampler(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, stop=["a", "b"], top_k=200, top_p=0.95, max_new_tokens=30, num_rollouts=1)
    params = trainer.args.sampling_params
    assert (params.stop, params.top_k, params.top_p) == (("a", "b"), 200, 0.95)
    scored = trainer.collector.sample_and_score(list(prompt_rows(16)), range(16))
    assert scored.ended.any()
    assert not any("a" in text or "b" in text for text in scored.texts)


def test_value_model_that_starts_as_the_reward(tmp_path: Path) -> None:
    reward = tiny_reward_model(seed=5)
    trainer = ppo_trainer(
        tmp_path,
        reward=reward,
        reward_processing_class=tiny_tokenizer(),
        value_model="reward",
        num_rollouts=2,
        save_strategy="steps",
        save_steps=1,
    )
    value = trainer.collector.model.value_model
    assert largest_difference(weights(value), weights(reward)) == 0
    rollout, _ = trainer.collector.collect(list(prompt_rows(16)), range(16))
    row = 3
    ids = torch.cat([rollout.prompt_ids[row][rollout.prompt_mask[row]], rollout.completion_ids[row]])
    length = int(rollout.prompt_mask[row].sum())
    for t in (0, 4, 7):
        want = value.score(value.model(ids[None, : length + t]).last_hidden_state[0, -1]).item()
        assert rollout.values[row, t].item() == pytest.approx(want, abs=1e-5)
    trainer.train()
    assert largest_difference(weights(value), weights(reward)) > 1e-3
    assert largest_difference(weights(reward), weights(tiny_reward_model(seed=5))) == 0
    again = ppo_trainer(
        tmp_path, reward=reward, reward_processing_class=tiny_tokenizer(), value_model="reward", num_rollouts=2
    )
    again._load_from_checkpoint(str(tmp_path / "checkpoint-4"))
    assert largest_difference(weights(again.collector.model), weights(trainer.collector.model)) == 0
    with pytest.raises(ConfigError, match='value_model="reward" needs a reward model'):
        ppo_trainer(tmp_path / "callable", value_model="reward")


def test_presets() -> None:
    assert set(PPO_PRESETS) == {"kirk2023", "kirk2023-released", "nplus", "ziegler2019"}
    for name in PPO_PRESETS:
        args = PPOConfig.preset(name, "x", use_cpu=True)
        for field, value in PPO_PRESETS[name].items():
            assert getattr(args, field) == value, (name, field)
    released = PPOConfig.preset("kirk2023-released", "x", use_cpu=True, num_rollouts=3)
    assert (released.kl_coef, released.kl_estimator, released.learning_rate) == (5.0, "k2", 1.5e-6)
    assert released.max_steps == 12
    with pytest.raises(ConfigError, match="no preset 'kirk'; there are kirk2023, "):
        PPOConfig.preset("kirk")


def test_warnings_of_what_goes_wrong_quietly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        trainer = ppo_trainer(tmp_path / "a", num_rollouts=3)
        trainer.train()
        assert [record.message[:32] for record in caplog.records] == ["No completion of a rollout ended"]
        caplog.clear()
        model = ppo_trainer(tmp_path / "b", disable_dropout=False, num_rollouts=1, min_new_tokens=0)
        collect = model.collector.collect

        def shifted(rows: Any, seeds: Any) -> Any:
            rollout, scored = collect(rows, seeds)
            rollout.logprobs.add_(0.1)
            return rollout, scored

        with patch.object(type(model.collector), "collect", side_effect=shifted):
            model.train()
        assert any("sees ratios up to 0.095 away from 1" in record.message for record in caplog.records)
        caplog.clear()
        for _ in range(25):
            trainer._parts.health.explained_variance(-0.1)
        assert [record.message[:19] for record in caplog.records] == ["In 20 logs in a row"]


def test_table_of_completions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = prompt_rows(32).map(lambda row: {"prompt": row["prompt"] + "\x1b[31m"})
    trainer = ppo_trainer(
        tmp_path, train_dataset=rows, num_rollouts=3, log_completions_rollouts=2, num_completions_to_print=3
    )
    trainer.train()
    shown = capfd.readouterr().err
    tables = shown.split("Rollout ")[1:]
    assert [table.splitlines()[0] for table in tables] == ["1", "3"]
    assert all(len(table.strip().splitlines()) == 5 for table in tables)
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown
    assert math.isfinite(float(tables[0].splitlines()[2].split()[0]))


def test_base_below_an_adapter_stays_in_low_precision(tmp_path: Path) -> None:
    adapter = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    trainer = ppo_trainer(tmp_path, model=tiny_llama().to(torch.bfloat16), peft_config=adapter, bf16=True)
    found = {p.requires_grad: p.dtype for p in trainer.policy.parameters()}
    assert found == {True: torch.float32, False: torch.bfloat16}
    trainer.train()


def test_trained_layers_of_a_model_in_low_precision_are_float32(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, model=tiny_llama().to(torch.bfloat16), freeze_layers=0.5, bf16=True)
    found = {p.requires_grad: p.dtype for p in trainer.policy.parameters()}
    assert found == {True: torch.float32, False: torch.bfloat16}
    assert trainer.collector.low_precision
    trainer.train()
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1.0, abs=1e-3)


def test_precision_that_the_launcher_sets_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    trainer = ppo_trainer(tmp_path, num_rollouts=1)
    assert trainer.accelerator.mixed_precision == "bf16"
    assert trainer.collector.low_precision


def test_evaluation_leaves_the_times_of_training_alone(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, eval_dataset=prompt_rows(4))
    trainer.evaluate()
    assert trainer._parts.tally.figures(lambda tensor: tensor) == {}


def test_a_run_shorter_than_logging_steps_logs_its_figures_at_the_end(tmp_path: Path) -> None:
    often = ppo_trainer(tmp_path / "often", num_rollouts=1, num_ppo_epochs=2, logging_steps=2)
    never = ppo_trainer(tmp_path / "never", num_rollouts=1, num_ppo_epochs=2, logging_steps=10)
    often.train()
    never.train()
    figures = {key: value for key, value in often.state.log_history[0].items() if "/" in key and "time" not in key}
    assert {"objective/kl", "policy/ratio", "value/explained_variance"} <= figures.keys()
    assert {key: logged(never, key) for key in figures} == {key: [value] for key, value in figures.items()}
    assert "train_loss" in never.state.log_history[-1]
