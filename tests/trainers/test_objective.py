"""Objectives of supervised training: what they see, and what becomes of what they return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import IA3Config, LoraConfig

from genrlhf.errors import ConfigError, DataError, GenRLHFError, ShapeError
from genrlhf.trainers import SFTConfig, SFTTrainer
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.supervised_batch import SupervisedBatch
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer
from tests.processes import run_in_two
from tests.trainers.runs import QUIET, interrupted_and_whole, largest_difference, logged, weights

ROWS = [
    {"prompt": "q" * (1 + n % 3), "completion": "abcde"[: 1 + n % 5], "weight": float(n), "tag": f"t{n}"}
    for n in range(8)
]
LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], bias="all")
IA3 = IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])


def likelihood(batch: SupervisedBatch) -> torch.Tensor:
    return -batch.logprobs()


def likelihood_from_logits(batch: SupervisedBatch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(batch.logits(), batch.labels, reduction="none")


def likelihood_twice(batch: SupervisedBatch) -> torch.Tensor:
    both = torch.stack([batch.logits(), batch.another_logits()]).log_softmax(-1)
    return -both.mean(0).gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)


class RowMeans(Objective):
    """The mean log-probability of a row, weighted by a column."""

    unit = "row"
    columns = ("weight", "tag")

    def __init__(self) -> None:
        self.seen: list[str] = []

    def settings(self) -> dict[str, Any]:
        return {}

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        assert len(batch.columns["tag"]) == batch.size
        self.seen += batch.columns["tag"]
        weight = torch.tensor(batch.columns["weight"])
        batch.log("weight", weight)
        return -weight * batch.mean_by_row(batch.logprobs())


class FromStart(Objective):
    """KL from the model as it started, over the whole vocabulary."""

    needs_start = True

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        p = batch.start_logits().log_softmax(-1)
        kl = (p.exp() * (p - batch.logits().log_softmax(-1))).sum(-1)
        batch.log("kl", kl)
        return kl - batch.logprobs()


def trainer(folder: Path, objective: Any, *, model: Any = None, rows: Any = ROWS, **settings: Any) -> SFTTrainer:
    peft_config = settings.pop("peft_config", None)
    defaults = {**QUIET, "learning_rate": 1e-2, "max_steps": 3, "logging_steps": 1, "per_device_train_batch_size": 8}
    return SFTTrainer(
        model=tiny_llama() if model is None else model,
        args=SFTConfig(str(folder), **{**defaults, **settings}),
        train_dataset=Dataset.from_list(list(rows)),
        eval_dataset=Dataset.from_list(list(rows)),
        processing_class=tiny_tokenizer(),
        peft_config=peft_config,
        objective=objective,
    )


def trained(folder: Path, objective: Any, **options: Any) -> dict[str, torch.Tensor]:
    made = trainer(folder, objective, **options)
    made.train()
    return weights(made.model)


@pytest.mark.parametrize("objective", [likelihood, likelihood_from_logits])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_opt])
def test_the_likelihood_as_an_objective_trains_what_the_default_does(objective: Any, make: Any, tmp_path: Path) -> None:
    # Not Adam, which makes whole steps of gradients that are nothing but rounding.
    options = {"optim": "sgd", "learning_rate": 0.1}
    plain = trainer(tmp_path / "plain", None, model=make(), **options)
    ours = trainer(tmp_path / "ours", objective, model=make(), **options)
    plain.train(), ours.train()
    assert logged(ours, "loss") == pytest.approx(logged(plain, "loss"), abs=1e-5)
    for name in ("entropy", "mean_token_accuracy"):
        assert logged(ours, name) == pytest.approx(logged(plain, name), abs=1e-5)
    assert logged(ours, "cross_entropy") == pytest.approx(logged(ours, "loss"), abs=1e-5)
    assert largest_difference(weights(plain.model), weights(ours.model)) < 1e-4
    assert ours.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], abs=1e-4)


@pytest.mark.parametrize("adapter", [LORA, IA3])
def test_adapters_train_as_they_do_by_default(adapter: Any, tmp_path: Path) -> None:
    runs = []
    for name, objective in (("plain", None), ("ours", likelihood_from_logits)):
        torch.manual_seed(0)
        made = trainer(tmp_path / name, objective, peft_config=adapter)
        made.train()
        runs.append(logged(made, "loss"))
    assert runs[0] == pytest.approx(runs[1], abs=1e-4)
    assert runs[0][-1] < runs[0][0]


@pytest.mark.parametrize("objective", [likelihood, RowMeans])
def test_the_gradient_does_not_depend_on_how_a_step_is_split(objective: Any, tmp_path: Path) -> None:
    found = []
    for batch, accumulation in ((8, 1), (4, 2), (1, 8)):
        made = objective() if isinstance(objective, type) else objective
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        found.append(trained(tmp_path / f"{batch}", made, optim="sgd", max_grad_norm=0.0, max_steps=2, **options))
    for other in found[1:]:
        assert largest_difference(found[0], other) < 1e-6


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_opt])
@pytest.mark.parametrize("unit", ["token", "row"])
def test_a_step_follows_the_gradient_of_the_mean_over_tokens_or_rows(unit: str, make: Any, tmp_path: Path) -> None:
    objective = likelihood if unit == "token" else RowMeans()
    options = {"optim": "sgd", "max_grad_norm": 0.0, "max_steps": 1, "lr_scheduler_type": "constant"}
    options |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    made = trainer(tmp_path, objective, model=make(), **options)
    model = make()
    losses = []
    for row, encoded in zip(ROWS, made.train_dataset, strict=True):
        ids, labels = torch.tensor([encoded["input_ids"]]), torch.tensor(encoded["labels"])[1:]
        logp = model(ids).logits[0, :-1].log_softmax(-1)[range(len(labels)), labels.clamp(min=0)][labels != -100]
        losses += [-logp] if unit == "token" else [-row["weight"] * logp.mean().unsqueeze(0)]
    torch.cat(losses).mean().backward()
    made.train()
    expected = {name: p.detach() - 1e-2 * p.grad for name, p in model.named_parameters()}
    assert largest_difference(weights(made.model), expected) < 1e-6


UNITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "token": (likelihood, {}),
    "row": (RowMeans(), {}),
    "again": (likelihood_twice, {}),
    "weighed": (None, {"weight_column": "weight"}),
}


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    run_in_two("tests.trainers.two_objectives", str(tmp_path / "two"))
    for unit, (objective, options) in UNITS.items():
        one = trained(tmp_path / "one" / unit, objective, optim="sgd", max_grad_norm=0.0, **options)
        two = torch.load(tmp_path / "two" / unit / "weights.pt", weights_only=True)
        assert largest_difference(one, two) < 1e-5, unit


def test_columns_reach_the_objective_row_by_row(tmp_path: Path) -> None:
    objective = RowMeans()
    made = trainer(tmp_path, objective, max_steps=1)
    made.train()
    assert sorted(objective.seen) == [f"t{n}" for n in range(8)]
    assert logged(made, "weight") == [pytest.approx(3.5)]
    figures = made.evaluate(Dataset.from_list(ROWS[:3]))
    assert figures["eval_weight"] == pytest.approx(1.0)


def test_rows_are_counted_by_rows_whatever_the_batch_of_an_evaluation(tmp_path: Path) -> None:
    figures = [
        trainer(tmp_path, RowMeans(), per_device_eval_batch_size=size).evaluate()["eval_loss"] for size in (1, 3, 8)
    ]
    assert figures == pytest.approx([figures[0]] * 3, abs=1e-5)


@pytest.mark.parametrize("adapter", [None, LORA])
def test_the_start_stays_where_it_was(adapter: Any, tmp_path: Path) -> None:
    made = trainer(tmp_path, FromStart(), peft_config=adapter, max_steps=4)
    made.train()
    kl = logged(made, "kl")
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[-1] > 1e-4


def test_another_pass_draws_dropout_anew_and_has_a_gradient(tmp_path: Path) -> None:
    def second(batch: SupervisedBatch) -> torch.Tensor:
        """The likelihood by the second pass alone."""
        again = batch.another_logits()
        batch.log("apart", (again - batch.logits()).abs().amax(-1))
        return torch.nn.functional.cross_entropy(again, batch.labels, reduction="none")

    options = {"optim": "sgd", "learning_rate": 0.1}
    plain = trained(tmp_path / "plain", likelihood, model=tiny_gpt2(), **options)
    again = trainer(tmp_path / "again", second, model=tiny_gpt2(), **options)
    again.train()
    assert largest_difference(plain, weights(again.model)) < 1e-6 and logged(again, "apart") == [0] * 3
    dropped = trainer(tmp_path / "dropped", second, model=tiny_gpt2(), disable_dropout=False)
    dropped.train()
    assert min(logged(dropped, "apart")) > 1e-3


def test_frozen_layers_stay(tmp_path: Path) -> None:
    made = trainer(tmp_path, FromStart(), freeze_layers=0.5)
    before = weights(made.model)
    made.train()
    after = weights(made.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "layers.1." in name}


@pytest.mark.parametrize("setting", ["packing", "padding_free"])
def test_rows_that_are_put_together_train_the_same_tokens(setting: str, tmp_path: Path) -> None:
    options = {"max_length": 64, "max_steps": 1, setting: True}
    if setting == "padding_free":
        options["model_init_kwargs"] = None
    plain, ours = trainer(tmp_path / "a", None, **options), trainer(tmp_path / "b", likelihood, **options)
    plain.train(), ours.train()
    assert logged(ours, "loss") == pytest.approx(logged(plain, "loss"), abs=1e-5)
    with pytest.raises(ConfigError, match=f"{setting}=True makes one row of several, and objective=RowMeans"):
        trainer(tmp_path / "c", RowMeans(), **options)


def test_resumed_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> SFTTrainer:
        made = trainer(folder, FromStart(), save_strategy="steps", save_steps=1, max_steps=4)
        for callback in callbacks or ():
            made.add_callback(callback)
        return made

    resumed, whole = interrupted_and_whole(make, tmp_path, 2)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    assert logged(resumed, "kl")[-1] == logged(whole, "kl")[-1]


def test_rows_without_a_label_are_a_finite_nothing(tmp_path: Path) -> None:
    made = trainer(tmp_path, RowMeans())
    made.model.train()
    ids = torch.tensor([[3, 4, 5]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.full_like(ids, -100)}
    loss = made.compute_loss(made.model, {**inputs, "columns": {"weight": [1.0], "tag": ["t"]}})
    loss.backward()
    assert float(loss) == 0.0


@pytest.mark.parametrize(
    ("objective", "error", "words"),
    [
        (lambda batch: batch.logprobs().sum(), ShapeError, r"returned \(\); want \(\d+,\), a loss for every token"),
        (lambda batch: None, ShapeError, "returned NoneType; want"),
        (lambda batch: batch.logprobs().detach(), ConfigError, "without a gradient"),
        (
            lambda batch: batch.logprobs() * float("nan"),
            DataError,
            r"nan for token 0 .* in the row whose labels are \[.*\], '.*'; a loss must be finite: look for a div",
        ),
        (lambda batch: batch.start_logits().sum(-1), ConfigError, "needs_start = True"),
        (
            lambda batch: batch.logprob(),
            GenRLHFError,
            r"<lambda> raised AttributeError\(.* \(test_objective.py, line \d+",
        ),
        (lambda: None, ConfigError, r"objective is called with \(batch\), and takes \(\): too many"),
        (Objective, ConfigError, "objective is Objective; give an Objective"),
        (3, ConfigError, "objective is int; give"),
    ],
)
def test_what_cannot_be_minimised(objective: Any, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        trainer(tmp_path, objective).train()


def test_want_of_memory_stays_what_the_trainer_looks_for(tmp_path: Path) -> None:
    def hungry(batch: SupervisedBatch) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="^DefaultCPUAllocator"):
        trainer(tmp_path, hungry).train()


def test_two_losses_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="label_smoothing_factor is a loss of its own, and so is objective=likeli"):
        trainer(tmp_path, likelihood, label_smoothing_factor=0.1)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "a"}] * 8
    with pytest.raises(DataError, match="weight"):
        trainer(tmp_path, RowMeans(), rows=rows)


def test_another_objective_is_another_run(tmp_path: Path) -> None:
    from genrlhf.errors import RunFolderError
    from genrlhf.methods import GEM

    trainer(tmp_path, GEM(0.7), max_steps=1).train()
    for other in (GEM(0.5), likelihood, None):
        with pytest.raises(RunFolderError, match="objective"):
            trainer(tmp_path, other, max_steps=1).train()
    trainer(tmp_path, GEM(0.7), max_steps=1).train()
