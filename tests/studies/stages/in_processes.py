"""Draws outputs in one of several processes: `python -m tests.studies.stages.in_processes FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from accelerate import PartialState

from genrlhf.studies.stages.outputs import draw_outputs
from tests.processes import leave
from tests.studies.stages.test_outputs import DATASET, SIZES, Drawer


def main() -> None:
    PartialState(cpu=True)
    drawer = Drawer()
    rows = draw_outputs(Path(sys.argv[1]), DATASET, "id", drawer, **SIZES)
    assert [len(row["outputs"]) for row in rows] == SIZES["counts"]
    print(f"drew {drawer.asked}", flush=True)
    leave()


if __name__ == "__main__":
    main()
