"""RRHF: its identities on batches and steps; what it learns is in `tests/trainers/test_sample_and_tune.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods import RRHF
from genrlhf.trainers import SFTConfig, SFTTrainer
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer
from tests.trainers.runs import QUIET, largest_difference, logged, weights

GROUPS: list[dict[str, Any]] = [
    {"prompt": "q", "completions": ["a", "bcd", "ef"], "rewards": [1.0, 0.0, 2.0]},
    {"prompt": "qx", "completions": ["ghi", "j"], "rewards": [0.5, 0.5]},
    {"prompt": "qxx", "completions": ["klmn"], "rewards": [3.0]},
    {"prompt": "qxxx", "completions": ["op", "q", "rs", "tuvw"], "rewards": [0.0, 4.0, 4.0, -1.0]},
]


def trainer(folder: Path, objective: Any, rows: Any = GROUPS, *, model: Any = None, **given: Any) -> SFTTrainer:
    settings = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 2, "logging_steps": 1}
    data = Dataset.from_list(list(rows))
    return SFTTrainer(
        tiny_llama() if model is None else model,
        SFTConfig(str(folder), **{**QUIET, **settings, "per_device_train_batch_size": 4, **given}),
        data,
        data,
        processing_class=tiny_tokenizer(),
        objective=objective,
    )


def stepped(folder: Path, objective: Any, rows: Any = GROUPS, **given: Any) -> dict[str, torch.Tensor]:
    made = trainer(folder, objective, rows, **given)
    made.train()
    return weights(made.model)


def by_hand(model: Any, rows: Any, weight: float, nll: str) -> torch.Tensor:
    """The mean over groups of the loss, one sequence at a time."""
    losses = []
    for row in rows:
        asked, means, sums = tiny_tokenizer()(row["prompt"])["input_ids"], [], []
        for text in row["completions"]:
            ids = asked + tiny_tokenizer()(text + "<eos>")["input_ids"]
            logp = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            own = logp[range(len(ids) - 1), ids[1:]][len(asked) - 1 :]
            means.append(own.mean())
            sums.append(own.sum())
        rewards = row["rewards"]
        loss = -(means if nll == "mean" else sums)[rewards.index(max(rewards))]
        for i, low in enumerate(rewards):
            for j, high in enumerate(rewards):
                if low < high:
                    loss = loss + weight * torch.relu(means[i] - means[j])
        losses.append(loss)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_opt])
@pytest.mark.parametrize(("weight", "nll"), [(1.0, "mean"), (3.0, "sum"), (0.0, "mean")])
def test_a_step_goes_down_the_mean_over_groups(weight: float, nll: str, make: Any, tmp_path: Path) -> None:
    made = trainer(tmp_path, RRHF(weight, nll), model=make(), max_steps=1, lr_scheduler_type="constant")
    made.train()
    model = make()
    loss = by_hand(model, GROUPS, weight, nll)
    loss.backward()
    assert logged(made, "loss")[0] == pytest.approx(float(loss.detach()), abs=1e-5)
    expected = {name: p.detach() - 0.1 * p.grad for name, p in model.named_parameters()}
    assert largest_difference(weights(made.model), expected) < 1e-6


def test_a_step_does_not_depend_on_how_it_is_split(tmp_path: Path) -> None:
    found = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4), (3, 2)):
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        found.append(stepped(tmp_path / f"{batch}", RRHF(), **options))
    for other in found[1:]:
        assert largest_difference(found[0], other) < 1e-6


def test_one_completion_is_sft(tmp_path: Path) -> None:
    ones = [{**row, "completions": row["completions"][:1], "rewards": [1.0]} for row in GROUPS]
    # Of one length, so that a mean over groups is one over tokens.
    ones = [{**row, "completions": ["ab"]} for row in ones]
    sft = [{"prompt": row["prompt"], "completion": row["completions"][0]} for row in ones]
    assert largest_difference(stepped(tmp_path / "a", RRHF(0.0), ones), stepped(tmp_path / "b", None, sft)) < 1e-6
    # The sum is that of the paper: as many times as there are tokens.
    twice = stepped(tmp_path / "c", RRHF(0.0, "sum"), ones, learning_rate=0.1 / 3)
    assert largest_difference(twice, stepped(tmp_path / "d", None, sft)) < 1e-6


def test_without_a_ranking_it_is_best_of_n_distillation(tmp_path: Path) -> None:
    same = [{**row, "completions": [text[:1] for text in row["completions"]]} for row in GROUPS]
    places = [max(range(len(row["rewards"])), key=row["rewards"].__getitem__) for row in same]
    best = [{"prompt": row["prompt"], "completion": row["completions"][i]} for row, i in zip(same, places, strict=True)]
    assert largest_difference(stepped(tmp_path / "a", RRHF(0.0), same), stepped(tmp_path / "b", None, best)) < 1e-6


def test_only_the_order_of_rewards_counts_and_no_padding(tmp_path: Path) -> None:
    first = stepped(tmp_path / "a", RRHF())
    mapped = [{**row, "rewards": [r**3 - 5 for r in row["rewards"]]} for row in GROUPS]
    assert largest_difference(first, stepped(tmp_path / "b", RRHF(), mapped)) == 0
    assert largest_difference(first, stepped(tmp_path / "c", RRHF(), pad_to_multiple_of=32)) < 1e-6
    # Equal rewards leave the likelihood of the first completion.
    equal = [{**row, "rewards": [1.0] * len(row["rewards"])} for row in GROUPS]
    ones = [{**row, "completions": row["completions"][:1], "rewards": [1.0]} for row in GROUPS]
    two = [trainer(tmp_path / f"d{i}", RRHF(0.0), rows).evaluate()["eval_loss"] for i, rows in enumerate((equal, ones))]
    assert two[0] == pytest.approx(two[1], abs=1e-6)


def test_figures_are_means_over_groups_whatever_the_batch(tmp_path: Path) -> None:
    found = [trainer(tmp_path / f"{n}", RRHF(), per_device_eval_batch_size=n).evaluate() for n in (1, 3, 4)]
    for key in ("eval_loss", "eval_ranking", "eval_imitation", "eval_cross_entropy"):
        assert [figures[key] for figures in found] == pytest.approx([found[0][key]] * 3, abs=1e-5), key
    expected = float(by_hand(tiny_llama(), GROUPS, 1.0, "mean").detach())
    assert found[0]["eval_loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completions": []}, r"row 3, column 'completions' is \[\]; give a list of at least one"),
        ({"rewards": [1.0, 2.0]}, "row 3, column 'rewards' is .*, and there are 4 completions; give a list"),
        ({"rewards": [1.0, 2.0, float("nan"), 0.0]}, "row 3, column 'rewards' has nan for completion 2"),
        ({"completions": ["a", "", "b", "c"]}, "row 3, column 'completions', item 1 is empty"),
    ],
)
def test_rows_that_cannot_be_ranked(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        trainer(tmp_path, RRHF(), [*GROUPS[:3], {**GROUPS[3], **change}])


def test_what_is_too_long_loses_its_end(tmp_path: Path, caplog: Any) -> None:
    # The prompt has four tokens at most, and so have completions three then.
    made = trainer(tmp_path / "a", RRHF(), max_length=7)
    assert "2 of 4 rows of train_dataset are longer than max_length=7 tokens; their ends are cut off" in caplog.text
    batch = made.data_collator([made.train_dataset[3]])
    assert batch["input_ids"].shape == (4, 7)
    assert [int((labels != -100).sum()) for labels in batch["labels"]] == [3, 2, 3, 3]
    tokens = made.train_dataset.remove_columns([])
    again = trainer(tmp_path / "b", RRHF(), tokens, max_length=7).data_collator([tokens[3]])
    assert torch.equal(again["labels"], batch["labels"])
    with pytest.raises(DataError, match="Row 3: the prompt has 4 tokens, and max_length=4 leaves none"):
        trainer(tmp_path / "c", RRHF(), tokens, max_length=4)


def test_what_cannot_be_learnt(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="In each of 2 groups all rewards are equal: there is nothing to rank"):
        trainer(tmp_path, RRHF(), GROUPS[1:3])
    for given, message in (({"rank_weight": -1.0}, "rank_weight is -1.0"), ({"nll": "both"}, "nll is 'both'")):
        with pytest.raises(ConfigError, match=message):
            RRHF(**given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="packing=True makes one row of several"):
        trainer(tmp_path, RRHF(), packing=True)
