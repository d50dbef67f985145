"""The rollout loop without a critic: advantages among the completions of a prompt."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from packaging.version import Version
from peft import LoraConfig

from genrlhf.errors import ConfigError, GenRLHFError, RewardError, ShapeError
from genrlhf.models import packing
from genrlhf.models.packing import PackedText
from genrlhf.ops import GROUP_ADVANTAGES
from genrlhf.trainers import PPOConfig, PPOTrainer, RolloutCallback
from genrlhf.trainers.ppo.batches import minibatch
from genrlhf.trainers.ppo.rollout import RolloutCollector
from tests.helpers import save_model, tiny_llama, tiny_tokenizer
from tests.processes import run_in_two
from tests.trainers.runs import (
    QUIET,
    interrupted_and_whole,
    largest_difference,
    logged,
    ppo_trainer,
    prompt_rows,
    share_of_letters,
    weights,
)

LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])


def has_letter(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A verifier: is there a letter among the first ones?"""
    return [float(any(char.isalpha() for char in completion[:2])) for completion in completions]


def group_trainer(folder: Path, advantage: str = "rloo", **options: Any) -> PPOTrainer:
    given: dict[str, Any] = {"samples_per_prompt": 4, "advantage": advantage, "reward": has_letter}
    if advantage in ("maxrl", "pass_at_k"):
        given |= {"kl_in_loss": True, "kl_estimator": "k3"}
    return ppo_trainer(folder, **{**given, **options})


@pytest.mark.parametrize("advantage", GROUP_ADVANTAGES)
def test_trains_saves_and_logs_without_a_critic(advantage: str, tmp_path: Path) -> None:
    trainer = group_trainer(tmp_path, advantage, num_rollouts=12, kl_coef=0.01, num_ppo_epochs=1)
    assert not [name for name, _ in trainer.model.named_parameters() if "value" in name]
    trainer.train()
    scores = logged(trainer, "objective/scores")
    assert sum(scores[-3:]) > sum(scores[:3])
    keys = {key for entry in trainer.state.log_history for key in entry}
    assert "objective/equal_groups" in keys and not [key for key in keys if key.startswith("value/")]
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert not (tmp_path / "saved" / "value_head.safetensors").exists()


@pytest.mark.parametrize("advantage", ["rloo", "grpo", "dr_grpo"])
def test_the_kl_is_taken_off_the_reward_before_groups_are_compared(advantage: str, tmp_path: Path) -> None:
    trainer = group_trainer(tmp_path, advantage, ref_model=tiny_llama(seed=3), kl_coef=0.3)
    rollout, scored = trainer.collector.collect(list(prompt_rows(4)), list(range(16)))
    rewards = scored.scores - 0.3 * scored.kl.sum(-1)
    expected = GROUP_ADVANTAGES[advantage](rewards.view(-1, 4)).flatten()
    assert (rollout.advantages - expected.unsqueeze(-1) * rollout.completion_mask).abs().max() < 1e-5
    assert rollout.values is None and rollout.returns is None


@pytest.mark.parametrize("loss_mean", ["token", "sequence", "constant"])
def test_a_step_is_the_same_however_it_is_split(loss_mean: str, tmp_path: Path) -> None:
    found = []
    for batch, accumulation in ((16, 1), (4, 4), (1, 16)):
        trainer = group_trainer(
            tmp_path / f"{batch}",
            "grpo",
            loss_mean=loss_mean,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            max_grad_norm=0.0,
            optim="sgd",
            num_rollouts=1,
        )
        trainer.train()
        found.append(weights(trainer.model))
    for other in found[1:]:
        assert largest_difference(found[0], other) < 1e-6


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    one = group_trainer(tmp_path / "one", "grpo", num_rollouts=2, max_grad_norm=0.0, optim="sgd", loss_mean="sequence")
    one.train()
    run_in_two("tests.trainers.ppo.two_groups", str(tmp_path / "two"))
    two = torch.load(tmp_path / "two" / "weights.pt", weights_only=True)
    assert largest_difference(weights(one.model), two) < 1e-5


