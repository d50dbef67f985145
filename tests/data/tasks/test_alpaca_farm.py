"""AlpacaFarm's splits, comparisons and evaluation sets: the hub's layout, files of one's own, real samples, errors."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.data import load_task, read_rows
from genrlhf.data.tasks.instructions import alpaca_prompt, instruction_key
from genrlhf.errors import ConfigError, DataError
from tests import needs

WITH = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\nDo 1.\n\n### Input:\nx1\n\n### Response:"
)
WITHOUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nDo 0.\n\n### Response:"
)


def rows(n: int = 40, start: int = 0) -> list[dict[str, str]]:
    return [
        {"instruction": f"Do {i}.", "input": f"x{i}" if i % 2 else "", "output": f"Done {i}."}
        for i in range(start, start + n)
    ]


def comparisons(n: int = 40) -> list[dict[str, Any]]:
    return [
        {**{k: v for k, v in row.items() if k != "output"}, "output_1": f"a{i}", "output_2": f"b{i}", "preference": p}
        for i, row in enumerate(rows(n))
        for p in [(1, 2)[i % 2] if i else 1.5]
    ]


def merged(row: dict[str, str]) -> dict[str, str]:
    """An instruction with its input inside, as the id test of Kirk et al. has it."""
    given = f"\n\n### Input:\n{row['input']}" if row["input"] else ""
    return {"instruction": row["instruction"] + given, "output": row["output"]}


def write(file: Path, content: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_prompts_are_alpacas() -> None:
    assert alpaca_prompt("Do 1.", "x1") == WITH
    assert (
        alpaca_prompt("Do 0.") == alpaca_prompt("Do 0. ", "<noinput>") == alpaca_prompt("Do 0.", "NoInput") == WITHOUT
    )
    assert alpaca_prompt("Use {input}.", "{instruction}").count("{") == 2


def test_folder_in_the_layout_of_the_hub(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inside = tmp_path / "farm" / "alpaca_instructions"
    write(inside / "sft.json", [*rows(40), {"instruction": "Say nothing.", "input": "", "output": ""}])
    write(inside / "preference.json", rows(10, 300))
    write(inside / "unlabeled.json", rows(20, 100))
    write(inside / "val.json", rows(10, 200))
    write(tmp_path / "farm" / "alpaca_human_preference.json", comparisons())
    write(tmp_path / "eval" / "alpaca_eval.json", [{**merged(rows(8)[7]), "dataset": "koala", "generator": "g"}])
    sequential = [{**merged(row), "dataset": "sequential_instructions"} for row in rows(3, 500)]
    own = Dataset.from_list([merged(row) for row in rows(3)])
    with caplog.at_level(logging.WARNING):
        task = load_task(
            "alpaca_farm",
            source=tmp_path / "farm",
            id_test=own,
            alpaca_eval=tmp_path / "eval",
            sequential_instructions=Dataset.from_list(sequential),
        )
    # Instructions 0, 1, 2 and 7 are evaluated, merged with their inputs there.
    assert {row["instruction"] for row in task.demonstrations} == {f"Do {i}." for i in range(40)} - {
        f"Do {i}." for i in (0, 1, 2, 7)
    }
    assert {(row["prompt"], row["completion"]) for row in task.demonstrations if row["instruction"] == "Do 11."} == {
        (WITH.replace("Do 1.", "Do 11.").replace("x1", "x11"), "Done 11.")
    }
    assert {row["instruction"] for row in task.prompts} == {f"Do {i}." for i in range(100, 120)}
    assert {row["instruction"] for row in task.validation["demonstrations"]} == {f"Do {i}." for i in range(200, 210)}
    assert {name: len(rows) for name, rows in task.evaluation.items()} == {
        "id": 3,
        "alpaca_eval": 1,
        "sequential_instructions": 3,
    }
    assert task.evaluation["alpaca_eval"][0]["dataset"] == "koala" and set(task.evaluation["id"]["dataset"]) == {"id"}
    assert "Write a response" in task.evaluation["alpaca_eval"][0]["prompt"]
    assert "paired with" not in task.evaluation["alpaca_eval"][0]["prompt"]
    assert task.preferences is not None
    pairs = [*task.preferences, *task.validation["preferences"]]
    assert {(p["prompt"], p["chosen"], p["rejected"]) for p in pairs} == {
        (alpaca_prompt(row["instruction"], row["input"]), f"{'b' if i % 2 else 'a'}{i}", f"{'a' if i % 2 else 'b'}{i}")
        for i, row in enumerate(rows())
        if i not in (0, 1, 2, 7)
    }
    for told in ("1 of 41 rows are left out, which have no answer", "4 of 40 rows", "1 of 40 pairs", "3 of 39 rows"):
        assert told in caplog.text, told
    other = load_task("alpaca_farm", source=tmp_path / "farm", id_test=own, prompts="preference", n_prompts=4)
    assert len(other.prompts) == 4 and set(other.prompts["instruction"]) <= {f"Do {i}." for i in range(300, 310)}


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    theirs = [{"task": r["instruction"], "context": r["input"], "answer": r["output"], "n": 1} for r in rows(100)]
    write(tmp_path / "own.json", theirs)
    task = load_task(
        "alpaca_farm",
        source=tmp_path / "own.json",
        columns={"instruction": "task", "input": "context", "output": "answer"},
        n_train=0.5,
    )
    assert [len(task.evaluation["id"]), len(task.validation["demonstrations"])] == [10, 9]
    assert len(task.demonstrations) == len(task.prompts) == 40
    assert task.preferences is None and list(task.evaluation) == ["id"]
    sides = [task.evaluation["id"], task.validation["demonstrations"], task.demonstrations]
    assert len({prompt for side in sides for prompt in side["prompt"]}) == 10 + 9 + 40
    named = [{**row, "split": ("sft", "unlabeled", "val")[i % 3]} for i, row in enumerate(rows(90))]
    task = load_task("alpaca_farm", source=Dataset.from_list(named), n_evaluation=5)
    assert [len(task.demonstrations), len(task.prompts), len(task.validation["demonstrations"])] == [25, 30, 30]


def test_instructions_for_rl_need_no_output() -> None:
    inputs = Dataset.from_list([{"instruction": f"Ask {i}."} for i in range(5)])
    task = load_task("alpaca_farm", source={"sft": Dataset.from_list(rows()), "unlabeled": inputs})
    assert set(task.prompts["instruction"]) == {f"Ask {i}." for i in range(5)}
    assert "reference" not in task.prompts.column_names


def test_chat_has_one_turn_each() -> None:
    pairs = Dataset.from_list([{"prompt": f"Ask {i}.", "chosen": "a", "rejected": "b"} for i in range(20)])
    task = load_task("alpaca_farm", source=Dataset.from_list(rows()), preferences=pairs, chat=True)
    by_number = {row["instruction"]: row for row in task.demonstrations}
    row = next(row for row in by_number.values() if row["input"])
    assert row["prompt"] == [{"role": "user", "content": f"{row['instruction']}\n\n{row['input']}"}]
    assert row["completion"] == [{"role": "assistant", "content": row["instruction"].replace("Do", "Done")}]
    assert all(isinstance(row["reference"], str) for row in [*task.evaluation["id"], *task.prompts])
    assert task.preferences is not None and task.preferences[0]["chosen"] == [{"role": "assistant", "content": "a"}]
    held = {instruction_key(prompt) for prompt in task.evaluation["id"]["prompt"]}
    assert not held & {instruction_key(prompt) for prompt in task.demonstrations["prompt"]}


def test_one_instruction_in_four_formats_has_one_key() -> None:
    forms = [
        alpaca_prompt("Translate.", "a cat"),
        alpaca_prompt("Translate.\n\n### Input:\na cat"),
        alpaca_prompt("Translate.\n\na  cat"),
        [{"role": "system", "content": "Help."}, {"role": "user", "content": "Translate.\n\na cat"}],
        "Translate. a cat",
    ]
    assert len({instruction_key(form) for form in forms}) == 1
    assert instruction_key(alpaca_prompt("Translate.", "a dog")) != instruction_key(forms[0])


class Letters:
    """A tokenizer with a token a letter."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [0] * len(text)}


