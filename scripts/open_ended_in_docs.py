"""Put the study of `open_ended` into the docs: `python scripts/open_ended_in_docs.py`.

Writes the tables of `docs/results/open_ended.md`, between its marks, and the plot beside it, from
`benchmarks/results/open_ended_methods.json`, which `benchmarks/open_ended_table.py` has written. The same record gives
the same files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import numpy as np  # noqa: E402
from scripts.demo_in_docs import STYLE, colours  # noqa: E402

from genrlhf.studies.report.cells import number  # noqa: E402
from genrlhf.studies.report.svg import Axis, Point, Series, key, plane  # noqa: E402
from genrlhf.types import Estimate  # noqa: E402

RECORD = ROOT / "benchmarks" / "results" / "open_ended_methods.json"
PAGE = ROOT / "docs" / "results" / "open_ended.md"
PICTURE = ROOT / "docs" / "images" / "open_ended.svg"
RAREFIED = "exp_entropy_of_64"
COLUMNS = {
    "valid": "right",
    "distinct": "different",
    "exp_entropy": "exp(H)",
    RAREFIED: "of 64",
    "coverage": "coverage",
    "yield": "yield",
    "echo": "echo",
    "kl": "KL",
}
WHOLE = ("distinct", "exp_entropy", RAREFIED)
PLANES = (("ppo", "rloo", "grpo", "maxrl"), ("pass_at_k", "darling", "dqo", "mara"))
WIDTH, HEIGHT, GAP, TOP = 420, 400, 16, 64


def main() -> None:
    """Write page and plot."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
    PICTURE.write_text(picture(shown(record)), encoding="utf-8")


