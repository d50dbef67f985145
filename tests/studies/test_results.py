"""The record that a study and a comparison leave, and that the report reads."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import DataError
from genrlhf.studies.results import (
    diversity_of,
    from_json,
    quality_of,
    read_results,
    temperature_key,
    to_json,
    write_results,
)
from genrlhf.types import Estimate
from tests.studies.results_record import example_results, write_example


def test_what_is_written_is_read(tmp_path: Path) -> None:
    results = write_example(tmp_path)
    for path in (tmp_path, tmp_path / "results.json", str(tmp_path)):
        found = read_results(path)
        digests = [entry.pop("sha256") for entry in found["outputs"]]
        assert found == results
    files = [tmp_path / entry["file"] for entry in results["outputs"]]
    assert digests == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    record = json.loads((tmp_path / "results.json").read_text())
    assert (record["format"], record["version"]) == ("genrlhf-results", 1)
    estimate = record["methods"]["ppo"]["temperatures"]["1.0"]["kl"]
    assert set(estimate) == {"value", "stderr", "ci", "n"}
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["results.json"]


def test_figures_are_found_by_their_names() -> None:
    figures = example_results()["methods"]["ppo"]["temperatures"]["0.5"]
    assert quality_of(figures, "pvr", "ood") is figures["pvr"]["ood"]
    assert quality_of(figures, "gold", "id") is quality_of(figures, None, "id") is None
    assert quality_of(figures, "kl", "id") is None
    assert diversity_of(figures, "across_input.ead") is figures["diversity"]["across_input"]["ead"]
    assert diversity_of(figures, "per_input.nli") is diversity_of(figures, None) is None
    assert diversity_of({}, "per_input.ead") is None


def test_temperatures_have_one_name_each() -> None:
    assert [temperature_key(t) for t in (1, 1.0, 0.7, 0, None)] == ["1.0", "1.0", "0.7", "0.0", "given"]


def test_estimates_survive_json() -> None:
    nan = math.nan
    figures = {"a": [Estimate(0.5, nan, (nan, 1.0), 3, np.array([0.0, nan, 1.0]))], "b": nan, "c": np.float32(0.5)}
    text = json.dumps(to_json(figures, values=True), allow_nan=False)
    found = from_json(json.loads(text))
    assert (found["b"], found["c"]) == (None, 0.5)
    (estimate,) = found["a"]
    assert (estimate.value, estimate.n, estimate.ci[1]) == (0.5, 3, 1.0)
    assert math.isnan(estimate.stderr) and math.isnan(estimate.ci[0])
    np.testing.assert_array_equal(estimate.values, [0.0, nan, 1.0])
    (without,) = from_json(to_json(figures))["a"]
    assert without.values.shape == (0,)


@pytest.mark.parametrize(
    "damaged",
    [
        {"value": "x", "stderr": 0.0, "ci": [0, 1], "n": 3},
        {"value": 1.0, "stderr": 0.0, "ci": [0], "n": 3},
        {"value": 1.0, "stderr": 0.0, "ci": 0, "n": 3},
        {"value": 1.0, "stderr": 0.0, "ci": [0, 1], "n": 3.5},
        {"value": 10**400, "stderr": 0.0, "ci": [0, 1], "n": 3},
        {"value": 1.0, "stderr": 0.0, "ci": [0, 1]},
        0.5,
        None,
    ],
)
def test_what_is_no_estimate_is_said_with_its_place(tmp_path: Path, damaged: Any) -> None:
    refused = r"methods\.ppo\.temperatures\.0\.5\.seeds\.1\.kl is .*not an estimate; the file is damaged"
    record = _record(tmp_path)
    record["methods"]["ppo"]["temperatures"]["0.5"]["seeds"]["1"]["kl"] = damaged
    _refused(tmp_path, record, refused)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["format"], "other", "is no record of results"),
        (["version"], 2, "is of version 2, and this genrlhf reads version 1"),
        (["title"], None, "title is None, not a text"),
        (["sets"], [], r"sets is \[\], not a list of names"),
        (["quality"], 3, "quality is 3, not a name or null"),
        (["reference"], "dpo", r"reference is 'dpo', not one of the methods \(sft, "),
        (["methods", "sft", "free"], 1, "methods.sft.free is 1, not true or false"),
        (["methods", "sft"], [], r"methods.sft is \[\], not an object"),
        (["curves", "sft", "points", 1, "temperature"], "2.0", r"points\[1\].temperature is '2.0', not a temperature"),
        (["curves", "sft", "points", 0, "on_front"], None, "on_front is None"),
        (["curves", "sft", "dominated_by"], ["x"], r"dominated_by\[0\] is 'x', not one of the methods"),
        (["curves", "ppo", "at_reference_quality"], 0.5, "at_reference_quality is 0.5, not an estimate or null"),
        (["curves", "kto"], {}, "a curve is 'kto', not one of the methods"),
        (["outputs", 0, "seed"], "0", r"outputs\[0\].seed is '0', not a seed or null"),
        (["outputs", 0, "set"], "x", r"outputs\[0\].set is 'x', not one of the sets \(id, ood\)"),
        (["warnings"], [1], r"warnings\[0\] is 1"),
        (["seconds"], True, "seconds is True"),
        (["versions"], {"torch": 2}, "versions.torch is 2"),
    ],
)
def test_damage_is_said_in_one_line(tmp_path: Path, path: list[Any], value: Any, words: str) -> None:
    record = _record(tmp_path)
    place: Any = record
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    _refused(tmp_path, record, words)


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../other.jsonl", "outputs/../../x", "C:\\x", "..\\x", "\\\\server\\x", ""]
)
def test_outputs_lie_inside_of_the_folder(tmp_path: Path, file: str) -> None:
    record = _record(tmp_path)
    record["outputs"][3]["file"] = file
    _refused(tmp_path, record, r"outputs\[3\]\.file is .*not a path inside of the folder")


@pytest.mark.parametrize("name", ["title", "methods", "curves", "outputs", "settings", "seconds"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    record = _record(tmp_path)
    del record[name]
    _refused(tmp_path, record, f"there is no {name}; the file is damaged")


def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results\.json does not exist; give the output folder of genrlhf"):
        read_results(tmp_path)
    file = tmp_path / "results.json"
    for text, words in (
        ("[]", "is no record of results"),
        ("{", "is not JSON"),
        ('{"format": "genrlhf-results", "version": 1, "methods": ' + 300 * '{"a":' + "1" + 300 * "}" + "}", "title"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            read_results(tmp_path)


def test_what_cannot_be_read_is_not_written(tmp_path: Path) -> None:
    results = example_results()
    write_results(results, tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    broken = copy.deepcopy(results)
    broken["reference"] = "nobody"
    with pytest.raises(DataError, match="reference is 'nobody'"):
        write_results(broken, tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before


def test_half_a_character_in_a_setting(tmp_path: Path) -> None:
    results = example_results()
    results["settings"] = {"stop": "\ud800"}
    write_results(results, tmp_path)
    assert read_results(tmp_path)["settings"] == {"stop": "?"}


def _record(folder: Path) -> dict[str, Any]:
    write_results(example_results(), folder)
    record: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return record


def _refused(folder: Path, record: dict[str, Any], words: str) -> None:
    (folder / "results.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=words) as caught:
        read_results(folder)
    assert "\n" not in str(caught.value)
