"""What PPO trains, what it shares and what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from genrlhf.errors import ConfigError
from genrlhf.models import load_causal_lm
from tests.helpers import save_model, tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer
from tests.trainers.runs import largest_difference, logged, ppo_trainer, prompt_rows, weights


def lora() -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"])


def test_kl_penalty_holds_the_policy_back(tmp_path: Path) -> None:
    kl = {}
    for kl_coef in (0.0, 10.0):
        trainer = ppo_trainer(tmp_path / str(kl_coef), kl_coef=kl_coef, num_rollouts=6, num_ppo_epochs=4)
        trainer.train()
        kl[kl_coef] = logged(trainer, "objective/kl")
        assert kl[kl_coef][0] == pytest.approx(0, abs=1e-5)
    assert kl[10.0][-1] < kl[0.0][-1] / 2
    assert kl[0.0][-1] > 1


def test_frozen_layers_are_shared_and_stay(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, freeze_layers=0.5)
    before, reference = weights(trainer.policy), dict(trainer.collector.reference.named_parameters())
    trainer.train()
    changed = set()
    for name, parameter in trainer.policy.named_parameters():
        trained = "layers.1." in name
        assert parameter.requires_grad is trained
        assert (parameter.data_ptr() == reference[name].data_ptr()) is not trained
        assert torch.equal(reference[name], before[name])
        if not torch.equal(parameter, before[name]):
            changed.add(name)
    assert changed == {name for name in before if "layers.1." in name}


def test_another_reference_model(tmp_path: Path) -> None:
    folder = save_model(tiny_llama(seed=3), None, tmp_path / "reference")
    trainer = ppo_trainer(tmp_path / "run", ref_model=str(folder), num_rollouts=1)
    trainer.train()
    assert logged(trainer, "objective/kl")[0] > 1


def test_lora_trains_the_adapter_alone(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    trainer = ppo_trainer(tmp_path / "run", model=str(base), peft_config=lora())
    before = weights(trainer.policy)
    assert logged(trainer, "objective/kl") == []
    trainer.train()
    assert logged(trainer, "objective/kl")[0] == pytest.approx(0, abs=1e-5)
    after, original = weights(trainer.policy), weights(tiny_llama())
    for name in before:
        assert torch.equal(after[name], before[name]) is ("lora_" not in name), name
    reference = dict(trainer.collector.reference.named_parameters())
    assert all(torch.equal(reference[name], original[name]) for name in original)
    base_memory = {parameter.data_ptr() for name, parameter in trainer.policy.named_parameters() if "lora_" not in name}
    assert {parameter.data_ptr() for parameter in reference.values()} == base_memory

    trainer.save_model(str(tmp_path / "saved"))
    ids = torch.tensor([[5, 6, 7, 8]])
    expected = trainer.policy.eval()(ids).logits
    assert not torch.allclose(expected, tiny_llama()(ids).logits, atol=1e-2)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "saved"))
    for loaded in (plain, load_causal_lm(str(tmp_path / "saved"))):
        assert torch.allclose(loaded.eval()(ids).logits, expected, atol=1e-5)


def test_lora_is_drawn_from_the_seed_and_resumes(tmp_path: Path) -> None:
    base = str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base"))
    trainers = []
    for name in "ab":
        torch.manual_seed(len(trainers))
        trainers.append(
            ppo_trainer(tmp_path / name, model=base, peft_config=lora(), save_strategy="steps", save_steps=3)
        )
    assert largest_difference(weights(trainers[0].policy), weights(trainers[1].policy)) == 0
    trainers[0].train()
    resumed = ppo_trainer(tmp_path / "a", model=base, peft_config=lora())
    resumed.train(resume_from_checkpoint=True)
    assert largest_difference(weights(trainers[0].policy), weights(resumed.policy)) == 0


@pytest.mark.parametrize("family", [tiny_llama, tiny_gpt2, tiny_opt])
def test_saved_model_loads_plainly(tmp_path: Path, family: Any) -> None:
    trainer = ppo_trainer(tmp_path / "run", model=family(), num_rollouts=1)
    trainer.train()
    folder = tmp_path / "saved"
    trainer.save_model(str(folder))
    loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert largest_difference(weights(trainer.policy), weights(loaded)) == 0
    assert AutoTokenizer.from_pretrained(folder)("aß€").input_ids == tiny_tokenizer()("aß€").input_ids
    files = {file.name for file in folder.iterdir()}
    assert "value_head.safetensors" in files
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl"))}
    head = load_file(folder / "value_head.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "linear.weight": (1, 16),
        "linear.bias": (1,),
    }
    assert torch.equal(head["linear.weight"], trainer.collector.model.value_head.linear.weight)


def test_best_model_is_loaded_at_the_end(tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        """Ruins the policy after the first evaluation, so that the first checkpoint is the best."""

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                saved.update(weights(trainer.collector.model))
                with torch.no_grad():
                    trainer.policy.lm_head.weight.zero_()

    saved: dict[str, torch.Tensor] = {}
    trainer = ppo_trainer(
        tmp_path,
        eval_dataset=prompt_rows(16),
        reward=lambda prompts, completions, **columns: [-float(len(set(c))) for c in completions],
        callbacks=[Spoil()],
        num_rollouts=2,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_objective/scores",
        greater_is_better=True,
    )
    trainer.train()
    scores = logged(trainer, "eval_objective/scores")
    assert len(scores) == 2 and scores[0] > scores[1]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    assert largest_difference(weights(trainer.collector.model), saved) == 0


def test_callbacks_see_every_figure(tmp_path: Path) -> None:
    class Listen(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
            seen.append(set(logs))

    seen: list[set[str]] = []
    trainer = ppo_trainer(tmp_path, callbacks=[Listen()], num_rollouts=1, logging_steps=2)
    trainer.train()
    objective = {"scores", "kl", "entropy", "completion_length", "ended", "rlhf_reward", "shaped_scores", "kl_coef"}
    figures = {f"objective/{name}" for name in objective}
    figures |= {"time/sampling", "time/scoring", "time/training"}
    figures |= {f"policy/{name}" for name in ("loss", "clip_fraction", "approx_kl", "ratio")}
    figures |= {f"value/{name}" for name in ("loss", "clip_fraction", "explained_variance")}
    assert seen[0] == figures | {"loss", "grad_norm", "learning_rate", "epoch"}


def test_several_evaluation_sets_by_name(tmp_path: Path) -> None:
    def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        return [float(len(prompt)) for prompt in prompts]

    sets = {"short": prompt_rows(1), "long": prompt_rows(5).select([4])}
    figures = ppo_trainer(tmp_path, reward=reward, eval_dataset=sets).evaluate()
    assert figures["eval_short_objective/scores"] == 1
    assert figures["eval_long_objective/scores"] == 5


def test_evaluation_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    figures = [
        ppo_trainer(tmp_path, per_device_eval_batch_size=size, sampling_batch_size=limit).evaluate(prompt_rows(12))
        for size, limit in ((12, 12), (5, 2))
    ]
    for key in ("scores", "kl", "entropy", "completion_length", "ended"):
        assert figures[0][f"eval_objective/{key}"] == pytest.approx(figures[1][f"eval_objective/{key}"], abs=1e-5)


def test_adapter_and_frozen_layers_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"freeze_layers=0.5 and an adapter"):
        ppo_trainer(tmp_path, freeze_layers=0.5, peft_config=lora())
    with pytest.raises(ConfigError, match=r"freeze_layers=0.5 and an adapter"):
        ppo_trainer(tmp_path, freeze_layers=0.5, model=get_peft_model(tiny_llama(), lora()))