def shown(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows over all seeds where there are several, or of the one."""
    every = record["rows"]
    rows = [row for row in every if row["seed"] is None] or [row for row in every if row["seed"] == 0]
    for row in rows:
        if row["figures"].get(RAREFIED, {}).get("n") != row["figures"]["valid"]["n"]:
            row["figures"].pop(RAREFIED, None)  # some inputs have fewer right outputs, and the others are not all
    return rows


def with_tables(page: str, record: Mapping[str, Any]) -> str:
    """Return the page with its tables."""
    rows = shown(record)
    page = between(page, "temperature 1", table([row for row in rows if row["temperature"] == 1]))
    page = between(page, "seeds", by_seed(record["rows"]))
    page = between(page, "differences", differences(record["rows"]))
    page = between(page, "all temperatures", table(rows))
    return between(page, "families", by_family(rows))


def between(page: str, name: str, text: str) -> str:
    """Return the page with a text between the marks of a name."""
    before, mark, rest = page.partition(f"<!-- {name}: written by scripts/open_ended_in_docs.py -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not (mark and end):
        raise SystemExit(f"{PAGE} has no marks of {name!r}; put them where the table goes.")
    return f"{before}{mark}{text}{end}{after}"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures with their intervals."""
    lines = [["", "T", *COLUMNS.values(), "beside the controls"], ["---", *["---:"] * (1 + len(COLUMNS)), "---"]]
    lines += [
        [row["label"], f"{row['temperature']:g}", *(cell(row, name) for name in COLUMNS), said(row)] for row in rows
    ]
    return _markdown(lines)


def cell(row: dict[str, Any], name: str) -> str:
    """Return a figure with its interval."""
    found, digits = row["figures"].get(name), 1 if name in WHOLE else 2
    if found is None:
        return "–"
    low, high = found["ci"]
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if low < high else ""
    return f"{found['value']:.{digits}f}{interval}"


def said(row: dict[str, Any]) -> str:
    """Return how a trained method stands beside the controls."""
    if "behind" not in row:
        return ""
    if row["behind"]:
        return f"behind {', '.join(row['behind'])}"
    return f"ahead of {row['nearest_control']}" if row["ahead"] else "neither"


def by_seed(rows: list[dict[str, Any]]) -> str:
    """Return share right and exp(entropy) of every seed at temperature 1."""
    single = [row for row in rows if row["seed"] is not None and row["temperature"] == 1]
    seeds = sorted({row["seed"] for row in single})
    cells: dict[str, list[str]] = {}
    for row in single:
        figures = {name: found["value"] for name, found in row["figures"].items()}
        cells.setdefault(row["label"], []).append(_pair(figures))
    lines = [["", *(f"seed {seed}" for seed in seeds)], ["---", *["---:"] * len(seeds)]]
    return _markdown([*lines, *([label, *of] for label, of in cells.items())])


def differences(rows: list[dict[str, Any]]) -> str:
    """Return how far methods are at temperature 1 from each that the record has differences to."""
    trained = [row for row in rows if row["temperature"] == 1 and "beside" in row]
    together = [row for row in trained if row["seed"] is None]
    single = {(row["method"], row["seed"]): row["beside"] for row in trained if row["seed"] is not None}
    names = list(reversed(together[-1]["beside"]))
    labels = {row["method"]: row["label"] for row in rows}
    heads = [f"{head}, less {labels[name]}'s" for name in names for head in ("right, %", "of 64")]
    lines = [["", *heads, f"of 64, less {labels[names[0]]}'s, by seed"], ["---", *["---:"] * (len(heads) + 1)]]
    for row in together:
        cells = [
            _signed(row["beside"].get(name, {}).get(figure), 100.0 if figure == "valid" else 1.0)
            for name in names
            for figure in ("valid", RAREFIED)
        ]
        alone = [single[row["method"], seed].get(names[0], {}).get(RAREFIED) for seed in row["seeds"]]
        lines.append([row["label"], *cells, ", ".join(number(one["value"], 1) for one in alone if one) or "–"])
    return _markdown(lines)


def _signed(found: Mapping[str, Any] | None, scale: float) -> str:
    if found is None:
        return "–"
    value, low, high = (number(scale * each, 1) for each in (found["value"], *found["ci"]))
    return f"{value} [{low}, {high}]"


def by_family(rows: list[dict[str, Any]]) -> str:
    """Return share right and exp(entropy) of every family at temperature 1."""
    at_one = [row for row in rows if row["temperature"] == 1]
    families = list(at_one[0]["families"])
    lines = [["", *families], ["---", *["---:"] * len(families)]]
    return _markdown(
        [*lines, *([row["label"], *(_pair(row["families"][name]) for name in families)] for row in at_one)]
    )


def _markdown(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _pair(figures: dict[str, float]) -> str:
    spread = f"{figures[RAREFIED]:.1f}" if RAREFIED in figures else "–"
    return f"{figures['valid']:.2f} / {spread}"


def picture(rows: list[dict[str, Any]]) -> str:
    """Return the curves over the temperature as an SVG file, light or dark as the reader has it."""
    labels = {row["method"]: row["label"] for row in rows}
    free = [name for name in labels if any(row["free"] for row in rows if row["method"] == name)]
    places = {name: place for place, name in enumerate([*free, *PLANES[0]])}
    places |= {name: place for place, name in enumerate([*free, *PLANES[1]])}
    planes = [[*free, *(name for name in names if name in labels)] for names in PLANES]
    whole, height = len(planes) * WIDTH + GAP, TOP + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {height}" width="{whole}" height="{height}">',
        f"<style>{colours()}{STYLE}</style>",
        f'<rect class="back" x=".5" y=".5" width="{whole - 1}" height="{height - 1}" rx="8"/>',
    ]
    for place, names in enumerate(planes):
        left = place * (WIDTH + GAP)
        series = [Series(labels[name], places[name], _points(rows, name)) for name in names]
        axes = Axis("different right answers in effect, exp(H) of 64 right ones"), Axis("right (%)", 100.0)
        inner = plane(series, *axes, size=(WIDTH, HEIGHT), described_by=("Right against different", ""))
        parts.append(inner.replace("<svg ", f'<svg x="{left}" y="{TOP}" ', 1))
        x, y = left + 40.0, 14
        for one in series:
            if x + 22 + 7.2 * len(one.label) > left + WIDTH:
                x, y = left + 40.0, y + 22
            parts.append(key(one.position, curve=False).replace("<svg ", f'<svg x="{x}" y="{y}" ', 1))
            parts.append(f'<text class="name" x="{x + 22}" y="{y + 13}">{escape(one.label)}</text>')
            x += 22 + 7.2 * len(one.label) + 18
    return "\n".join([*parts, "</svg>\n"])


def _points(rows: list[dict[str, Any]], name: str) -> list[Point]:
    """Return the points of a method by rising temperature, without their intervals, which the table has."""
    found = sorted((row for row in rows if row["method"] == name), key=lambda row: float(row["temperature"]))
    return [
        Point(*(_known(row["figures"][axis]["value"]) for axis in (RAREFIED, "valid")), f"{row['temperature']:g}")
        for row in found
        if RAREFIED in row["figures"]
    ]


def _known(value: float) -> Estimate:
    return Estimate(value, 0.0, (value, value), 1, np.zeros(0))


if __name__ == "__main__":
    main()
