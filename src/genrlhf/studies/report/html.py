"""A study or comparison as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from genrlhf.data.files import replacing
from genrlhf.errors import DataError
from genrlhf.pages import fill_page, script_json
from genrlhf.studies.report.cells import all_groups, overview, rows_of
from genrlhf.studies.report.figure_tables import equal_quality_table, figure_table
from genrlhf.studies.report.making import duration, making
from genrlhf.studies.report.markup import element, name, text
from genrlhf.studies.report.plane_figures import plane_figure
from genrlhf.studies.report.planes import Plane, planes_of, reference_level
from genrlhf.studies.report.samples import SampleSet, read_samples
from genrlhf.studies.report.shift_part import shift_planes, shifts_part
from genrlhf.studies.report.solutions_part import crossings_part, pass_plane
from genrlhf.studies.report.tables import metric_label, set_label
from genrlhf.studies.results import FILE_NAME, Results, read_results, to_json

__all__ = ["report_page", "write_report"]


def write_report(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    inputs: int | None = None,
    study: str | Path | None = None,
) -> dict[str, Any]:
    """Write the report of a folder of results.

    Args:
        folder: where `results.json` lies, with the outputs that it lists; or that file itself.
        output: where the page goes; `report.html` in the folder by default.
        inputs: how many inputs of every set it has, with all outputs; 0 leaves outputs out. By default 100, or as many
            as take 12 million characters.
        study: the YAML file of the study that fills the folder. What it has measured by now is reported then, finished
            or not.

    Returns:
        What was made, with the keys "output" (its path), "bytes", "methods" (how many) and "inputs" (by set, how many
        are "shown" of how many in "total").

    Raises:
        ConfigError: `inputs` is below 0, or the study's file is wrong.
        DataError: there are no results, or they or the outputs are damaged or have changed since.
    """
    home, results, written = _found(Path(folder).expanduser(), study)
    samples = read_samples(results, home, inputs)
    page = report_page(results, samples, written=written).encode()
    target = home / "report.html" if output is None else Path(output).expanduser()
    with replacing(target) as partial:
        partial.write_bytes(page)
    return {
        "output": str(target),
        "bytes": len(page),
        "methods": len(results["methods"]),
        "inputs": {one.name: {"shown": len(one.inputs), "total": one.total} for one in samples},
    }


def _found(given: Path, study: str | Path | None) -> tuple[Path, Results, datetime]:
    """Return the folder of results, them, and when they were written."""
    if study is not None:
        from genrlhf.studies.study import load_study

        return given, load_study(study, output_dir=str(given)).so_far(), datetime.now(timezone.utc)
    file = given / FILE_NAME if given.is_dir() else given
    if (given / "stages").is_dir() and not file.is_file():
        raise DataError(
            f"{file} does not exist: the study there is not finished. Go on with it, or see what it has measured by "
            "now with --study and its YAML file."
        )
    return file.parent, read_results(file), datetime.fromtimestamp(file.stat().st_mtime, tz=timezone.utc)


def report_page(results: Results, samples: Sequence[SampleSet] = (), *, written: datetime | None = None) -> str:
    """Return the page: figures, plots, outputs, and how all of it was made.

    A browser that keeps to its policy runs the page's own script only, loads nothing and connects to nothing; texts are
    shown as they are, whatever they hold. The data block `data` has the results as `results.json` has them.

    Args:
        results: what `read_results` returns.
        samples: what `read_samples` returns.
        written: when the results were.
    """
    files = resources.files(__package__)
    template, style, script = (files.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    template = template.replace("/* page.css */", style).replace("/* page.js */", script)
    data = {"results": to_json(results), "outputs": [{"label": set_label(one.name), **vars(one)} for one in samples]}
    values = {
        "title": text(results["title"]),
        "summary": _summary(results, written),
        "warnings": _warnings(results),
        "figures": _figures(results),
        "planes": "".join(plane_figure(shown, number) for number, shown in enumerate(_planes(results))),
        "equal": _equal(results) + crossings_part(results) + shifts_part(results),
        "all_figures": _all_figures(results),
        "outputs": _outputs(samples),
        "making": making(results),
        "data": script_json(data),
    }
    return fill_page(template, values)


def _planes(results: Results) -> list[Plane]:
    return [*planes_of(results), *pass_plane(results), *shift_planes(results)]


def _summary(results: Results, written: datetime | None) -> str:
    rows = rows_of(results)
    temperatures = {row.temperature for row in rows}
    seeds = {seed for row in rows for seed in row.seeds}
    parts = [_many(len(results["methods"]), "method")]
    parts += [_many(len(temperatures), "temperature")] if len(temperatures) > 1 else []
    parts += [_many(len(seeds), "seed")] if seeds else []
    parts.append(_many(len(results["sets"]), "evaluation set"))
    if written is not None:
        day = f"{written.day} {written:%B %Y}"
        parts.append(element("time", day, datetime=f"{written:%Y-%m-%dT%H:%M:%SZ}"))
    if "genrlhf" in results["versions"]:
        parts.append(f"genrlhf {text(results['versions']['genrlhf'])}")
    parts.append(duration(results["seconds"]))
    return "".join(element("li", part) for part in parts if part)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _warnings(results: Results) -> str:
    if not results["warnings"]:
        return ""
    lines = [element("li", name(warning)) for warning in results["warnings"]]
    heading = element("h2", _many(len(lines), "warning"), id="warnings")
    return element("section", heading, element("ul", *lines), class_="warning", aria_labelledby="warnings")


def _figures(results: Results) -> str:
    groups = overview(results)
    if not groups:
        return '<p class="quiet">Nothing has been measured yet.</p>'
    return figure_table(results, groups, "Methods at a glance", badges=True)


def _equal(results: Results) -> str:
    metric = (results["diversity"] or "").rpartition(".")[2]
    table = equal_quality_table(results, metric_label(metric), reference_level(results))
    if not table:
        return ""
    return element(
        "section",
        element("h2", "At equal quality", id="equal-quality"),
        element(
            "p",
            "A lower temperature buys quality with diversity, for nothing. So methods are compared where their curves "
            "reach the same quality, and those are marked that a control without training betters.",
            class_="quiet",
        ),
        table,
        aria_labelledby="equal-quality",
    )


def _all_figures(results: Results) -> str:
    seen = {column.path for group in overview(results) for column in group.columns}
    groups = [group for group in all_groups(results) if any(column.path not in seen for column in group.columns)]
    if not groups:
        return ""
    tables = [figure_table(results, [group], group.heading) for group in groups]
    folded = element("summary", "Tables of all that was measured"), element("div", *tables, class_="tables")
    heading = element("h2", "All figures", id="all-figures")
    return element("section", heading, element("details", *folded), aria_labelledby="all-figures")


def _outputs(samples: Sequence[SampleSet]) -> str:
    """Return what is said of the outputs; they themselves are shown by the page's script."""
    if not samples:
        return "<p>This page has no outputs.</p>"
    said = ", ".join(f"{_shown(one.total, len(one.inputs))} of {name(set_label(one.name))}" for one in samples)
    return element(
        "p",
        f"In this page: {said}, with all outputs that were kept. The first output of an input is the one that quality "
        "is measured on.",
        class_="quiet",
    )


def _shown(total: int, shown: int) -> str:
    return f"all {total:,} inputs" if shown >= total else f"the first {shown:,} of {total:,} inputs"
