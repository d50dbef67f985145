"""Outputs on disk: what is there stays, what lacks is drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.data.log import recover_records
from genrlhf.errors import RewardError, RunFolderError
from genrlhf.studies.outputs import draw_outputs
from genrlhf.studies.recipe import Recipe

PROMPTS = [f"prompt {i}" for i in range(7)]
DATASET = Dataset.from_dict({"prompt": PROMPTS, "reference": [f"reference {i}" for i in range(7)]})
RECIPE = Recipe(outputs_per_input=3, diversity_inputs=4, sampling_batch_size=6)


class Drawer:
    """Draws texts that tell the row and the sample, and counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, prompts: Sequence[Any], rows: Sequence[int], n: int) -> list[list[str]]:
        self.asked += rows
        return [[f"{prompt} / {row} / {k}" for k in range(n)] for prompt, row in zip(prompts, rows, strict=True)]


def test_first_inputs_get_several_outputs_and_the_others_one(tmp_path: Path) -> None:
    rows = draw_outputs(tmp_path / "o.jsonl", DATASET, "id", RECIPE, Drawer())
    assert [len(row["outputs"]) for row in rows] == [3, 3, 3, 3, 1, 1, 1]
    assert rows[5] == {
        "prompt": "prompt 5",
        "outputs": ["prompt 5 / 5 / 0"],
        "reference": "reference 5",
        "dataset": "id",
    }
    lines = (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows


@pytest.mark.parametrize("kept", [1, 3, 4, 6])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, kept: int) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = draw_outputs(whole, DATASET, "id", RECIPE, Drawer())
    lines = whole.read_text(encoding="utf-8").splitlines(keepends=True)
    cut.write_text("".join(lines[:kept]) + lines[kept][:9], encoding="utf-8")
    drawer = Drawer()
    assert draw_outputs(cut, DATASET, "id", RECIPE, drawer) == expected
    assert drawer.asked == list(range(kept, 7))
    assert cut.read_bytes() == whole.read_bytes()


def test_outputs_of_other_inputs_are_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    draw_outputs(file, DATASET, "id", RECIPE, Drawer())
    before = file.read_bytes()
    other = Dataset.from_dict({"prompt": ["prompt 0", "another"]})
    with pytest.raises(RunFolderError, match="row 1 is an output for 'prompt 1'"):
        draw_outputs(file, other, "id", RECIPE, Drawer())
    assert file.read_bytes() == before


def test_line_separators_inside_an_output_do_not_split_its_row(tmp_path: Path) -> None:
    hostile = "a\u2028b\u0085c\x1e\n</script>"
    draw_outputs(tmp_path / "o.jsonl", DATASET, "id", RECIPE, lambda prompts, rows, n: [[hostile] * n for _ in rows])
    assert [row["outputs"][0] for row in recover_records(tmp_path / "o.jsonl")] == [hostile] * 7


def number_and_length(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [int(prompt[-1]) + len(text) / 100 for prompt, text in zip(prompts, completions, strict=True)]


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_samples_are_kept_with_their_rewards(tmp_path: Path, kept: int) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    rows = draw_outputs(whole, DATASET, "id", RECIPE, Drawer(), times=2, reward=number_and_length)
    assert [len(row["outputs"]) for row in rows] == [6, 6, 6, 6, 2, 2, 2]
    # "prompt 5 / 5 / 0" has 16 characters.
    assert rows[5]["rewards"] == [5.16, 5.16]
    cut.write_text("".join(whole.read_text(encoding="utf-8").splitlines(keepends=True)[:kept]), encoding="utf-8")
    drawer = Drawer()
    assert draw_outputs(cut, DATASET, "id", RECIPE, drawer, times=2, reward=number_and_length) == rows
    assert drawer.asked == list(range(kept, 7))
    assert cut.read_bytes() == whole.read_bytes()


def test_a_reward_that_is_no_number_stops_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="nan to the completion 'prompt 0 / 0 / 0'"):
        draw_outputs(tmp_path / "o.jsonl", DATASET, "id", RECIPE, Drawer(), reward=lambda p, c: [float("nan")] * len(c))
    assert not (tmp_path / "o.jsonl").exists()
