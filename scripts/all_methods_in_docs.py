"""Put the study of all methods into the docs: `python scripts/all_methods_in_docs.py`.

Reads `benchmarks/results/all_methods.json`, and writes the plots `docs/images/all_methods*.svg` and the tables of
`docs/results/all_methods.md`, between its marks. The same record gives the same files.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import numpy as np  # noqa: E402
from scripts.demo_in_docs import STYLE, colours  # noqa: E402

from genrlhf.studies.report.cells import number  # noqa: E402
from genrlhf.studies.report.svg import Axis, Point, Series, key, plane  # noqa: E402
from genrlhf.studies.results import from_json  # noqa: E402
from genrlhf.types import Estimate  # noqa: E402

RECORD = ROOT / "benchmarks" / "results" / "all_methods.json"
PAGE, IMAGES = ROOT / "docs" / "results" / "all_methods.md", ROOT / "docs" / "images"
MARKS = "<!-- {}: written by scripts/all_methods_in_docs.py -->", "<!-- end of {} -->"

FREE = ("sft", "best_of_16")
"""What stands beside the others in every plot."""

FAMILIES = {
    "Without training": ("base", "min_p", "wise_ft", "ppo"),
    "On rows": ("gem", "unlikelihood", "chain_of_hindsight", "prompt_distillation_given"),
    "On pairs": ("dpo", "spl", "kto", "spin", "divpo"),
    "On samples": (
        *("best_of_n", "diverse_best_of_n", "rrhf", "chain_of_hindsight_sampled", "hir", "prompt_distillation"),
    ),
    "In rollouts": ("ppo", "nlpo", "rloo", "grpo", "dr_grpo", "adversarial"),
    "In rollouts, for diversity": ("darling", "frequency", "uniqueness", "dqo", "kl_cov", "clip_cov"),
    "By a verifier": ("maxrl", "pass_at_k", "mara", "dr_grpo_verified"),
}
WIDTH, HEIGHT, HEAD, COLUMNS = 420, 300, 76, 2
SIZES = {"all_methods": HEIGHT, "all_methods_temperature": 230}


def main() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for name, image in images(record).items():
        (IMAGES / f"{name}.svg").write_text(image, encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


def images(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the plots by the names of their files."""
    return {
        "all_methods": sheet([(name, on_the_plane(record, name)) for name in FAMILIES], SIZES["all_methods"]),
        "all_methods_temperature": sheet(
            [
                (f"{name}: {what}", over_temperature(record, name, of))
                for name in FAMILIES
                for what, of in (("preferred to the reference, %", _pvr), ("EAD per input", _ead))
            ],
            SIZES["all_methods_temperature"],
        ),
    }


def on_the_plane(record: Mapping[str, Any], family: str) -> tuple[list[Series], Axis, Axis]:
    """Return quality against diversity of a family, beside what costs no training."""
    series = [
        Series(
            _label(record, name),
            position,
            [Point(_ead(at), _pvr(at), f"T {key}") for key, at in _temperatures(record, name)],
        )
        for position, name in _members(record, family)
    ]
    return series, Axis("diversity per input (EAD)"), Axis("preferred to the reference, %", 100.0)


def over_temperature(record: Mapping[str, Any], family: str, of: Any) -> tuple[list[Series], Axis, Axis]:
    """Return a figure of a family over the temperature."""
    series = []
    for position, name in _members(record, family):
        # Beside each other, or intervals would lie on each other.
        points = [
            Point(_exactly(float(key) + 0.012 * (position - 3)), of(at)) for key, at in _temperatures(record, name)
        ]
        series.append(Series(_label(record, name), position, points))
    return series, Axis("temperature"), Axis("", 100.0 if of is _pvr else 1.0)


def sheet(panels: Sequence[tuple[str, tuple[list[Series], Axis, Axis]]], height: int) -> str:
    """Return panels in two columns as an SVG file, light or dark as the reader has it."""
    rows = math.ceil(len(panels) / COLUMNS)
    width, whole = COLUMNS * WIDTH, rows * (HEAD + height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" width="{width}" height="{whole}">',
        f"<style>{colours()}{STYLE} .title {{ fill: var(--text); font-size: 14px; font-weight: 600; }}</style>",
        f'<rect class="back" x=".5" y=".5" width="{width - 1}" height="{whole - 1}" rx="8"/>',
    ]
    for place, (title, (series, x, y)) in enumerate(panels):
        left, top = place % COLUMNS * WIDTH, place // COLUMNS * (HEAD + height)
        parts += _head(title, series, left, top)
        inner = plane(series, x, y, size=(WIDTH, height), described_by=(title, ""))
        parts.append(inner.replace("<svg ", f'<svg x="{left}" y="{top + HEAD}" ', 1))
    return "\n".join([*parts, "</svg>\n"])


def _head(title: str, series: Sequence[Series], left: int, top: int) -> Iterator[str]:
    yield f'<text class="title" x="{left + 16}" y="{top + 22}">{escape(title)}</text>'
    x, y = left + 16.0, top + 32.0
    for one in series:
        words = one.label.replace("Hindsight instruction relabelling", "HIR").replace("distillation", "dist.")
        words = words.replace("Chain of Hindsight", "CoH").replace("Soft preference learning", "SPL")
        words = words.replace("Interpolated weights", "Interpolated").replace("Adversarial imitation", "Adversarial")
        reach = 20 + 6.4 * len(words) + 12
        if x + reach > left + WIDTH:
            x, y = left + 16.0, y + 15
        yield key(one.position, curve=False).replace("<svg ", f'<svg x="{x:.0f}" y="{y:.0f}" ', 1)
        yield f'<text class="tick" x="{x + 19:.0f}" y="{y + 12:.0f}">{escape(words)}</text>'
        x += reach


