from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from genrlhf.errors import ConfigError, DataError, RewardError, RunFolderError
from genrlhf.models import load_causal_lm
from genrlhf.trainers import BestOfNConfig, BestOfNTrainer, SFTConfig, SFTTrainer
from genrlhf.trainers.best_of_n_choice import choose
from genrlhf.trainers.groups import Completion
from genrlhf.types import Sample
from tests.helpers import EOS_ID, save_model, tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, best_of_n, largest_difference, prompt_rows, share_of_a, share_of_letters, weights

PROMPTS = ["q", "qxx", "qxxxx"]


def read_lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "best_of_n-0.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_generate_returns_the_best_sample(tmp_path: Path) -> None:
    outputs = best_of_n(tmp_path).generate(PROMPTS)
    assert [output.prompt for output in outputs] == PROMPTS
    for output in outputs:
        assert len(output.samples) == len(output.rewards) == 4
        assert output.rewards == share_of_letters([output.prompt] * 4, output.samples)
        assert output.reward == max(output.rewards)
        assert output.completion == output.samples[output.rewards.index(output.reward)]
    assert len({tuple(output.samples) for output in outputs}) == 3
    assert not tmp_path.joinpath("genrlhf_run.json").exists()


def test_generate_takes_rows_too(tmp_path: Path) -> None:
    def reward(prompts: list[str], completions: list[str], *, bonus: list[int]) -> list[float]:
        return [float(value) for value in bonus]

    rows = [{"prompt": prompt, "bonus": place} for place, prompt in enumerate(PROMPTS)]
    trainer = best_of_n(tmp_path, reward=reward)
    expected = trainer.generate(PROMPTS, bonus=[0, 1, 2])
    for given in (rows, Dataset.from_list(rows)):
        assert trainer.generate(given) == expected
        assert [output.reward for output in trainer.generate(given, bonus=[5, 6, 7])] == [5, 6, 7]
    with pytest.raises(DataError, match=r"have no 'prompt', only role, content; .*generate\(\[conversation\]\)"):
        trainer.generate([{"role": "user", "content": "q"}])
    with pytest.raises(DataError, match=r"wants a list of prompts or a dataset of rows, not a DatasetDict"):
        trainer.generate(DatasetDict({"train": Dataset.from_list(rows)}))  # type: ignore[arg-type]


def test_first_of_equally_good_samples(tmp_path: Path) -> None:
    trainer = best_of_n(tmp_path, reward=lambda prompts, completions, **columns: [1.0] * len(completions))
    (output,) = trainer.generate(["q"])
    assert output.completion == output.samples[0]


def test_samples_depend_on_seed_and_place_alone(tmp_path: Path) -> None:
    first = best_of_n(tmp_path).generate(PROMPTS)
    for size in (1, 4, 9):
        assert best_of_n(tmp_path, sampling_batch_size=size).generate(PROMPTS) == first
    assert best_of_n(tmp_path).generate(PROMPTS, seed=42) == first
    assert best_of_n(tmp_path).generate(PROMPTS, seed=1) != first
    assert best_of_n(tmp_path, seed=1).generate(PROMPTS) == best_of_n(tmp_path).generate(PROMPTS, seed=1)
    assert best_of_n(tmp_path, n=2).generate(PROMPTS)[2].samples == first[2].samples[:2]


def test_columns_reach_the_reward(tmp_path: Path) -> None:
    def reward(prompts: list[str], completions: list[str], *, bonus: list[int]) -> list[float]:
        assert len(prompts) == len(completions) == len(bonus)
        return [float(value) for value in bonus]

    outputs = best_of_n(tmp_path, reward=reward, sampling_batch_size=4).generate(PROMPTS, bonus=[5, 6, 7])
    assert [output.rewards for output in outputs] == [[5.0] * 4, [6.0] * 4, [7.0] * 4]


