"""A digest of a dataset changes with its contents and with nothing else."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from datasets import Dataset, load_from_disk

from genrlhf.data import fingerprint
from genrlhf.data.fingerprint import dataset_fingerprint


def digest(dataset: object) -> str:
    found = dataset_fingerprint(dataset)
    assert found is not None
    return found["digest"]


def test_contents_count_and_places_do_not(tmp_path: Path) -> None:
    rows = [{"text": f"row {i}", "ids": [i, i + 1], "raw": bytes([i % 256])} for i in range(2500)]
    dataset = Dataset.from_list(rows)
    assert dataset_fingerprint(dataset) == {"name": "2500 rows of ids, raw, text", "digest": digest(dataset)}
    dataset.save_to_disk(str(tmp_path / "saved"))
    backwards = Dataset.from_list(rows[::-1])
    for same in (
        load_from_disk(str(tmp_path / "saved")),
        backwards.select(range(2499, -1, -1)),
        dataset.with_format("torch"),
        dataset.select_columns(["raw", "ids", "text"]),
    ):
        assert digest(same) == digest(dataset)
    rows[1234]["ids"][1] = 0
    others = (Dataset.from_list(rows), backwards, dataset.select(range(2499)), dataset.remove_columns("raw"))
    assert len({digest(dataset), *map(digest, others)}) == 5


def test_of_large_data_evenly_spaced_rows_count(tmp_path: Path) -> None:
    dataset = Dataset.from_dict({"n": range(5000)})
    with patch.object(fingerprint, "ROWS", 1000):
        assert digest(dataset.select(range(4999))) != digest(dataset)
        changed = dataset.map(lambda row: {"n": row["n"] + 5000 * (row["n"] == 5)})
        assert digest(changed) != digest(dataset)  # every fifth row is looked at
        between = dataset.map(lambda row: {"n": row["n"] + 5000 * (row["n"] == 6)})
        assert digest(between) == digest(dataset)
    assert digest(between) != digest(dataset)


def test_streams_are_known_by_their_type() -> None:
    stream = Dataset.from_dict({"n": [1]}).to_iterable_dataset()
    assert dataset_fingerprint(stream) == {
        "name": "IterableDataset, whose rows are not compared",
        "digest": "IterableDataset",
    }
    assert dataset_fingerprint(None) is None
    assert digest([{"n": 1}]) != digest([{"n": 2}])
