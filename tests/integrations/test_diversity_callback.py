"""Diversity while other trainers train: what is logged and kept, and that the training does not notice."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, T5Config, T5ForConditionalGeneration

from genrlhf.data.asking import Asking
from genrlhf.errors import ConfigError, DataError, ModelError, RewardError, RunFolderError
from genrlhf.integrations import DiversityCallback, load_outputs
from genrlhf.integrations.callback.measuring import draw
from genrlhf.integrations.callback.schedule import Schedule
from genrlhf.integrations.callback.undisturbed import evaluating
from genrlhf.integrations.diversity_callback import _Run
from genrlhf.metrics import (
    EAD,
    DistinctN,
    ExactClasses,
    LikelihoodEntropy,
    across_input_diversity,
    per_input_diversity,
)
from genrlhf.sampling import TransformersSampler
from genrlhf.types import SamplingParams
from tests.helpers import tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.integrations.trainers import TRAINERS, plain, trained
from tests.processes import run_in_two
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES
from tests.trainers.runs import StopAt, largest_difference, reward_model_trainer, weights

PROMPTS = ["q", "qx", "qxxx"]
SHORT = SamplingParams(max_new_tokens=8)
DEMONSTRATIONS = Dataset.from_list([{"prompt": "q", "completion": "ab"}, {"prompt": "qx", "completion": "b"}])
NOISE = ("runtime", "per_second", "time/", "seconds", "step_time")


def callback(**options: Any) -> DiversityCallback:
    return DiversityCallback(**{"prompts": PROMPTS, "n": 3, "every": 2, "params": SHORT, **options})


def entries(trainer: Any) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """What the callback logged, and what the Trainer did, without what depends on the clock."""
    history = [
        {key: value for key, value in entry.items() if not any(word in key for word in NOISE)}
        for entry in trainer.state.log_history
    ]
    ours = [entry for entry in history if any(key.startswith("diversity/") for key in entry)]
    return ours, [entry for entry in history if entry not in ours]


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_is_sampled_and_trains_as_without_it(name: str, tmp_path: Path) -> None:
    without = trained(name, tmp_path / "without", [])
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    trainer = trained(name, tmp_path / "with", [callback()])
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert largest_difference(weights(trainer.model), weights(without.model)) == 0.0
    ours, others = entries(trainer)
    assert others == entries(without)[1] and len(others) >= 2
    assert [entry["step"] for entry in ours] == [0, 2, 4]
    for entry in ours:
        file = Path(trainer.args.output_dir) / "diversity" / f"step-{entry['step']}.jsonl"
        rows = load_outputs(file)
        assert [row["prompt"] for row in rows] == PROMPTS
        outputs = [row["outputs"] for row in rows]
        assert entry["diversity/per_input/ead"] == per_input_diversity(outputs, EAD()).value
        assert entry["diversity/across_input/ead"] == across_input_diversity(outputs, EAD()).value


def test_rounds_of_best_of_n_have_a_folder_each(tmp_path: Path) -> None:
    trained("best-of-n", tmp_path, [callback(every=0)], num_iterations=2)
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("step-*.jsonl"))
    assert files == [f"iteration-{number}/diversity/step-{step}.jsonl" for number in (0, 1) for step in (0, 4)]
    # The second round begins with what the first has made.
    ends = [load_outputs(tmp_path / file)[0]["outputs"] for file in files[1:3]]
    assert ends[0] == ends[1]


def outputs_of(trainer: Any, step: int) -> list[list[str]]:
    return [row["outputs"] for row in load_outputs(Path(trainer.args.output_dir) / "diversity" / f"step-{step}.jsonl")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("transformers", {"bf16": True}),
        ("transformers", {"gradient_checkpointing": True, "model": "llama"}),
        ("transformers", {"model": "bloom"}),
        ("trl-sft", {"peft": True}),
        ("sft", {"freeze_layers": 0.5, "disable_dropout": False}),
        ("sft", {"neftune_noise_alpha": 5.0}),
        ("sft", {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": DEMONSTRATIONS}),
    ],
    ids=["autocast", "checkpointing", "own generate", "adapter", "frozen", "neftune", "evaluated"],
)
def test_the_outputs_are_those_of_the_model_in_eval_mode_and_the_training_does_not_notice(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    def run(folder: str, callbacks: list[Any]) -> Any:
        settings = dict(options)
        if "model" in settings:
            settings["model"] = {**FAMILIES, **PLAIN_FAMILIES}[settings["model"]]()
        if settings.pop("peft", None):
            torch.manual_seed(1)
            config = LoraConfig(target_modules=["c_attn"], task_type="CAUSAL_LM", lora_dropout=0.5, fan_in_fan_out=True)
            settings["model"] = get_peft_model(tiny_gpt2(), config)
        return trained(name, tmp_path / folder, callbacks, **settings)

    without, trainer = run("without", []), run("with", [callback()])
    assert largest_difference(weights(trainer.model), weights(without.model)) == 0.0
    assert [m.training for m in trainer.model.modules()] == [m.training for m in without.model.modules()]
    assert trainer.model.config.use_cache == without.model.config.use_cache
    assert entries(trainer)[1] == entries(without)[1]
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    with trainer.accelerator.autocast():
        drawn = TransformersSampler(model, tiny_tokenizer()).sample(PROMPTS, 3, SHORT, 0)
    assert outputs_of(trainer, 4) == drawn != outputs_of(trainer, 0)


def drawing(completions: list[str]) -> list[float]:
    """A reward that uses up everybody's random numbers."""
    random.random(), np.random.rand(), torch.rand(1)
    return [0.0] * len(completions)


