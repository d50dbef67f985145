"""Put the study of `open_ended` into the docs: `python scripts/open_ended_in_docs.py`.

Writes the tables of `docs/results/open_ended.md`, between its marks, and the plot beside it, from
`benchmarks/results/open_ended_methods.json`, which `benchmarks/open_ended_table.py` has written.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from demo_in_docs import STYLE, colours

from genrlhf.studies.report.svg import Axis, Point, Series, key, plane
from genrlhf.types import Estimate

ROOT = Path(__file__).parents[1]
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
    every = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    # Rows over all seeds where there are several.
    rows = [row for row in every if row["seed"] is None] or [row for row in every if row["seed"] == 0]
    for row in rows:
        if row["figures"].get(RAREFIED, {}).get("n") != row["figures"]["valid"]["n"]:
            row["figures"].pop(RAREFIED, None)  # some inputs have fewer right outputs, and the others are not all
    page = PAGE.read_text(encoding="utf-8")
    page = between(page, "temperature 1", table([row for row in rows if row["temperature"] == 1]))
    page = between(page, "all temperatures", table(rows))
    PAGE.write_text(between(page, "families", by_family(rows)), encoding="utf-8")
    PICTURE.write_text(picture(rows), encoding="utf-8")


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
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


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


def by_family(rows: list[dict[str, Any]]) -> str:
    """Return share right and exp(entropy) of every family at temperature 1."""
    shown = [row for row in rows if row["temperature"] == 1]
    families = list(shown[0]["families"])
    lines = [["", *families], ["---", *["---:"] * len(families)]]
    lines += [[row["label"], *(_pair(row["families"][family]) for family in families)] for row in shown]
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
    shown = [[*free, *(name for name in names if name in labels)] for names in PLANES]
    whole, height = len(shown) * WIDTH + GAP, TOP + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {height}" width="{whole}" height="{height}">',
        f"<style>{colours()}{STYLE}</style>",
        f'<rect class="back" x=".5" y=".5" width="{whole - 1}" height="{height - 1}" rx="8"/>',
    ]
    for number, names in enumerate(shown):
        left = number * (WIDTH + GAP)
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
