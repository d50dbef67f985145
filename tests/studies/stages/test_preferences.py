"""Which of the SFT model's samples a study prefers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.studies.recipe import Preferences
from genrlhf.studies.stages.preferences import draw_part, make_preferences, parts_of, read_preferences

N = 400
PROMPTS = Dataset.from_dict({"prompt": [f"prompt {i}" for i in range(N)]})


def draw(prompts: Sequence[Any], rows: Sequence[int], n: int) -> list[list[str]]:
    return [[" short", " longer"] for _ in prompts]


def brief(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [-len(completion) / 100 for completion in completions]


def made(folder: Path, temperature: float) -> tuple[Dataset, Dataset]:
    recipe = Preferences(source="sft", prompts=N, samples=2, pairs=1, temperature=temperature)
    rows = draw_part(folder, PROMPTS, draw, recipe, part=range(N), batch_size=64)
    counts = make_preferences(folder, rows, recipe, gold=brief, seed=0)
    train, held_out = read_preferences(folder)
    assert counts == {"pairs": len(train), "held_out_pairs": len(held_out)}
    return train, held_out


def test_the_gold_score_decides_however_close(tmp_path: Path) -> None:
    train, held_out = made(tmp_path, 0.0)
    # 15 % of the prompts are held out; the scores of their samples differ by 0.01.
    assert (len(train), len(held_out)) == (340, 60)
    assert not set(train["prompt"]) & set(held_out["prompt"])
    for part in (train, held_out):
        assert set(part["chosen"]) == {" short"}
        assert set(part["rejected"]) == {" longer"}


def test_labels_are_drawn_at_the_temperature_of_the_recipe(tmp_path: Path) -> None:
    train, _ = made(tmp_path, 0.01)
    # σ(0.01 / 0.01) = 0.7311; the standard error of a share of 340 is 0.024.
    assert train["chosen"][:].count(" short") / len(train) == pytest.approx(0.7311, abs=0.08)


@pytest.mark.parametrize(
    ("asked", "prompts", "parts", "sizes"),
    [(400, 400, 2, [192, 208]), (300, 400, 3, [96, 96, 108]), (40, 400, 9, [32, 8]), (500, 7, 4, [7])],
)
def test_parts_hold_all_rows_once_and_end_where_a_batch_does(
    asked: int, prompts: int, parts: int, sizes: list[int]
) -> None:
    recipe = Preferences(source="sft", prompts=asked, samples=2, parts=parts)
    found = parts_of(recipe, PROMPTS.select(range(prompts)), 64)
    assert [len(part) for part in found] == sizes
    assert [row for part in found for row in part] == list(range(min(asked, prompts)))
