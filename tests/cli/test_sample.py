"""`genrlhf sample` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from tests.processes import run_in_two


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "q" + "x" * (k % 3), "reference": f"r{k}", "other": k} for k in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def command(model: Path, prompts: Path, *options: str) -> list[str]:
    output = str(prompts.with_name("out.jsonl"))
    asked = ["--model", str(model), "--prompts", str(prompts), "--output", output, "--max-new-tokens", "5"]
    return ["sample", *asked, *options]


def lines(prompts: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in prompts.with_name("out.jsonl").read_text().split("\n")[:-1]]


def test_samples_and_says_so(causal_lm_folder: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(causal_lm_folder, prompts, "--n", "3", "--json")) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["prompts"], figures["sampled_now"]) == (6, 6)
    assert [set(line) for line in lines(prompts)] == [{"prompt", "reference", "outputs", "row", "ended"}] * 6
    assert all(len(line["outputs"]) == 3 for line in lines(prompts))
    assert main(command(causal_lm_folder, prompts, "--n", "3")) == 0
    assert "holds 3 outputs of each of 6 prompts already" in capsys.readouterr().out


def test_a_cut_off_file_is_repaired_with_a_word(
    causal_lm_folder: Path, prompts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    main(command(causal_lm_folder, prompts))
    file = prompts.with_name("out.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    assert main(command(causal_lm_folder, prompts)) == 0
    assert file.read_bytes() == whole
    assert "the last line was cut off" in caplog.text


def test_chat_limit_and_columns(tmp_path: Path, prompts: Path) -> None:
    from tests.helpers import save_model, tiny_llama, tiny_tokenizer

    model = save_model(tiny_llama(), tiny_tokenizer(chat_template=True), tmp_path / "chat")
    assert main(command(model, prompts, "--chat", "--limit", "2", "--prompt-column", "reference")) == 0
    assert [line["prompt"] for line in lines(prompts)] == [[{"role": "user", "content": f"r{k}"}] for k in range(2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "0"], "--n must be at least 1, not 0."),
        (["--temperature", "-1"], "temperature must be 0 or more, and finite, not -1.0."),
        (["--max-new-tokens", "62"], "prompts, row 2: the prompt 'qxx' has 3 tokens, and at most 2 leave room"),
        (["--limit", "0"], "--limit must be at least 1, not 0."),
        (["--prompt-column", "promt"], "has no column 'promt'"),
        (["--backend", "server"], "--base-url and the server back end belong together"),
        (["--prompts", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["--model", "nowhere"], "nowhere"),
        (["--stop", ""], "stop must be strings of at least one character"),
    ],
)
def test_bad_input_is_told_in_one_line(
    causal_lm_folder: Path, prompts: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(causal_lm_folder, prompts, *options)) == 1
    (line,) = [line for line in capsys.readouterr().err.split("\n") if line.startswith("genrlhf:")]
    assert message in line


def test_no_prompts_and_another_run(causal_lm_folder: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(causal_lm_folder, prompts)) == 0
    assert main(command(causal_lm_folder, prompts, "--top-k", "3")) == 1
    assert "top_k is 0 there and 3 here" in capsys.readouterr().err
    assert main(command(causal_lm_folder, prompts, "--top-k", "3", "--overwrite")) == 0
    prompts.write_text("")
    assert main(command(causal_lm_folder, prompts)) == 1
    assert "holds no rows" in capsys.readouterr().err


def test_a_stop_string_that_never_comes_is_said(
    causal_lm_folder: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--stop", "never, never", "--min-new-tokens", "5"]
    assert main(command(causal_lm_folder, prompts, *options)) == 0
    assert "none of the 6 outputs sampled now has ended" in capsys.readouterr().err


@pytest.mark.enable_socket
def test_two_processes_share_the_prompts(causal_lm_folder: Path, prompts: Path) -> None:
    main(command(causal_lm_folder, prompts, "--n", "2"))
    file = prompts.with_name("out.jsonl")
    alone = file.read_bytes()
    for old in (file, file.with_name("out.jsonl.settings.json")):
        old.unlink()
    printed = run_in_two("genrlhf.cli", *command(causal_lm_folder, prompts, "--num-outputs", "2"))
    assert printed.count("2 outputs of each of 6 prompts; 6 prompts sampled now") == 1
    assert file.read_bytes() == alone
    assert not list(prompts.parent.glob("*process*"))


def test_a_model_is_asked_as_its_folder_says(
    causal_lm_folder: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from genrlhf.data.asking import Asking

    model = Path(shutil.copytree(causal_lm_folder, tmp_path / "asked"))
    Asking("so ", " well?").save(model)
    drawn = []
    for options in ([], ["--ignore-asking", "--overwrite"]):
        assert main(command(model, prompts, "--n", "2", *options)) == 0
        drawn.append([(line["prompt"], line["outputs"]) for line in lines(prompts)])
        said = "asked as its folder says: 'so {prompt} well?'; --ignore-asking" in capsys.readouterr().err
        assert said is not bool(options)
    # What was asked is not what is kept, and a file of the one is not gone on with by the other.
    assert [row[0] for row in drawn[0]] == ["q", "qx", "qxx"] * 2
    assert main(command(model, prompts, "--n", "2")) == 1
    assert "asking" in capsys.readouterr().err
    around = [{"prompt": f"so q{'x' * (k % 3)} well?"} for k in range(6)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in around))
    assert main(command(model, prompts, "--n", "2", "--ignore-asking", "--overwrite")) == 0
    assert [line["outputs"] for line in lines(prompts)] == [outputs for _, outputs in drawn[0]] != drawn[1]
