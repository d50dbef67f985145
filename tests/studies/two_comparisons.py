"""What `test_compare` runs in each of two processes: `python -m tests.studies.two_comparisons FOLDER MODEL`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from genrlhf.errors import GenRLHFError
from genrlhf.metrics import EAD
from genrlhf.studies import Drawing, run_comparison
from genrlhf.studies.results import to_json
from genrlhf.types import SamplingParams
from tests.processes import leave


def compared(folder: Path, model: str, **given: Any) -> Any:
    prompts = [{"prompt": f"q{n}", "reference": "r"} for n in range(5)]
    drawing = Drawing(n=2, params=SamplingParams(max_new_tokens=4), batch_size=4)
    results = run_comparison({"m": model}, folder, metrics={"ead": EAD()}, prompts=prompts, drawing=drawing, **given)
    return to_json(results["methods"])


def no_judge(prompts: Any, first: Any, second: Any) -> list[None]:
    return [None] * len(prompts)


if __name__ == "__main__":
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    found = compared(folder, sys.argv[2])
    try:
        compared(folder, sys.argv[2], judge=no_judge)
    except GenRLHFError as error:
        (folder / f"found-{rank}.json").write_text(json.dumps([found, str(error)]))
    leave()