def test_random_numbers_of_rewards_and_metrics_are_not_those_of_the_training(tmp_path: Path) -> None:
    # Dropout draws from them.
    without = trained("transformers", tmp_path / "without", [])
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    trainer = trained("transformers", tmp_path / "with", [callback(reward=drawing)])
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert largest_difference(weights(trainer.model), weights(without.model)) == 0.0


def test_drawing_leaves_every_module_in_its_mode(tmp_path: Path) -> None:
    trainer = plain(tmp_path, [])
    trainer.model.train().transformer.h[0].eval()
    before = [module.training for module in trainer.model.modules()]
    assert len(draw(trainer, tiny_tokenizer(), callback().settings)) == 3
    assert [module.training for module in trainer.model.modules()] == before


def test_modes_are_put_back_module_by_module() -> None:
    model = tiny_gpt2().train()
    model.transformer.h[0].eval()
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2


def test_a_tokenizer_is_used_as_it_is_and_left_so(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(pad_token=None)
    tokenizer.padding_side = "right"
    trainer = trained("transformers", tmp_path / "none", [callback()], processing_class=tokenizer)
    assert (tokenizer.pad_token, tokenizer.padding_side) == (None, "right")
    same = trained("transformers", tmp_path / "eos", [callback()], processing_class=tiny_tokenizer(pad_token="<eos>"))
    assert outputs_of(trainer, 4) == outputs_of(same, 4)


class Processor:
    """Stands for a processor of images and text."""

    def __init__(self) -> None:
        self.tokenizer = tiny_tokenizer()

    def save_pretrained(self, folder: str) -> None:
        self.tokenizer.save_pretrained(folder)


def test_the_tokenizer_of_a_processor_or_one_that_is_given_is_taken(tmp_path: Path) -> None:
    trainer = trained("transformers", tmp_path / "a", [callback()], processing_class=Processor())
    own = trained("transformers", tmp_path / "b", [callback(tokenizer=tiny_tokenizer())], processing_class=None)
    assert outputs_of(trainer, 4) == outputs_of(own, 4)
    with pytest.raises(ConfigError, match=r"needs a tokenizer, and Trainer has no processing_class; give .*tokenizer="):
        trained("transformers", tmp_path / "c", [callback()], processing_class=None)


def test_conversations_go_through_the_template_and_keep_their_columns(tmp_path: Path) -> None:
    rows = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": "hi"}], "reference": "ho", "answer": each} for each in "ab"]
    )
    asked = []

    def verifier(prompts: list[Any], completions: list[str], answer: list[str]) -> list[bool]:
        asked.append((prompts[0], answer))
        return [right in completion for right, completion in zip(answer, completions, strict=True)]

    tokenizer = tiny_tokenizer(chat_template=True)
    options = {"prompts": rows, "verifier": verifier, "n": 2}
    trainer = trained("transformers", tmp_path, [callback(**options)], processing_class=tokenizer)
    assert asked[0] == ([{"role": "user", "content": "hi"}], ["a", "a", "b", "b"])
    row = load_outputs(tmp_path / "diversity" / "step-4.jsonl")[1]
    assert row["reference"] == "ho" and len(row["valid"]) == 2 and "answer" not in row
    with pytest.raises(DataError, match=r"prompts, row 0, column 'prompt' is a conversation, and .* no chat template"):
        trained("transformers", tmp_path / "none", [callback(prompts=rows)])
    assert trainer.state.global_step == 4


