"""`genrlhf report`."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.studies import load_study
from tests.studies.results_record import write_example

STUDY = """
task: {name: embedded, n_demonstrations: 8, n_preferences: 8, n_prompts: 8, n_validation: 4, n_evaluation: 4}
output_dir: elsewhere
methods:
  sft: {max_steps: 1}
"""


def told(capsys: Any) -> str:
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    return str(err)


def test_it_says_what_the_page_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_example(tmp_path)
    assert main(["report", str(tmp_path), "--inputs", "2"]) == 0
    file = tmp_path / "report.html"
    assert capsys.readouterr().out == (
        f"{file}: 4 methods, 2 of 6 inputs of id, 2 of 6 inputs of ood, {file.stat().st_size / 1e6:.1f} MB\n"
    )
    other = tmp_path / "other.html"
    assert main(["report", str(tmp_path), "--inputs", "0", "--output", str(other), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made == {"output": str(other), "bytes": other.stat().st_size, "methods": 4, "inputs": {}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "page.pdf"], "--output page.pdf must end in .html."),
        (["--inputs", "-1"], "--inputs must be 0 or more, not -1."),
        (["--output", "no/such\0/page.html"], "cannot be written"),
    ],
)
def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    write_example(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["report", str(tmp_path), *options]) == 1
    assert words in told(capsys) and sorted(tmp_path.iterdir()) == before


def test_folders_that_have_no_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "nowhere"]) == 1
    assert "nowhere does not exist; give the output folder of genrlhf study" in told(capsys)
    (tmp_path / "begun" / "stages").mkdir(parents=True)
    assert main(["report", "begun"]) == 1
    assert "the study there is not finished. Go on with it, or see what it has measured by now" in told(capsys)
    Path("study.yaml").write_text(STUDY, encoding="utf-8")
    assert main(["report", "begun", "--study", "study.yaml"]) == 0
    assert capsys.readouterr().out.startswith("begun/report.html: 0 methods, no outputs, ")
    page = Path("begun/report.html").read_text(encoding="utf-8")
    assert "This study is not finished: 0 of " in page and "Nothing has been measured yet." in page
    # The settings that the page shows are the study.
    [settings] = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    Path("again.yaml").write_text(html.unescape(settings), encoding="utf-8")
    keys = [{stage.name: stage.key for stage in load_study(file).graph()} for file in ("study.yaml", "again.yaml")]
    assert keys[0] == keys[1]
    assert not Path("elsewhere").exists() and not Path("begun/results.json").exists()
    assert main(["report", "begun", "--study", "other.yaml"]) == 1
    assert "other.yaml" in told(capsys)
