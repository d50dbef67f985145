"""The loop that draws, transforms and tunes: what a transform gets and gives, and that a kill costs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback

from genrlhf.errors import CheckpointError, ConfigError, DataError, RunFolderError
from genrlhf.methods import RRHF
from genrlhf.models import load_causal_lm
from genrlhf.trainers import Group, SampleAndTuneConfig, SampleAndTuneTrainer, TuningRows
from genrlhf.types import Sample
from tests.helpers import EOS_ID, save_model, tiny_llama, tiny_tokenizer
from tests.processes import run_in_two
from tests.trainers.runs import (
    QUIET,
    largest_difference,
    prompt_rows,
    sft_trainer,
    share_of_letters,
    weights,
)
from tests.trainers.test_best_of_n import fond_of

LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
DIGITS = Dataset.from_list([{"prompt": f"{digit}:"} for digit in range(10)] * 7)


def places(group: Group) -> tuple[int, int]:
    """Of the best and the worst completion."""
    order = sorted(range(len(group.scores)), key=group.scores.__getitem__)
    return order[-1], order[0]


def best(groups: list[Group]) -> list[dict[str, Any]]:
    return [group.demonstration(places(group)[0]) for group in groups]


def best_against_worst(groups: list[Group]) -> TuningRows:
    told = [group for group in groups if len(set(group.scores)) > 1]
    return TuningRows([group.pair(*places(group)) for group in told], {"equal rewards": len(groups) - len(told)})


KINDS: dict[str, dict[str, Any]] = {
    "supervised": {"transform": best},
    "ranking": {"objective": RRHF()},
    "pairwise": {"transform": best_against_worst, "tune": "pairwise"},
}


def trainer(folder: Path, kind: str = "supervised", *, model: Any = None, **given: Any) -> SampleAndTuneTrainer:
    """A trainer that draws four completions of 8 tokens of twelve prompts, rewarded for letters."""
    names = ("transform", "tune", "objective", "reward", "sampler", "train_dataset", "peft_config", "callbacks")
    defaults: dict[str, Any] = {"reward": share_of_letters, "train_dataset": prompt_rows(12), **KINDS[kind]}
    arguments = {**defaults, **{name: given.pop(name) for name in names if name in given}}
    tokenizer = given.pop("tokenizer", None) or tiny_tokenizer()
    settings: dict[str, Any] = {
        "n": 4,
        "max_new_tokens": 8,
        "sampling_batch_size": 16,
        "learning_rate": 1e-2,
        "max_steps": 3,
    }
    settings |= {"pairwise": {"loss_type": "sigmoid"}} if arguments.get("tune") == "pairwise" else {}
    return SampleAndTuneTrainer(
        tiny_llama() if model is None else model,
        SampleAndTuneConfig(str(folder), **{**QUIET, **settings, **given}),
        processing_class=tokenizer,
        **arguments,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "groups-0.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]


def digit_first(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    """The digit that comes first, a tenth of it, if the prompt's follows."""
    pairs = zip(prompts, completions, strict=True)
    return [int(text[0]) / 10 if text.isdigit() and text[1:] == prompt[0] else 0.0 for prompt, text in pairs]


@pytest.fixture(scope="module")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that writes any digit, and then the prompt's."""
    rows = [{"prompt": f"{asked}:", "completion": f"{first}{asked}"} for asked in range(10) for first in range(10)]
    folder = tmp_path_factory.mktemp("uniform")
    settings = {"max_steps": 150, "per_device_train_batch_size": 50, "learning_rate": 1e-2}
    made = sft_trainer(folder, train_dataset=Dataset.from_list(rows), **settings)
    made.train()
    made.save_model(str(folder / "model"))
    return str(folder / "model")


RATES = {"supervised": 3e-3, "ranking": 3e-3, "pairwise": 1e-3}


@pytest.mark.parametrize("kind", KINDS)
def test_learns_to_write_what_is_rewarded(kind: str, uniform: str, tmp_path: Path) -> None:
    settings = {"max_new_tokens": 3, "per_device_train_batch_size": 35, "sampling_batch_size": 256}
    made = trainer(
        tmp_path,
        kind,
        model=uniform,
        reward=digit_first,
        train_dataset=DIGITS,
        **settings,
        learning_rate=RATES[kind],
        max_steps=20,
        num_iterations=2,
    )
    before = made.evaluate(DIGITS)
    assert before["eval_reward/mean"] == pytest.approx(0.45, abs=0.06)
    made.train()
    after = made.evaluate(DIGITS)
    assert after["eval_reward/mean"] > before["eval_reward/mean"] + 0.12
    assert after["eval_ended"] > 0.9


