"""DPO and KTO: TRL's losses on our rows, with a reference that stays what it was."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset, IterableDataset
from peft import AutoPeftModelForCausalLM, LoraConfig
from transformers import AutoModelForCausalLM

from genrlhf.errors import ConfigError, DataError, RunFolderError
from genrlhf.models import load_causal_lm
from genrlhf.sampling.decode import prompt_token_ids
from genrlhf.trainers import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from tests.decoders.configs import build, known
from tests.helpers import EOS_ID, save_model, tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer
from tests.processes import run_in_two
from tests.trainers.runs import QUIET, interrupted_and_whole, largest_difference, logged, weights

PAIRS = [
    {"prompt": "q" + "x" * (n % 5), "chosen": "ab" * (1 + n % 3), "rejected": "ba" * (1 + n % 2)} for n in range(8)
]
LABELS = [
    {"prompt": "q" + "x" * (n % 5), "completion": ("ab" if n % 3 else "cd") * (1 + n % 3), "label": bool(n % 3)}
    for n in range(8)
]
KINDS: dict[str, tuple[Any, Any, list[dict[str, Any]]]] = {
    "dpo": (DPOTrainer, DPOConfig, PAIRS),
    "kto": (KTOTrainer, KTOConfig, LABELS),
}
LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])


def trainer(kind: str, folder: Path, *, model: Any = None, rows: Any = None, **given: Any) -> Any:
    made, config, usual = KINDS[kind]
    options = {name: given.pop(name) for name in ("peft_config", "ref_model", "callbacks") if name in given}
    sets, tokenizer = given.pop("eval_dataset", None), given.pop("tokenizer", None)
    data = Dataset.from_list(list(usual if rows is None else rows))
    settings = {"learning_rate": 1e-2, "max_steps": 3, "logging_steps": 1, "per_device_train_batch_size": 4}
    return made(
        model=tiny_llama() if model is None else model,
        args=config(str(folder), **{**QUIET, **settings, **given}),
        train_dataset=data,
        eval_dataset=data if sets is None else sets,
        processing_class=tiny_tokenizer() if tokenizer is None else tokenizer,
        **options,
    )


def opt_without_dropout() -> Any:
    """TRL leaves on what is no module of its own."""
    return tiny_opt(dropout=0.0, attention_dropout=0.0)


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, opt_without_dropout])
@pytest.mark.parametrize("kind", KINDS)
def test_trains_what_trls_trainer_does(kind: str, make: Any, tmp_path: Path) -> None:
    base = save_model(make(), tiny_tokenizer(), tmp_path / "base")
    ours = trainer(kind, tmp_path / "ours", model=str(base), max_steps=4)
    rows = Dataset.from_list(KINDS[kind][2])
    their_config, their_trainer = getattr(trl, f"{kind.upper()}Config"), getattr(trl, f"{kind.upper()}Trainer")
    options = {**QUIET, "learning_rate": 1e-2, "max_steps": 4, "logging_steps": 1, "per_device_train_batch_size": 4}
    theirs = their_trainer(
        model=str(base),
        args=their_config(str(tmp_path / "theirs"), gradient_checkpointing=False, bf16=False, **options),
        train_dataset=rows.shuffle(seed=42) if kind == "kto" else rows,
        processing_class=tiny_tokenizer(),
    )
    ours.train(), theirs.train()
    for key in ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen"):
        assert logged(ours, key) == pytest.approx(logged(theirs, key), abs=1e-5), key
    assert largest_difference(weights(ours.model), weights(theirs.model)) < 1e-5
    assert logged(ours, "loss")[-1] < logged(ours, "loss")[0]


def test_a_conversation_is_asked_as_a_sampler_asks_and_ends_as_it_is_learnt(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    asked = [{"role": "user", "content": "hi"}]
    rows = [
        {"prompt": asked, "chosen": [{"role": "assistant", "content": text}], "rejected": "no"} for text in ("a", "bc")
    ]
    made = trainer("dpo", tmp_path, rows=rows, tokenizer=tokenizer)
    for row, text in zip(made.train_dataset, ("a", "bc"), strict=True):
        assert row["prompt_ids"] == prompt_token_ids(tokenizer, asked)
        # The turn ends in EOS and a line, as the template writes it.
        assert row["chosen_ids"] == tokenizer(f"{text}<eos>\n")["input_ids"]
        assert row["rejected_ids"] == tokenizer("no<eos>\n")["input_ids"]
    implicit = [{"chosen": [*asked, {"role": "assistant", "content": "a"}], "rejected": [*asked, rows[0]["chosen"][0]]}]
    implicit[0]["rejected"][1] = {"role": "assistant", "content": "b"}
    (row,) = trainer("dpo", tmp_path, rows=implicit, tokenizer=tokenizer).train_dataset
    assert row["prompt_ids"] == prompt_token_ids(tokenizer, asked)
    (text,) = trainer("dpo", tmp_path, rows=[{"chosen": "q: a", "rejected": "q: b"}]).train_dataset
    assert tokenizer.decode(text["prompt_ids"]) == "q:"
    assert text["chosen_ids"][-1] == text["rejected_ids"][-1] == EOS_ID


def test_pairs_become_two_labelled_rows_each(tmp_path: Path) -> None:
    rows = trainer("kto", tmp_path, rows=PAIRS).train_dataset
    found = sorted((row["prompt_ids"], row["completion_ids"], row["label"]) for row in rows)
    pairs = trainer("dpo", tmp_path, rows=PAIRS).train_dataset
    expected = [
        (row["prompt_ids"], row[name], name == "chosen_ids") for row in pairs for name in ("chosen_ids", "rejected_ids")
    ]
    assert found == sorted(expected)
    # Side by side before they are shuffled, and shuffled by the seed.
    assert [row["label"] for row in rows] != [True, False] * 8
    other = trainer("kto", tmp_path, rows=PAIRS, seed=1).train_dataset
    assert other["completion_ids"][:] != rows["completion_ids"][:]


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_layers_stay_and_lie_in_memory_once(kind: str, tmp_path: Path) -> None:
    made = trainer(kind, tmp_path, freeze_layers=0.5)
    before, start = weights(made.model), weights(made.ref_model)
    made.train()
    after = weights(made.model)
    trained = {name for name in before if not torch.equal(before[name], after[name])}
    assert trained == {name for name in before if "layers.1." in name}
    assert largest_difference(start, weights(made.ref_model)) == 0
    reference = dict(made.ref_model.named_parameters())
    shared = {name for name, p in made.model.named_parameters() if p.data_ptr() == reference[name].data_ptr()}
    assert shared == set(before) - trained


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_trained_against_the_base_and_loads(kind: str, tmp_path: Path) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    made = trainer(kind, tmp_path / "run", model=str(base), peft_config=LORA, save_strategy="steps")
    made.train()
    assert logged(made, "rewards/chosen")[0] == pytest.approx(0.0, abs=1e-6)
    assert logged(made, "rewards/chosen")[-1] != 0
    assert largest_difference(weights(made.ref_model), weights(tiny_llama())) == 0
    assert set(made.model.peft_config) == {"default"}
    ids = torch.tensor([[5, 6, 7]])
    want = made.model(ids).logits
    plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run", dtype=torch.float32)
    assert torch.allclose(plain(ids).logits, want, atol=1e-5)
    assert torch.allclose(load_causal_lm(str(tmp_path / "run"))(ids).logits, want, atol=1e-5)
    # On top of the adapter that is there: the reference is the model with it, not the base.
    again = trainer(kind, tmp_path / "again", model=made.model)
    again.train()
    assert logged(again, "rewards/chosen")[0] == pytest.approx(0.0, abs=1e-6)
    assert set(made.model.peft_config) == {"default"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_loads_with_plain_transformers(kind: str, tmp_path: Path) -> None:
    made = trainer(kind, tmp_path, save_strategy="steps", save_steps=10)
    made.train()
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert largest_difference(weights(loaded), weights(made.model)) == 0
    with pytest.raises(RunFolderError, match=r"beta is 0\.1 there and 0\.2 here"):
        trainer(kind, tmp_path, beta=0.2).train()


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_as_if_it_had_not_stopped(kind: str, tmp_path: Path) -> None:
    resumed, whole = interrupted_and_whole(
        lambda folder, callbacks: trainer(kind, folder, callbacks=callbacks, save_steps=50, save_strategy="steps"),
        tmp_path,
        2,
    )
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    assert logged(resumed, "rewards/margins")[-1] == logged(whole, "rewards/margins")[-1]


def test_a_step_does_not_depend_on_how_it_is_split(tmp_path: Path) -> None:
    found = []
    # Seven pairs: the last batch of an epoch is smaller than the others.
    for batch, accumulation in ((7, 1), (4, 2), (3, 3), (1, 7)):
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "optim": "sgd"}
        made = trainer("dpo", tmp_path / f"{batch}", rows=PAIRS[:7], learning_rate=0.1, max_grad_norm=0.0, **options)
        made.train()
        found.append((weights(made.model), logged(made, "loss"), logged(made, "rewards/margins")))
    for other in found[1:]:
        assert largest_difference(found[0][0], other[0]) < 1e-6
        assert found[0][1] == pytest.approx(other[1], abs=1e-5)
        assert found[0][2] == pytest.approx(other[2], abs=1e-5)


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    made = trainer("dpo", tmp_path / "one", optim="sgd", max_grad_norm=0.0, per_device_train_batch_size=8)
    made.train()
    run_in_two("tests.trainers.two_pairs", str(tmp_path / "two"))
    assert largest_difference(weights(load_causal_lm(str(tmp_path / "two"))), weights(made.model)) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_an_evaluation_are_means_over_rows_and_of_each_set(kind: str, tmp_path: Path) -> None:
    rows = KINDS[kind][2]
    sets = {"id": Dataset.from_list(rows[:3]), "ood": Dataset.from_list(rows[3:])}
    keys = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen")
    found = []
    for size in (1, 2, 8):
        # The KL of KTO is that of a batch; without it the loss has no part that depends on the batch.
        settings = {"loss_type": "apo_zero_unpaired"} if kind == "kto" else {}
        made = trainer(kind, tmp_path / f"{size}", eval_dataset=sets, per_device_eval_batch_size=size, **settings)
        made.train()
        figures = made.evaluate()
        found.append([figures[f"eval_{name}_{key}"] for name in sets for key in keys])
        assert figures["eval_id_rewards/chosen"] != figures["eval_ood_rewards/chosen"]
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0] == pytest.approx(found[2], abs=1e-5)
    with pytest.raises(ConfigError, match="no evaluation set 'other'"):
        made.evaluate("other")


# BERT has more than a matrix between its layers and its logits.
@pytest.mark.parametrize("name", map(known, ["llama", "bert"]))
def test_the_reference_of_a_module_that_was_trained_before_is_its_start(name: str, tmp_path: Path) -> None:
    # TRL leaves a forward pass of its own on the module, which a copy must not share.
    model = build(name)
    for round_ in range(2):
        made = trainer("dpo", tmp_path / f"{round_}", model=model, max_steps=6)
        made.train()
        assert logged(made, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
        assert logged(made, "rewards/margins")[-1] > 0.05


def test_a_reference_that_follows_the_policy_leaves_what_is_frozen_alone(tmp_path: Path) -> None:
    settings = {"sync_ref_model": True, "ref_model_sync_steps": 1, "freeze_layers": 0.5, "save_strategy": "steps"}
    made = trainer("dpo", tmp_path, **settings)
    before = weights(made.model)
    made.train()
    after, followed = weights(made.model), weights(made.ref_model)
    assert all(torch.equal(before[name], after[name]) for name in before if "layers.1." not in name)
    assert largest_difference(followed, before) > 0 and largest_difference(followed, after) > 0
    with pytest.raises(ConfigError, match="sync_ref_model=True changes the reference, which checkpoints do not hold"):
        trainer("dpo", tmp_path, **settings).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_and_weights_in_bfloat16(kind: str, tmp_path: Path) -> None:
    made, config, rows = KINDS[kind]
    args = config(str(tmp_path), **QUIET, max_steps=2, per_device_train_batch_size=4, logging_steps=1)
    stream = IterableDataset.from_generator(lambda: iter(rows))
    run = made(tiny_llama().bfloat16(), args, stream, processing_class=tiny_tokenizer())
    run.train()
    assert logged(run, "loss")[0] == pytest.approx(math.log(2) if kind == "dpo" else 0.5, abs=1e-3)
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
    with pytest.raises(ConfigError, match="IterableDataset, which has no length; set max_steps"):
        made(tiny_llama(), config(str(tmp_path), **QUIET), stream, processing_class=tiny_tokenizer())


def test_a_reference_of_its_own(tmp_path: Path) -> None:
    other = save_model(tiny_llama(seed=1), tiny_tokenizer(), tmp_path / "other")
    made = trainer("dpo", tmp_path / "run", ref_model=str(other))
    made.train()
    assert largest_difference(weights(made.ref_model), weights(tiny_llama(seed=1))) == 0
    assert abs(logged(made, "rewards/chosen")[0]) > 1e-3


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        (
            "dpo",
            [PAIRS[0], {**PAIRS[1], "rejected": "abab", "chosen": "abab"}],
            "row 1: chosen and rejected are both 'abab'",
        ),
        ("dpo", [{**PAIRS[0], "chosen": ""}], "row 0, column 'chosen' is empty"),
        ("dpo", [{"prompt": "q", "chosen": "a"}], "has no column 'rejected'"),
        (
            "dpo",
            [{**PAIRS[0], "prompt": "q" * 70}],
            "row 0: the prompt .* has 70 tokens, and at most 63",
        ),
        ("kto", [LABELS[0], {**LABELS[1], "label": None}], "row 1, column 'label' is None; give true for"),
        ("kto", [{"prompt": "q", "completion": "a", "label": "yes"}], "row 0, column 'label' is 'yes'"),
        ("kto", [{"prompt": "q", "completion": "a"}], "has no column 'label'"),
    ],
)
def test_rows_that_cannot_be_used(kind: str, rows: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"train_dataset,? ?.*{message}"):
        trainer(kind, tmp_path, rows=rows)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("dpo", {"beta": 0.0}, r"beta must be above 0, not 0\.0"),
        ("dpo", {"freeze_layers": 0.5, "peft_config": LORA}, "freeze_layers=0.5 and an adapter"),
        ("dpo", {"loss_type": ["nonsense"]}, "nonsense"),
        ("dpo", {"loss_type": ["exo_pair"]}, "TRL's DPOTrainer refuses: .*[Ll]abel smoothing"),
        ("kto", {"per_device_train_batch_size": 1}, "no other completion to estimate the KL of KTO with"),
        ("kto", {"train_sampling_strategy": "random"}, "TRL's KTOTrainer refuses: .*sequential"),
    ],
)
def test_settings_that_cannot_work(kind: str, options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(kind, tmp_path, **options).train()


def test_the_reference_is_not_the_module_that_is_trained(tmp_path: Path) -> None:
    model = tiny_llama()
    with pytest.raises(ConfigError, match="ref_model is the model that is trained"):
        trainer("dpo", tmp_path, model=model, ref_model=model)


def test_what_is_cut_off_is_counted(tmp_path: Path, caplog: Any) -> None:
    trainer("dpo", tmp_path, max_length=6)
    assert "rows of train_dataset are longer than max_length=6 tokens; their ends are cut off" in caplog.text
