"""Best-of-N, and what transforms read, by a reward that sees all completions of a prompt."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from genrlhf.errors import ConfigError, DataError, RewardError, RunFolderError
from genrlhf.methods import DQO, Darling, DiverseBestOfN, Frequency
from genrlhf.trainers import SampleAndTuneConfig, SampleAndTuneTrainer
from genrlhf.types import Sample
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, best_of_n, largest_difference, prompt_rows, share_of_letters, weights


class Scripted:
    """Draws the same texts for every prompt; the last one is cut off."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def stream(self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()) -> Any:
        for place in range(len(prompts)):
            if place not in done:
                yield place, [Sample(text, "length" if text == self.texts[-1] else "stop", 2) for text in self.texts]


def right(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A verifier: what begins with r is right."""
    return [float(text.startswith("r")) for text in completions]


def letters(texts: Any) -> Any:
    """An encoder: how often each of three texts' second character comes."""
    return torch.tensor([[float(text[1] == letter) for letter in "abc"] for text in texts]).numpy()


@pytest.mark.parametrize("group_reward", [Darling(), Frequency(), DQO(0.3, letters, valid_at=1), DiverseBestOfN()])
def test_the_rarest_right_one_is_chosen(group_reward: Any, tmp_path: Path) -> None:
    drawn = ["ra", "ra", "wc", "rb", "ra", "wd"]
    trainer = best_of_n(
        tmp_path, reward=right, n=6, sampler=Scripted(*drawn), group_reward=group_reward, missing_eos_score=0.0
    )
    (output,) = trainer.generate(["q"])
    # Plain best-of-N takes the first right one; what is wrong is rarer still.
    assert output.completion == "rb" and output.chosen == 3 and output.reward == 1
    assert output.rewards == [1, 1, 0, 1, 1, 0]
    assert output.group_rewards is not None and max(output.group_rewards) == output.group_rewards[3]
    figures = trainer.evaluate(prompt_rows(2))
    assert figures["eval_reward/best"] == 1 and figures["eval_reward/mean"] == pytest.approx(4 / 6)
    assert figures["eval_group_reward/best"] == pytest.approx(output.group_rewards[3])
    assert figures["eval_group_reward/mean"] == pytest.approx(sum(output.group_rewards) / 6)
    # Groups of two would have rewards of their own.
    assert "eval_reward/best_of_2" not in figures


def test_a_reward_of_groups_that_changes_nothing(tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    def same(prompts: Any, completions: Any, rewards: Any, **columns: Any) -> Any:
        calls.append({"prompts": prompts, "completions": completions, "rewards": rewards, **columns})
        return rewards

    rows = [{"prompt": "q" + "x" * place, "topic": place} for place in range(3)]
    options: dict[str, Any] = {"missing_eos_score": -3.0, "max_new_tokens": 24, "stop": ["a", "e"]}
    plain = best_of_n(tmp_path, **options).generate(rows)
    found = best_of_n(tmp_path, group_reward=same, **options).generate(rows)
    assert [output.chosen for output in found] == [output.chosen for output in plain]
    assert [output.rewards for output in found] == [output.rewards for output in plain]
    seen = {prompt: place for call in calls for place, prompt in enumerate(call["prompts"])}
    assert sorted(seen) == [row["prompt"] for row in rows]
    for output in found:
        call, place = next((c, c["prompts"].index(output.prompt)) for c in calls if output.prompt in c["prompts"])
        assert call["completions"][place] == output.samples and call["ended"][place] == output.ended
        assert call["completion_ids"][place] == output.token_ids and call["topic"][place] == len(output.prompt) - 1
        # By the rule for those cut off.
        ruled = [r if ended else -3.0 for r, ended in zip(output.rewards, output.ended, strict=True)]
        assert call["rewards"][place].tolist() == pytest.approx(ruled) == output.group_rewards
    assert not all(ended for output in found for ended in output.ended)


def test_transforms_read_it_and_files_keep_it(tmp_path: Path) -> None:
    calls = []

    def rarer(prompts: Any, completions: Any, rewards: Any) -> Any:
        calls.append(len(prompts))
        counts = [Counter(text[:1] for text in group) for group in completions]
        sizes = [[count[text[:1]] for text in group] for count, group in zip(counts, completions, strict=True)]
        return 2 - rewards / torch.tensor(sizes)

    def best(groups: Any) -> Any:
        return [group.demonstration(group.scores.index(max(group.scores)), score=max(group.scores)) for group in groups]

    def trainer(folder: Path, group_reward: Any = rarer) -> SampleAndTuneTrainer:
        args = SampleAndTuneConfig(str(folder), n=4, max_new_tokens=4, sampling_batch_size=8, max_steps=1, **QUIET)
        given = {"processing_class": tiny_tokenizer(), "reward": share_of_letters, "group_reward": group_reward}
        return SampleAndTuneTrainer(tiny_llama(), args, prompt_rows(6), best, **given)

    first = trainer(tmp_path / "a")
    first.train()
    lines = [json.loads(line) for line in (tmp_path / "a" / "groups-0.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in (tmp_path / "a" / "rows.jsonl").read_text().splitlines()]
    by_row = {line["row"]: line for line in lines}
    assert [row["score"] for row in rows] == [max(by_row[place]["group_rewards"]) for place in range(6)]
    assert sum(calls) == 6 and any(line["group_rewards"] != line["rewards"] for line in lines)
    # As after a kill: what is drawn is not asked about again.
    again = trainer(tmp_path / "a")
    again.train()
    assert sum(calls) == 6 and largest_difference(weights(first.model), weights(again.model)) == 0
    with pytest.raises(RunFolderError, match="group_reward is"):
        trainer(tmp_path / "a", Frequency()).train()


BAD = {
    "short": (lambda p, c, rewards: rewards[:, 1:], "returned 3 values for 4 completions"),
    "flat": (
        lambda p, c, rewards: rewards.flatten(),
        r"returned \(4,\); it must return one number for each of the 4",
    ),
    "nan": (lambda p, c, rewards: rewards * float("nan"), "gave nan to the completion"),
    "raises": (lambda p, c, rewards: 1 / 0, "raised ZeroDivisionError"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_it_may_not_return(name: str, tmp_path: Path) -> None:
    function, words = BAD[name]
    with pytest.raises(RewardError, match=words) as raised:
        best_of_n(tmp_path, group_reward=function).generate(["q"])
    assert "\n" not in str(raised.value)


def test_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="With group_reward=Darling the completions of a prompt .* n is 1; set it to 2"
    ):
        best_of_n(tmp_path, n=1, group_reward=Darling())
    with pytest.raises(ConfigError, match="group_reward is <class .*Darling"):
        best_of_n(tmp_path, group_reward=Darling)
    args = SampleAndTuneConfig(str(tmp_path), n=2, **QUIET)
    with pytest.raises(ConfigError, match="group_reward=Darling begins with rewards, and there is no reward"):
        SampleAndTuneTrainer(tiny_llama(), args, processing_class=tiny_tokenizer(), group_reward=Darling())
    rows = Dataset.from_list([{"prompt": "q", "rewards": 1}] * 2)
    with pytest.raises(DataError, match="train_dataset has a column 'rewards', the name under which"):
        best_of_n(tmp_path, train_dataset=rows, group_reward=Darling())
    for by, words in (
        ("divpo", "by is 'divpo'; give a function, or where one is"),
        (None, "by is None"),
        (3, "by is a int"),
    ):
        with pytest.raises(ConfigError, match=words):
            DiverseBestOfN(by)  # type: ignore[arg-type]