def test_quality_is_measured_beside_diversity(tmp_path: Path) -> None:
    def reward(prompts: list[str], completions: list[str]) -> list[float]:
        return [float(len(prompt) + len(completion)) for prompt, completion in zip(prompts, completions, strict=True)]

    def verifier(completions: list[str], **columns: Any) -> list[bool]:
        assert len(columns["ended"]) == len(completions)
        return [completion < "a" for completion in completions]

    trainer = trained("transformers", tmp_path, [callback(reward=reward, verifier=verifier, metrics=["distinct_1"])])
    entry = entries(trainer)[0][-1]
    drawn = outputs_of(trainer, 4)
    lengths = [len(prompt) + len(text) for prompt, texts in zip(PROMPTS, drawn, strict=True) for text in texts]
    valid = [[text for text in texts if text < "a"] for texts in drawn]
    assert entry["diversity/reward"] == pytest.approx(sum(lengths) / 9)
    assert entry["diversity/valid"] == pytest.approx(sum(map(len, valid)) / 9)
    assert entry["diversity/distinct_valid"] == pytest.approx(sum(len({t.strip() for t in v}) for v in valid) / 9)
    assert entry["diversity/per_input/distinct_1"] == per_input_diversity(drawn, DistinctN(1)).value


def test_metrics_are_names_objects_or_a_mapping(tmp_path: Path) -> None:
    metrics = {"a": DistinctN(2), "b": LikelihoodEntropy(ExactClasses())}
    trainer = trained("transformers", tmp_path, [callback(metrics=metrics, every=0)])
    assert [entry["step"] for entry in entries(trainer)[0]] == [0, 4]
    assert {"diversity/per_input/a", "diversity/across_input/a", "diversity/per_input/b"} <= entries(trainer)[0][
        1
    ].keys()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompts": "q"}, DataError, "prompts is 'q'; give a list of texts"),
        ({"prompts": []}, DataError, "prompts is empty"),
        ({"prompts": ["q", " "]}, DataError, r"prompts, row 1, column 'prompt' is empty \(' '\)"),
        ({"prompts": [{"text": "q"}]}, DataError, "prompts, row 0 has no 'prompt', only 'text'; rename a column"),
        ({"prompts": [{"role": "user", "content": "q"}]}, DataError, "put every conversation into a list"),
        ({"prompts": [{"prompt": "q", "completions": "a"}]}, DataError, "has a column 'completions', the name under"),
        ({"n": 0}, ConfigError, "n must be a whole number of at least 1, not 0"),
        ({"every": 1.5}, ConfigError, "every is 1.5; give a number of steps"),
        ({"every": True}, ConfigError, "every is True"),
        ({"every": -1}, ConfigError, "every is -1"),
        ({"metrics": []}, ConfigError, "metrics is empty"),
        ({"metrics": ["eda"]}, ConfigError, "no metric 'eda'; the metrics are ead"),
        ({"metrics": [3]}, ConfigError, "3 .* is no metric"),
        ({"metrics": [EAD(), EAD()]}, ConfigError, "Two metrics are called 'ead'"),
        (
            {"stop_below": {"ead": 0.2}},
            ConfigError,
            "stop_below names 'ead', which is not measured; there are per_input",
        ),
        ({"stop_below": {"per_input/ead": 0.2}, "n": 1}, ConfigError, "which is not measured; there are across_input"),
        ({"stop_below": {"diversity/per_input/ead": "low"}}, ConfigError, "is 'low'; give a number"),
        ({"verifier": "exact"}, ConfigError, "verifier is a str; give a callable"),
        ({"table_prompts": -1}, ConfigError, "table_prompts must be"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        callback(**options)


def build(model: str) -> Any:
    sizes = {"vocab_size": 258, "d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    sizes_of_bert = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertConfig(vocab_size=258, initializer_range=0.5, **sizes_of_bert)
    if model == "t5":
        return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0, pad_token_id=0))
    return {"bert": BertLMHeadModel, "masked": BertForMaskedLM}[model](bert)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder, it: plain(folder, [it], model=build("t5")), ModelError, "T5ForConditionalGeneration is an enc"),
        (lambda folder, it: plain(folder, [it], model=build("masked")), ModelError, "BertForMaskedLM that Trainer"),
        (lambda folder, it: plain(folder, [it], model=build("bert")), ModelError, "'bert', whose forward pass reads"),
        (
            lambda folder, it: plain(folder, [it], model=torch.nn.Linear(2, 2), remove_unused_columns=False),
            ModelError,
            "Linear that Trainer trains",
        ),
        (
            lambda folder, it: reward_model_trainer(folder, callbacks=[it]),
            ModelError,
            "LlamaForSequenceClassification that RewardModelTrainer trains writes none",
        ),
    ],
    ids=["encoder-decoder", "masked", "reads ahead", "no transformer", "reward model"],
)
def test_what_writes_no_text_is_refused_before_training(
    make: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    trainer = make(tmp_path, callback())
    with pytest.raises(error, match=message) as raised:
        trainer.train()
    assert trainer.state.global_step == 0 and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"prompts": ["q", "x" * 57]},
            DataError,
            r"prompts, row 1: the prompt 'x+.* has 57 tokens, and at most 56 leave",
        ),
        (
            {"params": SamplingParams(max_new_tokens=64)},
            ConfigError,
            "max_new_tokens=64 leaves no room .* of 64 tokens",
        ),
        ({"reward": lambda completions, answer: [0.0]}, RewardError, "wants 'answer'"),
        ({"reward": lambda completions: [float("nan")] * 9}, RewardError, "gave nan to the completion"),
        ({"verifier": lambda completions: [0.5] * 9}, RewardError, "returned 0.5; it must return True or False"),
        (
            {"stop_below": {"per_input/ead": 2.0}},
            ConfigError,
            r"Before the first step per_input/ead is \d.*, below the",
        ),
    ],
)
def test_what_a_run_cannot_have_is_refused_before_its_first_step(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    trainer = plain(tmp_path, [callback(**options)])
    with pytest.raises(error, match=message):
        trainer.train()
    assert trainer.state.global_step == 0


def test_outside_of_a_trainer_it_says_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match=r"called by no Trainer .*callbacks=\[DiversityCallback"):
        callback().on_train_begin(None, None, None)  # type: ignore[arg-type]


