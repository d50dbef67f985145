"""CARP and CoOp CARP: their losses over a whole step, resuming, what is trained, and what is refused."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig
from safetensors.torch import load_file

from genrlhf.errors import ConfigError, DataError, ModelError, RunFolderError
from genrlhf.models.carp import CARPModel, class_names
from genrlhf.ops import class_logits, contrastive_losses, soft_cross_entropy
from genrlhf.rewards import load_reward
from genrlhf.rewards.carp import load_carp
from genrlhf.trainers import CARPConfig, CARPTrainer, CoOpCARPConfig, CoOpCARPTrainer
from tests.helpers import tiny_bert, tiny_llama, tiny_tokenizer
from tests.processes import run_in_two
from tests.trainers.carps import carp, coop, pairs, saved_carp
from tests.trainers.runs import QUIET, largest_difference, weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_carp(tmp_path_factory.mktemp("carp") / "carp")


def logged(trainer: Any, name: str) -> list[float]:
    return [line[name] for line in trainer.state.log_history if name in line]


def test_a_step_compares_all_of_its_pairs_however_it_is_split(tmp_path: Path, folder: Path) -> None:
    whole = carp(tmp_path / "whole", max_steps=1, logging_steps=1)
    start = {name: value.clone() for name, value in whole.model.state_dict().items()}
    # The gradient by hand, of the mean over all eight.
    batch = next(iter(whole.get_train_dataloader()))
    losses = contrastive_losses(*whole.model(**batch))
    losses.mean().backward()
    expected = {
        name: start[name] - 0.01 * each.grad for name, each in whole.model.named_parameters() if each.grad is not None
    }
    whole.model.zero_grad()
    whole.train()
    after = weights(whole.model)
    assert max((after[name] - value).abs().max() for name, value in expected.items()) < 1e-6
    assert logged(whole, "loss")[0] == pytest.approx(losses.mean().item(), abs=1e-4)

    two_steps = carp(tmp_path / "two")
    two_steps.train()
    for size, accumulation in ((4, 2), (1, 8)):
        split = carp(
            tmp_path / str(size),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            logging_steps=1,
        )
        split.train()
        assert largest_difference(weights(two_steps.model), weights(split.model)) < 1e-6
        assert logged(split, "loss")[0] == pytest.approx(losses.mean().item(), abs=1e-4)
        assert logged(split, "accuracy")[0] == pytest.approx(logged(whole, "accuracy")[0])

    alone = coop(tmp_path / "alone", folder)
    alone.train()
    run_in_two("tests.trainers.two_carps", str(tmp_path), str(folder))
    for name, trainer in (("carp", two_steps), ("coop", alone)):
        assert largest_difference(weights(trainer.model), load_file(tmp_path / f"{name}.safetensors")) < 1e-5, name


@pytest.mark.parametrize("kind", ["carp", "coop"])
def test_a_kill_loses_nothing(kind: str, tmp_path: Path, folder: Path) -> None:
    def run(place: str, **settings: Any) -> Any:
        given = {"save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch", **settings}
        if kind == "coop":
            return coop(tmp_path / place, folder, **given)
        # Dropout's random numbers go on too.
        return carp(tmp_path / place, disable_dropout=False, gradient_accumulation_steps=2, max_steps=3, **given)

    whole = run("whole")
    whole.train()
    shutil.copytree(
        tmp_path / "whole", tmp_path / "killed", ignore=shutil.ignore_patterns("checkpoint-2", "checkpoint-3")
    )
    resumed = run("killed")
    resumed.train(resume_from_checkpoint=True)
    assert largest_difference(weights(whole.model), weights(resumed.model)) == 0
    with pytest.raises(RunFolderError, match="learning_rate is"):
        run("killed", learning_rate=0.5).train()


def test_frozen_layers(tmp_path: Path) -> None:
    trainer = carp(tmp_path, freeze_layers=0.5, max_steps=1)
    start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, start[name])}
    kept = ("passage.encoder.layer.1.", "critique.encoder.layer.1.", "passage_projection", "critique_projection")
    assert changed and all(name.startswith((*kept, "log_scale")) for name in changed)
    assert {"log_scale", "passage_projection.weight", "critique_projection.weight"} <= changed


def test_adapters_alone_are_trained_survive_a_kill_and_are_merged(tmp_path: Path) -> None:
    def run(place: str) -> CARPTrainer:
        # Of another task than this, which changes nothing.
        lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["query", "value"])
        return carp(tmp_path / place, peft_config=lora, save_strategy="steps", save_steps=1)

    trainer = run("whole")
    start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, start[name])}
    assert changed and all("lora_" in name or name.startswith("log_scale") or "projection" in name for name in changed)
    assert {name.split(".")[0] for name in changed if "lora_" in name} == {"passage", "critique"}
    # What is saved has no adapter, and encodes as what was trained.
    loaded, _ = load_carp(tmp_path / "whole")
    batch = next(iter(trainer.get_train_dataloader()))
    for ours, theirs in zip(trainer.model.eval()(**batch), loaded.eval()(**batch), strict=True):
        assert (ours - theirs).abs().max() < 1e-5

    shutil.copytree(tmp_path / "whole", tmp_path / "killed", ignore=shutil.ignore_patterns("checkpoint-2"))
    resumed = run("killed")
    resumed.train(resume_from_checkpoint=True)
    assert largest_difference(weights(trainer.model), weights(resumed.model)) == 0


def test_two_styles_are_told_apart_and_context_is_all_that_coop_trains(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optim": "adamw_torch", "save_strategy": "steps"}
    trainer = carp(tmp_path / "carp", max_steps=60, critique="good", learning_rate=3e-3, max_grad_norm=1.0, **options)
    trainer.train()
    reward = load_reward(str(tmp_path / "carp"))
    good, bad = reward(["q"] * 2, ["abab", "xyxy"])
    assert good > bad + 0.5

    learnt = coop(tmp_path / "coop", tmp_path / "carp", max_steps=30, target="kind", learning_rate=0.1, **options)
    learnt.eval_dataset = learnt.train_dataset
    start = learnt.evaluate()["eval_loss"]
    learnt.train()
    assert learnt.evaluate()["eval_loss"] < start - 0.3
    before, _ = load_carp(tmp_path / "carp")
    after, _ = load_carp(tmp_path / "coop")
    assert set(after.state_dict()) - set(before.state_dict()) == {"context"}
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    good, bad = load_reward(str(tmp_path / "coop"))(["q"] * 2, ["abab", "xyxy"])
    assert good > bad + 0.1


def test_coops_loss_by_hand(folder: Path, tmp_path: Path) -> None:
    rows = pairs().remove_columns("label")
    trainer = coop(tmp_path, folder, rows=rows, classes=["kind", "rude"], context_size=3)
    carp_model, (passages, critiques) = load_carp(folder)
    names = class_names(critiques, ["kind", "rude"], max_length=20)
    batch = {
        "units": trainer.train_dataset.units[:4],
        "targets": torch.tensor([[0.0, 1.0], [0.25, 0.75], [0.0, 1.0], [0.25, 0.75]]),
    }
    assert (batch["targets"] - trainer.train_dataset.targets[:4]).abs().max() < 1e-6
    ids = passages(rows["passage"][:4])["input_ids"]
    for place, each in enumerate(ids):
        unit = carp_model.encode("passage", torch.tensor([each]), torch.ones(1, len(each), dtype=torch.bool))
        assert (unit[0] - batch["units"][place]).abs().max() < 1e-6
    classes = trainer.model.eval().encode_classes(names)
    by_hand = soft_cross_entropy(class_logits(batch["units"], classes, carp_model.log_scale), batch["targets"]).mean()
    assert abs(float(trainer.compute_loss(trainer.model, batch)) - float(by_hand)) < 1e-6


def test_pseudo_labels_are_clusters_of_critiques(folder: Path, tmp_path: Path) -> None:
    rows = pairs().remove_columns(["label", "distribution"])
    trainer = coop(tmp_path, folder, rows=rows, num_classes=2, target="good!!!")
    names = trainer.model.config.classes
    assert len(names) == 2 and set(names) <= set(rows["critique"])
    assert trainer.model.config.target in names
    targets = trainer.train_dataset.targets
    assert set(targets.sum(-1).tolist()) == {1.0} and 0 < targets[:, 0].sum() < len(rows)
    # The same critique is of the same class.
    by_critique = {(critique, int(row.argmax())) for critique, row in zip(rows["critique"], targets, strict=True)}
    assert len(by_critique) == len(set(rows["critique"]))


def without(*columns: str) -> Dataset:
    return pairs().remove_columns(list(columns))


def one(**values: Any) -> Dataset:
    return Dataset.from_list([{**row, **values} if place == 3 else row for place, row in enumerate(pairs().to_list())])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            without("passage"),
            "train_dataset has critiques without passages: it has no column 'passage', nor 'completion'",
        ),
        (without("critique"), "train_dataset has no column 'critique'"),
        (one(passage=" "), r"train_dataset, row 3, column 'passage' is empty"),
        (one(passage=None), "train_dataset, row 3, column 'passage' is None"),
        (one(critique=""), "train_dataset, row 3, column 'critique' is empty"),
    ],
)
def test_rows_that_cannot_be_compared(rows: Dataset, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as raised:
        carp(tmp_path, rows=rows)
    assert "\n" not in str(raised.value)


LABELS = without("distribution")
CRITIQUES = without("label", "distribution")


@pytest.mark.parametrize(
    ("rows", "settings", "error", "words"),
    [
        (without("label", "distribution", "critique"), {}, DataError, "has no classes: it has no column 'label'"),
        (
            LABELS.map(lambda row: {"label": "kind"}),
            {},
            DataError,
            "All 16 rows of train_dataset are of one class, 'kind'",
        ),
        (one(label="odd"), {"classes": ["kind", "rude"]}, DataError, "row 3: the label 'odd' is none of the classes"),
        (without("label"), {}, ConfigError, "distributions over classes without names; set classes"),
        (without("label"), {"classes": ["a", "b", "c"]}, DataError, r"row 0: the distribution is .*; give 3 numbers"),
        (
            one(distribution=[-1.0, 2.0]).remove_columns("label"),
            {"classes": ["a", "b"]},
            DataError,
            r"row 3: the distribution is \[-1\.0, 2\.0\]",
        ),
        (
            CRITIQUES,
            {"num_classes": 9},
            DataError,
            "has 6 different critiques, too few for 9 classes; lower num_classes",
        ),
        (CRITIQUES, {"num_classes": 1}, DataError, "collapse: their encodings cannot be 1 classes"),
        (LABELS, {"target": "kid"}, ConfigError, "target is 'kid', which is none of the classes 'kind', 'rude'"),
        (LABELS, {"classes": ["kind", "rude", "kind"]}, ModelError, "classes 'kind' and 'kind' are the same tokens"),
        (LABELS, {"context_size": 62}, ConfigError, "context_size is 62, and the encoder reads 64 tokens"),
    ],
)
def test_classes_that_cannot_be(
    rows: Dataset, settings: dict[str, Any], error: type[Exception], words: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words) as raised:
        coop(tmp_path, folder, rows=rows, **settings)
    assert "\n" not in str(raised.value)


def test_encodings_that_are_no_numbers_or_collapse(tmp_path: Path, folder: Path) -> None:
    broken = tiny_bert(num_hidden_layers=2)
    broken.encoder.layer[0].output.dense.weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="loss is not finite at step 1, because of the encodings of passages; lower"):
        carp(tmp_path / "a", model=broken).train()
    model, tokenizers = load_carp(folder)
    model.critique_projection.weight.data.zero_()
    args = CoOpCARPConfig(str(tmp_path / "b"), num_classes=2, **QUIET)
    with pytest.raises(
        DataError, match=r"critiques of train_dataset collapse: .*\(1 different vectors cannot be 2 classes"
    ):
        CoOpCARPTrainer(model, args, CRITIQUES, tokenizers=tokenizers)
    model.passage_projection.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="loss is not finite at step 1: an encoding of passages"):
        CoOpCARPTrainer(model, args, LABELS, tokenizers=tokenizers).train()


def test_settings_that_cannot_be(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(
        ConfigError, match="passages have 16 numbers and those of critiques 32, and without projections"
    ):
        CARPTrainer(
            tiny_bert(),
            CARPConfig(str(tmp_path), latent_size=None, **QUIET),
            pairs(),
            processing_class=tiny_tokenizer(),
            critique_encoder=tiny_bert(hidden_size=32),
            critique_processing_class=tiny_tokenizer(),
        )
    with pytest.raises(ConfigError, match="A step of one pair has nothing to compare it with"):
        carp(tmp_path, per_device_train_batch_size=1)
    for name, value, words in (
        ("latent_size", 0, "latent_size must be at least 1"),
        ("pooling", "sum", "pooling is 'sum'"),
        ("dropout", 1.0, r"dropout must be in \[0, 1\)"),
        ("critique", " ", "critique is empty"),
    ):
        with pytest.raises(ConfigError, match=words):
            CARPConfig(str(tmp_path), **{name: value})
    lora = LoraConfig(target_modules=["query"])
    with pytest.raises(ConfigError, match=r"freeze_layers=0.5 and an adapter"):
        carp(tmp_path, freeze_layers=0.5, peft_config=lora)
    with pytest.raises(ConfigError, match="An adapter of the kind PROMPT_TUNING cannot be merged; use LoRA"):
        carp(tmp_path, peft_config=PromptTuningConfig(num_virtual_tokens=2))
    with pytest.raises(ConfigError, match="vectors of context alone, on frozen encoders"):
        CoOpCARPTrainer(str(folder), CoOpCARPConfig(str(tmp_path), **QUIET), pairs(), peft_config=lora)
    learnt = coop(tmp_path / "learnt", folder, max_steps=1, save_strategy="steps")
    learnt.train()
    with pytest.raises(ModelError, match="has classes of learned context, .* give the folder of the CARP model"):
        carp(tmp_path, model=str(tmp_path / "learnt"))
    with pytest.raises(ModelError, match="is no folder of a CARP model; give one that `carp` has trained"):
        coop(tmp_path, tmp_path)


def test_the_scale_stays_within_its_bound_and_comes_back(tmp_path: Path) -> None:
    trainer = carp(tmp_path)
    with torch.no_grad():
        trainer.model.log_scale.fill_(9.0)
    batch = next(iter(trainer.get_train_dataloader()))
    contrastive_losses(*trainer.model.train()(**batch)).mean().backward()
    assert trainer.model.log_scale.item() == pytest.approx(math.log(100))
    assert trainer.model.log_scale.grad.abs() > 0


def test_what_goes_on_from_a_carp_and_what_is_an_encoder(folder: Path, tmp_path: Path) -> None:
    again = carp(tmp_path / "again", model=str(folder), max_steps=1)
    there, _ = load_carp(folder)
    assert largest_difference(weights(there), weights(again.model)) == 0
    # A decoder, without its head, is an encoder as well.
    decoder = carp(tmp_path / "llama", model=tiny_llama(), max_steps=1, save_strategy="steps", critique="good")
    decoder.train()
    loaded, _ = load_carp(tmp_path / "llama")
    assert isinstance(loaded, CARPModel) and largest_difference(weights(loaded), weights(decoder.model)) == 0
    ids = torch.tensor([[5, 6, 7, 0]])
    mask = ids != 0
    apart = loaded.encode("passage", ids, mask) - decoder.model.eval().encode("passage", ids, mask)
    assert apart.abs().max() < 1e-6
