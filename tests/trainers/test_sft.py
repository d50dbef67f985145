from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, TrainerCallback

from genrlhf.errors import ConfigError, DataError, ModelError, RunFolderError
from genrlhf.models import load_causal_lm
from genrlhf.trainers import SFTConfig, SFTTrainer
from tests.helpers import EOS_ID, save_model, tiny_gpt2, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import QUIET, interrupted_and_whole, largest_difference, logged, weights

ROWS = [{"prompt": f"{a}:", "completion": a.upper() * 3} for a in "abcdefgh"]


def sft_trainer(
    folder: Path,
    *,
    model: Any = None,
    rows: Any = ROWS,
    eval_dataset: Any = None,
    tokenizer: Any = None,
    peft_config: Any = None,
    callbacks: list[TrainerCallback] | None = None,
    **settings: Any,
) -> SFTTrainer:
    defaults = {**QUIET, "learning_rate": 1e-2, "max_steps": 6, "logging_steps": 1, "per_device_train_batch_size": 8}
    return SFTTrainer(
        model=tiny_llama() if model is None else model,
        args=SFTConfig(str(folder), **{**defaults, **settings}),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=eval_dataset,
        processing_class=tiny_tokenizer() if tokenizer is None else tokenizer,
        peft_config=peft_config,
        callbacks=callbacks,
    )


def test_learns_and_loads_plainly(tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path, max_steps=60, lr_scheduler_type="constant")
    trainer.train()
    losses = logged(trainer, "loss")
    assert losses[0] > 5
    # The prompt says which letter comes, so nothing is left to chance but rounding.
    assert losses[-1] < 0.1
    trainer.save_model(str(tmp_path / "saved"))
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.tensor([tiny_tokenizer()("c:").input_ids])
    written = loaded.generate(ids, max_new_tokens=10, do_sample=False)[0, ids.shape[1] :].tolist()
    assert written == [*tiny_tokenizer()("CCC").input_ids, EOS_ID]


def test_loss_is_that_of_completion_and_eos(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    trainer = sft_trainer(tmp_path, rows=[{"prompt": "ab", "completion": "cde"}] * 8)
    row = trainer.train_dataset[0]
    labels = [*tokenizer("cde").input_ids, EOS_ID]
    assert row["input_ids"] == [*tokenizer("ab").input_ids, *labels]
    assert row["labels"] == [-100, -100, *labels]
    # By hand: the mean over the four labels of −log p.
    model = tiny_llama()
    with torch.no_grad():
        logp = model(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
    expected = -sum(float(logp[position + 1, token]) for position, token in enumerate(labels)) / 4
    figures = trainer.evaluate(Dataset.from_list([{"prompt": "ab", "completion": "cde"}]))
    assert figures["eval_loss"] == pytest.approx(expected, abs=1e-5)


def test_messages_and_text(tmp_path: Path) -> None:
    chat = tiny_tokenizer(chat_template=True)
    conversation = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    rows = sft_trainer(tmp_path, rows=[{"messages": conversation}] * 8, tokenizer=chat).train_dataset
    assert chat.decode(rows[0]["input_ids"]) == "[user]hi\n[assistant]yo<eos>\n"
    split = [{"prompt": conversation[:1], "completion": conversation[1:]}] * 8
    rows = sft_trainer(tmp_path, rows=split, tokenizer=chat).train_dataset
    learnt = [token for token in rows[0]["labels"] if token != -100]
    assert chat.decode(learnt) == "yo<eos>\n"
    rows = sft_trainer(tmp_path, rows=[{"text": "plain"}] * 8).train_dataset
    assert tiny_tokenizer().decode(rows[0]["input_ids"]) == "plain<eos>"


def test_frozen_layers_stay(tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path, freeze_layers=0.5)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name in before if "layers.1." in name
    }


def test_dropout_is_off_unless_wanted(tmp_path: Path) -> None:
    def first_loss(**settings: Any) -> float:
        trainer = sft_trainer(tmp_path, model=tiny_gpt2(), max_steps=1, **settings)
        trainer.train()
        return logged(trainer, "loss")[0]

    with torch.no_grad():
        expected = sft_trainer(tmp_path, model=tiny_gpt2()).evaluate(Dataset.from_list(ROWS))["eval_loss"]
    assert first_loss() == pytest.approx(expected, abs=1e-4)
    assert abs(first_loss(disable_dropout=False, overwrite_output_dir=True) - expected) > 1e-3


def test_lora(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"])
    trainer = sft_trainer(tmp_path / "run", model=str(base), peft_config=config)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    assert all(torch.equal(before[name], after[name]) is ("lora_" not in name) for name in before)
    trainer.save_model(str(tmp_path / "saved"))
    ids = torch.tensor([[5, 6, 7, 8]])
    expected = trainer.model.eval()(ids).logits
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "saved"))
    for loaded in (plain, load_causal_lm(str(tmp_path / "saved"))):
        assert torch.allclose(loaded.eval()(ids).logits, expected, atol=1e-5)
    with pytest.raises(ConfigError, match=r"freeze_layers=0.5 and an adapter"):
        sft_trainer(tmp_path, freeze_layers=0.5, peft_config=config)