def test_a_run_stops_at_its_floor_and_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Every completion becomes the same.
    options = {"every": 1, "stop_below": {"per_input/distinct_1": 0.5}, "metrics": ["distinct_1"]}
    rows = Dataset.from_list([{"prompt": prompt, "completion": "a"} for prompt in PROMPTS])
    trainer = trained("sft", tmp_path, [callback(**options)], max_steps=40, learning_rate=0.1, train_dataset=rows)
    last = entries(trainer)[0][-1]
    assert last["step"] == trainer.state.global_step < 40
    assert last["diversity/stopped"] == 1.0 and last["diversity/per_input/distinct_1"] < 0.5
    assert f"Training stops after step {last['step']}: per_input/distinct_1 is" in caplog.text


def test_a_run_that_something_else_stops_is_sampled_at_its_end(tmp_path: Path) -> None:
    for number, stop in enumerate([[callback(every=0), StopAt(3)], [StopAt(3), callback(every=0)]]):
        trainer = trained("transformers", tmp_path / str(number), stop)
        assert [entry["step"] for entry in entries(trainer)[0]] == [0, 3]


def test_a_resumed_run_goes_on_and_keeps_the_files_of_the_steps_that_it_has(tmp_path: Path) -> None:
    saves = {"save_strategy": "steps", "save_steps": 2}
    whole = trained("transformers", tmp_path / "whole", [callback(every=1)], **saves)
    trained("transformers", tmp_path / "run", [callback(every=1)], **saves)
    folder = tmp_path / "run" / "diversity"
    # As if it had been killed in step 4, and while it was writing something else.
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    (folder / "step-4.jsonl").rename(folder / "step-9.jsonl")
    (folder / "step-4.jsonl.tmp").write_text('{"prompt": "q", "out')
    (folder / "step-2.jsonl").write_text((folder / "step-2.jsonl").read_text() + "\n")
    kept = (folder / "step-2.jsonl").read_text()
    trainer = plain(tmp_path / "run", [callback(every=1)], **saves)
    trainer.train(resume_from_checkpoint=True)
    assert (folder / "step-2.jsonl").read_text() == kept
    assert sorted(file.name for file in folder.glob("step-*")) == [f"step-{step}.jsonl" for step in range(5)]
    assert sorted(file.name for file in (folder / "earlier").iterdir()) == ["step-3.jsonl", "step-9.jsonl"]
    assert entries(trainer)[0] == entries(whole)[0]
    assert outputs_of(trainer, 4) == outputs_of(whole, 4)


