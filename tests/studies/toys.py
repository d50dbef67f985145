"""Studies of stages that write lines, a step at a time, and need neither torch nor seconds.

As a program (`python -m tests.studies.toys FOLDER [CHANGES] [STAGE …]`), it makes them and prints a line a step.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genrlhf.data.log import append_records, recover_records
from genrlhf.errors import DataError
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.running import run

MADE: list[str] = []
"""Names of stages as they are run, in this process."""

STEPS = 4


def digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def writes_lines(name: str, settings: Mapping[str, Any]) -> Callable[[Path, StageContext], dict[str, Any]]:
    """Return what appends a line a step, each a digest of the settings, the lines before, and all that is needed."""

    def make(folder: Path, context: StageContext) -> dict[str, Any]:
        MADE.append(name)
        if log := os.environ.get("TOY_LOG"):
            append_records(Path(log + os.environ.get("RANK", "")), [{"stage": name, "main": context.is_main}])
        if name == os.environ.get("TOY_FAILS"):
            raise DataError("row 3 has no prompt; add one.")
        if not context.is_main:
            return {}
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        file = folder / "model" / "lines.jsonl"
        needed = {role: recover_records(at / "model" / "lines.jsonl") for role, at in context.folders.items()}
        figures = {role: dict(context.figures_of(role)) for role in context.folders}
        lines = recover_records(file)
        for step in range(len(lines), STEPS):
            lines.append({"step": step, "digest": digest(dict(settings), lines, needed, figures)})
            append_records(file, [lines[-1]])
            print(f"{name} {step}", flush=True)
        return {"digest": digest(lines), "lines": len(lines)}

    return make


def stage(name: str, settings: Mapping[str, Any] | None = None, *, launched: bool = False, **needs: Stage) -> Stage:
    settings = settings or {}
    return Stage(name, settings, needs, writes_lines(name, settings), launched=launched)


def toy_graph(
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    methods: Sequence[str] = ("ppo", "gem"),
    seeds: Sequence[int] = (0, 1),
) -> Graph:
    """Return a graph of two seeds of SFT, a reward model, and methods that are sampled.

    Args:
        changes: further settings by the kind of a stage.
        methods: beside SFT.
        seeds: of all.
    """
    changes = changes or {}
    stages = []
    for seed in seeds:

        def of(name: str, launched: bool = False, seed: int = seed, **needs: Stage) -> Stage:
            kind = name.split("/")[0] if name.startswith("sample") else name
            settings = {"seed": seed, **changes.get(kind, {}), **changes.get(name, {})}
            return stage(f"{name}/seed-{seed}", settings, launched=launched, **needs)

        sft = of("sft", launched=True)
        reward = of("reward", launched=True, start=sft)
        trained = {"sft": sft}
        for method in methods:
            needs = {"reward": reward} if method == "ppo" else {}
            trained[method] = of(method, launched=True, start=sft, **needs)
        stages += [of(f"sample/{method}", model=model) for method, model in trained.items()]
    return Graph(stages)


class ToyStudy:
    """What `genrlhf study` takes."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.folder = folder
        self._graph = graph

    def graph(self) -> Graph:
        return self._graph

    def results(self) -> dict[str, Any]:
        places = StudyFolder(self.folder, self._graph)
        figures = {each.name: dict(places.record_of(each).figures) for each in self._graph}
        (self.folder / "results.json").write_text(json.dumps(figures, sort_keys=True))
        return figures


def study(output_dir: str | None = None) -> ToyStudy:
    changes = json.loads(os.environ.get("TOY_CHANGES", "{}"))
    return ToyStudy(toy_graph(changes), Path(output_dir or "toy"))


if __name__ == "__main__":
    folder, changes, *only = sys.argv[1:]
    jobs = int(os.environ.get("TOY_JOBS", "1"))
    run(toy_graph(json.loads(changes)), folder, only=only, report=lambda said: print(said, flush=True), jobs=jobs)
