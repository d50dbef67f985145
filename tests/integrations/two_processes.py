"""What `test_diversity_callback` runs in each of two processes: a run with and without the callback, and a shard."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from genrlhf.integrations import DiversityCallback
from genrlhf.integrations.callback.measuring import draw
from genrlhf.models.processes import gathered
from genrlhf.types import SamplingParams
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.integrations.trainers import trained
from tests.processes import leave
from tests.trainers.runs import largest_difference, weights


def callback() -> DiversityCallback:
    return DiversityCallback(["q", "qx", "qxxx"], n=3, every=0.5, params=SamplingParams(max_new_tokens=8))


def main(folder: Path) -> None:
    runs = {
        name: trained("transformers", folder / name, each, model=tiny_llama(), max_steps=2)
        for name, each in (("without", []), ("with", [callback()]))
    }
    trainer = runs["with"]
    logs = [entry for entry in trainer.state.log_history if "diversity/seconds" in entry]
    report = {
        "unchanged": largest_difference(*(weights(run.model) for run in runs.values())),
        "steps": [logs[0]["step"], logs[-1]["step"]],
        "figures": [{k: v for k, v in entry.items() if "seconds" not in k} for entry in logs],
        "sharded": sharded(trainer),
    }
    (folder / f"report-{trainer.accelerator.process_index}.json").write_text(json.dumps(report))
    leave()


def sharded(trainer: Any) -> list[list[str]]:
    """Draw from a model in two shards, of which nothing knows that it is to be sampled from."""
    model, mesh = tiny_llama(), init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    accelerator = SimpleNamespace(
        unwrap_model=lambda model, **options: model,
        process_index=torch.distributed.get_rank(),
        num_processes=2,
        autocast=nullcontext,
    )
    host: Any = SimpleNamespace(model=model, accelerator=accelerator)
    found = gathered(lambda: draw(host, tiny_tokenizer(), callback().settings))
    return [record["outputs"] for record in sorted(found, key=lambda record: record["row"])]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