def test_another_run_in_the_folder_is_put_aside_and_other_settings_are_refused_in_one_that_goes_on(
    tmp_path: Path,
) -> None:
    saves = {"save_strategy": "steps", "save_steps": 2}
    trained("transformers", tmp_path, [callback()], **saves)
    trainer = plain(tmp_path, [callback(n=2)], **saves)
    with pytest.raises(RunFolderError, match=r"Cannot go on in .*diversity: it holds another run \(n is 3 there and 2"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    trained("transformers", tmp_path, [callback(n=2)], max_steps=2)
    folder = tmp_path / "diversity"
    assert sorted(file.name for file in folder.glob("step-*")) == ["step-0.jsonl", "step-2.jsonl"]
    assert len(list((folder / "earlier").iterdir())) == 3


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("first", [10.0, 1.0])
@pytest.mark.parametrize("seconds_a_step", [0.01, 1.0, 300.0])
def test_a_share_of_the_time_is_kept(first: float, seconds_a_step: float) -> None:
    clock, looks, steps = Clock(), [], 20_000

    def decide(look: Any) -> Any:
        looks.append(clock.now)
        return look()

    schedule = Schedule(0.02, decide, clock)
    schedule.start(0)
    sampled = 0
    for step in range(steps + 1):
        # The first sample takes longer, and so do the first steps.
        clock.now += seconds_a_step * (20 if step < 3 else 1) if step else 0
        if step in (0, steps) or schedule.is_due(step):
            cost = first if step == 0 else 1.0
            clock.now += cost
            schedule.took(cost)
            sampled += 1
    fits = 0.02 * clock.now
    assert sampled >= 2
    if sampled > 2:
        assert schedule.spent <= fits + 1e-6
    # Hardly a sample that would have fit was left out.
    assert schedule.spent >= min(0.9 * fits, first + 1)
    assert len(looks) <= 4 * sampled + 2 * np.log2(steps)


def test_two_processes_share_the_prompts_and_one_writes(tmp_path: Path) -> None:
    alone = trained("transformers", tmp_path / "one", [callback(every=0)], model=tiny_llama(), max_steps=1)
    run_in_two("tests.integrations.two_processes", str(tmp_path / "two"))
    reports = [json.loads((tmp_path / f"two/report-{number}.json").read_text()) for number in (0, 1)]
    assert reports[0] == reports[1]
    assert reports[0]["unchanged"] == 0.0
    assert reports[0]["steps"] == [0, 2]
    written = load_outputs(tmp_path / "two" / "with" / "diversity" / "step-0.jsonl")
    assert [row["outputs"] for row in written] == outputs_of(alone, 0)
    # A model in two shards draws the same.
    assert reports[0]["sharded"] == outputs_of(alone, 0)


def test_a_model_is_asked_as_its_method_asks(tmp_path: Path) -> None:
    around = Asking("so ", "?")
    found = {}
    for name, options in {"trainer": {}, "given": {"asking": around}, "off": {"asking": False}}.items():
        trainer = plain(tmp_path / name, [callback(every=0, **options)], max_steps=1)
        if name != "given":
            trainer.asking = around
        trainer.train()
        rows = load_outputs(tmp_path / name / "diversity" / "step-0.jsonl")
        assert [row["prompt"] for row in rows] == PROMPTS
        found[name] = [row["outputs"] for row in rows]
    model, tokenizer = tiny_gpt2().eval(), tiny_tokenizer()
    asked = TransformersSampler(model, tokenizer, asking=around).sample(PROMPTS, 3, SHORT, 0)
    assert found["trainer"] == found["given"] == asked != found["off"]
    with pytest.raises(ConfigError, match="asking is 'so'; give True, False or an Asking"):
        callback(asking="so")
    # A run that was asked otherwise is another one.
    trainer = plain(tmp_path / "off", [callback(every=0, asking=around)], max_steps=2)
    trainer.state.global_step = 1
    with pytest.raises(RunFolderError, match="asking"):
        _Run.of(trainer, callback().settings, None, 0, around).begin(1)
