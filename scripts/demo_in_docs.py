"""Put the demo into README and docs: `genrlhf demo && python scripts/demo_in_docs.py demo`.

Writes the table and the plot of the front pages (between the marks in `README.md` and `docs/index.md`) from the
folder's `results.json`, and pictures of its report, or of that of another folder (`--pictures-of`). The table and the
plot are the same whenever the results are; the pictures are those of the Chromium that is installed, and are left as
they are without one (or with `--no-pictures`).
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
import tempfile
from html import escape
from importlib import resources
from pathlib import Path

from genrlhf.studies.report import write_report
from genrlhf.studies.report.cells import Column, Row, overview, rows_of
from genrlhf.studies.report.planes import Plane, planes_of
from genrlhf.studies.report.svg import key, plane
from genrlhf.studies.results import Results, read_results

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
IMAGES = ROOT / "docs" / "images"
PAGES = {ROOT / "README.md": "docs/images/demo.svg", ROOT / "docs" / "index.md": "images/demo.svg"}
MARKS = "<!-- demo: written by scripts/demo_in_docs.py -->", "<!-- end of demo -->"
SETS = ("id", "ood")
WIDTH = 1280
PICTURES = {"report": ("h1", ".plots figure:nth-child(2)"), "report-outputs": ("#outputs", "#columns")}
"""What of the page is in each: from the top of one element to the bottom of another."""

BETWEEN = """
    const box = (selector) => document.querySelector(selector).getBoundingClientRect();
    return [box(arguments[0]).top, box(arguments[1]).bottom];
"""

STYLE = """
svg { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.back { fill: var(--card); stroke: var(--line); } .grid { stroke: var(--line); }
.axis { stroke: var(--edge); fill: none; }
.tick, .level-label, .point { fill: var(--quiet); } .label, .name { fill: var(--text); font-size: 13px; }
.level { stroke: var(--quiet); stroke-dasharray: 2 4; } .ring { stroke: var(--text); stroke-width: 1.3; fill: none; }
.front { stroke: var(--edge); stroke-width: 5; opacity: .35; fill: none; } .curve { stroke: currentcolor; fill: none; }
.interval { stroke: currentcolor; stroke-width: 1.2; opacity: .45; } .mark { fill: currentcolor; stroke: currentcolor; }
.mark.hollow { fill: var(--card); }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that genrlhf demo has filled")
    parser.add_argument("--pictures-of", type=Path, metavar="FOLDER", help="of a study or comparison (default: folder)")
    parser.add_argument("--no-pictures", action="store_true", help="leave the pictures of the report as they are")
    args = parser.parse_args()
    results = read_results(args.folder)
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "demo.svg").write_text(picture(results), encoding="utf-8")
    for page, image in PAGES.items():
        page.write_text(with_demo(page.read_text(encoding="utf-8"), results, image), encoding="utf-8")
    if not args.no_pictures:
        photograph(args.pictures_of or args.folder)


def with_demo(page: str, results: Results, image: str) -> str:
    """Return a page with the table and the plot between the marks."""
    before, mark, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (mark and end):
        raise SystemExit(f"There are no marks {MARKS[0]} and {MARKS[1]} in a page; put them where the demo goes.")
    names = ", ".join(dict.fromkeys(row.label for row in rows_of(results)))
    words = f"Quality against diversity of {names}, in and out of distribution; the table has the figures."
    return f"{before}{mark}\n{table(results)}\n![{words}]({image})\n{end}{after}"


def table(results: Results) -> str:
    """Return the figures of the plot as a Markdown table, 95 % intervals in brackets."""
    columns = [
        column
        for group in overview(results)
        for column in group.columns
        if column.path[0] in ("diversity", "kl") or column.path[-1] in SETS
    ]
    heads = ["", *(heading(column) for column in columns)]
    lines = [heads, ["---", *["---:"] * len(columns)]]
    lines += [[row.label, *(cell(column, row) for column in columns)] for row in rows_of(results)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def heading(column: Column) -> str:
    kind = {"pvr": "preferred to the reference, %, ", "diversity": "", "kl": "KL, "}.get(column.path[0], "")
    return f"{kind}{column.heading}{' per input' if 'per_input' in column.path else ''}"


def cell(column: Column, row: Row) -> str:
    found = column.of(row.figures)
    if found is None:
        return ""
    low, high = found.ci
    interval = f" [{column.shown(low)}, {column.shown(high)}]" if low < high else ""
    return f"{column.shown(found.value)}{interval}"


def picture(results: Results) -> str:
    """Return the planes of both sets side by side as an SVG file, light or dark as the reader has it."""
    shown = [one for one in planes_of(results) if one.title.startswith("Quality")][: len(SETS)]
    width, height, gap, top = 400, 360, 16, 44
    whole = len(shown) * width + (len(shown) - 1) * gap
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {top + height}" width="{whole}" '
        f'height="{top + height}">',
        f"<style>{colours()}{STYLE}</style>",
        f'<rect class="back" x=".5" y=".5" width="{whole - 1}" height="{top + height - 1}" rx="8"/>',
        *legend(shown[0]),
    ]
    for number, one in enumerate(shown):
        inner = plane(one.series, one.x, one.y, size=(width, height), described_by=(one.title, ""))
        parts.append(inner.replace("<svg ", f'<svg x="{number * (width + gap)}" y="{top}" ', 1))
    return "\n".join([*parts, "</svg>\n"])


def legend(shown: Plane) -> list[str]:
    parts, x = [], 56.0
    for one in shown.series:
        if one.points:
            parts.append(key(one.position, curve=False).replace("<svg ", f'<svg x="{x}" y="18" ', 1))
            parts.append(f'<text class="name" x="{x + 22}" y="31">{escape(one.label)}</text>')
            x += 22 + 7.2 * len(one.label) + 24
    return parts


def colours() -> str:
    """Return the colours of reports, and which class has which."""
    style = (resources.files("genrlhf.studies.report") / "page.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{\n(.*?)\n *\}", style, re.DOTALL)[:2]
    numbered = "".join(f".c{n} {{ color: var(--c{n}); }}\n" for n in range(8))
    return f"\n:root {{\n{light}\n}}\n@media (prefers-color-scheme: dark) {{ :root {{\n{dark}\n}} }}\n{numbered}"


def photograph(folder: Path) -> None:
    """Write pictures of the report: its figures and plots, and the browser of its outputs."""
    from PIL import Image
    from tests import needs
    from tests.browser import open_browser

    if not (needs.CHROMIUM and needs.DRIVER):
        print("The pictures of the report are left as they are: they need chromium and chromium-driver.")
        return
    with tempfile.TemporaryDirectory() as place:
        page = Path(write_report(folder, Path(place) / "report.html")["output"])
        browser = open_browser(Path(place) / "profile")
        try:
            size = {"width": WIDTH, "height": 1280, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(page.as_uri())
            for name, (above, below) in PICTURES.items():
                top, bottom = browser.execute_script(BETWEEN, above, below)
                size = {"x": 0, "y": max(0, top - 30), "width": WIDTH, "height": min(bottom - top + 60, 1800)}
                clip = {**size, "scale": 1}
                taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
                image = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
                image.quantize(256, method=Image.Quantize.FASTOCTREE).save(IMAGES / f"{name}.png", optimize=True)
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
