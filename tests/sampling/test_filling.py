"""A file of outputs that several processes fill together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.processes import run_in_two


def texts(file: Path) -> list[str]:
    return [json.loads(line)["outputs"][0] for line in file.read_text().splitlines()]


@pytest.mark.enable_socket
def test_what_goes_wrong_on_one_is_heard_by_all_and_what_the_others_drew_is_kept(tmp_path: Path) -> None:
    run_in_two("tests.sampling.two_processes", str(tmp_path))
    heard = [(tmp_path / f"heard-{process}").read_text() for process in range(2)]
    assert heard == ["Process 1 of 2 ended with ModelError: out of memory.", "out of memory."]
    # The first had drawn rows 0, 2 and 4; both are told what both have drawn.
    assert [(tmp_path / f"again-{process}").read_text() for process in range(2)] == ["2", "2"]
    assert texts(tmp_path / "some") == [f"row {row}" for row in range(5)]
    # Of one prompt the second process has no share, and needs no model.
    assert texts(tmp_path / "fewer") == ["row 0"]
    assert not list(tmp_path.glob("*process-*"))