class Killed(BaseException):
    """What ends a process at a moment of its run."""


MOMENTS = ("sampling", "transform", "tuning", "saved", "next sampling", "next transform", "next tuning")
# What is drawn is drawn and kept in one way, however it is tuned on.
OF_TUNING = ("tuning", "saved", "next transform", "next tuning")
_moment: list[tuple[str, int]] = []
_seen: list[Any] = []


def reached(moment: str, count: int = 0) -> None:
    """End the run where it is to end at this moment, the `count`-th time."""
    if _moment and _moment[0][0] == moment:
        if _moment[0][1] == 0:
            _moment.clear()
            raise Killed
        _moment[0] = (moment, _moment[0][1] - 1)


class Tuning(TrainerCallback):
    """Ends a run in the second step of a fine-tuning, or behind its end."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            reached("next tuning" if args.output_dir.endswith("-1") else "tuning")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        reached("saved")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_any_moment_costs_nothing(kind: str, tmp_path: Path) -> None:
    def reward(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
        reached("sampling")
        reached("next sampling")
        _seen.extend(completions)
        return share_of_letters(prompts, completions)

    def transform(groups: list[Group]) -> Any:
        reached("transform")
        reached("next transform")
        made = KINDS[kind].get("transform", lambda all_: [group.ranking() for group in all_])
        return made(groups)

    def make(folder: Path) -> SampleAndTuneTrainer:
        options = {"save_strategy": "steps", "save_steps": 1, "num_iterations": 2, "callbacks": [Tuning()]}
        return trainer(folder, kind, reward=reward, transform=transform, **options)

    _moment.clear()
    _seen.clear()
    whole = make(tmp_path / "whole")
    whole.train()
    drawn = len(_seen)
    assert drawn == 2 * 12 * 4
    # How often a moment passes before the one that is meant: three batches of rewards an iteration, one transform.
    counts = {"sampling": 1, "next sampling": 4, "next transform": 1}
    for moment in MOMENTS if kind == "supervised" else OF_TUNING:
        folder = tmp_path / moment.replace(" ", "-")
        _seen.clear()
        _moment[:] = [(moment, counts.get(moment, 0))]
        with pytest.raises(Killed):
            make(folder).train()
        assert not _moment
        resumed = make(folder)
        assert resumed.train(resume_from_checkpoint=True).global_step == 2 * 3
        assert largest_difference(weights(resumed.model), weights(whole.model)) == 0, moment
        assert len(_seen) == drawn, moment
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        assert largest_difference(weights(loaded), weights(whole.model)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_tuned_round_after_round(kind: str, tmp_path: Path) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    made = trainer(tmp_path / "run", kind, model=str(base), peft_config=LORA, num_iterations=2, save_strategy="steps")
    assert made.train().global_step == 2 * 3
    assert set(made.model.peft_config) == {"default"}
    original = weights(tiny_llama())
    for name, parameter in weights(made.model.get_base_model()).items():
        if "lora_" not in name:
            assert torch.equal(parameter, original[name.replace(".base_layer", "")])
    ids = torch.tensor([[5, 6, 7]])
    saved = load_causal_lm(str(tmp_path / "run"))
    assert torch.allclose(saved(ids).logits, made.model(ids).logits, atol=1e-5)
    assert not torch.allclose(saved(ids).logits, tiny_llama()(ids).logits, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_layers_stay(kind: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, kind, freeze_layers=0.5, num_iterations=2)
    before = weights(made.model)
    made.train()
    after = weights(made.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "layers.1." in name}


def test_the_reference_of_a_round_is_the_model_that_it_began_with(tmp_path: Path) -> None:
    made = trainer(tmp_path, "pairwise", num_iterations=2, logging_steps=1)
    first = made._train_once(0, None)
    start = weights(made.model)
    made._train_once(1, None)
    assert first.global_step == 3
    assert made.tuner is not None
    history = [entry for entry in made.tuner.state.log_history if "rewards/margins" in entry]
    assert history[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-6)
    assert history[-1]["rewards/margins"] > 0
    assert largest_difference(start, weights(made.tuner.ref_model)) == 0


def test_two_processes_tune_as_one_does(tmp_path: Path) -> None:
    run_in_two("tests.trainers.two_tuners", str(tmp_path / "two"))
    for kind in KINDS:
        made = one_of(tmp_path / "one", kind, 1)
        made.train()
        two = load_causal_lm(str(tmp_path / "two" / kind))
        assert largest_difference(weights(two), weights(made.model)) < 1e-5, kind
        drawn = [len((tmp_path / "two" / kind / f"groups-{i}.jsonl").read_text().splitlines()) for i in (0, 1)]
        assert drawn == [8, 8]


def one_of(folder: Path, kind: str, processes: int) -> SampleAndTuneTrainer:
    """A trainer whose steps are those of any number of processes."""
    options = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "save_strategy": "steps"}
    if kind == "pairwise":
        # As many pairs as prompts, which the batches of two processes divide.
        options["transform"] = first_two
    rows = prompt_rows(16)
    return trainer(folder / kind, kind, train_dataset=rows, per_device_train_batch_size=8 // processes, **options)


def first_two(groups: list[Group]) -> list[dict[str, Any]]:
    return [group.pair(0, 1) for group in groups]


def test_what_a_transform_gets(tmp_path: Path) -> None:
    def keep(groups: list[Group]) -> list[dict[str, Any]]:
        _seen.extend(groups)
        return best(groups)

    _seen.clear()

    rows = prompt_rows(5).add_column("tag", list("abcde"))
    made = trainer(tmp_path, transform=keep, train_dataset=rows, keep_logprobs=True, missing_eos_penalty=2.0)
    made.train()
    assert [(group.prompt, group.columns["tag"], group.row) for group in _seen] == [
        (row["prompt"], row["tag"], number) for number, row in enumerate(rows)
    ]
    for group, line in zip(_seen, sorted(lines(tmp_path), key=lambda line: line["row"]), strict=True):
        assert line["rewards"] == share_of_letters([""] * 4, [each.text for each in group.completions])
        # The file has rewards as they came, the transform those by the rule.
        ruled = [r - 2.0 * (not c.ended) for r, c in zip(line["rewards"], group.completions, strict=True)]
        assert group.rewards == pytest.approx(ruled)
        assert [len(values) for values in group.logprobs or []] == [len(c.token_ids or []) for c in group.completions]
        assert [(c.token_ids or [])[-1] == EOS_ID for c in group.completions] == [c.ended for c in group.completions]
    # Kept, and not made again.
    assert trainer(tmp_path, transform=keep, train_dataset=rows).sample_training_set().num_rows == 5
    assert len(_seen) == 5


@pytest.mark.parametrize("chat", [False, True])
def test_samples_are_tuned_on_as_they_were_sampled(chat: bool, tmp_path: Path) -> None:
    prompt: Any = [{"role": "user", "content": "hi"}] if chat else "hi"
    tokenizer = tiny_tokenizer(chat_template=chat)
    start = tokenizer("[user]hi\n[assistant]" if chat else "hi")["input_ids"]
    options: dict[str, Any] = {"train_dataset": Dataset.from_list([{"prompt": prompt}] * 6), "tokenizer": tokenizer}
    found = {}
    for kind in KINDS:
        made = trainer(tmp_path / kind, kind, model=fond_of({EOS_ID: 4.0}), **options)
        rows, groups = made.sample_training_set(), made.sample_groups()
        found[kind] = rows, [[c.token_ids for c in group.completions] for group in groups], groups
    rows, ids, groups = found["supervised"]
    assert rows["input_ids"][:] == [start + each[places(group)[0]] for each, group in zip(ids, groups, strict=True)]
    rows, ids, groups = found["ranking"]
    assert rows["prompt_ids"][:] == [start] * 6 and rows["completion_ids"][:] == ids
    assert rows["rewards"][:] == [group.rewards for group in groups]
    rows, ids, groups = found["pairwise"]
    told = [(each, places(group)) for each, group in zip(ids, groups, strict=True) if len(set(group.scores)) > 1]
    assert rows["prompt_ids"][:] == [start] * len(told)
    assert rows["chosen_ids"][:] == [each[high] for each, (high, _) in told]
    assert rows["rejected_ids"][:] == [each[low] for each, (_, low) in told]


@pytest.mark.parametrize(
    ("kind", "transform"),
    [
        ("supervised", lambda groups: [{"prompt": g.prompt, "completion": "ab"} for g in groups]),
        (
            "supervised",
            lambda groups: (
                [{"prompt": "other", "completion": g.completions[0]} for g in groups]
                + [{"prompt": "q", "completion": "ab"}]
            ),
        ),
        (
            "ranking",
            lambda groups: [
                {"prompt": g.prompt, "completions": ["ab", g.completions[0]], "rewards": [1.0, 0.0]} for g in groups
            ],
        ),
        (
            "pairwise",
            lambda groups: [{"prompt": g.prompt, "chosen": "ab", "rejected": g.completions[0]} for g in groups],
        ),
    ],
)
def test_text_and_samples_go_together(kind: str, transform: Any, tmp_path: Path) -> None:
    made = trainer(tmp_path, kind, transform=transform, reward=None)
    made.train()
    assert made.tuner is not None
    row = made.tuner.train_dataset[-1]
    text = tiny_tokenizer()("ab<eos>")["input_ids"]
    if kind == "supervised":
        assert [label for label in row["labels"] if label != -100] == text
    else:
        assert (row["chosen_ids"] if kind == "pairwise" else row["completion_ids"][0]) == text


def test_groups_that_give_no_row_are_counted(tmp_path: Path, caplog: Any) -> None:
    def some(groups: list[Group]) -> TuningRows:
        return TuningRows(best(groups[:5]), {"too short": 4, "too long": 3, "odd": 0})

    trainer(tmp_path / "some", transform=some).train()
    assert r"7 of 12 groups gave no row: too short (4), too long (3)." in caplog.text
    trainer(tmp_path / "few", transform=lambda groups: best(groups)[:5]).train()
    assert r"The transform made 5 rows of 12 groups." in caplog.text
    with pytest.raises(DataError, match=r"made no row of 12 groups: all bad \(12\); there is nothing to tune on"):
        trainer(tmp_path / "none", transform=lambda groups: TuningRows([], {"all bad": 12})).train()


@pytest.mark.parametrize(
    ("kind", "transform", "message"),
    [
        ("supervised", lambda groups: [{"prompt": "q"}], "Row 0 of the transform is .*, without 'completion'"),
        ("pairwise", lambda groups: [1], "Row 0 of the transform is 1, without 'prompt'"),
        ("pairwise", lambda groups: [g.pair(0, 0) for g in groups], "chosen and rejected are both"),
        ("ranking", lambda groups: [{**groups[0].ranking(), "rewards": [1.0]}], "there are 4 completions"),
        ("ranking", lambda groups: [groups[0].ranking(rewards=[float("nan")] * 4)], "has nan for completion 0"),
        ("ranking", lambda groups: [groups[0].ranking(rewards=[1.0] * 4)], "In each of 1 groups all rewards are equal"),
        ("supervised", lambda groups: [groups[0].demonstration(0, x={1})], "cannot be kept as JSON"),
    ],
)
def test_rows_that_cannot_be_tuned_on(kind: str, transform: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        trainer(tmp_path, kind, transform=transform).train()


def test_a_transform_that_reads_rewards_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"transform is called with \(groups\), and takes \(\): too many"):
        trainer(tmp_path, transform=lambda: [])
    with pytest.raises(DataError, match="The transform reads rewards, and there is no reward; give the trainer one"):
        trainer(tmp_path, reward=None).train()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_cut_off_can_be_left_out(kind: str, tmp_path: Path, caplog: Any) -> None:
    made = trainer(tmp_path / "left", kind, model=fond_of({EOS_ID: 4.0}), train_cut_off=False)
    rows = made.sample_training_set()
    tokens = {"supervised": "input_ids", "ranking": "completion_ids", "pairwise": "chosen_ids"}[kind]
    ends = [ids for row in rows[tokens] for ids in (row if kind == "ranking" else [row])]
    assert ends and all(ids[-1] == EOS_ID for ids in ends)
    if kind == "ranking":
        assert [len(row["rewards"]) for row in rows] == [len(row["completion_ids"]) for row in rows]
    assert "samples were cut off at max_new_tokens, and are left out" in caplog.text
    with pytest.raises(DataError, match="samples were cut off at max_new_tokens; raise max_new_tokens"):
        trainer(tmp_path / "none", kind, model=fond_of({EOS_ID: -30.0}), train_cut_off=False).train()


class Letters:
    """A sampler of its own, whose tokens are nobody's."""

    def stream(self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()) -> Any:
        for place in range(len(prompts)):
            reasons = ("stop", "stop", "stop", "length")
            yield place, [Sample("abcd"[i] * 2, reasons[i], 1, token_ids=[10**6]) for i in range(n)]


