"""`genrlhf judge export` and `genrlhf judge import` as they are typed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli.frame import execute
from genrlhf.cli.main import build_parser
from genrlhf.errors import ConfigError, DataError, GenRLHFError
from genrlhf.metrics.preference.validating.human_labels import MOST_BYTES


def call(command: str, *arguments: str) -> int:
    return execute(build_parser().parse_args(["judge", command, *arguments]))


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "instruction": f"prompt {number}",
        "output_1": f"first {number} \ud83d",
        "generator_1": "old",
        "output_2": f"second {number}",
        "generator_2": "new",
        "annotator": "judge",
        "preference": 1,
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with 8 inputs of "news" in a file of that name, and 6 of "posts" in another."""
    monkeypatch.chdir(tmp_path)
    Path("news.jsonl").write_text("\n".join(json.dumps(row(number)) for number in range(8)))
    posts = [row(number, dataset="posts") for number in range(6)]
    Path("more.json.gz").write_bytes(gzip.compress(json.dumps(posts).encode()))
    return tmp_path


def export(*arguments: str) -> int:
    return call("export", "news.jsonl", "more.json.gz", "--per-set", "5", *arguments)


def key() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("labelling.key.jsonl").read_text(encoding="utf-8").splitlines()]


def save(file: str, choices: list[str | None], annotator: str = "Ann", **changes: Any) -> str:
    """Write what the page saves where these are the choices, in the order of the page."""
    labels = [
        {"item": item["item"], "choice": choice, "seconds": 2.5, "at": "2026-01-01T00:00:00.000Z"}
        for item, choice in zip(key(), choices, strict=False)
        if choice
    ]
    document = {"format": "genrlhf-labels", "version": 1, "page": key()[0]["page"], "annotator": annotator}
    Path(file).write_text(json.dumps({**document, "labels": labels, **changes}), encoding="utf-8")
    return file