@pytest.mark.parametrize("advantage", ["grpo", "pass_at_k"])
def test_resumed_in_the_middle_of_a_rollout_bit_for_bit(advantage: str, tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> PPOTrainer:
        return group_trainer(
            folder, advantage, callbacks=callbacks, save_strategy="steps", save_steps=1, num_mini_batches=2
        )

    resumed, whole = interrupted_and_whole(make, tmp_path, 3)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0


@pytest.mark.parametrize("options", [{"peft_config": LORA}, {"freeze_layers": 0.5}])
def test_adapters_and_frozen_layers(options: dict[str, Any], tmp_path: Path) -> None:
    trainer = group_trainer(tmp_path, "grpo", **options)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(("lora" if "peft_config" in options else "layers.1.") in name for name in changed)


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def best_against_the_rest(rewards: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(rewards.shape))
        return (rewards == rewards.amax(-1, keepdim=True)).float() - 0.5

    trainer = ppo_trainer(tmp_path, advantage_function=best_against_the_rest, samples_per_prompt=4, num_rollouts=1)
    trainer.train()
    assert seen == [(4, 4)]


def test_a_function_of_ones_own_may_weigh_completions_by_their_tokens(tmp_path: Path) -> None:
    """As the optimal baseline of OPO does (Hao et al. 2025, arXiv 2505.23585)."""
    seen: list[torch.Tensor] = []

    def optimal(rewards: torch.Tensor, ended: Any, completion_ids: Any) -> torch.Tensor:
        lengths = torch.tensor([[len(ids) for ids in group] for group in completion_ids])
        assert [len(group) for group in ended] == [4] * 4
        seen.append(lengths)
        return rewards - (lengths * rewards).sum(-1, keepdim=True) / lengths.sum(-1, keepdim=True)

    class Lengths(RolloutCallback):
        def on_rollout_end(self, args: Any, state: Any, control: Any, *, rollout: Any, **kwargs: Any) -> None:
            lengths = rollout.completion_mask.sum(-1).view(4, 4)
            assert lengths.equal(seen[0])
            first = rollout.advantages[:, 0].view(4, 4)
            torch.testing.assert_close((lengths * first).sum(-1), torch.zeros(4), atol=1e-5, rtol=0)

    trainer = ppo_trainer(
        tmp_path, advantage_function=optimal, callbacks=[Lengths()], samples_per_prompt=4, num_rollouts=1
    )
    trainer.train()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda r: r.mean(), ShapeError, r"returned \(\) for rewards of \(4, 4\)"),
        (lambda r: None, ShapeError, "returned NoneType"),
        (lambda r: r / 0, RewardError, "advantages must be finite"),
        (lambda r: r.middle(), GenRLHFError, r"The advantage function raised AttributeError.*_advantages.py, line \d+"),
        (lambda r, n: r, ConfigError, r"called with \(rewards\), and takes \(r, n\): missing .*_ids, ended get"),
    ],
)
def test_a_function_that_returns_something_else(
    function: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        ppo_trainer(tmp_path, advantage_function=function, samples_per_prompt=4, num_rollouts=1).train()


def test_a_function_of_ones_own_normalised_over_the_rollout(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Keep(RolloutCallback):
        def on_rollout_end(self, args: Any, state: Any, control: Any, *, rollout: Any, **kwargs: Any) -> None:
            seen.append(rollout)

    for whitened in (None, True):
        ppo_trainer(
            tmp_path / str(whitened),
            advantage_function=lambda rewards: rewards - rewards.mean(-1, keepdim=True),
            callbacks=[Keep()],
            samples_per_prompt=4,
            num_rollouts=1,
            whiten_advantages=whitened,
        ).train()
    plain, ours = (rollout.advantages[rollout.completion_mask].tolist() for rollout in seen)
    mean, deviation = statistics.mean(plain), statistics.stdev(plain)
    assert ours == pytest.approx([(value - mean) / deviation for value in plain], abs=1e-4)
    with pytest.raises(ConfigError, match="biases the gradient"):
        ppo_trainer(tmp_path, advantage_function=lambda r: r, samples_per_prompt=4, whiten_rewards=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"advantage": "magic"}, "advantage must be one of gae, rloo"),
        ({"advantage": "rloo"}, "samples_per_prompt is 1"),
        ({"advantage": "rloo", "samples_per_prompt": 4, "whiten_advantages": True}, "biases the gradient"),
        ({"advantage": "grpo", "samples_per_prompt": 4, "whiten_rewards": True}, "biases the gradient"),
        ({"advantage": "maxrl", "samples_per_prompt": 4}, "kl_in_loss=True with kl_estimator='k3', or kl_coef=0"),
        ({"advantage": "maxrl", "samples_per_prompt": 4, "kl_coef": 0.0}, "missing_eos_score=-1.0"),
        ({"advantage": "pass_at_k", "samples_per_prompt": 4, "kl_coef": 0, "pass_k": 5}, "pass_k is 5"),
        (
            {"advantage": "pass_at_k", "samples_per_prompt": 4, "kl_coef": 0, "missing_eos_score": 0.5},
            "rewards of 0 or 1, which missing_eos_score=0.5",
        ),
        ({"loss_mean": "median"}, "loss_mean must be one of token, sequence, constant"),
    ],
)
def test_settings_that_cannot_go_together(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PPOConfig("run", **settings)


def test_no_value_model_without_a_critic(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave it out"):
        group_trainer(tmp_path, value_model="reward")


def test_rewards_that_an_estimator_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="pass_at_k counts successes"):
        group_trainer(tmp_path, "pass_at_k", reward=share_of_letters).train()


def trl_loss(kind: str, folder: Path, batch: Any, advantages: torch.Tensor, old: torch.Tensor, **settings: Any) -> Any:
    """Return the loss of TRL's trainer on a micro-batch, and the gradients of a tiny Llama."""
    trainer_class, config = getattr(trl, f"{kind}Trainer"), getattr(trl, f"{kind}Config")
    size = len(batch.completion_ids)
    trainer = trainer_class(
        model=str(save_model(tiny_llama(), tiny_tokenizer(), folder / "model")),
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        args=config(
            str(folder),
            **{"per_device_train_batch_size": size, "num_generations": 4, "max_completion_length": 8, "bf16": False},
            **QUIET,
            **settings,
        ),
        train_dataset=Dataset.from_list([{"prompt": "q"}] * 8),
        processing_class=tiny_tokenizer(),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = {
        "prompt_ids": batch.prompt_ids,
        "prompt_mask": batch.prompt_mask.long(),
        "completion_ids": batch.completion_ids,
        "completion_mask": batch.completion_mask.long(),
        "advantages": advantages,
        "num_items_in_batch": batch.completion_mask.sum(),
        "old_per_token_logps": old,
        "old_logps": (old * batch.completion_mask).sum(-1),
        "ref_per_token_logps": batch.ref_logprobs,
    }
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in trainer.model.named_parameters()}


@pytest.mark.skipif(Version(trl.__version__) < Version("1.16"), reason="the hooks are those of TRL 1.16")
@pytest.mark.parametrize(
    ("ours", "kind", "theirs", "beta"),
    [
        ({"advantage": "grpo", "loss_mean": "sequence"}, "GRPO", {"loss_type": "grpo"}, 0.0),
        ({"advantage": "grpo", "loss_mean": "token"}, "GRPO", {"loss_type": "dapo"}, 0.1),
        ({"advantage": "dr_grpo", "loss_mean": "constant"}, "GRPO", {"loss_type": "dr_grpo"}, 0.1),
        ({"advantage": "rloo", "loss_mean": "constant"}, "RLOO", {}, 0.0),
    ],
)
def test_loss_and_gradients_are_trls(
    ours: dict[str, Any], kind: str, theirs: dict[str, Any], beta: float, tmp_path: Path
) -> None:
    """TRL's RLOO sums over the tokens of a completion, ours divides by max_new_tokens: the one difference, a factor.

    Its ratio is that of whole completions, so that the two agree at the first update, where all ratios are 1.
    """
    estimator = {"kl_in_loss": True, "kl_estimator": "k3"} if beta else {}
    trainer = group_trainer(
        tmp_path / "ours", ref_model=tiny_llama(seed=3), reward=share_of_letters, kl_coef=beta, **{**ours, **estimator}
    )
    rollout, scored = trainer.collector.collect(list(prompt_rows(4)), list(range(16)))
    batch = minibatch(rollout, torch.arange(16))
    old = batch.logprobs
    if kind == "GRPO":
        # As after an update: ratios on both sides of the clip.
        old = old + 0.3 * torch.sin(torch.arange(old.numel(), dtype=torch.float32)).view_as(old)
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, {"rollout": type(batch)(**{**vars(batch), "logprobs": old})})
    loss.backward()
    if kind == "GRPO":
        groups = scored.scores.view(-1, 4)
        advantages = (groups - groups.mean(-1, keepdim=True)).flatten()
        if ours["advantage"] == "grpo":
            advantages = advantages / (groups.std(-1).repeat_interleave(4) + 1e-4)
        theirs = {**theirs, "beta": beta, "epsilon": 0.2, "temperature": 1.0, "use_bias_correction_kl": False}
    else:
        groups = scored.scores.view(-1, 4)
        advantages = (scored.scores - (groups.sum(-1).repeat_interleave(4) - scored.scores) / 3).flatten()
        theirs = {**theirs, "beta": 0.0}
    expected, gradients = trl_loss(kind, tmp_path / "trl", batch, advantages, old, **theirs)
    factor = 8 if kind == "RLOO" else 1
    if kind == "GRPO":
        assert float(loss) * factor == pytest.approx(float(expected), abs=1e-6)
    for name, parameter in trainer.policy.named_parameters():
        assert (parameter.grad * factor - gradients[name]).abs().max() < 1e-6, name