def test_long_inputs_for_rl_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    limit = len(WITHOUT.replace("Do 0.", "Do 10."))
    with caplog.at_level(logging.WARNING):
        task = load_task("alpaca_farm", source=Dataset.from_list(rows()), max_prompt_tokens=limit, tokenizer=Letters())
    assert task.prompts["prompt"][:] and all(len(prompt) <= limit for prompt in task.prompts["prompt"])
    assert f"of more than {limit} tokens" in caplog.text
    assert any(len(prompt) > limit for prompt in task.demonstrations["prompt"])


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"source": Dataset.from_list([{"text": "a", "output": "b"}])}, DataError, r"\(sft\) has no column 'instruction'"),
    ({"source": Dataset.from_list([{"instruction": "a"}])}, DataError, r"\(sft\) has no column 'output'"),
    (
        {"source": Dataset.from_list([{"instruction": " ", "output": "b"}])},
        DataError,
        r"\(sft\), row 0, column 'instruction' is empty",
    ),
    (
        {"source": Dataset.from_list([{"instruction": "a", "output": " "}])},
        DataError,
        "has no row with a text in 'outp",
    ),
    ({"source": {"val": Dataset.from_list(rows())}}, DataError, "has no split 'sft' to train on"),
    (
        {"source": Dataset.from_list([{**row, "split": "train"} for row in rows()])},
        DataError,
        "row 0, column 'split' is 'train'; give one of 'sft', 'preference', 'unlabeled', 'val'",
    ),
    ({"columns": {"answer": "output"}}, ConfigError, "columns says that 'answer' is called 'output'"),
    ({"columns": {"output": "answer"}}, DataError, "has no column 'answer', only 'instruction', 'input', 'output'"),
    ({"evaluation_columns": {"ood": {}}}, ConfigError, "evaluation_columns has .*; it goes from 'id', 'alpaca_eval'"),
    (
        {
            "alpaca_eval": Dataset.from_list([{"instruction": "a"}]),
            "evaluation_columns": {"alpaca_eval": {"output": "o"}},
        },
        DataError,
        "has no column 'o', only 'instruction'",
    ),
    ({"preferences": Dataset.from_list([{**comparisons()[0], "preference": 3}])}, DataError, "'preference' is 3"),
    ({"preferences": "alpaca_gpt4_preference"}, DataError, "has no alpaca_gpt4_preference.json; give the file"),
    ({"max_prompt_tokens": 192}, ConfigError, "there is no tokenizer to count with; give tokenizer"),
    ({"n_prompts": 0}, ConfigError, r"n_prompts=0\): give 1 or more"),
]