def test_page_and_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "page": key()[0]["page"],
        "items": 10,
        "sets": {"news": {"inputs": 5, "pairs": 5}, "posts": {"inputs": 5, "pairs": 5}},
        "output": "labelling.html",
        "key": "labelling.key.jsonl",
    }
    page = Path("labelling.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and '<h1 dir="auto">Which output is better?</h1>' in page
    assert all(item["item"] in page for item in key())
    assert not any(word in page for word in ('"old"', '"new"', '"news"', '"posts"', "generator"))
    assert {(item["output_a"][:6], item["generator_a"]) for item in key()} <= {("first ", "old"), ("second", "new")}
    assert {item["output_a"][-1] for item in key() if item["generator_a"] == "old"} == {"\ud83d"}


def test_table_names_and_title(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--output", "out/mine.html", "--title", "News & posts") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["test", "set", "inputs", "pairs"],
        ["news", "5", "5"],
        ["posts", "5", "5"],
    ]
    assert lines[3] == "10 pairs to label in out/mine.html; keep out/mine.key.jsonl from those who label."
    assert sorted(file.name for file in Path("out").iterdir()) == ["mine.html", "mine.key.jsonl"]
    assert '<h1 dir="auto">News &amp; posts</h1>' in Path("out/mine.html").read_text(encoding="utf-8")
    assert export("--key", "other.jsonl") == 0 and Path("other.jsonl").is_file()


def test_a_key_is_not_lost(folder: Path) -> None:
    assert export() == 0
    before = key(), Path("labelling.html").read_bytes()
    with pytest.raises(ConfigError, match=r"labelling.key.jsonl is there already, and not the key of this page"):
        export("--seed", "1")
    assert (key(), Path("labelling.html").read_bytes()) == before
    # The same page again, with another title.
    assert export("--title", "Again") == 0
    assert key() == before[0] and Path("labelling.html").read_bytes() != before[1]
    Path("labelling.key.jsonl").write_text("notes, not a key")
    with pytest.raises(ConfigError, match="is there already"):
        export()
    with pytest.raises(ConfigError, match=r"--key news.jsonl is one of the files to be read"):
        export("--key", "news.jsonl")


def test_seeds(folder: Path) -> None:
    drawn = []
    for seed in ("0", "1"):
        assert export("--seed", seed) == 0
        drawn.append([item["item"] for item in key()])
        Path("labelling.key.jsonl").unlink()
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "page.htm"], "--output page.htm must end in .html"),
        (["--key", "key.json"], "--key key.json must end in .jsonl"),
        (["--per-set", "0"], "--per-set must be at least 1, not 0"),
        (["--per-set", "7"], r"'posts' has 6 inputs, and 7 are to be drawn; lower per_set \(--per-set 6\)"),
        (["--output", "news.jsonl/page.html"], "cannot be written"),
    ],
)
def test_exports_that_cannot_be(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(GenRLHFError, match=message):
        export(*arguments)
    assert sorted(file.name for file in folder.iterdir()) == ["more.json.gz", "news.jsonl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([row(1), row(2, output_2=7)], r"bad.json, row 1 has 7 for 'output_2'"),
        ([row(1, generator_2="old")], r"bad.json, row 0 compares 'old' with itself"),
        ([row(1, dataset=["x"])], r"bad.json, row 0 has \['x'\] for 'dataset'"),
        ([], "bad.json holds no rows"),
    ],
)
def test_annotations_that_cannot_be_drawn_from(folder: Path, content: list[Any], message: str) -> None:
    Path("bad.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        call("export", "news.jsonl", "bad.json", "--per-set", "1")


def test_labels_are_counted_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export() == 0
    capsys.readouterr()
    choices: list[str | None] = ["A", "B", "tie", "skip", "A", "B", None, "A", None, "A"]
    files = [save("ann.json", choices), save("bob.json", ["tie"], "Bob")]
    assert call("import", "labelling.key.jsonl", *files, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    counts = {"news": {"labels": 0, "skipped": 0, "missing": 5}, "posts": {"labels": 0, "skipped": 0, "missing": 5}}
    for item, choice in zip(key(), choices, strict=True):
        if choice:
            counts[item["dataset"]]["skipped" if choice == "skip" else "labels"] += 1
            counts[item["dataset"]]["missing"] -= 1
    assert found["annotators"]["Ann"] == counts
    assert sum(one["missing"] for one in found["annotators"]["Bob"].values()) == 9
    assert (found["labels"], found["items"], found["output"]) == (9, 10, "human_annotations.jsonl")
    lines = Path("human_annotations.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 9 and [one["annotator"] for one in rows] == ["Ann"] * 8 + ["Bob"]
    labelled = [(item, choice) for item, choice in zip(key(), choices, strict=True) if choice]
    for (item, choice), one in zip(labelled, rows, strict=False):
        wanted: float | None = {"tie": 1.5, "skip": None}.get(choice)
        if choice in ("A", "B"):
            wanted = {"old": 1, "new": 2}[item[f"generator_{choice.lower()}"]]
        number = int(item["instruction"].split()[1])
        assert one == {**row(number), "annotator": "Ann", "dataset": item["dataset"], "preference": wanted}


def test_table_of_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("export", "news.jsonl", "--per-set", "3") == 0
    capsys.readouterr()
    assert call("import", "labelling.key.jsonl", save("a.json", ["A", "skip"]), "--output", "out/h.jsonl") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["annotator", "test", "set", "labels", "skipped", "missing"],
        ["Ann", "news", "1", "1", "1"],
        ["2", "annotations", "in", "out/h.jsonl"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.json", "--output", "h.json"], "--output h.json must end in .jsonl"),
        (["a.json", "--output", "a.json"], "is one of the files to be read"),
        (["a.json", "--output", "labelling.key.jsonl"], "is one of the files to be read"),
        (["a.json", "--output", "a.json/h.jsonl"], "cannot be written"),
        (["none.json"], "none.json cannot be read"),
        (["."], r"\. cannot be read"),
        (["other.json"], "other.json holds labels of page 'x'"),
        (["large.json"], "large.json is larger than"),
        (["a.json", "contrary.json"], "the one is in a.json, the other in contrary.json"),
    ],
)
def test_imports_that_cannot_be(folder: Path, arguments: list[str], message: str) -> None:
    assert export() == 0
    before = key()
    save("a.json", ["A", "B"])
    save("contrary.json", ["B"])
    save("other.json", ["A"], page="x")
    with Path("large.json").open("wb") as large:
        large.truncate(MOST_BYTES * 40)
    with pytest.raises(GenRLHFError, match=message):
        call("import", "labelling.key.jsonl", *arguments)
    assert key() == before and not Path("human_annotations.jsonl").exists()
