"""Super-NaturalInstructions: Tk-Instruct's prompt, unseen tasks and categories, the layouts it comes in, errors."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.data import load_task
from genrlhf.data.tasks.super_natural_instructions import accepted_rouge_l, definition_prompt
from genrlhf.errors import ConfigError, DataError
from tests import needs

EXAMPLES = [{"input": "1, 2", "output": "3", "explanation": "1 + 2 = 3"}, {"input": "2, 2?", "output": "4!"}]


def rows(task: str, n: int = 20, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "definition": f"Do {task}",
            "input": f"{task} {i}",
            "outputs": [f"out {i}", f"or {i}"],
            "positive_examples": [{"input": "a", "output": "b"}],
            **more,
        }
        for i in range(n)
    ]


def test_the_prompt_is_tk_instructs() -> None:
    # Tk-Instruct's form (Wang et al. 2022) by hand: full stops, a blank before "Positive" and "Output".
    assert definition_prompt("Add the numbers", EXAMPLES, "3, 4 ") == (
        "Definition: Add the numbers.\n\n"
        " Positive Example 1 -\nInput: 1, 2.\n Output: 3.\n\n"
        " Positive Example 2 -\nInput: 2, 2?\n Output: 4!\n\n"
        "Now complete the following example -\nInput: 3, 4.\nOutput: "
    )
    told = definition_prompt("Add.", EXAMPLES, "3", explanations=True)
    assert " Output: 3.\n Explanation: 1 + 2 = 3.\n\n Positive Example 2" in told and told.count("Explanation") == 1


def test_the_best_accepted_output_counts() -> None:
    # "a bird" of "a red bird": 2 common words of 2 and of 3, so F1 = 4 / 5.
    assert accepted_rouge_l(["", ""], ["a bird", "x"], [["a red bird", "z"], ["y"]]) == [pytest.approx(0.8), 0.0]


def test_unseen_tasks_and_categories() -> None:
    given = [
        *rows("add", category="Maths"),
        *rows("multiply", category="Maths"),
        *rows("rhyme", category="Poetry"),
        *rows("translate", category="Language"),
    ]
    task = load_task(
        "super_natural_instructions",
        source=Dataset.from_list(given),
        ood_tasks=["multiply"],
        ood_categories=["Poetry"],
        max_instances=10,
    )
    tasks = {name: set(rows["task"]) for name, rows in task.evaluation.items()}
    assert tasks.pop("id") <= {"add", "translate"} and tasks == {"ood": {"rhyme"}, "unseen_tasks": {"multiply"}}
    assert len(task.evaluation["ood"]) == len(task.evaluation["unseen_tasks"]) == 10
    assert set(task.evaluation["ood"]["prompt"]) == {
        definition_prompt("Do rhyme", [{"input": "a", "output": "b"}], f"rhyme {i}") for i in range(10)
    }
    assert set(task.demonstrations["task"]) <= {"add", "translate"}
    sides = [*task.evaluation.values(), task.validation["demonstrations"], task.demonstrations]
    assert len({p for side in sides for p in side["prompt"]}) == sum(map(len, sides)) == 40
    row = task.evaluation["ood"][0]
    assert row["reference"] == row["outputs"][0] and len(row["outputs"]) == 2


def test_tasks_of_a_shared_source_are_not_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    given = [*rows("qa", source="squad"), *rows("title", source="squad"), *rows("other", source="news")]
    with caplog.at_level(logging.WARNING):
        task = load_task("super_natural_instructions", source=Dataset.from_list(given), ood_tasks=["qa"])
    assert set(task.demonstrations["task"]) == {"other"}
    assert "1 tasks are not trained on, which share a source with a task that is held out" in caplog.text


def test_the_layout_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "splits" / "default").mkdir(parents=True)
    for task in ("task1_a", "task2_b", "task3_c"):
        content = {
            "Definition": [f"Do {task}."],
            "Positive Examples": EXAMPLES,
            "Negative Examples": [],
            "Categories": ["C"],
            "Source": [task],
            "Instances": [{"id": f"{i}", "input": f"{task} {i}", "output": [f"{i}", "same"]} for i in range(15)],
        }
        (tmp_path / "tasks" / f"{task}.json").write_text(json.dumps(content))
    (tmp_path / "splits" / "default" / "train_tasks.txt").write_text("task1_a\ntask9_not_here\n")
    (tmp_path / "splits" / "default" / "test_tasks.txt").write_text("task2_b\n")
    task = load_task("super_natural_instructions", source=tmp_path, n_examples=1)
    assert set(task.demonstrations["task"]) == {"task1_a"} and set(task.evaluation["ood"]["task"]) == {"task2_b"}
    assert len(task.evaluation["ood"]) == 15
    assert task.demonstrations[0]["prompt"].startswith("Definition: Do task1_a.\n\n Positive Example 1 -\nInput: 1, 2.")
    assert "Example 2" not in task.demonstrations[0]["prompt"]


def test_the_layout_of_the_hub(tmp_path: Path) -> None:
    for split, task in (("train", "one"), ("test", "two")):
        (tmp_path / split).mkdir()
        made = [
            {"task_name": task, "id": f"{task}-{i}", "definition": "Do.", "inputs": f"{task} {i}", "targets": target}
            for i in range(12)
            for target in (f"t{i}", f"or t{i}")
        ]
        (tmp_path / split / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    task = load_task("super_natural_instructions", source=tmp_path)
    assert set(task.evaluation["ood"]["task"]) == {"two"} and len(task.evaluation["ood"]) == 12
    for row in task.evaluation["ood"]:
        number = row["prompt"].split("two ")[1].split(".")[0]
        assert row["outputs"] == [f"t{number}", f"or t{number}"]


class Letters:
    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [0] * len(text)}


def test_examples_go_from_the_end_until_a_prompt_fits() -> None:
    given = [*rows("add", 20), *rows("long", 5)]
    for row in given:
        row["positive_examples"] = EXAMPLES
    given[-1]["input"] = "x" * 400
    limit = len(definition_prompt("Do add", EXAMPLES[:1], "add 11"))
    task = load_task(
        "super_natural_instructions",
        source=Dataset.from_list(given),
        ood_tasks=["long"],
        max_prompt_tokens=limit,
        tokenizer=Letters(),
    )
    prompts = [*task.demonstrations["prompt"], *task.evaluation["id"]["prompt"], *task.evaluation["ood"]["prompt"]]
    assert all(len(prompt) <= limit and prompt.count("Positive Example") == 1 for prompt in prompts if "add" in prompt)
    assert len(task.evaluation["ood"]) == 4


ERRORS: list[tuple[list[dict[str, Any]], dict[str, Any], type[Exception], str]] = [
    (rows("add"), {"ood_tasks": ["ad"]}, DataError, "has no task 'ad'; did you mean 'add'"),
    (rows("add"), {"ood_categories": ["C"]}, DataError, "has no category 'C'; It has none"),
    (rows("add"), {"ood_tasks": ["add"]}, DataError, "has no task left to train on"),
    ([{"task": "a", "input": "b", "outputs": ["c"]}], {}, DataError, r"\(train\) has no column 'definition'"),
    ([{**rows("add")[0], "outputs": []}], {}, DataError, r"\(train\), row 0, column 'outputs' is \[\]"),
    ([{**rows("add")[0], "input": " "}], {}, DataError, r"\(train\), row 0, column 'input' is empty"),
    ([{**rows("add")[0], "positive_examples": ["a"]}], {}, DataError, "column 'positive_examples' is"),
    (rows("add"), {"columns": {"inputs": "x"}}, ConfigError, "columns says that 'inputs' is called 'x'"),
    (rows("add"), {"max_prompt_tokens": 9}, ConfigError, "without a tokenizer to count with"),
    (rows("add"), {"max_prompt_tokens": 9, "tokenizer": Letters()}, DataError, "has at most 9 tokens"),
    (rows("add"), {"n_examples": -1}, ConfigError, "n_examples is -1; give 0 or more"),
    (rows("add"), {"max_instances": 0}, ConfigError, "max_instances=0"),
]


@pytest.mark.parametrize(("given", "options", "kind", "message"), ERRORS)
def test_errors(given: list[dict[str, Any]], options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        load_task("super_natural_instructions", source=Dataset.from_list(given), **options)
    assert "\n" not in str(raised.value)


@needs.data("super_natural_instructions.jsonl.gz")
def test_real_tasks() -> None:
    unseen, category = "task1590_diplomacy_text_generation", "Information Extraction"
    task = load_task(
        "super_natural_instructions",
        source=needs.DATA / "super_natural_instructions.jsonl.gz",
        ood_tasks=[unseen],
        ood_categories=[category],
    )
    # 8 tasks of 40 rows to train on and 10 to test with.
    assert {name: len(rows) for name, rows in task.evaluation.items()} == {"id": 60, "ood": 50, "unseen_tasks": 50}
    assert set(task.evaluation["ood"]["category"]) == {category}
    assert len(task.demonstrations) + len(task.validation["demonstrations"]) == 240
    assert all("Positive Example 2" in prompt for prompt in task.demonstrations["prompt"])
    scores = accepted_rouge_l([""] * 60, task.evaluation["id"]["reference"][:], task.evaluation["id"]["outputs"][:])
    assert min(scores) > 0.99
