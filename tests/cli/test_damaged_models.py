"""Folders that hold no model, or a damaged one, end in one line wherever a command takes a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import OTHERS, OUTPUTS
from tests.cli.test_every_command import RAW, lines, run
from tests.helpers import save_model, tiny_llama, tiny_tokenizer

TAKERS = {
    "sample": ["sample", "--prompts", "a.jsonl", "--output", "o.jsonl", "--model"],
    "judge --local-model": ["judge", "run", "a.jsonl", "b.jsonl", "--local-model"],
    "judge --reward-model": ["judge", "run", "a.jsonl", "b.jsonl", "--reward-model"],
    "--encoder": ["diversity", "a.jsonl", "--metrics", "sentence_bert", "--encoder"],
    "--nli-model": ["diversity", "a.jsonl", "--metrics", "nli", "--nli-model"],
    "--bert-score-model": ["diversity", "a.jsonl", "--metrics", "bert_score", "--bert-score-model"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of one model, each damaged in another way, and names at which there is none."""
    folder = tmp_path_factory.mktemp("models")
    good = save_model(tiny_llama(), tiny_tokenizer(), folder / "good")
    config = json.loads((good / "config.json").read_text())
    damages: dict[str, tuple[str, bytes | None]] = {
        "weights cut off": ("model.safetensors", (good / "model.safetensors").read_bytes()[:200]),
        "weights empty": ("model.safetensors", b""),
        "weights missing": ("model.safetensors", None),
        "weights of another size": ("config.json", json.dumps({**config, "intermediate_size": 77}).encode()),
        "config cut off": ("config.json", b'{"model_type": '),
        "config a number": ("config.json", b"3"),
        "config a list": ("config.json", b"[]"),
        "config bytes": ("config.json", bytes(range(256))),
        "config of no family": ("config.json", b'{"model_type": "nonesuch"}'),
        "config of a wrong type": ("config.json", json.dumps({**config, "hidden_size": "x"}).encode()),
        "config that cannot be": ("config.json", json.dumps({**config, "hidden_size": 7}).encode()),
        "tokenizer cut off": ("tokenizer.json", b'{"version": '),
        "tokenizer a list": ("tokenizer.json", b"[]"),
    }
    for name, (file, data) in damages.items():
        shutil.copytree(good, folder / name)
        if data is None:
            (folder / name / file).unlink()
        else:
            (folder / name / file).write_bytes(data)
    (folder / "empty").mkdir()
    (folder / "file").write_text("no folder")
    found = [str(folder / name) for name in (*damages, "empty", "file", "missing")]
    return [*found, "no/such/name", "", "\x1b[31mred\x9b"]


@pytest.mark.parametrize("command", TAKERS.values(), ids=TAKERS)
def test_it_is_told_in_one_line(
    command: list[str], models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rows in (("a.jsonl", OUTPUTS), ("b.jsonl", OTHERS)):
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended: dict[str, Any] = {}
    for model in models:
        done = run([*command, model], monkeypatch)
        assert RAW.findall(done.err) == []
        ended[model] = done
        # What a taker does not read may be damaged: weights of a tokenizer's folder, a tokenizer of an encoder's.
        assert done.status == 0 or (done.status == 1 and len(lines(done)) == 1), (model, done.err)
    assert sum(done.status == 1 for done in ended.values()) > len(models) - 4
