"""Outputs on disk: what is there stays, what lacks is drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.data.log import recover_records
from genrlhf.errors import RewardError, RunFolderError
from genrlhf.studies.stages.outputs import draw_outputs
from tests.processes import run_in_two

PROMPTS = [f"prompt {i}" for i in range(7)]
DATASET = Dataset.from_dict({"prompt": PROMPTS, "reference": [f"reference {i}" for i in range(7)]})
SIZES: dict[str, Any] = {"counts": [3, 3, 3, 3, 1, 1, 1], "batch_size": 6}


class Drawer:
    """Draws texts that tell the row and the sample, and counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, prompts: Sequence[Any], rows: Sequence[int], n: int) -> list[list[str]]:
        self.asked += rows
        return [[f"{prompt} / {row} / {k}" for k in range(n)] for prompt, row in zip(prompts, rows, strict=True)]


def test_first_inputs_get_several_outputs_and_the_others_one(tmp_path: Path) -> None:
    rows = draw_outputs(tmp_path / "o.jsonl", DATASET, "id", Drawer(), **SIZES)
    assert [len(row["outputs"]) for row in rows] == [3, 3, 3, 3, 1, 1, 1]
    assert rows[5] == {
        "prompt": "prompt 5",
        "outputs": ["prompt 5 / 5 / 0"],
        "reference": "reference 5",
        "dataset": "id",
    }
    lines = (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows


def stopped_after(file: Path, chunks: int, draw: Any, **options: Any) -> None:
    """Draw until so many batches have come."""

    def fails(prompts: Sequence[Any], rows: Sequence[int], n: int) -> list[list[str]]:
        if len(batches) == chunks:
            raise KeyboardInterrupt
        batches.append(list(rows))
        return list(draw(prompts, rows, n))

    batches: list[list[int]] = []
    with pytest.raises(KeyboardInterrupt):
        draw_outputs(file, DATASET, "id", fails, **SIZES, **options)


@pytest.mark.parametrize(("chunks", "left"), [(0, list(range(7))), (1, [2, 3, 4, 5, 6]), (2, [4, 5, 6])])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, chunks: int, left: list[int]) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = draw_outputs(whole, DATASET, "id", Drawer(), **SIZES)
    stopped_after(cut, chunks, Drawer())
    assert not cut.exists()
    drawer = Drawer()
    assert draw_outputs(cut, DATASET, "id", drawer, **SIZES) == expected
    assert drawer.asked == left
    assert cut.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*process*"))


def test_a_batch_of_which_a_part_was_written_is_drawn_as_a_whole(tmp_path: Path) -> None:
    whole, cut, part = (tmp_path / f"{name}.jsonl" for name in ("whole", "cut", "cut.process-0"))
    expected = draw_outputs(whole, DATASET, "id", Drawer(), **SIZES)
    stopped_after(cut, 2, Drawer())
    lines = part.read_text(encoding="utf-8").splitlines(keepends=True)
    part.write_text("".join(lines[:3]) + lines[3][:9], encoding="utf-8")
    drawer = Drawer()
    assert draw_outputs(cut, DATASET, "id", drawer, **SIZES) == expected
    # Row 3 was cut off; row 2 is drawn beside it, since rounding depends on the batch.
    assert drawer.asked == [2, 3, 4, 5, 6]
    assert cut.read_bytes() == whole.read_bytes()


def test_what_is_whole_is_not_drawn_again(tmp_path: Path) -> None:
    draw_outputs(tmp_path / "o.jsonl", DATASET, "id", Drawer(), **SIZES)
    drawer = Drawer()
    assert len(draw_outputs(tmp_path / "o.jsonl", DATASET, "id", drawer, **SIZES)) == 7
    assert drawer.asked == []


def test_outputs_of_other_inputs_are_refused_and_kept(tmp_path: Path) -> None:
    file, part = tmp_path / "o.jsonl", tmp_path / "o.process-0.jsonl"
    stopped_after(file, 1, Drawer())
    before = part.read_bytes()
    other = Dataset.from_dict({"prompt": ["prompt 0", "another"]})
    with pytest.raises(RunFolderError, match="has an output for 'prompt 1', which is no row of 'id'"):
        draw_outputs(file, other, "id", Drawer(), counts=[1, 1], batch_size=6)
    assert part.read_bytes() == before


def test_line_separators_inside_an_output_do_not_split_its_row(tmp_path: Path) -> None:
    hostile = "a\u2028b\u0085c\x1e\n</script>"
    draw_outputs(tmp_path / "o.jsonl", DATASET, "id", lambda prompts, rows, n: [[hostile] * n for _ in rows], **SIZES)
    assert [row["outputs"][0] for row in recover_records(tmp_path / "o.jsonl")] == [hostile] * 7


def number_and_length(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [int(prompt[-1]) + len(text) / 100 for prompt, text in zip(prompts, completions, strict=True)]


def test_samples_are_kept_with_their_rewards(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    rows = draw_outputs(whole, DATASET, "id", Drawer(), reward=number_and_length, **SIZES)
    # "prompt 5 / 5 / 0" has 16 characters.
    assert rows[5]["rewards"] == [5.16] and len(rows[0]["rewards"]) == 3
    stopped_after(cut, 2, Drawer(), reward=number_and_length)
    assert draw_outputs(cut, DATASET, "id", Drawer(), reward=number_and_length, **SIZES) == rows
    assert cut.read_bytes() == whole.read_bytes()


def test_a_reward_that_is_no_number_stops_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="nan to the completion 'prompt 0 / 0 / 0'"):
        draw_outputs(
            tmp_path / "o.jsonl", DATASET, "id", Drawer(), reward=lambda p, c: [float("nan")] * len(c), **SIZES
        )
    assert not list(tmp_path.iterdir())


def test_two_processes_draw_each_row_once_and_write_what_one_writes(tmp_path: Path) -> None:
    draw_outputs(tmp_path / "one.jsonl", DATASET, "id", Drawer(), **SIZES)
    # An earlier start, of one process, has left a batch.
    stopped_after(tmp_path / "two.jsonl", 1, Drawer())
    printed = run_in_two("tests.studies.stages.in_processes", str(tmp_path / "two.jsonl"))
    # Two processes may print into one line.
    assert sorted(re.findall(r"drew \[[^]]*\]", printed)) == ["drew [2, 3]", "drew [4, 5, 6]"]
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert [file.name for file in tmp_path.iterdir() if "process" in file.name] == []
