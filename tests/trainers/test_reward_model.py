from __future__ import annotations

import logging
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification, TrainerCallback

from genrlhf.errors import ConfigError, DataError, ModelError, RunFolderError
from genrlhf.rewards import Calibration, ModelReward, calibrate_reward, load_reward
from genrlhf.trainers import RewardModelConfig, RewardModelTrainer
from tests.helpers import EOS_ID, VOCAB_SIZE, save_model, tiny_gpt2, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import (
    QUIET,
    interrupted_and_whole,
    largest_difference,
    logged,
    reward_model_trainer,
    weights,
)


def preferences(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs of six letters, of which the one with more of "a" to "m" is preferred."""
    rng, rows = random.Random(seed), []
    while len(rows) < n:
        texts = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6)) for _ in range(2)]
        early = [sum(char <= "m" for char in text) for text in texts]
        if abs(early[0] - early[1]) >= 2:
            better = int(early[1] > early[0])
            rows.append({"prompt": rng.choice(["x:", "yy:"]), "chosen": texts[better], "rejected": texts[1 - better]})
    return rows


def reward_trainer(
    folder: Path,
    *,
    model: Any = None,
    rows: Any = None,
    eval_dataset: Any = None,
    tokenizer: Any = None,
    peft_config: Any = None,
    callbacks: list[TrainerCallback] | None = None,
    **settings: Any,
) -> RewardModelTrainer:
    defaults = {**QUIET, "learning_rate": 1e-2, "max_steps": 3, "logging_steps": 1, "per_device_train_batch_size": 8}
    return RewardModelTrainer(
        model=tiny_reward_model() if model is None else model,
        args=RewardModelConfig(str(folder), **{**defaults, **settings}),
        train_dataset=Dataset.from_list(preferences(32) if rows is None else rows),
        eval_dataset=eval_dataset,
        processing_class=tiny_tokenizer() if tokenizer is None else tokenizer,
        peft_config=peft_config,
        callbacks=callbacks,
    )


def trainer_scores(trainer: RewardModelTrainer, rows: list[dict[str, Any]]) -> list[float]:
    """Scores of the chosen texts by the trainer's model, on the token ids that it was trained on, one by one."""
    data = reward_trainer(Path(trainer.args.output_dir), rows=rows).train_dataset
    model = trainer.model.eval()
    with torch.no_grad():
        return [float(model(input_ids=torch.tensor([ids])).logits[0, 0]) for ids in data["chosen_ids"]]


def test_learns_a_preference_and_scores_alike_once_saved(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    held_out = preferences(200, seed=1)
    trainer = reward_trainer(
        tmp_path / "run",
        model=str(base),
        rows=preferences(400),
        eval_dataset=Dataset.from_list(held_out),
        max_steps=75,
        per_device_train_batch_size=32,
        logging_steps=25,
    )
    assert trainer.evaluate()["eval_accuracy"] < 0.8
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] >= 0.95

    folder = tmp_path / "saved"
    trainer.save_model(str(folder))
    expected = trainer_scores(trainer, held_out[:20])
    reward = load_reward(str(folder))
    prompts, chosen, rejected = ([row[key] for row in held_out] for key in ("prompt", "chosen", "rejected"))
    assert reward(prompts[:20], chosen[:20]) == pytest.approx(expected, abs=1e-5)
    wins = sum(a > b for a, b in zip(reward(prompts, chosen), reward(prompts, rejected), strict=True))
    assert wins / 200 == pytest.approx(trainer.evaluate()["eval_accuracy"], abs=1e-6)

    plain, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert plain.config.num_labels == 1
    assert largest_difference(weights(plain), weights(trainer.model)) == 0


@pytest.mark.parametrize("family", [tiny_llama, tiny_gpt2])
def test_score_is_read_at_eos(tmp_path: Path, family: Any) -> None:
    # With pad = EOS, which many tokenizers come with, the model would take the EOS for padding.
    tokenizer = tiny_tokenizer(pad_token=None)
    tokenizer.pad_token = tokenizer.eos_token
    base = save_model(family(), tokenizer, tmp_path / "base")
    trainer = reward_trainer(tmp_path / "run", model=str(base), tokenizer=tokenizer)
    ids = [*tokenizer("x:abc").input_ids, EOS_ID]
    rows = [{"prompt": "x:", "chosen": "abc", "rejected": "abcdefgh"}]
    data = reward_trainer(tmp_path / "other", model=str(base), tokenizer=tokenizer, rows=rows).train_dataset
    assert data["chosen_ids"][0] == ids
    model = trainer.model.eval()
    assert model.config.pad_token_id != EOS_ID
    with torch.no_grad():
        hidden = model.base_model(torch.tensor([ids])).last_hidden_state[0, -1]
        padded = torch.tensor([ids + [model.config.pad_token_id] * 3])
        expected = model.score.weight[0] @ hidden
        score = model(input_ids=padded, attention_mask=torch.tensor([[1] * len(ids) + [0] * 3])).logits[0, 0]
    assert float(score) == pytest.approx(float(expected), abs=1e-5)


def test_loss_is_the_bradley_terry_loss_less_the_margin(tmp_path: Path) -> None:
    rows = [{**row, "margin": 0.25 * number} for number, row in enumerate(preferences(8))]
    model = tiny_reward_model()
    trainer = reward_trainer(tmp_path, model=model, rows=rows, max_steps=1)
    reward = load_reward(tiny_reward_model(), tokenizer=tiny_tokenizer())
    prompts, chosen, rejected = ([row[key] for row in rows] for key in ("prompt", "chosen", "rejected"))
    pairs = zip(reward(prompts, chosen), reward(prompts, rejected), rows, strict=True)
    losses = [torch.nn.functional.softplus(torch.tensor(-(a - b - row["margin"]))) for a, b, row in pairs]
    trainer.train()
    assert logged(trainer, "loss")[0] == pytest.approx(float(torch.stack(losses).mean()), abs=1e-4)


def test_conversations_that_hold_the_prompt(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    question = {"role": "user", "content": "q"}

    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    whole = [{"chosen": [question, *answer("yes")], "rejected": [question, *answer("no")]}]
    split = [{"prompt": [question], "chosen": answer("yes"), "rejected": answer("no")}]
    text = [{"prompt": [question], "chosen": "yes", "rejected": "no"}]
    data = [reward_trainer(tmp_path, rows=rows, tokenizer=tokenizer).train_dataset for rows in (whole, split, text)]
    assert tokenizer.decode(data[0]["chosen_ids"][0]) == "[user]q\n[assistant]yes<eos>"
    assert data[0][:] == data[1][:] == data[2][:]


@pytest.mark.parametrize(("overlong", "lengths"), [("truncate_prompt", [6, 8, 8]), ("drop", [6])])
def test_overlong_pairs(tmp_path: Path, caplog: pytest.LogCaptureFixture, overlong: str, lengths: list[int]) -> None:
    rows = [{"prompt": "p" * n, "chosen": "abc", "rejected": "de"} for n in (2, 5, 20)]
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        trainer = reward_trainer(tmp_path, rows=rows, max_length=8, overlong=overlong)
    assert "2 of 3 pairs of train_dataset are longer than max_length=8 tokens" in caplog.text
    chosen = trainer.train_dataset["chosen_ids"]
    assert [len(ids) for ids in chosen] == lengths
    assert all(tiny_tokenizer().decode(ids).endswith("pabc<eos>") for ids in chosen)
    assert "longer" not in _log_of(caplog, lambda: reward_trainer(tmp_path, rows=rows))


def _log_of(caplog: pytest.LogCaptureFixture, act: Any) -> str:
    caplog.clear()
    act()
    return caplog.text


def test_nothing_left_after_dropping(tmp_path: Path) -> None:
    rows = [{"prompt": "p" * 20, "chosen": "abc", "rejected": "de"}]
    with pytest.raises(DataError, match="No pair of train_dataset is as short as max_length=8 tokens"):
        reward_trainer(tmp_path, rows=rows, max_length=8, overlong="drop")


def test_lora_keeps_adapter_and_head(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    trainer = reward_trainer(tmp_path / "run", model=str(base), peft_config=config)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "lora_" in name or "score.modules_to_save" in name}
    assert config.task_type is None
    trainer.save_model(str(tmp_path / "saved"))
    rows = preferences(10, seed=2)
    expected = trainer_scores(trainer, rows)
    reward = load_reward(str(tmp_path / "saved"))
    assert reward([row["prompt"] for row in rows], [row["chosen"] for row in rows]) == pytest.approx(expected, abs=1e-5)


def rewards_of(folder: Path, rows: list[dict[str, Any]], column: str = "chosen") -> list[float]:
    return list(load_reward(folder)([row["prompt"] for row in rows], [row[column] for row in rows]))


@pytest.mark.parametrize("adapter", [False, True])
def test_calibration_is_saved_and_leaves_the_evaluation_alone(tmp_path: Path, adapter: bool) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"]) if adapter else None
    rows, held_out = preferences(40), Dataset.from_list(preferences(20, seed=1))
    trainer = reward_trainer(
        tmp_path / "run", model=str(base), rows=rows, eval_dataset=held_out, peft_config=config, max_steps=10
    )
    trainer.train()
    before, parameters = trainer.evaluate(), weights(trainer.model)
    trainable = [parameter.requires_grad for parameter in trainer.model.parameters()]
    scores = trainer_scores(trainer, rows)

    calibration = trainer.calibrate(mean=-1.0, std=2.0)
    assert calibration.gain == pytest.approx(2 / statistics.pstdev(scores), rel=1e-4)
    assert calibration.bias == pytest.approx(-1 - calibration.gain * statistics.fmean(scores), abs=1e-4)
    after = trainer.evaluate()
    timings = ("runtime", "per_second")
    assert {k: v for k, v in after.items() if not k.endswith(timings)} == {
        k: v for k, v in before.items() if not k.endswith(timings)
    }
    assert largest_difference(parameters, weights(trainer.model)) == 0
    assert [parameter.requires_grad for parameter in trainer.model.parameters()] == trainable

    trainer.save_model(str(tmp_path / "saved"))
    rewards = rewards_of(tmp_path / "saved", rows)
    assert statistics.fmean(rewards) == pytest.approx(-1, abs=1e-4)
    assert statistics.pstdev(rewards) == pytest.approx(2, rel=1e-4)
    assert trainer.calibrate(mean=-1.0, std=2.0) == calibration
    assert (tmp_path / "saved" / "genrlhf_reward.json").exists() == adapter

    # Going on from there, the scores change, and the old gain and bias are of no use.
    again = reward_trainer(tmp_path / "again", model=str(tmp_path / "saved"), rows=rows, peft_config=config)
    again.train()
    again.save_model(str(tmp_path / "saved"))
    loaded = load_reward(tmp_path / "saved")
    assert isinstance(loaded, ModelReward)
    assert (loaded.gain, loaded.bias) == (1.0, 0.0)


def test_training_drops_a_calibration_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = save_model(tiny_reward_model(), tiny_tokenizer(), tmp_path / "base")
    demonstrations = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in preferences(8)]
    kept = calibrate_reward(base, Dataset.from_list(demonstrations))
    trainer = reward_trainer(tmp_path / "run", model=str(base), max_steps=1)
    trainer.save_model(str(tmp_path / "untrained"))
    untrained = load_reward(tmp_path / "untrained")
    assert isinstance(untrained, ModelReward)
    assert Calibration(untrained.gain, untrained.bias) == kept
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        trainer.train()
    assert "Training changes the scores that the model was calibrated on; call calibrate() after it." in caplog.text
    trainer.save_model(str(tmp_path / "trained"))
    assert "genrlhf" not in (tmp_path / "trained" / "config.json").read_text()


def test_calibration_on_demonstrations_of_its_own(tmp_path: Path) -> None:
    model = tiny_reward_model(attention_dropout=0.5)
    trainer = reward_trainer(tmp_path / "run", model=model, disable_dropout=False)
    rows = [{"prompt": row["prompt"], "completion": row["rejected"]} for row in preferences(20, seed=5)]
    for mode in (False, True):
        trainer.model.train(mode)
        trainer.calibrate(Dataset.from_list(rows))
        assert trainer.model.training == mode
    trainer.save_model(str(tmp_path / "saved"))
    assert statistics.fmean(rewards_of(tmp_path / "saved", rows, "completion")) == pytest.approx(0, abs=1e-5)


def test_calibration_on_conversations_that_hold_the_prompt(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    question = {"role": "user", "content": "q"}
    rows = [
        {"chosen": [question, {"role": "assistant", "content": text}], "rejected": [question]} for text in ("yes", "no")
    ]
    trainer = reward_trainer(tmp_path / "run", model=tiny_reward_model(), rows=rows, tokenizer=tokenizer)
    trainer.calibrate(mean=2.0)
    trainer.save_model(str(tmp_path / "saved"))
    rewards = load_reward(tmp_path / "saved")([[question]] * 2, ["yes", "no"])
    assert statistics.fmean(rewards) == pytest.approx(2, abs=1e-5)


def test_what_cannot_be_calibrated(tmp_path: Path) -> None:
    trainer = reward_trainer(tmp_path, model=tiny_reward_model())
    with pytest.raises(ConfigError, match="std is 0; give a finite number above 0"):
        trainer.calibrate(Dataset.from_list([{"prompt": "a"}]), std=0)
    with pytest.raises(DataError, match="dataset has no column 'completion'"):
        trainer.calibrate(Dataset.from_list([{"prompt": "a"}]))
    with pytest.raises(DataError, match="dataset has one row, whose score has no deviation"):
        trainer.calibrate(Dataset.from_list([{"prompt": "a", "completion": "b"}]), std=1.0)
    one = reward_trainer(tmp_path, model=tiny_reward_model(), rows=preferences(1))
    with pytest.raises(DataError, match="train_dataset has one row"):
        one.calibrate(std=1.0)
    encoded = reward_trainer(tmp_path, model=tiny_reward_model(), rows=one.train_dataset.to_list())
    with pytest.raises(
        ConfigError, match=r"calibrate\(\) needs demonstrations; give a dataset of prompt and completion"
    ):
        encoded.calibrate()


def test_frozen_layers_stay(tmp_path: Path) -> None:
    trainer = reward_trainer(tmp_path, freeze_layers=0.5)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name in before if "layers.1." in name or name.startswith("score.")
    }


def test_head_is_drawn_from_the_seed(tmp_path: Path) -> None:
    base = str(save_model(tiny_llama(hidden_size=256), tiny_tokenizer(), tmp_path / "base"))
    heads = [reward_trainer(tmp_path, model=base, seed=seed).model.score.weight.detach() for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    # N(0, 1/(d + 1)): the standard error of a standard deviation of 256 numbers is 4.4 %.
    assert float(heads[0].std()) == pytest.approx(257**-0.5, rel=0.15)


def test_resumed_run_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> RewardModelTrainer:
        return reward_trainer(folder, callbacks=callbacks, max_steps=6)

    resumed, whole = interrupted_and_whole(make, tmp_path, 4)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0


def test_resuming_a_run_at_its_end_changes_nothing(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    whole = reward_trainer(tmp_path, **settings)
    whole.train()
    again = reward_trainer(tmp_path, **settings)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 1
    assert largest_difference(weights(again.model), weights(whole.model)) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "a", "choosen": "b", "rejected": "c"}], "has no column 'chosen'.*Did you mean 'choosen'"),
        ([{"prompt": "a", "chosen": "b", "rejected": ""}], "train_dataset, row 0, column 'rejected' is empty"),
        ([{"chosen": "b", "rejected": [{"role": "user", "content": "c"}]}], "train_dataset, row 0: 'chosen' is text"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        reward_trainer(tmp_path, rows=rows)
    with pytest.raises(DataError, match=message.replace("train_dataset", "eval_dataset")):
        reward_trainer(tmp_path).evaluate(Dataset.from_list(rows))


def test_bad_models_and_settings(tmp_path: Path) -> None:
    two = save_model(tiny_reward_model(num_labels=2), tiny_tokenizer(), tmp_path / "two")
    for model in (str(two), tiny_reward_model(num_labels=2)):
        with pytest.raises(ModelError, match="has 2 labels, but a reward model has one"):
            reward_trainer(tmp_path, model=model)
    with pytest.raises(ConfigError, match="overlong must be one of truncate_prompt, drop, not 'cut'"):
        RewardModelConfig(str(tmp_path), overlong="cut")
    with pytest.raises(ConfigError, match=r"freeze_layers=0.5 and an adapter"):
        reward_trainer(tmp_path, freeze_layers=0.5, peft_config=LoraConfig(target_modules=["q_proj"]))


def test_an_adapter_that_would_lose_the_head_is_refused(tmp_path: Path) -> None:
    added = tiny_reward_model()
    added.add_adapter(LoraConfig(target_modules=["q_proj"]))
    wrapped = get_peft_model(tiny_reward_model(), LoraConfig(target_modules=["q_proj"]))
    for model in (added, wrapped):
        with pytest.raises(ConfigError, match="does not train its score head, which would not be saved"):
            reward_trainer(tmp_path, model=model)
    kept = get_peft_model(tiny_reward_model(), LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"]))
    reward_trainer(tmp_path, model=kept)


def test_folder_of_another_run(tmp_path: Path) -> None:
    reward_trainer(tmp_path, max_steps=1).train()
    with pytest.raises(RunFolderError, match=r"overlong is 'truncate_prompt' there and 'drop' here"):
        reward_trainer(tmp_path, max_steps=1, overlong="drop").train()
    with pytest.raises(RunFolderError, match=r"freeze_layers is 0.0 there and 0.5 here"):
        reward_trainer(tmp_path, max_steps=1, freeze_layers=0.5).train()


@pytest.mark.parametrize("family", ["bert", "distilbert", "deberta-v2", "albert", "roberta"])
def test_a_masked_language_model_becomes_a_reward_model(tmp_path: Path, family: str) -> None:
    # None of the first four has what its classifier has between the last layer and the score.
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if family == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    config = AutoConfig.for_model(family, vocab_size=VOCAB_SIZE, max_position_embeddings=80, pad_token_id=0, **sizes)
    save_model(AutoModelForMaskedLM.from_config(config), tiny_tokenizer(), tmp_path / "mlm")
    lora = LoraConfig(r=2, target_modules=["query", "q_lin", "query_proj"], task_type="SEQ_CLS")

    def trainer(name: str, peft_config: Any = None) -> RewardModelTrainer:
        args = RewardModelConfig(str(tmp_path / name), max_steps=1, **QUIET)
        data = Dataset.from_list(preferences(4))
        return RewardModelTrainer(str(tmp_path / "mlm"), args, train_dataset=data, peft_config=peft_config)

    whole = trainer("whole")
    assert weights(trainer("again").model).keys() == weights(whole.model).keys()
    assert largest_difference(weights(trainer("again").model), weights(whole.model)) == 0
    adapter = {"bert": "pooler", "deberta-v2": "pooler", "albert": "pooler", "distilbert": "pre_classifier"}.get(family)
    if adapter is not None:
        with pytest.raises(ConfigError, match=f"no weights for {adapter}.*modules_to_save=\\['{adapter}'\\]"):
            trainer("refused", lora)
        lora.modules_to_save = [adapter]
    for tried in (whole, trainer("adapter", lora)):
        tried.train()
        tried.save_model()
        text = tried.processing_class(["q ab"], return_tensors="pt")
        with torch.no_grad():
            expected = tried.model.eval()(**text).logits.item()
        reward = load_reward(tried.args.output_dir)
        assert reward(["q"], [" ab"]) == pytest.approx([expected], abs=1e-5)


def test_the_prompt_of_a_pair_goes_through_the_model_once(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"a long prompt, {n}", "chosen": "ab" * (2 + n % 3), "rejected": "b" * (1 + n)} for n in range(8)
    ]
    trained = {}
    for way in ("behind prompts", "whole"):
        model, widths = tiny_reward_model(), []
        options = {"train_dataset": Dataset.from_list(rows), "per_device_train_batch_size": 4, "optim": "sgd"}
        trainer = reward_model_trainer(tmp_path / way, model=model, **options)
        assert trainer._shares_prompts
        vars(trainer)["_shares_prompts"] = way == "behind prompts"
        model.model.layers[0].mlp.register_forward_hook(
            lambda _m, args, _o, seen=widths: seen.append(args[0].shape[:2])
        )
        trainer.train()
        assert [len(shape) and shape[0] for shape in widths] == [4 if way == "behind prompts" else 8] * 2
        trained[way] = weights(model)
    assert largest_difference(*trained.values()) < 1e-5


@pytest.mark.parametrize("options", [{"disable_dropout": False}, {"neftune_noise_alpha": 5.0}])
def test_what_is_drawn_for_each_text_is_not_drawn_for_its_prompt(tmp_path: Path, options: dict[str, Any]) -> None:
    assert not reward_model_trainer(tmp_path, **options)._shares_prompts