@pytest.mark.parametrize("kind", KINDS)
def test_another_sampler_is_trained_on_as_text(kind: str, tmp_path: Path) -> None:
    def reward(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
        return [-float(ord(text[0])) for text in completions]

    made = trainer(tmp_path, kind, sampler=Letters(), reward=reward)
    if kind == "pairwise":
        # The worst one was cut off, and where it ends is not known.
        with pytest.raises(DataError, match="All 24 samples were cut off"):
            made.train()
        return
    made.train()
    assert made.tuner is not None
    row = made.tuner.train_dataset[0]
    text = tiny_tokenizer()("aa<eos>")["input_ids"]
    if kind == "ranking":
        assert row["completion_ids"][0] == text and len(row["completion_ids"]) == 3
    else:
        assert [label for label in row["labels"] if label != -100] == text
    with pytest.raises(ConfigError, match="num_iterations is 2, and the sampler goes on drawing from the model"):
        trainer(tmp_path / "two", kind, sampler=Letters(), reward=reward, num_iterations=2).train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": "magic"}, "tune is 'magic'; it must be one of supervised, ranking, pairwise"),
        ({"transform": None}, "tune='supervised' needs a transform"),
        ({"transform": Group}, "transform is <class .*>; give a function of groups"),
        ({"tune": "pairwise", "objective": lambda batch: -batch.logprobs()}, "tune='pairwise' is DPO, and objective="),
        ({"tune": "ranking"}, "There is tune='ranking', and no objective; ranking wants an objective of groups"),
        ({"tune": "supervised", "objective": RRHF()}, "objective=RRHF, of unit 'group'"),
        ({"tune": "pairwise", "pairwise": {"betta": 1}}, "pairwise has 'betta', which is no setting of DPOConfig"),
        ({"tune": "pairwise", "pairwise": "{"}, "pairwise is no JSON"),
        ({"train_dataset": None}, r"train\(\) needs prompts; pass train_dataset to SampleAndTuneTrainer"),
        ({"freeze_layers": 0.5, "peft_config": LORA}, "freeze_layers=0.5 and an adapter"),
        ({"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_settings_that_cannot_work(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(tmp_path, **options).train()


def test_another_run_in_the_folder(tmp_path: Path) -> None:
    trainer(tmp_path).train()

    def first(groups: list[Group]) -> list[dict[str, Any]]:
        return [group.demonstration(0) for group in groups]

    with pytest.raises(RunFolderError, match="transform is 'best' there and 'first' here"):
        trainer(tmp_path, transform=first).train()
    with pytest.raises(RunFolderError, match="tune is 'supervised' there and 'ranking' here"):
        trainer(tmp_path, "ranking").train()
    trainer(tmp_path, transform=first, overwrite_output_dir=True).train()
    with pytest.raises(CheckpointError, match="there are no samples"):
        trainer(tmp_path / "new").train(resume_from_checkpoint=True)


def test_a_transform_may_name_how_it_is_tuned_on(tmp_path: Path) -> None:
    class Pairs:
        tune = "pairwise"

        def __call__(self, groups: list[Group]) -> TuningRows:
            return best_against_worst(groups)

    made = trainer(tmp_path, transform=Pairs(), pairwise={"beta": 0.3})
    assert made.tune == "pairwise"
    made.train()
    assert made.tuner is not None and made.tuner.args.beta == 0.3 and made.tuner.args.learning_rate == 1e-2
