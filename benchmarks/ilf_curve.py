"""ILF's toy step by step: `python benchmarks/ilf_curve.py`.

How often the policy of each arm is right after each ten steps, with seed 0; `scripts/method_curves.py` draws it. The
record goes to `benchmarks/results/ilf_curve.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.machine import describe_machine  # noqa: E402
from benchmarks.toys import ilf  # noqa: E402

RECORD = ROOT / "benchmarks" / "results" / "ilf_curve.json"


def main() -> None:
    curves: Any = {}
    figures = ilf.run(0, curves=curves)
    rounded = {name: [[step, round(right, 4)] for step, right in curve] for name, curve in curves.items()}
    record = {
        "command": "python benchmarks/ilf_curve.py",
        "machine": describe_machine(),
        "seed": 0,
        "figures": figures,
        "curves": rounded,
    }
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
