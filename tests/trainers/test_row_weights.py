"""A weight of each row, by which its loss is multiplied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods import RRHF
from genrlhf.trainers import SFTConfig, SFTTrainer
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.supervised_batch import SupervisedBatch
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, largest_difference, logged, weights
from tests.trainers.test_sample_and_tune import lines, places
from tests.trainers.test_sample_and_tune import trainer as tuner

ROWS = [{"prompt": "q" * (1 + n % 3), "completion": "abcde"[: 1 + n % 5], "worth": n / 4} for n in range(8)]


class RowMeans(Objective):
    unit = "row"

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        return -batch.mean_by_row(batch.logprobs())


class ReadsWorth(RowMeans):
    columns = ("worth",)


def trainer(folder: Path, *, rows: Any = ROWS, held_out: Any = None, **given: Any) -> SFTTrainer:
    options = {**QUIET, "optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "learning_rate": 1e-2}
    options |= {"max_steps": 1, "logging_steps": 1, "per_device_train_batch_size": 8, "weight_column": "worth"}
    objective = given.pop("objective", None)
    return SFTTrainer(
        tiny_llama(),
        SFTConfig(str(folder), **{**options, **given}),
        rows if isinstance(rows, IterableDataset) else Dataset.from_list(list(rows)),
        held_out,
        processing_class=tiny_tokenizer(),
        objective=objective,
    )


@pytest.mark.parametrize("unit", ["token", "row"])
def test_a_step_follows_the_weighted_sum_over_the_number_of_tokens(unit: str, tmp_path: Path) -> None:
    model, losses = tiny_llama(), []
    objective = None if unit == "token" else RowMeans()
    for batch, accumulation in ((8, 1), (2, 4)):
        split = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        made = trainer(tmp_path / f"{batch}", objective=objective, **split)
        if not losses:
            for row, encoded in zip(ROWS, made.train_dataset, strict=True):
                ids, labels = torch.tensor([encoded["input_ids"]]), torch.tensor(encoded["labels"])[1:]
                logp = model(ids).logits[0, :-1].log_softmax(-1)[range(len(labels)), labels.clamp(min=0)]
                logp = logp[labels != -100]
                losses.append(-float(row["worth"]) * (logp if unit == "token" else logp.mean().unsqueeze(0)))
            expected = torch.cat(losses).mean()
            expected.backward()
        made.train()
        assert logged(made, "loss") == [pytest.approx(expected.item(), abs=1e-5)]
        stepped = {name: p.detach() - 1e-2 * p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert largest_difference(weights(made.model), stepped) < 1e-6


def test_weights_of_one_change_nothing_and_sets_without_weights_have_them(tmp_path: Path) -> None:
    held_out = Dataset.from_list([{"prompt": "q", "completion": "abc"}, {"prompt": "qq", "completion": "d"}])
    plain = trainer(tmp_path / "plain", weight_column=None, held_out=held_out)
    stream = IterableDataset.from_generator(lambda: iter([{**row, "worth": 1} for row in ROWS]))
    ours = trainer(tmp_path / "ours", rows=stream, held_out=held_out)
    plain.train(), ours.train()
    assert largest_difference(weights(plain.model), weights(ours.model)) < 1e-6
    assert ours.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"rows": [*ROWS[:3], {**ROWS[3], "worth": -1.0}]}, DataError, "train_dataset, row 3, column 'worth' is -1.0"),
        ({"rows": [*ROWS[:2], {**ROWS[3], "worth": float("nan")}]}, DataError, "row 2, column 'worth' is nan"),
        ({"rows": [{**ROWS[0], "worth": "much"}]}, DataError, "row 0, column 'worth' is 'much'"),
        ({"rows": [{**row, "worth": 0} for row in ROWS]}, DataError, "all weights in column 'worth' are 0"),
        ({"weight_column": "w"}, DataError, "has no column 'w', which weight_column names"),
        ({"packing": True}, ConfigError, "packing=True makes one row of several, and weight_column='worth' weighs"),
        ({"objective": RRHF()}, ConfigError, "weighs rows, and objective=RRHF looks at groups"),
        ({"objective": ReadsWorth()}, ConfigError, "ReadsWorth reads the column 'worth' itself"),
    ],
)
def test_what_cannot_be_weighed(given: dict[str, Any], error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        trainer(tmp_path, **given)


def test_a_stream_with_a_weight_below_zero_stops_at_it(tmp_path: Path) -> None:
    rows = [{**row, "worth": -1.0} for row in ROWS]
    with pytest.raises(DataError, match="A row of a micro-batch, column 'worth' is -1.0"):
        trainer(tmp_path, rows=IterableDataset.from_generator(lambda: iter(rows))).train()


def test_rows_of_a_transform_have_weights(tmp_path: Path) -> None:
    def both(groups: list[Any]) -> list[dict[str, Any]]:
        pairs = [
            (group, place, weight) for group in groups for place, weight in zip(places(group), (1.0, 0.0), strict=True)
        ]
        return [group.demonstration(place, weight=weight) for group, place, weight in pairs]

    def best(groups: list[Any]) -> list[dict[str, Any]]:
        return [group.demonstration(places(group)[0], weight=1.0) for group in groups]

    options = {"max_steps": 1, "optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "seed": 3}
    found = []
    for name, transform, batch in (("both", both, 24), ("best", best, 12)):
        made = tuner(tmp_path / name, transform=transform, per_device_train_batch_size=batch, **options)
        before = {key: value.clone() for key, value in weights(made.model).items()}
        made.train()
        step = {key: value - before[key] for key, value in weights(made.model).items()}
        tokens = 0
        for group in lines(tmp_path / name):
            order = sorted(range(4), key=group["rewards"].__getitem__)
            tokens += sum(
                len(group["completions"][place]["token_ids"]) for place in order[:: -3 if name == "both" else -4]
            )
        found.append({key: value * tokens for key, value in step.items()})
    assert largest_difference(*found) < 1e-4
    assert max(float(value.abs().max()) for value in found[0].values()) > 1e-2


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("supervised", [1.0, None], "Row 1 of the transform, 'weight' is None"),
        ("supervised", [1.0, float("inf")], "Row 1 of the transform, 'weight' is inf"),
        ("supervised", [0, 0], "All rows of the transform have a 'weight' of 0"),
        ("pairwise", [1.0, 1.0], "which only those of tune='supervised' can"),
        ("ranking", [1.0, 1.0], "which only those of tune='supervised' can"),
    ],
)
def test_rows_of_a_transform_that_cannot_be_weighed(kind: str, values: Any, words: str, tmp_path: Path) -> None:
    def transform(groups: list[Any]) -> list[dict[str, Any]]:
        made = [
            {
                "supervised": lambda g: g.demonstration(0),
                "ranking": lambda g: g.ranking(),
                "pairwise": lambda g: g.pair(0, 1),
            }[kind](group)
            for group in groups[:2]
        ]
        return [{**row, **({} if w is None else {"weight": w})} for row, w in zip(made, values, strict=True)]

    with pytest.raises(DataError, match=words):
        tuner(tmp_path, kind, transform=transform, n=2).train()
