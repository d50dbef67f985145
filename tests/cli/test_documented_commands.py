"""Every command of README and docs as a reader types it: narrow terminals, pipes that close, read-only folders."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main, study, train
from genrlhf.studies import demo
from tests.cli.documented import DOCUMENTS, answer, clear, documented_commands, label, prepare, typed
from tests.cli.test_every_command import lines, run
from tests.metrics.preference.judging.chat_server import ChatServer
from tests.studies import toys

pytestmark = pytest.mark.enable_socket

WITH_COMMANDS = [file for file in DOCUMENTS if documented_commands(file)]
every_document = pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda file: file.name)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer=answer) as running:
        yield running


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all that documents name, where training takes no time."""
    folder = tmp_path / "new user"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setattr(
        demo, "run_demo", lambda output_dir, seed, jobs: Path(output_dir).mkdir(exist_ok=True) or {"methods": {}}
    )
    monkeypatch.setattr(demo, "demo_summary", lambda figures: "1.5 [1, 2]")
    monkeypatch.setattr(study, "_load", lambda file, output_dir: toys.study(output_dir or "study"))
    figures = {"method": "sft", "output_dir": "sft", "steps": 1, "figures": {"train_loss": 1.5}}
    monkeypatch.setattr(train, "_train", lambda *_: figures)
    return folder


@every_document
def test_on_a_narrow_terminal(
    document: Path, folder: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in documented_commands(document):
        clear(command, folder)
        done = run(typed(command, server.url), monkeypatch, encoding="cp1252")
        # A model that was never trained gives no verdict that can be read.
        unread = "--local-model" in command and "None of the 30 comparisons" in lines(done)[-1]
        assert done.status == 0 or unread, (command, done.err)
        assert bool(done.out) == (done.status == 0)
        label(folder)


@every_document
def test_into_a_pipe_that_closes(
    document: Path, folder: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for command in documented_commands(document):
        clear(command, folder)
        read, write = os.pipe()
        os.close(read)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", os.fdopen(write, "w"))
            assert main(typed(command, server.url)) == ("--local-model" in command)
        assert "Error" not in capfd.readouterr().err
        label(folder)


@every_document
def test_in_a_folder_that_is_read_only(
    document: Path, folder: Path, server: ChatServer, read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What writes is told in one line before the work; what only reads works."""
    chosen = Path("annotations.jsonl").read_text().replace('"sft"', '"rejected"').replace('"ppo"', '"chosen"')
    Path("judged.jsonl").write_text(chosen)
    shutil.copy("annotations.jsonl", "labelling.key.jsonl")
    monkeypatch.chdir(read_only)
    for command in documented_commands(document):
        words = [
            str(folder / word) if "." in word and (folder / word).exists() and before != "--output" else word
            for before, word in itertools.pairwise(["", *typed(command, server.url)])
        ]
        if words[0] in ("train", "report", "study"):
            # They name folders, which are not here.
            continue
        if "sentence_bert" in " ".join(words):
            # Their names on the hub are folders in the other folder alone.
            words += ["--encoder", str(folder / "sentence-transformers/all-MiniLM-L6-v2")]
        done = run(words, monkeypatch)
        if done.status != 0:
            assert done.status == 1 and len(lines(done)) == 1 and "cannot be written" in lines(done)[0], done.err
        writing = (
            ["demo"],
            ["compare"],
            ["sample"],
            ["data"],
            ["judge", "run"],
            ["judge", "export"],
            ["judge", "import"],
        )
        writes = words[:1] in writing or words[:2] in writing or "--plot" in words
        assert (done.status == 1) == writes, done.err
    assert not server.requests