@pytest.mark.parametrize(
    "settings",
    [
        {"advantage": "grpo", "loss_mean": "sequence", "kl_in_loss": True, "kl_estimator": "k3"},
        {"advantage": "rloo", "freeze_layers": 0.5, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8},
        {"advantage": "gae", "num_mini_batches": 2, "entropy_coef": 0.1, "top_k": 20, "renormalise": "all"},
    ],
)
def test_prompts_computed_once_for_their_completions_change_nothing(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Prompts of a few tokens would not be worth it.
    monkeypatch.setattr(packing, "WORTH_PACKING", 1e9)
    packed, pack = [], PackedText.of

    def counted(*args: Any, **options: Any) -> Any:
        packed.append(pack(*args, **options))
        return packed[-1]

    monkeypatch.setattr(PackedText, "of", counted)
    trainers = []
    for name in ("packed", "whole"):
        if name == "whole":
            assert packed and None not in packed
            monkeypatch.setattr(RolloutCollector, "shared_samples", 1)
        trainers.append(group_trainer(tmp_path / name, reward=share_of_letters, optim="sgd", **settings))
        trainers[-1].train()
    for key in ("objective/kl", "policy/loss", "policy/approx_kl", "policy/ratio", "grad_norm"):
        ours, whole = (logged(trainer, key) for trainer in trainers)
        assert ours == pytest.approx(whole, abs=2e-6, rel=1e-3), key
    assert largest_difference(*(weights(trainer.model) for trainer in trainers)) < 1e-5


@pytest.mark.parametrize("freeze_layers", [0.0, 0.5])
def test_in_low_precision_completions_lie_in_training_as_they_did_when_scored(
    freeze_layers: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "WORTH_PACKING", 1e9)
    groups, pack = set(), PackedText.of

    def seen(model: Any, tokens: Any, chosen: Any, **options: Any) -> Any:
        groups.add(tuple(chosen))
        return pack(model, tokens, chosen, **options)

    monkeypatch.setattr(PackedText, "of", seen)
    options: dict[str, Any] = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8, "num_ppo_epochs": 1}
    trainer = group_trainer(tmp_path, "grpo", bf16=True, freeze_layers=freeze_layers, **options)
    trainer.train()
    assert groups - {(0, 0, 1, 1)} == {(0, 0, 0, 0, 1, 1, 1, 1), (2, 2, 2, 2, 3, 3, 3, 3)}
    assert logged(trainer, "policy/approx_kl") == [0.0] * len(logged(trainer, "policy/approx_kl"))


def test_in_low_precision_mini_batches_do_not_share_prompts(tmp_path: Path) -> None:
    assert group_trainer(tmp_path / "one", bf16=True).collector.shared_samples == 4
    assert group_trainer(tmp_path / "two", bf16=True, num_mini_batches=2).collector.shared_samples == 1
    assert group_trainer(tmp_path / "three", num_mini_batches=2).collector.shared_samples == 4
    assert group_trainer(tmp_path / "four", disable_dropout=False).collector.shared_samples == 1
