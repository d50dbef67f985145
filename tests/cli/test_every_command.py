"""What holds for every command: how it ends whatever its files, its terminal and its disk are."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from genrlhf.cli import main, train
from genrlhf.studies import demo
from tests.cli.commands import Workplace, commands
from tests.data.selfinstruct.scripted import BEGINNINGS
from tests.data.selfinstruct.scripted import answer as scripted_answer
from tests.metrics.preference.judging.chat_server import ChatServer, verdict

pytestmark = pytest.mark.enable_socket

COMMANDS = commands()
EVIL = "\x1b[31mred\x1b]8;;http://x\x07link\u202e\u2066\x9b1m\x7f\x00\u061c\u200f"
RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


class Done(NamedTuple):
    status: Any
    out: str
    err: str


def run(typed: list[str], monkeypatch: pytest.MonkeyPatch, *, encoding: str = "utf-8", stdin: bytes = b"") -> Done:
    """Run a command in this process, with streams as a process has them."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", streams[0])
        patched.setattr(sys, "stderr", streams[1])
        patched.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))  # type: ignore[arg-type]
        try:
            status: Any = main(typed)
        except SystemExit as stopped:
            status = stopped.code
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)  # type: ignore[attr-defined]
    return Done(status, out, err)


def lines(done: Done) -> list[str]:
    """Return what was said on stderr, without progress bars."""
    return [line for line in re.split(r"[\r\n]+", done.err) if line.startswith("genrlhf")]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    def answer(messages: list[dict[str, str]]) -> str:
        content = messages[-1]["content"]
        if content.startswith(BEGINNINGS):
            return f"{scripted_answer(messages)} {EVIL}"
        return verdict(messages) if "<<<" in content else f"blue {EVIL}"

    with ChatServer(answer=answer) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A folder to work in, where training takes no time."""

    def quick(output_dir: str, *, seed: int, jobs: int | None) -> dict[str, Any]:
        Path(output_dir).mkdir(exist_ok=True, parents=True)
        (Path(output_dir) / "figures.json").write_text("{}")
        return {"methods": {}}

    figures = {"method": "sft", "output_dir": "sft", "steps": 1, "figures": {"train_loss": 1.5}}
    monkeypatch.setattr(train, "_train", lambda *_: figures)
    monkeypatch.setattr(demo, "run_demo", quick)
    monkeypatch.setattr(demo, "demo_summary", lambda figures: "1.5 [1, 2] … 模型")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.chdir(tmp_path)
    return Workplace(tmp_path / "work", server)


@every_command
def test_it_works_and_json_is_one_object(words: Any, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(place.command(*words), monkeypatch)
    assert done.status == 0 and done.out
    done = run([*place.command(*words), "--json"], monkeypatch)
    assert done.status == 0 and isinstance(json.loads(done.out), dict) and done.out.isascii()


@every_command
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_a_reader_that_has_left_is_no_error(
    words: Any, options: list[str], place: Workplace, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    read, write = os.pipe()
    os.close(read)
    written = [value for name, value in place.arguments(*words).items() if name in ("--output", "--csv")]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", os.fdopen(write, "w"))
        assert main([*place.command(*words), *options]) == 0
    assert "Error" not in capfd.readouterr().err
    assert all(Path(str(file)).is_file() for file in written)


@every_command
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_an_encoding_that_lacks_characters(
    words: Any, encoding: str, tmp_path: Path, server: ChatServer, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Workplace(tmp_path / "模型 é", server, lambda text: f"{text} 模型 é − … 👩‍💻")
    for options in ([], ["--json"]):
        done = run([*named.command(*words), *options], monkeypatch, encoding=encoding)
        assert done.status == 0 and (re.search(r"\d", done.out) or words == ("demo",))


@every_command
def test_no_control_reaches_the_terminal(
    words: Any, tmp_path: Path, server: ChatServer, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = Workplace(tmp_path / "\x1b[31mred\u202e\x9b", server, lambda text: f"{text}{EVIL}")
    for options in ([], ["--json"], ["--nonsense\x1b[31m"], ["--seed", EVIL]):
        done = run([*evil.command(*words), *options], monkeypatch)
        assert done.status == (2 if options and options != ["--json"] else 0)
        assert RAW.findall(done.out + done.err) == []


@every_command
def test_ctrl_c_before_the_work_leaves_nothing(words: Any, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("genrlhf.cli.frame._check_targets", interrupted)
    done = run(place.command(*words), monkeypatch)
    assert (done.status, done.out, done.err) == (130, "", "genrlhf: stopped; nothing was written.\n")


TOGETHER = {("train",), ("study",), ("sample",), ("compare",)}


@every_command
def test_of_the_processes_of_a_launcher_one_works_where_they_do_not_share_the_work(
    words: Any, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[tuple[str, str | None]] = []

    def execute(args: Any) -> int:
        worked.append((rank, os.environ.get("WORLD_SIZE")))
        return 0

    monkeypatch.setattr("genrlhf.cli.frame.execute", execute)
    said = {}
    for rank in ("0", "1"):
        for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost")):
            monkeypatch.setenv(name, value)
        done = run(place.command(*words), monkeypatch)
        said[rank] = done.err
        assert (done.status, done.out) == (0, "")
    together = words in TOGETHER
    assert COMMANDS[words].get_default("together") is together
    assert worked == ([("0", "2"), ("1", "2")] if together else [("0", None)])
    name = f"genrlhf {' '.join(words)}"
    alone = f"genrlhf: {name} works in one process; of the 2 of the launcher, the others have left.\n"
    assert said == {"0": "" if together else alone, "1": ""}


def given(place: Workplace, words: tuple[str, ...], name: str) -> tuple[str, str | list[str]]:
    """Return an argument as the example has it: how it is typed, and what it is given."""
    arguments = place.arguments(*words)
    typed = name if name in arguments else f"--{name}"
    return typed, arguments.get(typed, str(place.folder / f"{name}.jsonl"))


def labelled(typed: str, value: str) -> tuple[str, str]:
    """Return the `NAME=` that an argument needs before a file, and the file."""
    return (value.partition("=")[0] + "=", value.partition("=")[2]) if typed == "sources" else ("", value)


every_file = pytest.mark.parametrize(
    ("words", "name"),
    [
        pytest.param(words, name, id=f"{' '.join(words)} {name}")
        for words, parser in COMMANDS.items()
        for name in parser.get_default("reads")
        # Texts are read by a model, see `test_compare`.
        if (words, name) != (("compare",), "texts")
    ],
)


@every_file
def test_each_file_may_be_standard_input(
    words: Any, name: str, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, value = given(place, words, name)
    files = [value] if isinstance(value, str) else value
    label, file = labelled(typed, files[-1])
    change = {typed: [*files[:-1], f"{label}-"]}
    if typed == "--ood":
        change = {typed: ["far=-"]}
    done = run(place.command(*words, **change), monkeypatch, stdin=Path(file).read_bytes())
    assert done.status == 0, done.err
    both = {typed: [f"{label and 'x='}-", f"{label and 'y='}-"]}
    if typed in ("files", "sources", "--humans", "--known", "--ood"):
        done = run(place.command(*words, **both), monkeypatch)
        assert done.status == 1 and "Standard input (-) can be read once" in done.err


GOOD = b'{"prompt": "q0", "outputs": ["a", "b"], "instruction": "q0", "preference": 1}\n'
DAMAGED = {
    "empty": b"",
    "blank": b"\n \n",
    "bytes": bytes(range(256)),
    "utf-16": '{"prompt": "q"}'.encode("utf-16"),
    "half": GOOD[:-9],
    "half of the second": GOOD + GOOD[:-9],
    "cut gzip": gzip.compress(GOOD)[:-9],
    "no gzip": b"\x1f\x8bnone",
    "number": b"3\n",
    "null": b"null\n",
    "text": b'"text"\n',
    "list of lists": b"[[1]]\n",
    "empty list": b"[]",
    "empty object": b"{}\n",
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "huge number": b'{"prompt": ' + b"9" * 5000 + b', "outputs": ["a"]}\n',
    "NaN": b'{"prompt": NaN, "outputs": [NaN], "preference": NaN, "instruction": NaN}\n',
    "infinite": b'{"instruction": "q0", "instruction_difficulty": 1e999, "preference": 1e999}\n',
    "other columns": b'{"question": "q0"}\n',
    "controls": json.dumps({"prompt": EVIL, "outputs": EVIL, "preference": EVIL, "instruction": [EVIL]}).encode(),
    "half a surrogate": b'{"prompt": "\\ud83d", "outputs": ["\\ud83d"], "instruction": "\\ud83d", "preference": 1}\n',
}


@every_file
def test_a_file_that_is_none_is_told_in_one_line(
    words: Any, name: str, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, value = given(place, words, name)
    for kind, suffix in itertools.product(
        [*DAMAGED, "folder", "missing", "long name"], [".jsonl", ".json", ".json.gz"]
    ):
        bad = place.folder / ("x" * 300 if kind == "long name" else f"{kind}{suffix}")
        if kind in DAMAGED:
            packed = suffix.endswith(".gz") and "gzip" not in kind
            bad.write_bytes(gzip.compress(DAMAGED[kind]) if packed else DAMAGED[kind])
        elif kind == "folder":
            bad.mkdir()
        files = [str(bad)] if isinstance(value, str) else [*value[:-1], labelled(typed, value[-1])[0] + str(bad)]
        done = run(place.command(*words, **{typed: files}), monkeypatch)
        assert done.status in (0, 1)
        assert RAW.findall(done.out + done.err) == []
        if done.status == 1:
            assert done.out == "" and len(lines(done)) == 1 and len(lines(done)[0]) < 1000
        else:
            # Any text is a prompt, an instruction too, and an annotation whose preference is no number has none.
            usable = {("prompts", "controls"), ("prompts", "infinite"), ("known", "NaN")}
            assert kind in ("half a surrogate", "empty", "blank", "empty list") or (name, kind) in usable


every_target = pytest.mark.parametrize(
    ("words", "name"),
    [
        pytest.param(words, name, id=f"{' '.join(words)} {name}")
        for words, parser in COMMANDS.items()
        for name in (*parser.get_default("writes"), *parser.get_default("folders"))
    ],
)


@every_target
def test_what_cannot_be_written_is_said_before_the_work(
    words: Any, name: str, place: Workplace, read_only: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = f"--{name.replace('_', '-')}"
    suffix = {"plot": ".png", "csv": ".csv", "store": ".sqlite"}.get(name, ".jsonl")
    if words in (("judge", "export"), ("report",)) and name == "output":
        suffix = ".html"
    before = {file: file.stat().st_mtime_ns for file in place.folder.iterdir()}
    folder = place.folder / f"folder{suffix}"
    (folder if name not in ("output_dir", "embedding_cache") else place.folder).mkdir(exist_ok=True)
    targets = [
        read_only / f"new{suffix}",
        place.folder / "a.jsonl" / f"new{suffix}",
        place.folder / ("x" * 300 + suffix),
    ]
    targets += [folder] if folder.is_dir() else [place.folder / "a.jsonl"]
    for target in targets:
        done = run(place.command(*words, **{option: str(target)}), monkeypatch)
        assert done.status == 1 and done.out == "" and len(lines(done)) == 1
        assert option in done.err or target.name in done.err
    assert not server.requests
    assert {file: file.stat().st_mtime_ns for file in before} == before


@every_command
def test_it_works_in_a_folder_that_is_read_only(
    words: Any, place: Workplace, read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(read_only)
    assert run(place.command(*words), monkeypatch).status == 0


@every_command
def test_help_fits_80_columns_of_ascii(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run([*words, "--help"], monkeypatch, encoding="ascii")
    assert done.status == 0 and done.out.startswith(f"usage: genrlhf {' '.join(words)}")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\\u" not in done.out and "%%" not in done.out and "%(" not in done.out


def test_help_of_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for group in {words[:length] for words in COMMANDS for length in range(len(words))}:
        done = run([*group, "--help"], monkeypatch, encoding="ascii")
        assert done.status == 0 and max(map(len, done.out.splitlines())) <= 80 and "%%" not in done.out
