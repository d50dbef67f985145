"""Commands on files of other tools."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.metrics import DistinctN, per_input_diversity
from tests.metrics.preference.judging.chat_server import ChatServer

pytestmark = pytest.mark.enable_socket

FILES = Path(__file__).parent.parent / "integrations" / "files"


def diversity(capsys: pytest.CaptureFixture[str], *options: Any) -> dict[str, Any]:
    assert main(["diversity", *map(str, options), "--metrics", "distinct", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("lm_eval_samples.jsonl", 2, 3),
        ("lighteval_details.parquet", 2, 3),
        ("inspect.eval", 3, 2),
        ("inspect.json.gz", 3, 2),
        ("trl_chat.parquet", 2, 2),
        ("transformers_chat.json", 2, 2),
        ("noveltybench_generations.jsonl", 2, 3),
        ("alpaca_eval.json", 3, 1),
        ("vllm_batch.jsonl", 2, 1),
        ("vllm_outputs.json", 2, 2),
    ],
)
def test_diversity_of_other_tools(
    name: str, inputs: int, outputs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(FILES / name, tmp_path / "anything")
    found = diversity(capsys, tmp_path / "anything")
    assert (found["inputs"], found["outputs_per_input"]) == (inputs, outputs)


def test_columns_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [["a b", "a b"], ["c d", "e f"]]
    lines = ["id;question;answer", *(f"{n};q{n};{text}" for n, row in enumerate(texts) for text in row)]
    (tmp_path / "x.csv").write_text("\n".join(lines), encoding="utf-16")
    options = ["--prompt-column", "question", "--outputs-column", "answer", "--group-by", "id"]
    found = diversity(capsys, tmp_path / "x.csv", *options)
    assert found["per_input"]["distinct"] == per_input_diversity(texts, DistinctN()).to_dict()
    assert found["settings"]["group_by"] == "id" and "format" not in found["settings"]
    assert main(["diversity", str(tmp_path / "x.csv"), "--outputs-column", "output"]) == 1
    assert "has no column 'output'; its columns are 'id', 'question', 'answer'." in capsys.readouterr().err


def test_what_was_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"q": "p", "o": ["a", None, "b"]}, {"q": "r", "o": ["a", "c", None]}, {"q": "s", "o": None}]
    (tmp_path / "x").write_text("\n".join(map(json.dumps, rows)))
    assert main(["diversity", str(tmp_path / "x"), "--outputs-column", "o", "--json"]) == 0
    captured = capsys.readouterr()
    assert "3 output(s) that are null are left out, and 1 row(s) that have no other" in captured.err
    assert json.loads(captured.out)["warnings"] == [
        line.removeprefix("genrlhf: ") for line in captured.err.splitlines() if line.startswith("genrlhf: ")
    ]


def test_standard_input_of_any_kind(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lm_eval_samples.jsonl", "lighteval_details.parquet", "inspect.eval"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((FILES / name).read_bytes())))
        assert diversity(capsys, "-")["inputs"] in (2, 3)


def test_two_tools_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = [str(FILES / "vllm_batch.jsonl"), "--prompts", str(FILES / "openai_batch_input.jsonl")]
    assert main(["diversity", batch[0], str(FILES / "alpaca_eval.json"), *batch[1:], "--compare"]) == 1
    assert "has prompts by custom_id, and" in capsys.readouterr().err
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"prompt": p, "outputs": ["x"]} for p in ("Name a colour.", "Name an animal.")]))
    assert main(["diversity", str(FILES / "noveltybench_generations.jsonl"), str(other), "--compare"]) == 1
    assert "3 output(s) of an input" in capsys.readouterr().err
    options = ["--outputs-per-input", "1", "--compare"]
    assert diversity(capsys, FILES / "noveltybench_generations.jsonl", other, *options)["comparisons"]


def test_a_message_and_its_text_are_one_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = tmp_path / "ours.jsonl"
    fruit = "Name a fruit, " + "please. " * 30
    prompts = [[{"role": "user", "content": "Name a colour."}], "Name an animal.", fruit]
    ours.write_text("\n".join(json.dumps({"prompt": prompt, "outputs": ["x", "y"]}) for prompt in prompts))
    assert diversity(capsys, FILES / "inspect.eval", ours, "--compare")["comparisons"]


def test_a_judge_of_other_tools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": p, "outputs": ["much longer than that"]} for p in ("Name a colour.", "Name an animal.")]
    Path("ours.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with ChatServer() as server:
        asked = ["--model", "m", "--base-url", server.url, "--json"]
        assert main(["judge", "run", str(FILES / "noveltybench_generations.jsonl"), "ours.jsonl", *asked]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["n_wins"], found["n_total"], found["baseline"]) == (2, 2, "tiny-model")
        assert main(["judge", "run", str(FILES / "lighteval_details.parquet"), "--references", *asked]) == 0
        assert json.loads(capsys.readouterr().out)["n_total"] == 2
        options = ["--outputs-column", "generations", "--reference-column", "model", "--references"]
        assert main(["judge", "run", str(FILES / "noveltybench_generations.jsonl"), *options, *asked]) == 0
        annotations = [json.loads(line) for line in Path("annotations.jsonl").read_text().splitlines()]
        assert [row["output_1"] for row in annotations] == ["tiny-model"] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "trl"], "has no 'prompt'; add it, or drop the row"),
        (["--prompts", "none.jsonl"], "none.jsonl does not exist"),
        (["--format", "trl", "--outputs-column", "x"], "exclude each other"),
    ],
)
def test_options_that_do_not_fit(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diversity", str(FILES / "lm_eval_samples.jsonl"), *options]) == 1
    assert message in capsys.readouterr().err
