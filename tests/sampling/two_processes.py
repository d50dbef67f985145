"""What `test_filling` runs in each of two processes: a file that one of them cannot fill at first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genrlhf.errors import GenRLHFError, ModelError
from genrlhf.models.processes import join_processes
from genrlhf.sampling.filling import fill
from genrlhf.sampling.store import SampleStore
from genrlhf.types import Sample, Sampler, SamplingParams
from tests.processes import leave


class Rows(Sampler):
    """Says of every prompt which row it is."""

    def stream(
        self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()
    ) -> Iterator[tuple[int, list[Sample]]]:
        for place, row in enumerate(rows):
            yield place, [Sample(f"row {row}", "stop", 2, None, [])] * n


def main(folder: Path) -> None:
    state = join_processes()
    process = {"process": state.process_index, "processes": state.num_processes}

    def store(file: str, prompts: int) -> SampleStore:
        rows = [{"prompt": f"q{n}"} for n in range(prompts)]
        return SampleStore(folder / file, rows, n=1, params=SamplingParams(), seed=0, model={}, **process)

    def without_second() -> Sampler:
        if state.process_index == 1:
            raise ModelError("out of memory.")
        return Rows()

    heard = ""
    try:
        fill(store("some", 5), without_second)
    except GenRLHFError as error:
        heard = str(error)
    (folder / f"heard-{state.process_index}").write_text(heard)
    (folder / f"again-{state.process_index}").write_text(str(fill(store("some", 5), Rows).prompts))
    fill(store("fewer", 1), without_second)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
