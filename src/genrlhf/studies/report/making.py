"""How results were made: methods and their sources, stages, settings, versions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import yaml

from genrlhf.studies.report.markup import element, name, scrolling, text
from genrlhf.studies.results import Results

__all__ = ["duration", "making"]


def making(results: Results) -> str:
    """Return the part of a report that says how it was made, and how to make it again."""
    return _methods(results) + _stages(results) + _settings(results) + _versions(results)


def duration(seconds: float) -> str:
    """Return a time as people say it; nothing where it is none."""
    if not math.isfinite(seconds) or seconds <= 0:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table of HTML cells, the first of a row being its head."""
    heads = [element("th", heading, scope="col") for heading in headings]
    lines = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
        for first, *cells in rows
    ]
    return element("table", element("thead", element("tr", *heads)), element("tbody", *lines))


def _methods(results: Results) -> str:
    rows = [
        (name(one["label"] or method), name(one["loop"].replace("_", " ") or "–"), name(one["paper"] or "–"))
        for method, one in results["methods"].items()
    ]
    return element("h3", "Methods") + scrolling("Methods", _table(("Method", "Loop", "Source"), rows))


def _stages(results: Results) -> str:
    """Return how long every stage took, where the record says so."""
    stages = results.get("stages")
    if not stages:
        return ""
    table = _table(("Stage", "Time"), [(name(stage), duration(seconds) or "0 s") for stage, seconds in stages.items()])
    folded = element("summary", f"Time of {len(stages)} stages"), scrolling("Stages", table)
    return element("h3", "Stages") + element("details", *folded)


def _settings(results: Results) -> str:
    settings = results["settings"]
    if not settings:
        return ""
    lines = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=100).splitlines()
    # A line at a time, without what acts on a reader.
    shown = element("pre", "\n".join(map(text, lines)), dir="ltr")
    again = []
    if {"task", "methods"} <= set(settings):
        command = element("code", "genrlhf study study.yaml")
        again += ["Saved as study.yaml, these are the study, and ", command, " makes it again."]
    elif "sources" in settings:
        again += ["What ", element("code", "genrlhf compare"), " was asked for."]
    if again:
        again.append(" The same seeds give the same figures with the versions below, on the same kind of machine.")
    said = element("p", *again, class_="quiet") if again else ""
    return element("h3", "Settings") + said + scrolling("Settings", shown)


def _versions(results: Results) -> str:
    rows = [(name(package), text(version)) for package, version in results["versions"].items()]
    return element("h3", "Versions") + scrolling("Versions", _table(("Package", "Version"), rows)) if rows else ""
