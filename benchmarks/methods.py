"""The honest toys of the methods: what a method does that its controls do not, over seeds.

    python benchmarks/methods.py
    python benchmarks/methods.py gem rrhf --seeds 0 1 2
    python benchmarks/methods.py --docs

A toy is a file of `benchmarks/toys`: `run(seed)` returns figures of the method and of its controls, `BAR` says what the
method reaches and a control does not, and `SMALL` has arguments of `run` for a size that the tests run. The bar holds
where that is so at every seed, and the means of the two are apart by at least three times the spread over the seeds
(largest less smallest). A toy's record is kept in the output file, in place of its last one; `--docs` writes the tables
of `docs/methods/*.md` from it. What does not hold is kept as it is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.machine import describe_machine  # noqa: E402
from benchmarks.toys._bar import judge  # noqa: E402

RECORD = ROOT / "benchmarks" / "results" / "methods.json"
PAGES = ROOT / "docs" / "methods"


def toy_names() -> list[str]:
    """Return the names of all toys."""
    files = sorted((ROOT / "benchmarks" / "toys").glob("*.py"))
    return [file.stem for file in files if not file.stem.startswith("_")]


def load_toy(name: str) -> ModuleType:
    """Return the module of a toy."""
    return importlib.import_module(f"benchmarks.toys.{name}")


def measure(name: str, seeds: list[int]) -> dict[str, Any]:
    """Run a toy with every seed, and return its record."""
    toy, started, by_seed = load_toy(name), time.process_time(), {}
    for seed in seeds:
        by_seed[str(seed)] = toy.run(seed)
        print(f"{name}, seed {seed}: {time.process_time() - started:.0f} s", file=sys.stderr, flush=True)
    judged = [judge(claim, by_seed) for claim in toy.BAR]
    return {
        "what": " ".join((toy.__doc__ or "").split("\n\n")[0].split()),
        "holds": all(each["holds"] for each in judged),
        "bar": judged,
        "seeds": by_seed,
        "seconds": round(time.process_time() - started, 1),
        "command": f"python benchmarks/methods.py {name} --seeds {' '.join(map(str, seeds))}",
        "machine": describe_machine(),
    }


def table(record: Mapping[str, Any]) -> str:
    """Return a toy's figures, of every seed side by side, and what came of its bar, in Markdown."""
    seeds = record["seeds"]
    arms = next(iter(seeds.values()))
    names = list(dict.fromkeys(name for figures in arms.values() for name in figures))
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for arm in arms:
        cells = (_cell([figures[arm].get(name) for figures in seeds.values()]) for name in names)
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    lines += ["", f"Seeds {', '.join(seeds)}. " + " ".join(map(_sentence, record["bar"]))]
    return "\n".join(lines)


def _cell(values: list[float | None]) -> str:
    return ", ".join("–" if value is None else f"{0.0 if abs(value) < 5e-5 else value:.3g}" for value in values)


def _sentence(claim: Mapping[str, Any]) -> str:
    side, bound = ("at least", claim["at_least"]) if claim["at_least"] is not None else ("at most", claim["at_most"])
    words = f"Bar: {claim['figure']} of {claim['arm']} {side} {bound:g}"
    if claim["control"] is None:
        return f"{words}: {'holds' if claim['holds'] else 'does not hold'}."
    words += f", not of {claim['control']}"
    found = f"{claim['distance']:.3g} apart"
    if claim["spread"] is not None:
        found += f", spread {claim['spread']:.2g}"
    return f"{words}: {'holds' if claim['holds'] else '**does not hold**'} ({found})."


def with_tables(text: str, toys: Mapping[str, Any]) -> str:
    """Return a page whose tables between `<!-- toy: NAME -->` and `<!-- end of toy -->` are those of the record."""

    def filled(found: re.Match[str]) -> str:
        name = found[1]
        inner = f"\n{table(toys[name])}\n" if name in toys else "\nNot recorded.\n"
        return f"<!-- toy: {name} -->\n{inner}\n<!-- end of toy -->"

    return re.sub(r"<!-- toy: (\w+) -->.*?<!-- end of toy -->", filled, text, flags=re.DOTALL)


def write_docs(toys: Mapping[str, Any]) -> None:
    """Bring the tables of all pages up to date."""
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(with_tables(page.read_text(encoding="utf-8"), toys), encoding="utf-8")


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"toys (default: all): {', '.join(toy_names())}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--output", type=Path, default=RECORD, help="(default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="run nothing; write the tables of docs/methods")
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(toy_names())):
        parser.error(f"there is no toy {unknown[0]!r}")
    return args


def main() -> None:
    """Run toys, print their tables, and keep their records."""
    args = parse_args()
    if not args.docs:
        for name in args.names or toy_names():
            record = measure(name, args.seeds)
            print(f"\n{name}\n\n{table(record)}", flush=True)
            # Read again each time: another run may have kept another toy meanwhile.
            toys = read_record(args.output)
            toys[name] = record
            text = json.dumps({"toys": dict(sorted(toys.items()))}, indent=1, ensure_ascii=False)
            args.output.write_text(text + "\n", encoding="utf-8")
    if args.docs or args.output == RECORD:
        write_docs(read_record(args.output))


def read_record(file: Path) -> dict[str, Any]:
    """Return the records of toys by name; none where there is no such file."""
    toys: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["toys"] if file.exists() else {}
    return toys


if __name__ == "__main__":
    main()
