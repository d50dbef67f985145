"""The page without a browser: what is in it, read with a parser, whatever names and texts are."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import DataError
from genrlhf.studies.report import report_page, write_report
from genrlhf.studies.report.making import duration
from genrlhf.studies.report.samples import read_samples
from genrlhf.studies.results import from_json, read_results, to_json, write_results
from tests.studies.results_record import example_results, write_example

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{data}}\u2028\u202e\ud83d\x00\x1b[31m"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text in each."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def of(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]


def data_of(source: str) -> Any:
    [block] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', source, re.DOTALL)
    return json.loads(block)


def page_of(folder: Path) -> str:
    results = read_results(folder)
    return report_page(results, read_samples(results, folder))


def test_the_data_block_has_the_results_and_outputs(tmp_path: Path) -> None:
    write_example(tmp_path)
    source = page_of(tmp_path)
    data = data_of(source)
    record = json.loads((tmp_path / "results.json").read_text())
    assert data["results"] == {name: one for name, one in record.items() if name not in ("format", "version")}
    for shown in data["outputs"]:
        entries = [entry for entry in record["outputs"] if entry["set"] == shown["name"]]
        for entry, file in zip(entries, shown["files"], strict=True):
            rows = [json.loads(line) for line in (tmp_path / entry["file"]).read_text().splitlines()]
            assert file["rows"] == [row["outputs"] for row in rows]
            assert [one["prompt"] for one in shown["inputs"]] == [row["prompt"] for row in rows]


def test_every_figure_and_interval_is_in_a_table(tmp_path: Path) -> None:
    write_example(tmp_path)
    page = Page(page_of(tmp_path))
    cells = {(attributes.get("data-value")) for tag, attributes in page.elements if tag == "td"}
    found = read_results(tmp_path)["methods"]
    for method in found.values():
        for figures in method["temperatures"].values():
            for one in (figures, *figures["seeds"].values()):
                values = [*one["pvr"].values(), *one["gaps"].values(), *one["reward"].values(), one["kl"]]
                values += [each for level in one["diversity"].values() for each in level.values()]
                assert {repr(each.value) for each in values} <= cells
    pvr = found["ppo"]["temperatures"]["0.5"]["pvr"]["ood"]
    assert f"{100 * pvr.value:.1f}" in page.of("span")
    assert f"[{100 * pvr.ci[0]:.1f}, {100 * pvr.ci[1]:.1f}]" in page.of("span")


def test_the_page_says_how_it_was_made(tmp_path: Path) -> None:
    write_example(tmp_path)
    page = Page(page_of(tmp_path))
    assert page.of("title")[:1] == page.of("h1") == ["four methods on the embedded task"]
    assert {"Nguyen et al. 2024", "3 of 20 outputs of ppo at temperature 0.5 are empty."} <= set(page.of("bdi"))
    assert page.of("pre") == [f"n: 4\ntemperatures:\n- 0.5\n- 1.0\nmodel:\n  name: base\n  digest: '{'0' * 64}'"]
    assert {"torch", "2.13.0", "12.5 s"} <= {text for _, text in page.texts}


def test_headings_landmarks_and_names(tmp_path: Path) -> None:
    write_example(tmp_path)
    page = Page(page_of(tmp_path))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {"header", "nav", "main"} <= {tag for tag, _ in page.elements}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    named += [(attributes["href"] or "")[1:] for tag, attributes in page.elements if tag == "a"]
    assert set(named) <= set(ids)
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert all("aria-label" in one if one.get("role") == "img" else one["aria-hidden"] == "true" for one in pictures)


def test_names_and_texts_are_no_markup(tmp_path: Path) -> None:
    """Whatever they hold, the page has the elements that it has with plain ones."""
    plain = example_results()
    evil: Any = json.loads(json.dumps(to_json(plain)))

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: renamed(one) for name, one in value.items()}
        if isinstance(value, list):
            return [renamed(one) for one in value]
        return f"{value} {EVIL}" if isinstance(value, str) else value

    for part in ("title", "warnings", "settings", "versions"):
        evil[part] = renamed(evil[part])
    names = {name: f"{name} {EVIL}" for name in evil["methods"]}
    evil["methods"] = {
        names[name]: {**one, **{part: renamed(one[part]) for part in ("label", "paper", "loop")}}
        for name, one in evil["methods"].items()
    }
    evil["curves"] = {names[name]: one for name, one in evil["curves"].items()}
    for curve in evil["curves"].values():
        curve["dominated_by"] = [names[one] for one in curve["dominated_by"]]
        curve["why_not"] = renamed(curve["why_not"])
    evil["outputs"], evil["reference"] = [], names["sft"]
    changed = {**evil, "methods": from_json(evil["methods"]), "curves": from_json(evil["curves"])}
    sources = [report_page({**plain, "outputs": []}), report_page(changed)]
    one, other = (Page(source) for source in sources)
    assert [tag for tag, _ in one.elements] == [tag for tag, _ in other.elements]
    for tag, attributes in other.elements:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes), (tag, attributes)
    assert data_of(sources[1])["results"]["title"] == evil["title"]
    # What would turn the text around or end the file shows as an escape.
    assert not re.findall("[\u2028\u202e\ud83d\x00\x1b]", sources[1])
    sources[1].encode()


def test_the_policy_names_style_and_script_by_their_hashes(tmp_path: Path) -> None:
    write_example(tmp_path)
    source = page_of(tmp_path)
    [policy] = [
        attributes["content"]
        for tag, attributes in Page(source).elements
        if tag == "meta" and "http-equiv" in attributes
    ]
    allowed = []
    for tag in ("style", "script"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        allowed.append(f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'")
    assert (policy or "").split("; ") == ["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"]
    outside = source.replace(re.findall(r"<script id=.*?</script>", source, re.DOTALL)[0], "")
    assert not re.findall(
        r" src=|https?:|@import|url\(|eval\(|innerHTML|insertAdjacent|document\.write| style=", outside
    )


def test_a_study_that_is_not_finished_shows_what_is_there(tmp_path: Path) -> None:
    results = example_results()
    figures = results["methods"]["ppo"]["temperatures"]["0.5"]
    for part in ("pvr", "gaps", "gap", "kl", "diversity"):
        del figures[part]
    results["methods"]["best_of_n"]["temperatures"] = {}
    del results["curves"]["best_of_n"], results["curves"]["min_p"]
    results["curves"]["sft"]["points"] = []
    results["outputs"] = []
    results.update(versions={}, settings={}, warnings=[], seconds=0.0)
    page = Page(report_page(results))
    assert "–" in page.of("td") and "This page has no outputs." in page.of("p")
    results.update(quality=None, diversity=None, reference=None, curves={})
    assert "Nothing has been measured yet." not in Page(report_page(results)).of("p")
    results["methods"] = {}
    assert "Nothing has been measured yet." in Page(report_page(results)).of("p")


def test_what_is_written_and_said(tmp_path: Path) -> None:
    write_example(tmp_path)
    os.utime(tmp_path / "results.json", (86400, 86400))
    made = write_report(tmp_path)
    file = tmp_path / "report.html"
    assert made == {
        "output": str(file),
        "bytes": file.stat().st_size,
        "methods": 4,
        "inputs": {"id": {"shown": 6, "total": 6}, "ood": {"shown": 6, "total": 6}},
    }
    first = file.read_bytes()
    assert b'<time datetime="1970-01-02T00:00:00Z">2 January 1970</time>' in first
    other = write_report(tmp_path / "results.json", tmp_path / "new" / "page.html", inputs=2)
    assert other["inputs"]["ood"] == {"shown": 2, "total": 6}
    assert "the first 2 of 6 inputs of" in (tmp_path / "new" / "page.html").read_text()
    write_report(tmp_path)
    assert file.read_bytes() == first


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results.json does not exist; give the output folder of genrlhf study"):
        write_report(tmp_path)
    write_results(example_results(), tmp_path)
    with pytest.raises(DataError, match="does not exist; put it back"):
        write_report(tmp_path)
    assert write_report(tmp_path, inputs=0)["inputs"] == {}
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, ""), (2.345, "2.3 s"), (59.99, "60.0 s"), (151.4, "2 min 31 s"), (7300.0, "2 h 1 min"), (math.nan, "")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_stages_are_timed_where_the_record_says_so() -> None:
    stages = {"sft/seed-0": 61.0, "<b>": 0.0}
    page = Page(report_page({**example_results(), "outputs": [], "stages": stages}))
    assert {"sft/seed-0", "<b>"} <= set(page.of("bdi"))
    assert {"1 min 1 s", "0 s"} <= set(page.of("td"))