def with_tables(page: str, record: Mapping[str, Any]) -> str:
    """Return the page with its tables."""
    for name, make in (("run", run_line), ("figures", figures_table), ("curves", curves_table), ("seeds", seeds_table)):
        begin, end = (mark.format(name) for mark in MARKS)
        before, mark, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (mark and closed):
            raise SystemExit(f"There are no marks {begin} and {end} in {PAGE.name}; put them where it goes.")
        page = f"{before}{begin}\n{make(record)}\n{end}{after}"
    return page


def run_line(record: Mapping[str, Any]) -> str:
    """Say what was run, where, and how long it took."""
    machine, took = record["machine"], record["seconds"]
    stages = sum(each["stages"] for each in record["stages"].values())
    found = machine["versions"]
    names = ", ".join(f"{name} {found[name]}" for name in ("torch", "transformers", "trl") if found.get(name))
    seeds = ", ".join(str(seed) for seed in record["settings"]["seeds"])
    lines = [
        f"`{record['command']}`, seed {seeds}: {stages} stages of {took:,.0f} s, with Python "
        f"{machine['python']}, {names}, on {machine['cores']} processor cores that other work shared at first.",
        *record["warnings"],
    ]
    return "\n\n".join(lines)


def figures_table(record: Mapping[str, Any]) -> str:
    """Return the figures of all methods at temperature 1."""
    heads = ("", "PvR ID, %", "PvR OOD, %", "gap OOD", "gold ID", "EAD per input", "KL, nats an output")
    rows = []
    for method in record["methods"].values():
        at = method["temperatures"].get("1.0")
        if at is not None:
            found = [_of(at, *path) for path in PATHS]
            label = f"*{method['label']}*" if method["free"] else method["label"]
            rows.append([label, *(_cell(one, *how) for one, how in zip(found, HOW, strict=True))])
    return _table(heads, rows)


PATHS = (("pvr", "id"), ("pvr", "ood"), ("gap",), ("gold", "id"), ("diversity", "per_input", "ead"), ("kl",))
HOW = ((100, 1), (100, 1), (100, 1), (1, 2), (1, 3), (1, 2))


def curves_table(record: Mapping[str, Any]) -> str:
    """Return what the curves say: diversity at the quality of SFT, and what a control is better than in both."""
    rows = []
    for name, curve in record["curves"].items():
        at = from_json(curve["at_reference_quality"]) if curve["at_reference_quality"] else None
        # One without an interval says why, too.
        why = curve.get("why_not") or ""
        ground = _cell(at, 1, 3) if at is not None else ""
        points = [
            f"T {point['temperature']}: {', '.join(_label(record, each) for each in point['dominated_by'])}"
            for point in curve["points"]
            if point.get("dominated_by")
        ]
        front = ", ".join(point["temperature"] for point in curve["points"] if point["on_front"])
        rows.append([_label(record, name), ground or _short(why), "; ".join(points), front])
    return _table(("", "EAD at the quality of SFT", "dominated by", "on the front at T"), rows)


def _short(why: str) -> str:
    for said in ("below", "above"):
        if f"is {said} that of" in why:
            return f"none: {said} it at every temperature"
    return f"none: {why.rstrip('.')}" if why else ""


def seeds_table(record: Mapping[str, Any]) -> str:
    """Return PvR and EAD of every seed at temperature 1."""
    seeds = [str(seed) for seed in record["settings"]["seeds"]]
    heads = ("", f"PvR ID, %, seeds {', '.join(seeds)}", "EAD per input")
    rows = []
    for method in record["methods"].values():
        found = method["temperatures"].get("1.0", {}).get("seeds", {})
        there = [found[seed] for seed in seeds if seed in found]
        pvr = ", ".join(number(100 * each["pvr"]["id"], 1) for each in there)
        ead = ", ".join(number(each["diversity"]["per_input"]["ead"], 3) for each in there)
        rows.append([method["label"], pvr, ead])
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(found: Estimate | None, scale: float, decimals: int) -> str:
    if found is None or math.isnan(found.value):
        return ""
    low, high = found.ci
    ends = f" [{number(scale * low, decimals)}, {number(scale * high, decimals)}]" if low < high else ""
    return f"{number(scale * found.value, decimals)}{ends}"


def _of(figures: Any, *path: str) -> Estimate | None:
    for step in path:
        if step not in figures:
            return None
        figures = figures[step]
    found: Estimate = from_json(figures)
    return found


def _pvr(figures: Any) -> Any:
    return _of(figures, "pvr", "id")


def _ead(figures: Any) -> Any:
    return _of(figures, "diversity", "per_input", "ead")


def _exactly(value: float) -> Estimate:
    return Estimate(value, 0.0, (value, value), 1, np.array([value]))


def _temperatures(record: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    return sorted(record["methods"][name]["temperatures"].items(), key=lambda item: float(item[0]))


def _members(record: Mapping[str, Any], family: str) -> list[tuple[int, str]]:
    """Return what a plot of a family has, with the position that its colour goes by."""
    placed = [(6, FREE[0]), (7, FREE[1]), *enumerate(FAMILIES[family])]
    return [(position, name) for position, name in placed if name in record["methods"]]


def _label(record: Mapping[str, Any], name: str) -> str:
    found: str = record["methods"][name]["label"] if name in record["methods"] else name
    return found


if __name__ == "__main__":
    main()