def test_resumed_run_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> SFTTrainer:
        return sft_trainer(folder, callbacks=callbacks, per_device_train_batch_size=3)

    resumed, whole = interrupted_and_whole(make, tmp_path, 4)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    assert logged(resumed, "loss") == logged(whole, "loss")


def test_resuming_a_run_at_its_end_changes_nothing(tmp_path: Path) -> None:
    # The end lies within an epoch, which is of three steps.
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 3}
    whole = sft_trainer(tmp_path, **settings, max_steps=4)
    whole.train()
    again = sft_trainer(tmp_path, **settings, max_steps=4)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4
    assert largest_difference(weights(again.model), weights(whole.model)) == 0
    longer = sft_trainer(tmp_path, **settings, max_steps=8)
    longer.train(resume_from_checkpoint=True)
    assert longer.state.global_step == 8


def test_overlong_rows_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": "ab", "completion": "c" * length} for length in (1, 5, 6, 60, 70, 70, 1, 1)]
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        trainer = sft_trainer(tmp_path, rows=rows, max_length=8)
    # 2 + 5 + EOS are 8 tokens, so four rows are longer.
    assert "4 of 8 rows of train_dataset are longer than max_length=8 tokens" in caplog.text
    assert [len(row["input_ids"]) for row in trainer.train_dataset] == [4, 8, 8, 8, 8, 8, 4, 4]
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        sft_trainer(tmp_path, rows=rows[:3])
        # The model's context, 64 tokens, is a limit too.
        assert "longer" not in caplog.text
        sft_trainer(tmp_path, rows=rows)
    assert "2 of 8 rows of train_dataset are longer than max_length=64 tokens" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"prompt": "a", "completions": "b"}],
            r"train_dataset has no column 'completion'.*Did you mean 'completions'",
        ),
        ([{"prompt": "a", "completion": " "}], "train_dataset, row 0, column 'completion' is empty"),
        ([{"messages": "a"}, {"messages": ""}], "train_dataset, row 1, column 'messages' is empty"),
        (
            [{"prompt": "a" * 64, "completion": "b"}],
            "train_dataset, row 0: the prompt .* has 64 tokens, and at most 63",
        ),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        sft_trainer(tmp_path, rows=rows)


def test_bad_model_and_bad_rows_to_evaluate(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="LlamaForSequenceClassification, which has no language-model head"):
        sft_trainer(tmp_path, model=tiny_reward_model())
    with pytest.raises(DataError, match=r"eval_dataset\['ood'\] has no column 'completion'"):
        sft_trainer(tmp_path).evaluate({"ood": Dataset.from_list([{"prompt": "a"}])})


def test_folder_of_another_run(tmp_path: Path) -> None:
    sft_trainer(tmp_path, max_steps=1).train()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(RunFolderError, match=r"learning_rate is 0.01 there and 0.02 here"):
        sft_trainer(tmp_path, max_steps=1, learning_rate=2e-2).train()
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    sft_trainer(tmp_path, max_steps=2).train()


def test_nothing_is_reported_over_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.delenv("CI", raising=False)
    # Older versions of TRL have no telemetry, and so no such name.
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda **topic: sent.append(topic), raising=False)
    sft_trainer(tmp_path, max_steps=1).train()
    assert sent == []


def test_precision_on_a_cpu(tmp_path: Path) -> None:
    assert SFTConfig(str(tmp_path), use_cpu=True).bf16 is False
    assert not SFTConfig(str(tmp_path), use_cpu=True).gradient_checkpointing
    trainer = sft_trainer(tmp_path)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert SFTConfig(str(tmp_path), use_cpu=True, bf16=True).bf16 is True
