"""Demonstrations as users bring them: what is learnt of a row, and figures that do not depend on batches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import AutoTokenizer

from genrlhf.errors import ConfigError, DataError
from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.autoregressive import stop_token_ids
from genrlhf.trainers import SFTConfig, SFTTrainer
from genrlhf.types import SamplingParams
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, logged
from tests.trainers.test_sft import ROWS, sft_trainer

U, A, V, B = (
    {"role": role, "content": text}
    for role, text in (("user", "hi"), ("assistant", "yo"), ("user", "more"), ("assistant", "no"))
)
SYSTEM = {"role": "system", "content": "s"}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '[' + m.role + ']' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
LAST_ONLY = (
    "{% for m in messages %}{{ '[' + m.role + ']' }}"
    "{{ m.content if loop.last or m.role != 'assistant' else 'dropped' }}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


def chat(template: str | None = None) -> Any:
    tokenizer = tiny_tokenizer(chat_template=True)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def learnt(folder: Path, row: dict[str, Any], tokenizer: Any = None, **settings: Any) -> tuple[str, str]:
    """What a row becomes, and the part of it that is learnt."""
    tokenizer = tiny_tokenizer() if tokenizer is None else tokenizer
    first = sft_trainer(folder, rows=[row], tokenizer=tokenizer, **settings).train_dataset[0]
    return tokenizer.decode(first["input_ids"]), tokenizer.decode([i for i in first["labels"] if i != -100])


def test_messages_teach_every_turn_of_the_assistant_and_no_other(tmp_path: Path) -> None:
    row = {"messages": [SYSTEM, U, A, V, B]}
    whole = "[system]s\n[user]hi\n[assistant]yo<eos>\n[user]more\n[assistant]no<eos>\n"
    assert learnt(tmp_path, row, chat()) == (whole, "yo<eos>\nno<eos>\n")
    # Markers say it themselves; here without the line's end.
    assert learnt(tmp_path, row, chat(MARKED)) == (whole, "yo<eos>no<eos>")
    assert learnt(tmp_path, row, chat(), assistant_only_loss=True) == (whole, "yo<eos>\nno<eos>\n")
    assert learnt(tmp_path, row, chat(), completion_only_loss=False) == (whole, whole)


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"prompt": [U], "completion": [A]}, "yo<eos>\n"),
        ({"prompt": [U], "completion": "yo"}, "yo<eos>\n"),
        ({"prompt": "hi", "completion": [A]}, "yo<eos>\n"),
        ({"prompt": "hi", "completion": [U, A]}, "yo<eos>\n"),
        ({"prompt": [U], "completion": [A, V, B]}, "yo<eos>\nno<eos>\n"),
        ({"prompt": [U, A, V], "completion": [B]}, "no<eos>\n"),
        ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}, "yo<eos>\n"),
        ({"messages": [A, V, B]}, "yo<eos>\nno<eos>\n"),
    ],
)
@pytest.mark.parametrize("template", [None, MARKED])
def test_completions_of_every_form(tmp_path: Path, row: dict[str, Any], part: str, template: str | None) -> None:
    right = part if template is None else part.replace("\n", "")
    assert learnt(tmp_path, row, chat(template))[1] == right


def test_tools_and_arguments_of_the_template(tmp_path: Path) -> None:
    tokenizer = chat("{{ mood or '' }}{{ tools[0].name if tools else '' }}" + str(chat().chat_template))
    row = {"prompt": [U], "completion": [A], "tools": [{"name": "T"}], "chat_template_kwargs": {"mood": "M"}}
    assert learnt(tmp_path, row, tokenizer) == ("MT[user]hi\n[assistant]yo<eos>\n", "yo<eos>\n")


def test_a_conversation_whose_template_ends_no_turn_is_closed(tmp_path: Path) -> None:
    plain = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}" + (
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    assert learnt(tmp_path, {"prompt": [U], "completion": [A]}, chat(plain))[1] == "yo\n<eos>"
    assert learnt(tmp_path, {"messages": [U, A]}, chat(plain))[1] == "yo\n<eos>"


@pytest.mark.parametrize(
    ("row", "template", "message"),
    [
        ({"messages": [U, V]}, None, "train_dataset, row 0 has no turn of the role 'assistant' to learn, only user"),
        ({"messages": [U, A, V, B]}, LAST_ONLY, "row 0: the chat template writes turn 1 otherwise"),
        ({"messages": [U, A]}, "{{ raise_exception('no') }}", "row 0: the chat template refuses .*no"),
        ({"prompt": [U], "completion": [A]}, "{{ raise_exception('no') }}", "row 0: the chat template refuses .*no"),
        ({"prompt": "other", "completion": [U, A]}, None, "row 0, column 'prompt' is the text 'other'"),
        ({"prompt": [U], "completion": [U]}, None, "row 0, column 'completion' adds no turn"),
    ],
)
def test_rows_that_say_nothing_clear_are_refused(tmp_path: Path, row: Any, template: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sft_trainer(tmp_path, rows=[row], tokenizer=chat(template))


def test_conversations_without_a_template(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train_dataset, row 0 is a conversation, and .* no chat template"):
        sft_trainer(tmp_path, rows=[{"messages": [U, A]}])


def trainer_of(folder: Path, dataset: Any, *, tokenizer: Any = None, model: Any = None, **settings: Any) -> SFTTrainer:
    given = {key: settings.pop(key) for key in ("formatting_func", "eval_dataset") if key in settings}
    args = SFTConfig(str(folder), **{**QUIET, "max_steps": 2, "logging_steps": 1, **settings})
    tokenizer = tiny_tokenizer() if tokenizer is None else tokenizer
    return SFTTrainer(tiny_llama() if model is None else model, args, dataset, processing_class=tokenizer, **given)


def test_formatting_func_makes_text_of_rows(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"q": "a", "a": "b"}] * 2)
    trainer = trainer_of(tmp_path, rows, formatting_func=lambda row: row["q"] + row["a"])
    assert tiny_tokenizer().decode(trainer.train_dataset[0]["labels"]) == "ab<eos>"
    trainer.train()
    with pytest.raises(DataError, match="train_dataset, row 0: formatting_func returned 3"):
        trainer_of(tmp_path, rows, formatting_func=lambda row: 3)
    # As TRL does, for its reason.
    for settings in ({"completion_only_loss": True}, {"assistant_only_loss": True}):
        with pytest.raises(ConfigError, match=next(iter(settings)) + "|formatting_func"):
            trainer_of(tmp_path, rows, formatting_func=lambda row: "x", **settings)
    with pytest.raises(ConfigError, match="formatting_func"):
        trainer_of(tmp_path, Dataset.from_list(ROWS), formatting_func=lambda row: "x")


def test_trls_other_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="assistant_only_loss=True needs conversations"):
        trainer_of(tmp_path, Dataset.from_list(ROWS), assistant_only_loss=True)
    whole = {"prompt": "a:", "completion": "b"}
    assert learnt(tmp_path, whole, completion_only_loss=False) == ("a:b<eos>", "a:b<eos>")
    assert learnt(tmp_path, {"body": "ab"}, dataset_text_field="body") == ("ab<eos>", "ab<eos>")
    assert learnt(tmp_path, whole, max_length=3, truncation_mode="keep_end") == (":b<eos>", "b<eos>")
    template = tmp_path / "chat.jinja"
    template.write_text(MARKED)
    conversation = {"messages": [U, A]}
    assert learnt(tmp_path, conversation, chat_template_path=str(template))[1] == "yo<eos>"
    raw = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}] * 2)
    trainer = trainer_of(tmp_path, raw, dataset_kwargs={"skip_prepare_dataset": True})
    assert trainer.train_dataset[0]["labels"] == [-100, 6, 7]
    assert trainer_of(tmp_path, raw, max_length=2).train_dataset[0]["input_ids"] == [5, 6]
    for settings in ({"loss_type": "dft"}, {"padding_free": True}):
        trainer_of(tmp_path, Dataset.from_list(ROWS), overwrite_output_dir=True, **settings).train()


@pytest.mark.parametrize("strategy", ["bfd", "wrapped"])
def test_packing_keeps_what_is_learnt(tmp_path: Path, strategy: str) -> None:
    trainer = trainer_of(tmp_path, Dataset.from_list(ROWS), packing=True, packing_strategy=strategy, max_length=16)
    rows = trainer.train_dataset
    assert max(map(len, rows["input_ids"])) <= 16 and len(rows) < len(ROWS)
    # Three letters and EOS of every completion, none of a prompt.
    assert sum(label != -100 for labels in rows["labels"] for label in labels) == 4 * len(ROWS)


def test_a_stream_is_tokenised_as_it_is_read(tmp_path: Path) -> None:
    stream = IterableDataset.from_generator(lambda: iter(ROWS))
    settings = {"per_device_train_batch_size": 4, "train_sampling_strategy": "sequential"}
    losses = []
    for name, data in (("a", Dataset.from_list(ROWS)), ("b", stream)):
        trainer = trainer_of(tmp_path / name, data, **settings)
        trainer.train()
        losses.append(logged(trainer, "loss"))
    assert losses[0] == losses[1]
    with pytest.raises(ConfigError, match="set max_steps"):
        trainer_of(tmp_path / "c", stream, max_steps=-1)
    with pytest.raises(DataError, match="train_dataset, row 0, column 'completion' is empty"):
        bad = IterableDataset.from_generator(lambda: iter([{"prompt": "a", "completion": ""}]))
        trainer_of(tmp_path / "d", bad)


def test_prompts_that_merge_with_completions_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A generation prompt that the template does not write before a turn.
    template = str(chat().chat_template).replace("'[assistant]' }}", "'[assistant]<think>' }}")
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        _, part = learnt(tmp_path, {"prompt": [U], "completion": [A]}, chat(template))
    assert part == "yo<eos>\n"
    assert "In 1 of 1 rows of train_dataset the tokens of the prompt are not those" in caplog.text


UNENDED = MARKED.replace("{{ eos_token }}{% endgeneration %}", "{% endgeneration %}{{ eos_token }}")


@pytest.mark.parametrize("row", [{"messages": [U, A, V, B]}, {"prompt": [U], "completion": [A]}])
@pytest.mark.parametrize("template", [UNENDED, UNENDED.replace("{{ eos_token }}", ""), MARKED, None])
def test_markers_that_leave_out_the_end_of_a_turn(
    tmp_path: Path, row: Any, template: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        _, part = learnt(tmp_path, row, chat(template))
    assert ("<eos>" in part) == (template in (MARKED, None))
    said = "In 1 of 1 rows of train_dataset what ends the assistant's turn is not learnt, so that samples would run on"
    assert (said in caplog.text) == ("<eos>" not in part)


THOUGHT = {**B, "reasoning_content": "why"}
WRITING = str(chat().chat_template).replace(
    "message['content']", "(message.reasoning_content or '') + message['content']"
)


@pytest.mark.parametrize("row", [{"messages": [U, A, V, THOUGHT]}, {"prompt": [U, A, V], "completion": [THOUGHT]}])
@pytest.mark.parametrize("everything", [False, True])
def test_reasoning_that_a_template_leaves_out(
    tmp_path: Path, row: Any, everything: bool, caplog: pytest.LogCaptureFixture
) -> None:
    said = "In 1 of 1 rows of train_dataset the chat template leaves out what the assistant says or thinks"
    settings = {"completion_only_loss": False} if everything else {}
    for template, left_out in ((chat().chat_template, True), (MARKED, True), (WRITING, False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="genrlhf"):
            _, part = learnt(tmp_path, row, chat(template), **settings)
        assert (said in caplog.text) == left_out == ("why" not in part), template


def test_rows_with_nothing_left_to_learn_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = {"messages": [{"role": "user", "content": "x" * 40}, A]}
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        rows = sft_trainer(tmp_path, rows=[long, {"messages": [U, A]}], tokenizer=chat(), max_length=32).train_dataset
    assert len(rows) == 1 and "1 of 2 rows of train_dataset have nothing to learn" in caplog.text
    with pytest.raises(DataError, match="No row of train_dataset has anything to learn"):
        sft_trainer(tmp_path, rows=[long], tokenizer=chat(), max_length=32)


def chatml_tokenizer() -> Any:
    tokenizer = chat(CHATML)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def test_turns_that_do_not_end_in_eos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = Dataset.from_list([{"prompt": [U], "completion": [A]}] * 8)
    settings: dict[str, Any] = {"max_steps": 30, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
    with caplog.at_level(logging.WARNING, logger="genrlhf"):
        trainer_of(tmp_path / "a", rows, tokenizer=chatml_tokenizer(), model=tiny_llama(vocab_size=260))
    assert caplog.text.count("Set SFTConfig(eos_token='<|im_end|>')") == 1
    caplog.clear()
    trainer = trainer_of(
        tmp_path / "b",
        rows,
        tokenizer=chatml_tokenizer(),
        model=tiny_llama(vocab_size=260),
        eos_token="<|im_end|>",
        **settings,
    )
    assert "eos_token" not in caplog.text
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    model = type(trainer.model).from_pretrained(tmp_path / "saved")
    assert tokenizer.eos_token == "<|im_end|>"
    assert stop_token_ids(model, tokenizer) == [1, tokenizer.eos_token_id]
    params = SamplingParams(max_new_tokens=12, temperature=0)
    assert TransformersSampler(model, tokenizer).sample([[U]], 1, params, 0) == [["yo"]]
    with pytest.raises(ConfigError, match="eos_token='<nothing>' is no token"):
        trainer_of(tmp_path / "c", rows, tokenizer=chatml_tokenizer(), eos_token="<nothing>")


UNEVEN = [{"prompt": "a", "completion": "b" * n} for n in (1, 9, 2, 12, 5)]


def figures_by_hand() -> dict[str, float]:
    """Sums over the tokens of all rows, one row at a time."""
    tokenizer, model = tiny_tokenizer(), tiny_llama()
    sums = torch.zeros(4, dtype=torch.float64)
    for row in UNEVEN:
        ids = torch.tensor([[*tokenizer(row["prompt"] + row["completion"]).input_ids, 1]])
        with torch.no_grad():
            logp = model(ids).logits[0, :-1].double().log_softmax(-1)
        right = ids[0, 1:]
        nll = -logp.gather(1, right.unsqueeze(1)).sum()
        hits = (logp.argmax(-1) == right).sum()
        sums += torch.stack([nll, -(logp.exp() * logp).sum(), hits.double(), torch.tensor(float(len(right))).double()])
    return {
        "loss": float(sums[0] / sums[3]),
        "entropy": float(sums[1] / sums[3]),
        "mean_token_accuracy": float(sums[2] / sums[3]),
    }


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_evaluation_is_a_mean_over_tokens(tmp_path: Path, size: int) -> None:
    data = Dataset.from_list(UNEVEN)
    sets = {"id": data, "ood": data.select([0, 1, 2, 3, 4])}
    trainer = sft_trainer(tmp_path, rows=UNEVEN, per_device_eval_batch_size=size, eval_dataset=sets)
    figures = trainer.evaluate()
    for name, value in figures_by_hand().items():
        for key in sets:
            assert figures[f"eval_{key}_{name}"] == pytest.approx(value, abs=1e-4), (key, name)


@pytest.mark.parametrize(("size", "steps"), [(5, 1), (2, 3), (1, 5)])
def test_training_figures_are_means_over_tokens(tmp_path: Path, size: int, steps: int) -> None:
    settings = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "max_steps": 1}
    trainer = sft_trainer(tmp_path, rows=UNEVEN, **settings)
    trainer.train()
    for name, value in figures_by_hand().items():
        assert logged(trainer, name)[0] == pytest.approx(value, abs=1e-4), name
