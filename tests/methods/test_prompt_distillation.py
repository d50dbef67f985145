"""Prompt distillation: its identities on steps, who its teacher is, and TRL's self-distillation on one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods import PromptDistillation, SampledPromptDistillation
from genrlhf.methods.prompt_distillation_given import with_context
from genrlhf.trainers import Completion, SampleAndTuneConfig, SampleAndTuneTrainer, SFTConfig, SFTTrainer
from genrlhf.trainers.own_rows import _tell_of_system
from genrlhf.trainers.tuning_rows import tokenised
from tests.helpers import save_model, tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, largest_difference, logged, prompt_rows, weights

ROWS = [{"prompt": "q" + "x" * (n % 3), "completion": "abcd"[: 1 + n % 4]} for n in range(8)]
LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])


def trainer(folder: Path, objective: Any, rows: Any = ROWS, *, model: Any = None, **given: Any) -> SFTTrainer:
    peft, tokenizer = given.pop("peft_config", None), given.pop("tokenizer", tiny_tokenizer())
    settings = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 2, "logging_steps": 1}
    data = rows if isinstance(rows, Dataset) else Dataset.from_list(list(rows))
    return SFTTrainer(
        tiny_llama() if model is None else model,
        SFTConfig(str(folder), **{**QUIET, **settings, "per_device_train_batch_size": 8, **given}),
        data,
        processing_class=tokenizer,
        objective=objective,
        peft_config=peft,
    )


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("top_k", [None, 3, 258])
def test_a_step_goes_down_the_mean_kl_of_the_tokens(make: Any, top_k: int | None, tmp_path: Path) -> None:
    made = trainer(tmp_path, PromptDistillation("be ", top_k), model=make(), max_steps=1, lr_scheduler_type="constant")
    made.train()
    teacher, student, losses = make(), make(), []
    encode = tiny_tokenizer()
    for row in ROWS:
        asked, answer = encode(row["prompt"])["input_ids"], encode(row["completion"] + "<eos>")["input_ids"]
        told = encode("be " + row["prompt"])["input_ids"]
        p = teacher(torch.tensor([told + answer])).logits[0, len(told) - 1 : -1].softmax(-1).detach()
        q = student(torch.tensor([asked + answer])).logits[0, len(asked) - 1 : -1].softmax(-1)
        if top_k is not None and top_k < 258:
            top = p.topk(top_k).indices
            p, q = (
                torch.cat([each.gather(-1, top), 1 - each.gather(-1, top).sum(-1, keepdim=True)], -1) for each in (p, q)
            )
        losses.append((p * (p / q).log()).sum(-1))
    loss = torch.cat(losses).mean()
    loss.backward()
    assert logged(made, "loss")[0] == pytest.approx(float(loss.detach()), abs=1e-5)
    expected = {name: each.detach() - 0.1 * each.grad for name, each in student.named_parameters()}
    assert largest_difference(weights(made.model), expected) < 1e-5


@pytest.mark.parametrize("peft", [None, LORA])
def test_the_teacher_is_the_model_as_it_was(peft: Any, tmp_path: Path) -> None:
    made = trainer(tmp_path, PromptDistillation("be "), peft_config=peft, max_steps=3, learning_rate=0.2)
    batch = made.data_collator([made.train_dataset[0]])
    told = tiny_tokenizer()("be qa<eos>")["input_ids"]
    assert batch["columns"]["teacher_ids"] == [told]
    made.train()
    start = made._start(torch.tensor([told])).logits
    assert torch.allclose(start, tiny_llama()(torch.tensor([told])).logits, atol=1e-6)
    assert logged(made, "loss")[-1] < logged(made, "loss")[0]


class Same(PromptDistillation):
    """A context that changes nothing."""

    def of_row(self, row: Any, where: str) -> str:
        return ""


def test_a_context_that_changes_nothing_costs_nothing(tmp_path: Path) -> None:
    made = trainer(tmp_path, Same("be "))
    before = weights(made.model)
    made.train()
    assert logged(made, "loss") == pytest.approx([0, 0], abs=1e-6)
    assert largest_difference(before, weights(made.model)) < 1e-6


def test_agrees_with_trls_self_distillation(tmp_path: Path) -> None:
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    args = SDFTConfig(
        str(tmp_path / "theirs"),
        **QUIET,
        bf16=False,
        max_completion_length=6,
        distillation_mode="full_logits",
        distillation_alpha=0.0,
        distillation_is_clip=None,
        generate_from_teacher=True,
        num_generations=1,
        teacher_prompt_template="{privileged_context}{prompt}",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
    )
    row = {"prompt": "qx", "privileged_context": "be "}
    data = Dataset.from_list([row])
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    theirs = SDFTTrainer(str(base), args=args, train_dataset=data, processing_class=tiny_tokenizer())
    theirs.model.train()
    theirs.current_gradient_accumulation_steps = 1
    batch = theirs._prepare_training_batch([row])
    loss = theirs.compute_loss(theirs.model, batch)
    loss.backward()
    ids = batch["completion_ids"][0].tolist()
    objective = PromptDistillation("be ")
    drawn = [{"prompt": "qx", "completion": Completion(tiny_tokenizer().decode(ids), ids[-1] == 1, ids)}]
    rows = tokenised(drawn, "supervised", tiny_tokenizer(), objective=objective)
    ours = trainer(tmp_path / "ours", objective, rows, max_steps=1)
    ours.model.train()
    (inputs,) = [ours.data_collator([rows[0]])]
    found = ours.compute_loss(ours.model, inputs)
    found.backward()
    assert float(found) == pytest.approx(float(loss), abs=1e-6)
    for (name, a), (_, b) in zip(ours.model.named_parameters(), theirs.model.named_parameters(), strict=True):
        assert a.grad is not None and torch.allclose(a.grad, b.grad, atol=1e-6), name


def sampled(folder: Path, **given: Any) -> SampleAndTuneTrainer:
    settings = {"learning_rate": 0.05, "max_steps": 1, "n": 2, "max_new_tokens": 4, "logging_steps": 1}
    return SampleAndTuneTrainer(
        tiny_llama(),
        SampleAndTuneConfig(str(folder), **{**QUIET, **settings, "num_iterations": given.pop("num_iterations", 1)}),
        prompt_rows(4),
        transform=SampledPromptDistillation("be ", **given),
        processing_class=tiny_tokenizer(),
    )


def test_the_teacher_or_the_student_writes_and_the_teacher_stays_the_first(tmp_path: Path) -> None:
    from genrlhf.sampling import TransformersSampler

    own = TransformersSampler(tiny_llama(), tiny_tokenizer())
    for source, before in (("teacher", "be "), ("student", "")):
        made = sampled(tmp_path / source, source=source, num_iterations=2)
        groups = made.sample_groups()
        assert [group.prompt for group in groups] == prompt_rows(4)["prompt"][:]
        asked = [before + prompt for prompt in prompt_rows(4)["prompt"]]
        expected = own.sample(asked, 2, made.args.sampling_params, made.args.seed)
        assert [[each.text for each in group.completions] for group in groups] == expected
        made.train()
        ids = torch.tensor([tiny_tokenizer()("be q")["input_ids"]])
        assert torch.allclose(made.tuner._start(ids).logits, tiny_llama()(ids).logits, atol=1e-6)


def test_messages_have_the_context_as_the_systems(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "q"}]
    assert with_context(asked, "C") == [{"role": "system", "content": "C"}, *asked]
    assert with_context([{"role": "system", "content": "s"}, *asked], "C")[0] == {"role": "system", "content": "C\n\ns"}
    rows = [{"prompt": asked, "completion": [{"role": "assistant", "content": "ab"}], "context": "C"}]
    tokenizer = tiny_tokenizer(chat_template=True)
    made = trainer(tmp_path, PromptDistillation(), rows, tokenizer=tokenizer)
    assert tokenizer.decode(made.train_dataset[0]["teacher_ids"]).startswith("[system]C\n[user]q\n[assistant]ab<eos>")


def test_a_system_prompt_of_the_templates_own_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = [{"role": "user", "content": "q"}]
    rows = [{"prompt": asked, "completion": [{"role": "assistant", "content": "ab"}]}] * 2
    tokenizer = tiny_tokenizer(chat_template=True)
    own = "{% if messages[0].role != 'system' %}[system]Be so.\n{% endif %}" + str(tokenizer.chat_template)
    _tell_of_system.cache_clear()
    trainer(tmp_path, PromptDistillation("C"), rows, tokenizer=tokenizer)
    tokenizer.chat_template = own
    trainer(
        tmp_path,
        PromptDistillation("C"),
        [{**rows[0], "prompt": [{"role": "system", "content": "s"}, *asked]}],
        tokenizer=tokenizer,
    )
    assert "template" not in caplog.text
    trainer(tmp_path, PromptDistillation("C"), rows, tokenizer=tokenizer)
    assert caplog.text.count("puts a system prompt of its own, 'Be so.', before prompts without one") == 1


@pytest.mark.parametrize(
    ("change", "objective", "words"),
    [
        ({"context": ""}, PromptDistillation(), "row 7, column 'context' is '': there is nothing to distil"),
        ({"prompt": "q" * 40}, PromptDistillation("c" * 30), "row 7.*has 70 tokens, and at most 63 leave room"),
        ({"prompt": "q" * 30}, PromptDistillation("c" * 31), "row 7: its context, prompt and completion together has"),
    ],
)
def test_rows_that_cannot_be_distilled(change: dict[str, Any], objective: Any, words: str, tmp_path: Path) -> None:
    rows = [{**row, "context": "C"} for row in ROWS]
    with pytest.raises(DataError, match=words):
        trainer(tmp_path, objective, [*rows[:7], {**rows[7], **change}])


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    for given, words in (({"context": " "}, "nothing to distil"), ({"top_k": 0}, "top_k is 0")):
        with pytest.raises(ConfigError, match=words):
            PromptDistillation(**given)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=words):
            SampledPromptDistillation(given.get("context"), given.get("top_k"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="source is 'data'; it must be teacher or student"):
        SampledPromptDistillation("C", source="data")
    with pytest.raises(ConfigError, match="packing=True makes one row of several"):
        trainer(tmp_path, PromptDistillation("C"), packing=True)
    with pytest.raises(DataError, match="context"):
        trainer(tmp_path, PromptDistillation())
