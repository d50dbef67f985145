"""Measures every decoder and writes `benchmarks/results/families.json` and the table of `docs/families.md`.

python -m tests.decoders
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import torch
import transformers

from tests.decoders.configs import DECODERS, is_known
from tests.decoders.measure import Row, measure

ROOT = Path(__file__).resolve().parents[2]
RECORD, PAGE = ROOT / "benchmarks/results/families.json", ROOT / "docs/families.md"
START = "| decoder |"


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| decoder | prompt shared | trunk shared | greedy | log-probabilities | first ratio − 1 | rewards | values |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "refused" if row.refused else _figure(row.ratio)
        cells = [
            row.decoder,
            "yes" if row.shares_prefix else "no, " + _batches(row),
            "yes" if row.shares_trunk else "no",
            "equal" if row.greedy == 0 else f"{row.greedy} differ",
            *(_figure(row.logprobs), ratio, _figure(row.score), _figure(row.values)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _batches(row: Row) -> str:
    if not row.reads_batches:
        return "one at a time"
    return "any batch" if row.reads_left_padding else "by length"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.0e}"


def main() -> None:
    """Measure, and write both files."""
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    rows = [measure(name) for name in DECODERS if is_known(name)]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    record = {"versions": versions, "rows": [dataclasses.asdict(row) for row in rows]}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page[: page.index(START)] + table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