def test_bad_calls(tmp_path: Path) -> None:
    trainer = best_of_n(tmp_path, max_new_tokens=60, sampling_batch_size=4)
    with pytest.raises(DataError, match=r"wants a list of prompts, not one string; write generate\(\[prompt\]\)"):
        trainer.generate("q")
    with pytest.raises(DataError, match="prompts, row 2: the prompt 'qxxxx' has 5 tokens, and at most 4"):
        trainer.generate(PROMPTS)
    with pytest.raises(ConfigError, match=r"train\(\) needs prompts"):
        trainer.train()
    with pytest.raises(ConfigError, match=r"evaluate\(\) needs prompts"):
        trainer.evaluate()
    with pytest.raises(DataError, match="train_dataset has no column 'prompt'"):
        best_of_n(tmp_path, train_dataset=Dataset.from_list([{"text": "a"}]))
    with pytest.raises(DataError, match="eval_dataset, row 0, column 'prompt' is empty"):
        trainer.evaluate(Dataset.from_list([{"prompt": ""}]))
    with pytest.raises(RewardError, match="returned 1 values for 4 completions"):
        best_of_n(tmp_path, reward=lambda prompts, completions, **columns: [1.0]).generate(["q"])
    with pytest.raises(ConfigError, match=r"freeze_layers=0.5 and an adapter"):
        best_of_n(tmp_path, freeze_layers=0.5, peft_config=LoraConfig(target_modules=["q_proj"]))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("n", 0, "n must be at least 1, not 0"),
        ("max_new_tokens", 0, "max_new_tokens must be at least 1"),
        ("sampling_batch_size", 0, "sampling_batch_size must be at least 1"),
        ("reward_batch_size", 0, "reward_batch_size must be at least 1"),
        ("temperature", 0.0, "temperature must be above 0, or all n samples are one; it is 0.0"),
        ("top_k", -1, "top_k must be 0 or more, and finite, not -1"),
        ("top_p", 0.0, "top_p must be above 0 and at most 1, not 0.0"),
        ("top_p", 1.1, "top_p must be above 0 and at most 1, not 1.1"),
        ("min_new_tokens", 49, r"min_new_tokens must lie between 0 and max_new_tokens \(48\), not 49"),
    ],
)
def test_bad_settings(tmp_path: Path, setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BestOfNConfig(str(tmp_path), **{setting: value})


def test_evaluate(tmp_path: Path) -> None:
    trainer, rows = best_of_n(tmp_path), prompt_rows(6)
    figures = trainer.evaluate(rows)
    rewards = [output.rewards for output in trainer.generate(rows["prompt"], seed=43)]
    assert figures == {
        "eval_reward/best": pytest.approx(sum(map(max, rewards)) / 6),
        "eval_reward/mean": pytest.approx(sum(map(sum, rewards)) / 24),
        "eval_kl/bound": pytest.approx(math.log(4) - 3 / 4),
        "eval_reward/best_of_2": pytest.approx(sum(max(pair) for row in rewards for pair in combinations(row, 2)) / 36),
        "eval_kl/bound_of_2": pytest.approx(math.log(2) - 1 / 2),
    }
    named = trainer.evaluate({"id": rows, "ood": prompt_rows(2)})
    assert {key.split("_")[1] for key in named} == {"id", "ood"}
    assert named["eval_id_reward/best"] == figures["eval_reward/best"]


def test_interrupted_sampling_goes_on(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    stop_after = [2]

    def share_of_letters_or_stop(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        if len(calls) == stop_after[0]:
            raise KeyboardInterrupt
        calls.append(list(prompts))
        return share_of_letters(prompts, completions)

    options: dict[str, Any] = {"reward": share_of_letters_or_stop, "train_dataset": prompt_rows(20)}
    with pytest.raises(KeyboardInterrupt):
        best_of_n(tmp_path / "cut", **options).train()
    lines = read_lines(tmp_path / "cut")
    # Four prompts at a time, the longest first; those of row r have 1 + r mod 5 tokens.
    assert [line["row"] for line in lines] == [4, 9, 14, 19, 3, 8, 13, 18]
    with (tmp_path / "cut" / "best_of_n-0.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"row": 2, "prompt": "qxx')

    stop_after[0] = -1
    resumed = best_of_n(tmp_path / "cut", **options)
    resumed.train()
    assert len(calls) == 5  # 20 prompts, four at a time: two batches before and three after
    assert read_lines(tmp_path / "cut")[:8] == lines
    whole = best_of_n(tmp_path / "whole", **options)
    whole.train()
    assert read_lines(tmp_path / "cut") == read_lines(tmp_path / "whole")
    assert resumed.sample_training_set()[:] == whole.sample_training_set()[:]
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0


def test_training_set_holds_the_best(tmp_path: Path) -> None:
    conversation = [{"role": "user", "content": "hi"}]
    tokenizer = tiny_tokenizer(chat_template=True)
    trainer = best_of_n(tmp_path, tokenizer=tokenizer, train_dataset=Dataset.from_list([{"prompt": conversation}] * 3))
    rows = trainer.sample_training_set()
    lines = read_lines(tmp_path)
    assert [row["prompt"] for row in rows] == [conversation] * 3
    assert [row["completion"] for row in rows] == [
        [{"role": "assistant", "content": line["completion"]}] for line in lines
    ]
    assert [row["reward"] for row in rows] == [max(line["rewards"]) for line in lines]


def test_odd_line_ends_in_completions(tmp_path: Path) -> None:
    # What a text viewer takes for the end of a line, JSON does not.
    odd = "a\u2028b\x85c\x0bd"

    class Odd(BestOfNTrainer):
        def _batches(self, *args: Any, **options: Any) -> Any:
            for groups in super()._batches(*args, **options):
                drawn = [Completion(odd, ended=True, token_ids=[5])]
                yield [replace(group, completions=drawn, rewards=[1.0]) for group in groups]

    trainer = best_of_n(tmp_path, train_dataset=prompt_rows(3))
    trainer.__class__ = Odd
    assert trainer.sample_training_set()["completion"][:] == [odd] * 3
    assert trainer.sample_training_set()["completion"][:] == [odd] * 3


def test_distillation_raises_the_mean_reward(tmp_path: Path) -> None:
    # A policy that writes any of four letters, seven times, is rewarded for one of them.
    rng = random.Random(0)
    texts = [{"prompt": "q", "completion": "".join(rng.choices("abcd", k=7))} for _ in range(128)]
    settings: dict[str, Any] = {"learning_rate": 1e-2, "per_device_train_batch_size": 32}
    args = SFTConfig(str(tmp_path / "sft"), max_steps=60, **settings, **QUIET)
    sft = SFTTrainer(tiny_llama(), args, Dataset.from_list(texts), processing_class=tiny_tokenizer())
    sft.train()
    prompts = Dataset.from_list([{"prompt": "q"}] * 128)
    trainer = best_of_n(
        tmp_path / "run", model=sft.model, reward=share_of_a, train_dataset=prompts, n=8, max_steps=30, **settings
    )
    before = trainer.evaluate(prompts)
    assert before["eval_reward/mean"] == pytest.approx(7 / 8 / 4, abs=0.05)
    trainer.train()
    after = trainer.evaluate(prompts)
    # One sample of the trained policy comes near the best of eight of the old one.
    assert after["eval_reward/mean"] == pytest.approx(before["eval_reward/best"], abs=0.08)
    assert before["eval_reward/best"] > before["eval_reward/mean"] + 0.15
    trainer.save_model(str(tmp_path / "saved"))
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert largest_difference(weights(loaded), weights(trainer.model)) == 0


def test_another_run_or_foreign_samples_in_the_folder(tmp_path: Path) -> None:
    best_of_n(tmp_path, train_dataset=prompt_rows(5), max_steps=1).train()
    lines = (tmp_path / "best_of_n-0.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match=r"n is 4 there and 2 here"):
        best_of_n(tmp_path, train_dataset=prompt_rows(5), n=2).train()
    with pytest.raises(RunFolderError, match=r"reward is 'share_of_letters' there and 'constant' here"):

        def constant(prompts: Any, completions: Any, **columns: Any) -> list[float]:
            return [1.0] * len(completions)

        best_of_n(tmp_path, reward=constant, train_dataset=prompt_rows(5)).train()
    other = Dataset.from_list([{"prompt": "other"}] * 5)
    with pytest.raises(RunFolderError, match=r"data is '5 rows of prompt' \(digest \w+\) there and '5 rows of prompt'"):
        best_of_n(tmp_path, train_dataset=other).train()
    assert (tmp_path / "best_of_n-0.jsonl").read_bytes() == lines
    # Overwriting begins anew: samples drawn with other settings are of no use.
    best_of_n(tmp_path, train_dataset=prompt_rows(5), n=2, max_steps=1, overwrite_output_dir=True).train()
    assert [len(line["samples"]) for line in read_lines(tmp_path)] == [2] * 5


@pytest.mark.parametrize("line", ["no json", "[1]", '{"row": 0}', '{"prompt": "q"}', "5"])
def test_file_that_is_none_of_ours(tmp_path: Path, line: str) -> None:
    (tmp_path / "best_of_n-0.jsonl").write_text(f"{line}\n")
    with pytest.raises(
        RunFolderError, match=r"best_of_n-0.jsonl, line 1 is .*, which is no (JSON object|output of BestOfNTrainer)"
    ):
        best_of_n(tmp_path, train_dataset=prompt_rows(5)).train()


def test_lora_changes_the_adapter_alone_and_samples_as_saved(tmp_path: Path) -> None:
    base = save_model(tiny_gpt2(), tiny_tokenizer(), tmp_path / "base")
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["c_attn"])
    trainer = best_of_n(tmp_path / "run", model=str(base), peft_config=config, train_dataset=prompt_rows(8))
    trainer.train()
    original = weights(tiny_gpt2())
    for name, parameter in weights(trainer.model.get_base_model()).items():
        if "lora_" not in name:
            assert torch.equal(parameter, original[name.replace(".base_layer", "")])
    trainer.save_model(str(tmp_path / "saved"))
    merged = best_of_n(tmp_path / "other", model=load_causal_lm(str(tmp_path / "saved")))
    # GPT-2 has absolute positions: with prompts of several lengths, only the right ones give the same samples.
    assert merged.generate(PROMPTS) == trainer.generate(PROMPTS)
    assert merged.generate(PROMPTS) != best_of_n(tmp_path / "start", model=str(base)).generate(PROMPTS)


def test_save_before_training(tmp_path: Path) -> None:
    best_of_n(tmp_path).save_model(str(tmp_path / "saved"))
    assert largest_difference(weights(load_causal_lm(str(tmp_path / "saved"))), weights(tiny_llama())) == 0


def test_soft_best_of_n_chooses_in_proportion_to_the_exponential(tmp_path: Path) -> None:
    trainer = best_of_n(tmp_path, selection_temperature=0.5)
    rewards = [0.0, 0.5, 0.5 * math.log(3.0)]
    samples = [Sample(text, "stop", 1) for text in "abc"]
    drawn = [choose("q", samples, rewards, trainer.args, seed=seed, row=0).completion for seed in range(4000)]
    total = 1 + math.e + 3
    for letter, weight in (("a", 1.0), ("b", math.e), ("c", 3.0)):
        assert drawn.count(letter) / 4000 == pytest.approx(weight / total, abs=0.03)
    outputs = trainer.generate(PROMPTS)
    assert outputs == best_of_n(tmp_path, selection_temperature=0.5).generate(PROMPTS)
    with pytest.raises(ConfigError, match="selection_temperature must be 0 or more, and finite, not -1"):
        BestOfNConfig(str(tmp_path), selection_temperature=-1)


def test_iterations_go_on_from_one_another_and_resume(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train_dataset": prompt_rows(8), "max_steps": 2, "learning_rate": 1e-2}
    whole = best_of_n(tmp_path / "whole", num_iterations=2, **options)
    start = weights(whole.model)
    whole.train()
    files = [tmp_path / "whole" / f"iteration-{k}" / "best_of_n-0.jsonl" for k in (0, 1)]
    first, second = (file.read_text().split("\n")[:-1] for file in files)
    assert len(first) == len(second) == 8
    assert first != second
    once = best_of_n(tmp_path / "once", **options)
    once.train()
    assert largest_difference(weights(once.model), start) > 0
    assert largest_difference(weights(once.model), weights(whole.model)) > 0

    cut = best_of_n(tmp_path / "cut", num_iterations=2, **options)
    cut._train_once(0, None)
    resumed = best_of_n(tmp_path / "cut", num_iterations=2, **options)
    resumed.train(resume_from_checkpoint=True)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    with pytest.raises(ConfigError, match="resume_from_checkpoint must be True"):
        resumed.train(resume_from_checkpoint="somewhere")


def test_another_sampler_draws_and_nothing_is_trained(tmp_path: Path) -> None:
    class Letters:
        def stream(self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()) -> Any:
            for place in reversed(range(len(prompts))):
                yield place, [Sample(text, "stop", 1) for text in "abcd"[:n]]

    trainer = BestOfNTrainer(None, share_of_a, BestOfNConfig(str(tmp_path), n=4, **QUIET), sampler=Letters())
    outputs = trainer.generate(PROMPTS)
    assert [(output.prompt, output.completion) for output in outputs] == [(prompt, "a") for prompt in PROMPTS]
    with pytest.raises(ConfigError, match=r"train\(\) samples from the policy that it trains"):
        trainer.train()
    with pytest.raises(ConfigError, match="model is None, and there is no sampler"):
        BestOfNTrainer(None, share_of_a)


def distilled(trainer: Any) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of every row that the fine-tuning has trained on, in the order of the prompts."""
    rows = trainer.distillation.train_dataset
    return sorted(zip(rows["input_ids"], rows["labels"], strict=True), key=lambda row: (len(row[0]), row[0]))


def fond_of(tokens: dict[int, float], **options: Any) -> Any:
    """A model whose head has a bias towards these tokens."""
    model = tiny_llama(**options)
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.lm_head.out_features))
    for token, much in tokens.items():
        model.lm_head.bias.data[token] = much
    return model


@pytest.mark.parametrize("chat", [False, True])
def test_best_samples_are_trained_as_they_were_sampled(tmp_path: Path, chat: bool) -> None:
    prompt: Any = [{"role": "user", "content": "hi"}] if chat else "hi"
    trainer = best_of_n(
        tmp_path,
        model=fond_of({EOS_ID: 4.0}),
        tokenizer=tiny_tokenizer(chat_template=chat),
        train_dataset=Dataset.from_list([{"prompt": prompt}] * 12),
        max_steps=1,
    )
    trainer.train()
    lines = read_lines(tmp_path)
    best = [(line["token_ids"][line["chosen"]], line["ended"][line["chosen"]]) for line in lines]
    assert {ended for _, ended in best} == {True, False}
    assert all(ended == (ids[-1] == EOS_ID) for ids, ended in best)
    text = "[user]hi\n[assistant]" if chat else "hi"
    start = tiny_tokenizer()(text)["input_ids"]
    expected = [(start + ids, [-100] * len(start) + ids) for ids, _ in best]
    assert distilled(trainer) == sorted(expected, key=lambda row: (len(row[0]), row[0]))


def test_an_empty_best_sample_is_its_end(tmp_path: Path) -> None:
    trainer = best_of_n(tmp_path, model=fond_of({EOS_ID: 30.0}), train_dataset=prompt_rows(5))
    trainer.train()
    assert trainer.sample_training_set()["completion"][:] == [""] * 5
    assert all([label for label in labels if label != -100] == [EOS_ID] for _, labels in distilled(trainer))


def test_every_end_and_stop_string_stays_what_it_was(tmp_path: Path) -> None:
    other, stop = (tiny_tokenizer()(letter)["input_ids"][0] for letter in "xy")
    model = fond_of({EOS_ID: 5.0, other: 5.0, stop: 5.0})
    model.generation_config.eos_token_id = [EOS_ID, other]
    trainer = best_of_n(tmp_path, model=model, train_dataset=prompt_rows(30), stop=["y"], max_new_tokens=20)
    trainer.train()
    lasts = {ids[-1] for ids, _ in distilled(trainer)}
    assert {EOS_ID, other, stop} <= lasts
    assert all(sum(token in (EOS_ID, other, stop) for token in ids[5:-1]) == 0 for ids, _ in distilled(trainer))


def test_what_was_cut_off_can_be_left_out_and_counts_for_less(tmp_path: Path, caplog: Any) -> None:
    settings: dict[str, Any] = {"train_dataset": prompt_rows(20), "n": 2}
    kept = best_of_n(tmp_path / "kept", model=fond_of({EOS_ID: 4.0}), **settings)
    kept.train()
    cut_off = sum(not ended for ended in kept.sample_training_set()["ended"])
    assert 0 < cut_off < 20
    assert f"{cut_off} of 20 best samples were cut off at max_new_tokens, and are trained without EOS" in caplog.text
    left = best_of_n(tmp_path / "left", model=fond_of({EOS_ID: 4.0}), **settings, train_cut_off=False)
    left.train()
    assert len(left.distillation.train_dataset) == 20 - cut_off
    assert f"{cut_off} of 20 best samples were cut off at max_new_tokens, and are left out" in caplog.text
    with pytest.raises(DataError, match="All 5 best samples were cut off at max_new_tokens; raise max_new_tokens"):
        best_of_n(
            tmp_path / "none", model=fond_of({EOS_ID: -30.0}), train_dataset=prompt_rows(5), train_cut_off=False
        ).train()
    with pytest.raises(ConfigError, match="missing_eos_score replaces a score and missing_eos_penalty lowers it"):
        BestOfNConfig(str(tmp_path), missing_eos_score=-1.0, missing_eos_penalty=1.0)


@pytest.mark.parametrize("rule", [{"missing_eos_score": -1.0}, {"missing_eos_penalty": 2.0}])
def test_the_rule_for_what_was_cut_off_decides_and_leaves_rewards_alone(tmp_path: Path, rule: Any) -> None:
    samples = [Sample("a", "length", 8, token_ids=[7] * 8), Sample("b", "stop", 2), Sample("c", "length", 8)]
    output = choose("q", samples, [3.0, 0.5, 1.0], BestOfNConfig(str(tmp_path), **rule), seed=0, row=0)
    expected = ("b", 0.5) if "missing_eos_score" in rule else ("a", 3.0)
    assert (output.completion, output.reward) == expected
    assert output.rewards == [3.0, 0.5, 1.0]
    assert output.ended == [False, True, False]


def test_rewards_may_ask_for_tokens_and_whether_a_sample_ended(tmp_path: Path) -> None:
    def lengths(completions: list[str], completion_ids: list[list[int]], ended: list[bool]) -> list[float]:
        assert [ids[-1] == EOS_ID for ids in completion_ids] == ended
        return [float(len(ids)) for ids in completion_ids]

    (output,) = best_of_n(tmp_path, model=fond_of({EOS_ID: 4.0}), reward=lengths, n=8).generate(["q"])
    assert output.rewards == [float(len(ids or [])) for ids in output.token_ids]
    assert output.reward == max(output.rewards)
    (own,) = best_of_n(
        tmp_path, reward=lambda completions, ended: [float(x) for x in ended], train_dataset=None
    ).generate(["q"], ended=[5])
    assert own.rewards == [5.0] * 4
