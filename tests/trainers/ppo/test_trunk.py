"""PPO on a shared trunk against PPO on separate models."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from genrlhf.rewards import ModelReward
from genrlhf.sampling import TransformersSampler
from tests.helpers import save_model, tiny_tokenizer
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES
from tests.trainers.runs import largest_difference, ppo_trainer, prompt_rows, weights

ROWS, SEEDS = list(prompt_rows(16)), list(range(32))


def classifier_of(policy: Any) -> Any:
    """A reward model that starts as the policy, with a score head of its own."""
    policy.config.num_labels = 1
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(policy.config).eval()
    if policy.config._attn_implementation == "eager":
        model.set_attn_implementation("eager")
    model.base_model.load_state_dict(policy.base_model.state_dict())
    return model


def only_letters(model: Any) -> None:
    """Give a model's head a bias with which it writes letters only, which come back as the tokens that they were."""
    head = model.get_output_embeddings()
    bias = torch.full((head.out_features,), -1e4)
    bias[tiny_tokenizer()("abcdefghijklmnop")["input_ids"]] = 0.0
    head.bias = torch.nn.Parameter(bias, requires_grad=False)


def trainer_of(folder: Path, family: str, *, shared: bool, **settings: Any) -> Any:
    policy = FAMILIES[family]()
    # Not Adam: it makes whole steps of gradients that are 0 but for rounding, those of the biases of keys.
    settings = {"freeze_layers": 0.5, "samples_per_prompt": 2, "optim": "sgd", "learning_rate": 0.1, **settings}
    reward = settings.pop("reward", None) or classifier_of(policy)
    with patch("genrlhf.models.model_set.trunk_depth", (lambda _: 1) if shared else (lambda _: 0)):
        return ppo_trainer(
            folder,
            model=policy,
            reward=reward,
            tokenizer=tiny_tokenizer(),
            reward_processing_class=tiny_tokenizer(),
            **settings,
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_results_are_those_of_separate_models(tmp_path: Path, family: str) -> None:
    whole = trainer_of(tmp_path / "whole", family, shared=False)
    trunk = trainer_of(tmp_path / "trunk", family, shared=True)
    assert (whole.collector.model.depth, trunk.collector.model.depth) == (0, 1)
    assert trunk.collector.models.reference_depth == 1
    assert trunk.collector.models.trunk_reward is not None
    whole.train()
    trunk.train()
    for key in ("objective/scores", "objective/kl", "policy/loss", "value/loss", "policy/approx_kl", "grad_norm"):
        for one, other in zip(trunk.state.log_history, whole.state.log_history, strict=True):
            if key in other:
                assert one[key] == pytest.approx(other[key], abs=1e-5, rel=1e-3), key
    assert largest_difference(weights(whole.policy), weights(trunk.policy)) < 1e-4


def test_first_layers_run_while_sampling_only(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "llama", shared=True, num_ppo_epochs=4)
    calls: list[int] = []
    models = {
        "policy": trainer.policy.model,
        "reference": trainer.collector.reference.model,
        "reward": trainer.collector.reward.model.model,
    }
    for model in models.values():
        model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    collect, sampled = TransformersSampler.generate, []

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        before = len(calls)
        found = collect(self, *args, **options)
        sampled.append(len(calls) - before)
        return found

    with patch.object(TransformersSampler, "generate", counted):
        trainer.train()
    # The prompts once, one pass for each token, and one for the EOS behind what was cut off.
    assert sampled == [1 + 8 + 1] * 2
    # Only texts that are not tokenised as they were sampled go through the whole reward model: behind their prompts, in
    # two passes a rollout, which is tried out in three.
    assert sum(calls) - sum(sampled) <= 2 * 2 + 3


def test_parameters_lie_in_memory_once(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "llama", shared=True, value_model="reward")
    frozen = {id(p) for p in trainer.policy.model.parameters() if not p.requires_grad}
    value = trainer.collector.model.value_model
    for model in (trainer.collector.reference.model, trainer.collector.reward.model.model, value.model):
        # The final norm is frozen, too, but belongs to the top: a reward model trains its own.
        assert len(frozen & {id(p) for p in model.parameters()}) >= len(frozen) - 1
    trainable = {name for name, p in trainer.collector.model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trainable} == {"policy", "value_model"}
    assert all("layers.1." in name or "score" in name for name in trainable)


def test_reward_by_its_folder_has_the_policy_s_precision_and_shares_its_trunk(tmp_path: Path) -> None:
    policy = FAMILIES["llama"]()
    folder = str(save_model(classifier_of(policy), tiny_tokenizer(), tmp_path / "rm"))
    # Not policy.bfloat16(): its rotary frequencies would be rounded too, and those of a model that is loaded are not.
    policy = AutoModelForCausalLM.from_pretrained(save_model(policy, None, tmp_path / "policy"), dtype="bfloat16")
    trainer = ppo_trainer(tmp_path, model=policy, reward=folder, freeze_layers=0.5, value_model=folder)
    assert trainer.collector.reward.model.dtype == torch.bfloat16
    assert trainer.collector.models.trunk_reward is not None
    assert trainer.collector.model.value_depth == 1


def test_reward_from_the_trunk_is_that_of_the_text(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "llama", shared=True)
    reward = trainer.collector.reward
    assert isinstance(reward, ModelReward)
    reward.calibrate(["a", "bb"], ["c", "dd"], mean=2.0, std=3.0)
    scored = trainer.collector.sample_and_score(ROWS, SEEDS)
    prompts = [row["prompt"] for row in ROWS for _ in range(2)]
    want = torch.tensor(reward(prompts, scored.texts))
    torch.testing.assert_close(scored.tensors["scores"], want, atol=1e-5, rtol=1e-5)
    with (
        patch.object(ModelReward, "__call__", side_effect=AssertionError("a second pass")),
        pytest.raises(AssertionError, match="a second pass"),
    ):
        # Some completions hold bytes that are no text, and reach the reward model as text only.
        trainer.collector.sample_and_score(ROWS, SEEDS)


@pytest.mark.parametrize(("batch_size", "read_whole"), [(4, 4), (8, 8)])
def test_reward_of_what_was_cut_off_without_room_for_an_eos(tmp_path: Path, batch_size: int, read_whole: int) -> None:
    """A decoded batch that fills the context of 64 has nothing put behind its completions."""
    trainer = trainer_of(tmp_path, "llama", shared=True, sampling_batch_size=batch_size)
    only_letters(trainer.policy)
    rows = [
        {"prompt": letter * length} for letter, length in zip("abcdefgh", [56, 55, 54, 56, 3, 2, 4, 1], strict=True)
    ]
    with patch.object(ModelReward, "__call__", autospec=True, side_effect=ModelReward.__call__) as plain:
        scored = trainer.collector.sample_and_score(rows, range(8))
    assert [len(call.args[1]) for call in plain.call_args_list] == [read_whole]
    want = torch.tensor(trainer.collector.reward([row["prompt"] for row in rows], scored.texts))
    torch.testing.assert_close(scored.tensors["scores"], want, atol=1e-5, rtol=1e-5)


def test_models_with_another_trunk_keep_their_own(tmp_path: Path) -> None:
    policy = FAMILIES["llama"]()
    other = classifier_of(policy)
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight.add_(0.01)
    reference = FAMILIES["llama"]()
    with torch.no_grad():
        reference.model.embed_tokens.weight.mul_(1.01)
    trainer = ppo_trainer(
        tmp_path,
        model=policy,
        reward=other,
        ref_model=reference,
        tokenizer=tiny_tokenizer(),
        reward_processing_class=tiny_tokenizer(),
        freeze_layers=0.5,
    )
    assert trainer.collector.models.trunk_reward is None
    assert trainer.collector.models.reference_depth == 0
    assert trainer.collector.model.depth == 1
    trainer.train()


def test_another_sampler_leaves_the_trunk_to_one_pass(tmp_path: Path) -> None:
    own = trainer_of(tmp_path / "own", "llama", shared=True)

    class Plain:
        def generate(self, *args: Any) -> Any:
            return inner.generate(*args)

        def update_weights(self, model: Any) -> None:
            inner.update_weights(model)

    other = trainer_of(tmp_path / "other", "llama", shared=True, sampler=Plain())
    inner = TransformersSampler(other.policy, tiny_tokenizer())
    found, _ = own.collector.collect(ROWS[:16], SEEDS)
    again, _ = other.collector.collect(ROWS[:16], SEEDS)
    assert again.prompt_states is not None
    assert found.prompt_states is not None
    mask, repeated = found.prompt_mask, found.prompt_states.repeat_interleave(2, dim=0)
    torch.testing.assert_close(again.prompt_states[mask], repeated[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.advantages, found.advantages, atol=1e-4, rtol=1e-4)


def test_other_families_go_on_without_and_say_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'falcon' are not known to be separable"):
        trainer = ppo_trainer(
            tmp_path, model=PLAIN_FAMILIES["falcon"](), tokenizer=tiny_tokenizer(), freeze_layers=0.5, num_rollouts=1
        )
    assert trainer.collector.model.depth == 0
    trainer.train()


def test_gradient_checkpointing_on_a_trunk(tmp_path: Path) -> None:
    plain = trainer_of(tmp_path / "plain", "llama", shared=True)
    checkpointed = trainer_of(tmp_path / "checkpointed", "llama", shared=True, gradient_checkpointing=True)
    plain.train()
    checkpointed.train()
    assert largest_difference(weights(plain.policy), weights(checkpointed.policy)) < 1e-6
