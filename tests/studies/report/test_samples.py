"""What a report reads of outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.studies.report import samples
from genrlhf.studies.report.samples import read_samples
from genrlhf.studies.results import read_results
from tests.studies.results_record import write_example


def write(file: Path, rows: list[Any]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def study(folder: Path, *files: list[Any]) -> Any:
    """Return results of as many methods at one temperature, whose outputs in distribution are these rows."""
    names = ("sft", "ppo", "min_p")[: len(files)]
    results = write_example(folder, methods=names, temperatures=(1.0,), seeds=1)
    results["outputs"] = [one for one in results["outputs"] if one["set"] == "id"]
    for entry, rows in zip(results["outputs"], files, strict=True):
        write(folder / entry["file"], rows)
    return results


def row(prompt: Any, *outputs: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "outputs": list(outputs), **more}


def test_outputs_of_an_input_stand_side_by_side(tmp_path: Path) -> None:
    first = [row("a", "1", "2", reference="r"), row("b", "3"), row("a", "4"), row("c", "5")]
    # In another order, with a prompt that only it has, and without another.
    second = [row("x", "6"), row("a", "7"), row("b", "8", reference="s"), row("a", "9")]
    [found] = read_samples(study(tmp_path, first, second), tmp_path)
    assert (found.name, found.total) == ("id", 5)
    assert found.inputs == [
        {"prompt": "a", "reference": "r"},
        {"prompt": "b", "reference": "s"},
        {"prompt": "a"},
        {"prompt": "c"},
        {"prompt": "x"},
    ]
    assert [file["rows"] for file in found.files] == [
        [["1", "2"], ["3"], ["4"], ["5"], None],
        [["7"], ["8"], ["9"], None, ["6"]],
    ]
    assert [(file["method"], file["temperature"], file["seed"]) for file in found.files] == [
        ("sft", "1.0", 0),
        ("ppo", "1.0", 0),
    ]


def test_the_first_inputs_of_many(tmp_path: Path) -> None:
    rows = [row(str(n), f"out {n}") for n in range(500)]
    results = study(tmp_path, rows, rows[::-1])
    for inputs, shown in ((None, 100), (7, 7), (1000, 500)):
        [found] = read_samples(results, tmp_path, inputs)
        assert (len(found.inputs), found.total) == (shown, 500)
        assert [one["prompt"] for one in found.inputs] == [str(n) for n in range(shown)]
        for file in found.files:
            assert file["rows"] == [[f"out {n}"] for n in range(shown)]
    assert read_samples(results, tmp_path, 0) == []
    with pytest.raises(ConfigError, match="inputs is -1"):
        read_samples(results, tmp_path, -1)


def test_what_takes_too_much_room_is_left_out_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MOST_ROOM", 10_000)
    results = study(tmp_path, [row(str(n), "w" * 1000) for n in range(30)])
    # A little over a thousand characters an input.
    assert (
        len(read_samples(results, tmp_path)[0].inputs) == len(read_samples(results, tmp_path)[0].files[0]["rows"]) == 9
    )
    assert len(read_samples(results, tmp_path, 30)[0].inputs) == 30
    monkeypatch.setattr(samples, "MOST_ROOM", 10)
    assert len(read_samples(results, tmp_path)[0].inputs) == 1


def test_a_long_text_is_cut_and_its_length_is_kept(tmp_path: Path) -> None:
    [found] = read_samples(study(tmp_path, [row("p" * 20_001, "w" * 30_000, "v" * 20_000)]), tmp_path)
    assert found.inputs == [{"prompt": ["p" * 20_000, 20_001]}]
    assert found.files[0]["rows"] == [[["w" * 20_000, 30_000], "v" * 20_000]]


def test_conversations_are_shown_as_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "ü"}]
    rows = [row([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": parts}], "x"), row({"a": 1}, "y")]
    [found] = read_samples(study(tmp_path, rows), tmp_path)
    assert [one["prompt"] for one in found.inputs] == [
        'user: Hi\n\nassistant: [{"type": "text", "text": "ü"}]',
        '{"a": 1}',
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"prompt": "a", "outputs": ["b"]}\n{"prompt": \n', r"line 2 is not JSON"),
        (b"3\n", r"line 1 is 3, not \{"),
        (b'{"prompt": "a"}\n', "line 1"),
        (b'{"prompt": "a", "outputs": "b"}\n', "line 1"),
        (b'{"prompt": "a", "outputs": ["b", null]}\n', "line 1 has None among its outputs"),
        (b'{"prompt": "a", "outputs": ["b"]}\n\xff\xfe\n', "line 2 is not UTF-8"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path: Path, data: bytes, words: str) -> None:
    results = study(tmp_path, [])
    (tmp_path / results["outputs"][0]["file"]).write_bytes(data)
    with pytest.raises(DataError, match=rf"sft-1.0-id-0.jsonl, {words}") as found:
        read_samples(results, tmp_path)
    assert "\n" not in str(found.value)


def test_what_is_missing_or_has_changed_is_told_and_can_be_left_out(tmp_path: Path) -> None:
    write_example(tmp_path)
    results = read_results(tmp_path)
    file = tmp_path / results["outputs"][3]["file"]
    assert read_samples(results, tmp_path)
    kept = file.read_bytes()
    file.write_bytes(kept.replace(b"output 1", b"output 9"))
    with pytest.raises(DataError, match=r"has changed since the results were written.* .--inputs 0"):
        read_samples(results, tmp_path)
    # Behind the inputs that are shown, too.
    file.write_bytes(kept + b"\n")
    with pytest.raises(DataError, match="has changed since"):
        read_samples(results, tmp_path, 1)
    file.unlink()
    with pytest.raises(DataError, match=r"sft.* does not exist; put it back, or .* .--inputs 0"):
        read_samples(results, tmp_path)
    assert read_samples(results, tmp_path, 0) == []
