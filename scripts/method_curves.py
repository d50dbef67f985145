"""Draw one run's curve for the page of every method: `python scripts/method_curves.py`.

Reads `benchmarks/results/all_methods.json`, what each trainer of the study of all methods logged with the first seed,
and of ILF, which that study leaves out, `benchmarks/results/ilf_curve.json`; writes `docs/images/methods/NAME.svg` and
the part of `docs/methods/NAME.md` that shows it. The same records give the same files.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from scripts.demo_in_docs import colours  # noqa: E402

from genrlhf.studies.report.cells import number  # noqa: E402
from genrlhf.studies.report.markup import text  # noqa: E402
from genrlhf.studies.report.svg import _ticks  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGES, IMAGES = ROOT / "docs" / "methods", ROOT / "docs" / "images" / "methods"
HEADING = "## One run's curve"
MARKS = "<!-- curve: {} -->", "<!-- end of curve -->"

SHOWN = {
    "objective/scores": "reward",
    "objective/kl": "KL, nats an output",
    "objective/entropy": "entropy, nats a token",
    "loss": "loss",
    "rewards/accuracies": "pairs told apart",
    "accuracy": "pairs told apart",
    "rewards/margins": "margin of the pairs",
    "ranking": "ranking loss",
    "seq_rep": "repeated n-grams",
    "cross_entropy": "cross-entropy",
    "kl": "KL",
    "entropy": "entropy, nats a token",
}
"""What is drawn of what was logged, the first that are there."""

AT_MOST = 3
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 250, 190, 48, 12, 30, 38
STYLE = """
svg { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.back { fill: var(--card); stroke: var(--line); } .grid { stroke: var(--line); }
.tick { fill: var(--quiet); } .label { fill: var(--text); font-size: 13px; }
.curve { stroke: currentcolor; stroke-width: 1.6; fill: none; } .round { stroke: var(--edge); stroke-dasharray: 2 4; }
"""


class Curve(NamedTuple):
    """What was logged under one name: steps and values, and the steps at which further rounds begin."""

    name: str
    points: list[tuple[int, float]]
    rounds: list[int]


class Run(NamedTuple):
    """What is said of a run, and its curves."""

    where: str
    curves: list[Curve]


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, run in runs().items():
        (IMAGES / f"{name}.svg").write_text(picture(run.curves), encoding="utf-8")
        page = PAGES / f"{name}.md"
        page.write_text(with_curve(page.read_text(encoding="utf-8"), name, run), encoding="utf-8")


def runs() -> dict[str, Run]:
    """Return the run of the first seed of every method that has a page."""
    record = json.loads((RESULTS / "all_methods.json").read_text(encoding="utf-8"))
    found = {}
    for stage, each in record["training"].items():
        name = stage.split("/")[0]
        if (PAGES / f"{name}.md").is_file():
            study = "a larger run of the study" if each.get("larger") else "the study"
            where = f"Seed {each['seed']} of {study} of [all methods](../results/all_methods.md)"
            found[name] = Run(f"{where}, {each['figures']['steps']} steps", curves_of(each))
    toy = json.loads((RESULTS / "ilf_curve.json").read_text(encoding="utf-8"))
    where = f"Seed {toy['seed']} of the toy below, {toy['curves']['ILF'][-1][0]} steps on what each is taught"
    found["ilf"] = Run(
        where, [Curve(f"right: {name}", toy["curves"][name], []) for name in ("ILF", "own drafts", "gold")]
    )
    return found


def curves_of(run: Mapping[str, Any]) -> list[Curve]:
    """Return the curves of a run that are drawn, its rounds one behind the other."""
    points: dict[str, list[tuple[int, float]]] = {}
    rounds, before = [], 0
    for _, logged in sorted(run["log"].items(), key=lambda item: int("0" + re.sub(r"\D", "", item[0]))):
        rounds += [before] if before else []
        for entry in logged:
            for name in SHOWN:
                value = entry.get(name)
                if isinstance(value, (int, float)) and math.isfinite(value):
                    points.setdefault(name, []).append((before + entry["step"], float(value)))
        before += max((entry["step"] for entry in logged), default=0)
    if "objective/scores" in points:
        points.pop("loss", None)  # of a policy's loss the value says nothing
    there = [name for name in SHOWN if len(points.get(name, ())) > 1][:AT_MOST]
    return [Curve(SHOWN[name], points[name], rounds) for name in there]


def picture(curves: Sequence[Curve]) -> str:
    """Return panels side by side as an SVG file, light or dark as the reader has it."""
    whole = WIDTH * len(curves)
    style = re.sub(r"\.c[1-9].*\n|  --(?:accent|on-accent|tint|warn).*\n", "", colours())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {HEIGHT}" width="{whole}" height="{HEIGHT}">',
        f"<style>{style}{STYLE}</style>",
        f'<rect class="back" x=".5" y=".5" width="{whole - 1}" height="{HEIGHT - 1}" rx="8"/>',
        *(part for place, curve in enumerate(curves) for part in panel(curve, place * WIDTH)),
    ]
    return "\n".join([*parts, "</svg>\n"])


def panel(curve: Curve, start: int) -> Iterator[str]:
    """Draw one curve over the steps, from `start` on."""
    values = [value for _, value in curve.points]
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or max(abs(high), 1.0) * 0.1
    low, high, last = low - margin, high + margin, max(step for step, _ in curve.points)
    floor, right = HEIGHT - BOTTOM, start + WIDTH - RIGHT

    def across(step: float) -> float:
        return start + LEFT + step / last * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return floor - (value - low) / (high - low) * (floor - TOP)

    yield f'<text class="label" x="{start + LEFT}" y="19">{text(curve.name)}</text>'
    kept: list[float] = []
    for value, shown in _ticks(low, high):
        place = up(value)
        if low <= value <= high and all(abs(place - other) >= 22 for other in kept):
            kept.append(place)
            yield f'<path class="grid" d="M{start + LEFT},{place:.1f}H{right}"/>'
            yield f'<text class="tick" x="{start + LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{shown}</text>'
    for step in curve.rounds:
        yield f'<path class="round" d="M{across(step):.1f},{TOP}V{floor}"/>'
    for step in (0, last):
        yield f'<text class="tick" x="{across(step):.1f}" y="{floor + 16}" text-anchor="middle">{step}</text>'
    yield f'<text class="tick" x="{across(last / 2):.1f}" y="{floor + 16}" text-anchor="middle">step</text>'
    line = " ".join(f"{across(step):.1f},{up(value):.1f}" for step, value in curve.points)
    yield f'<path class="curve c0" d="M{line}"/>'


def with_curve(page: str, name: str, run: Run) -> str:
    """Return a page with its curve: between its marks, or before its toy, or at its end."""
    moved = "; ".join(f"{one.name} {shown(one.points[0][1])} to {shown(one.points[-1][1])}" for one in run.curves)
    words = f"{', '.join(one.name for one in run.curves)} over the steps of training."
    part = (
        f"{MARKS[0].format(name)}\n\n{run.where}; from the first figure logged to the last: {moved}.\n\n"
        f"![{words[:1].upper()}{words[1:]}](../images/methods/{name}.svg)\n\n{MARKS[1]}"
    )
    begin = page.find(MARKS[0].format(name))
    if begin >= 0:
        end = page.index(MARKS[1], begin) + len(MARKS[1])
        return f"{page[:begin]}{part}{page[end:]}"
    whole = f"{HEADING}\n\n{part}\n"
    toy = page.find("\n## Its toy")
    return f"{page[: toy + 1]}{whole}\n{page[toy + 1 :]}" if toy >= 0 else f"{page.rstrip()}\n\n{whole}"


def shown(value: float) -> str:
    """Return a number with three digits."""
    return number(value, 2) if abs(value) >= 1 else number(value, 3)


if __name__ == "__main__":
    main()
