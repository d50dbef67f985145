"""What all commands have: options, checks before the work, and how they end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import judge, main
from genrlhf.cli.frame import Parser, add_command, execute
from genrlhf.errors import ConfigError


def command(**options: Any) -> Parser:
    """Return a parser with a command `do` that reads `files` and does nothing."""
    parser = Parser(prog="p")
    made = add_command(
        parser.add_subparsers(required=True), "do", lambda args: 0, help="", description="", reads=("files",), **options
    )
    made.add_argument("files", nargs="*")
    made.add_argument("--csv")
    return parser


@pytest.mark.parametrize("text", ["-1", "4294967296", "9" * 5000, "1.5", "x", "", "nan"])
def test_a_seed_that_no_generator_takes_is_one_line_of_wrong_usage(text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        command(seed="of all").parse_args(["do", "--seed", text])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "argument --seed: must be a whole number from 0 to 4294967295" in err
    assert len(err) < 200


def test_seeds_that_are_taken() -> None:
    parser = command(seed="of all")
    assert [parser.parse_args(["do", *given]).seed for given in ([], ["--seed", "4294967295"])] == [0, 2**32 - 1]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("folder", "is a folder"),
        ("", "names nothing"),
        ("file.jsonl", "is one of the files to be read"),
        ("./folder/../file.jsonl", "is one of the files to be read"),
        ("link.jsonl", "is one of the files to be read"),
        ("file.jsonl/below.jsonl", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("new/" + "x" * 300 + "/o", "File name too long"),
        ("a\0b", "null"),
    ],
)
def test_outputs_are_tried_before_the_work(
    target: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file.jsonl").write_text("kept")
    Path("link.jsonl").symlink_to("file.jsonl")
    parser = command(output="what comes", default_output="out.jsonl", writes=("csv",))
    for option in ("--output", "--csv"):
        with pytest.raises(ConfigError, match=reason):
            execute(parser.parse_args(["do", "file.jsonl", option, target]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.jsonl", "folder", "link.jsonl"]
    assert Path("file.jsonl").read_text() == "kept"


def test_outputs_that_can_be_are_left_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.jsonl").write_text("kept")
    parser = command(output="what comes", default_output="out.jsonl", writes=("csv",))
    for target in ("there.jsonl", "new.jsonl", "new/folder/o.jsonl", "/dev/null"):
        assert execute(parser.parse_args(["do", "f", "--output", target])) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["there.jsonl"]
    with pytest.raises(ConfigError, match="is what --output names"):
        execute(parser.parse_args(["do", "--output", "a", "--csv", "./a"]))


@pytest.mark.parametrize(
    ("former", "now"),
    [
        (["export-labelling", "f.json"], "export"),
        (["import-labels", "k.jsonl", "f.json"], "import"),
        (["a.jsonl", "b.jsonl", "--model", "m"], "run"),
        (["--model", "m", "a.jsonl", "b.jsonl"], "run"),
        (["validate", "a.jsonl"], "validate"),
    ],
)
def test_former_spellings_of_judge(former: list[str], now: str, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[argparse.Namespace] = []
    for module, name in (
        (judge.run, "run"),
        (judge.validate, "run"),
        (judge.labelling, "_export"),
        (judge.labelling, "_import"),
    ):
        monkeypatch.setattr(module, name, lambda args: came.append(args) or 0)
    assert main(["judge", *former]) == 0
    assert came[0].action == now


def test_a_word_that_is_no_command_of_judge(capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["judge", "exprot"])
    assert stopped.value.code == 2
    assert "invalid choice: 'exprot' (choose from" in capsys.readouterr().err


def test_files_in_the_home_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('{"prompt": "p", "outputs": ["a"]}\n', encoding="utf-8")
    for given in (["diversity", "~no one/a.jsonl"], ["judge", "run", "a.jsonl", "a.jsonl", "--store", "~no one/s"]):
        assert main(given) == 1
        assert "is in the folder of a user that there is not; name another." in capsys.readouterr().err


def test_a_target_is_refused_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('{"prompt": "p", "outputs": ["a"]}\n', encoding="utf-8")
    assert main(["judge", "run", "a.jsonl", "a.jsonl", "--store", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"genrlhf: --store {tmp_path} is a folder; name another.\n"
