"""HIR: relabelled samples, and the loss on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from genrlhf.errors import ConfigError, DataError, RewardError
from genrlhf.methods import HIR, get_method
from genrlhf.ops import contrast_loss
from genrlhf.studies import Study
from genrlhf.trainers import Completion, Group, SFTConfig, SFTTrainer
from genrlhf.trainers.relabelling import HindsightObjective
from tests.helpers import EOS_ID, tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, largest_difference, logged, prompt_rows, weights
from tests.trainers.test_best_of_n import fond_of

TEMPLATE = "{instruction}:{prompt}"
ROWS = [("a:q", "bcd", ["b:q"]), ("b:qx", "e", ["a:qx", "cc:qx"]), ("a:qxx", "fg", [])]
SGD: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}


def ids(text: str) -> list[int]:
    return list(tiny_tokenizer()(text)["input_ids"])


def stepped(folder: Path, objective: Any, model: Any = None, rows: Any = ROWS, **given: Any) -> SFTTrainer:
    data = [
        {
            "input_ids": ids(prompt) + ids(f"{text}<eos>"),
            "completion_mask": [0] * len(ids(prompt)) + [1] * (len(text) + 1),
            "contrast_ids": [ids(other) for other in others],
        }
        for prompt, text, others in rows
    ]
    settings = {**QUIET, **SGD, "max_steps": 1, "logging_steps": 1, "per_device_train_batch_size": 4, **given}
    settings["completion_only_loss"] = True
    made = SFTTrainer(
        model or tiny_llama(),
        SFTConfig(str(folder), **settings),
        Dataset.from_list(data),
        processing_class=tiny_tokenizer(),
        objective=objective,
    )
    made.train()
    return made


def logprobs(model: Any, prompt: str, text: str) -> torch.Tensor:
    line = ids(prompt) + ids(f"{text}<eos>")
    return model(torch.tensor([line])).logits[0, len(ids(prompt)) - 1 : -1].log_softmax(-1)


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize(("epsilon", "alpha", "beta"), [(0.2, 1.0, 0.001), (0.0, 0.5, 0.0), (0.3, 0.0, 0.1)])
def test_a_step_goes_down_the_loss(make: Any, epsilon: float, alpha: float, beta: float, tmp_path: Path) -> None:
    made = stepped(tmp_path, HindsightObjective(epsilon, alpha, beta), make())
    model, losses = make(), []
    for prompt, text, others in ROWS:
        every = logprobs(model, prompt, text)
        wanted = ids(f"{text}<eos>")

        def chosen(values: torch.Tensor, wanted: list[int] = wanted) -> torch.Tensor:
            return values[range(len(wanted)), wanted]

        means = torch.stack([chosen(every).mean(), *(chosen(logprobs(model, each, text)).mean() for each in others)])
        tokens = -(1 - epsilon) * chosen(every) - epsilon * every.mean(-1) + beta * (every.exp() * every).sum(-1)
        losses.append(tokens + alpha * (means.logsumexp(0) - means[0]))
    loss = torch.cat(losses).mean()
    loss.backward()
    assert logged(made, "loss")[0] == pytest.approx(float(loss.detach()), abs=1e-5)
    expected = {name: p.detach() - 0.1 * p.grad for name, p in model.named_parameters()}
    assert largest_difference(weights(made.model), expected) < 2e-6


def test_without_its_terms_it_is_sft_and_a_step_may_be_split(tmp_path: Path) -> None:
    plain = stepped(tmp_path / "a", None)
    assert HIR().objective is None
    none = stepped(tmp_path / "b", HindsightObjective(0, 0, 0))
    # Equal up to the order in which torch adds up, which is not the same in all versions of TRL.
    assert largest_difference(weights(plain.model), weights(none.model)) < 1e-7
    rows, paper = [*ROWS, ROWS[0]], HindsightObjective(0.2, 1.0, 0.001)
    whole = weights(stepped(tmp_path / "c", paper, rows=rows).model)
    for batch, accumulation in ((2, 2), (1, 4)):
        split = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        assert (
            largest_difference(whole, weights(stepped(tmp_path / f"{batch}", paper, rows=rows, **split).model)) < 1e-6
        )


def test_the_contrast() -> None:
    own, others, rows = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.0, -3.0, -2.0]), torch.tensor([0, 1, 1])
    found = contrast_loss(own.double(), others.double(), rows)
    by_hand = [math.log(2), math.log(math.exp(-2) * 2 + math.exp(-3)) + 2, 0.0]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-12)
    assert torch.autograd.gradcheck(
        lambda a, b: contrast_loss(a, b, rows),
        (own.double().requires_grad_(True), others.double().requires_grad_(True)),
    )
    assert contrast_loss(own, others[:0], rows[:0]).tolist() == [0.0] * 3


def group(row: int = 0, **columns: Any) -> Group:
    return Group("q", [Completion(text, True, [5 + i, 1]) for i, text in enumerate("xyz")], columns=columns, row=row)


def test_samples_are_relabelled_by_feedback_or_by_the_best_goal(caplog: Any) -> None:
    def feedback(prompts: Any, completions: Any, **columns: Any) -> list[str]:
        return ["good" if text == "y" else "bad" for text in completions]

    made = HIR(feedback, instructions=["good", "bad"], template=TEMPLATE)([group()])
    assert [(row["prompt"], row["completion"].text) for row in made.rows] == [
        ("bad:q", "x"),
        ("good:q", "y"),
        ("bad:q", "z"),
    ]

    def reward(prompts: Any, completions: Any, instructions: Any) -> list[float]:
        return [float(text == goal) for text, goal in zip(completions, instructions, strict=True)]

    goals = HIR(goal_reward=reward, instructions=["y", "z"], template=TEMPLATE)([group()])
    # The first of equals.
    assert [row["prompt"] for row in goals.rows] == ["y:q", "y:q", "z:q"]
    talk: Any = [{"role": "user", "content": "q"}]
    assert HIR(feedback, instructions=["good"]).ask(talk, {}) == [{"role": "user", "content": "good\nq"}]
    assert HIR(feedback).ask("q", {"instruction": "own"}) == "own\nq"
    # What always says what was wanted is SFT on own samples.
    same = HIR(lambda prompts, completions: ["good"] * len(prompts), instructions=["good", "bad"])([group()])
    assert {row["prompt"] for row in same.rows} == {"good\nq"}
    assert "All 3 samples were relabelled 'good': what they are asked tells nothing." in caplog.text


def trainer(folder: Path, rows: Any = None, config: Any = None, **given: Any) -> Any:
    method = get_method("hir")
    settings = {**QUIET, **method.recipe, "max_new_tokens": 4, "max_steps": 1, "num_iterations": 2, "n": 2}
    data = prompt_rows(4) if rows is None else Dataset.from_list(rows)
    args = method.config_class()(str(folder), **{**settings, **(config or {})})
    own = {"instructions": ["a", "b"], "template": TEMPLATE, **given}
    return method.build(fond_of({EOS_ID: 3.0}), args, data, settings=HIR(**own), processing_class=tiny_tokenizer())


def parity(prompts: Any, completions: Any) -> list[str]:
    return ["ab"[len(text) % 2] for text in completions]


def test_rounds_are_asked_by_what_is_wanted_and_kept_as_long_as_is_said(tmp_path: Path) -> None:
    made = trainer(tmp_path, feedback=parity, alpha=0.1, keep_rounds=2, config={"num_iterations": 3})
    made.train()
    rows = made.tuner.train_dataset
    assert sorted(set(rows["round"])) == [1, 2] and len(rows) == 16
    for row in rows:
        label = "ab"[len(row["completion"]) % 2]
        assert row["prompt"].startswith(f"{label}:q")
        other = row["prompt"].replace(f"{label}:", f"{'ab'[label == 'a']}:")
        assert row["contrast_ids"] == [ids(other)]
        assert row["input_ids"][: len(ids(other))] == ids(row["prompt"])
    # They were drawn behind the wanted instruction, which is not part of the prompt that groups have.
    assert {group.prompt for group in made.sample_groups(0)} == {"q", "qx", "qxx", "qxxx"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"template": "{prompt}"}, "template is '{prompt}', without {instruction}, which would then have no effect"),
        ({"epsilon": 1.0}, r"epsilon is 1\.0; it must be 0 or more, finite, and epsilon below 1"),
        ({"alpha": -1.0}, r"alpha is -1\.0"),
        ({"beta": float("inf")}, "beta is inf"),
        ({"keep_rounds": 0}, "keep_rounds is 0; it must be at least 1"),
        ({"goal_reward": parity}, "goal_reward chooses among instructions; list them, and leave feedback out"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HIR(**given)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            lambda prompts, completions: ["a"],
            r"row 3 feedback returned 1 instructions for 3 completions; return one for",
        ),
        (lambda prompts, completions: ["a", "", "b"], "row 3 feedback returned '' for 'y'; return an instruction"),
        (
            lambda prompts, completions: ["a", "b", "c"],
            "row 3 feedback returned 'c' for 'z', which is none of 'a', 'b'",
        ),
    ],
)
def test_labels_that_cannot_be(label: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        HIR(label, instructions=["a", "b"])([group(row=3)])


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HIR relabels samples by feedback: give feedback, or goal_reward"):
        trainer(tmp_path)
    with pytest.raises(DataError, match="train_dataset, row 0: its instruction is None; give a column instruction"):
        trainer(tmp_path, feedback=parity, instructions=None)
    with pytest.raises(DataError, match="train_dataset, row 1: its instruction is 'c', none of 'a', 'b'"):
        trainer(tmp_path, [{"prompt": "q", "instruction": each} for each in "ac"], feedback=parity)
    with pytest.raises(RewardError, match="gave nan to the completion"):
        HIR(goal_reward=lambda prompts, completions, instructions: [float("nan")] * 3, instructions=["a"])([group()])
    study = Study(task="embedded", methods={"sft": {}, "hir": {}}, output_dir=str(tmp_path / "study"))
    with pytest.raises((DataError, ConfigError), match=r"methods\.hir"):
        study.check()