@pytest.mark.parametrize(("options", "kind", "message"), ERRORS)
def test_errors(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        load_task("alpaca_farm", **{"source": Dataset.from_list(rows()), **options})
    assert "\n" not in str(raised.value)


@needs.data(
    "alpaca_demo.jsonl.gz",
    "alpaca_eval_outputs.jsonl.gz",
    "sequential_seed_tasks.jsonl.gz",
    "self_instruct_user_oriented.jsonl.gz",
    "human_preference_pairs.jsonl.gz",
)
def test_real_instructions(caplog: pytest.LogCaptureFixture) -> None:
    data = needs.DATA
    with caplog.at_level(logging.WARNING):
        task = load_task(
            "alpaca_farm",
            source=data / "alpaca_demo.jsonl.gz",
            id_test=data / "self_instruct_user_oriented.jsonl.gz",
            alpaca_eval=data / "alpaca_eval_outputs.jsonl.gz",
            sequential_instructions=data / "sequential_seed_tasks.jsonl.gz",
            evaluation_columns={"alpaca_eval": {"output": "text_davinci_003"}},
            preferences=data / "human_preference_pairs.jsonl.gz",
            preference_columns={"instruction": "prompt"},
        )
    assert {name: len(rows) for name, rows in task.evaluation.items()} == {
        "id": 252,
        "alpaca_eval": 805,
        "sequential_instructions": 42,
    }
    # Overlaps as the data's README counts them: FairEval 66, MT-Bench 4, LLMBar 2; none with alpaca_demo.
    assert "72 of 884 rows are left out, whose prompts are held out" in caplog.text and "(sft)" not in caplog.text
    # Of AlpacaEval's parts, selfinstruct is the 252 of the other set.
    keys = {
        name: {
            instruction_key(row["prompt"]) for row in task.evaluation[name] if row["dataset"] in ("id", "selfinstruct")
        }
        for name in ("id", "alpaca_eval")
    }
    assert len(keys["id"] & keys["alpaca_eval"]) >= 245
    eval_rows = read_rows(data / "alpaca_eval_outputs.jsonl.gz")
    assert sorted(task.evaluation["alpaca_eval"]["reference"]) == sorted(eval_rows["text_davinci_003"])
    assert task.preferences is not None and all(p.endswith("### Response:") for p in task.preferences["prompt"])
