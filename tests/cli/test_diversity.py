"""`genrlhf diversity` as it is typed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer

from genrlhf.cli import main
from genrlhf.metrics import EAD, Homogenisation, across_input_diversity, per_input_diversity
from tests.helpers import save_model, tiny_bert, tiny_reward_model, tiny_tokenizer


def write(path: Path, outputs: list[list[str]], prompts: list[Any] | None = None) -> str:
    prompts = [f"prompt {i}" for i in range(len(outputs))] if prompts is None else prompts
    lines = [json.dumps({"prompt": p, "outputs": o}) for p, o in zip(prompts, outputs, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def some_outputs(seed: int, words: int, n: int = 12) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    return [[" ".join(generator.choice(list("abcdefgh"), words)) for _ in range(3)] for _ in range(n)]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [write(tmp_path / "a.jsonl", some_outputs(0, 6)), write(tmp_path / "b.jsonl", some_outputs(1, 9))]


def test_json_of_one_file(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diversity", files[0], "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    outputs = some_outputs(0, 6)
    assert found["per_input"]["ead"] == per_input_diversity(outputs, EAD()).to_dict()
    assert found["across_input"]["ead"] == across_input_diversity(outputs, EAD()).to_dict()
    assert found["across_input"]["ead"]["value"] == EAD()([first for first, *_ in outputs])
    assert set(found["across_input"]) == set(found["per_input"]) == {"ead", "distinct"}
    assert found["mean_words"] == 6 and found["inputs"] == 12 and found["outputs_per_input"] == 3
    assert found["lower_is_more_diverse"] == [] and found["warnings"] == []
    assert found["settings"]["definition"] == "published" and found["settings"]["vocab_size"] == 50257
    assert "NLTKWordTokenizer" in found["settings"]["words"]


def test_comparison_table_csv_and_plot(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, picture = tmp_path / "out" / "t.csv", tmp_path / "p.png"
    options = ["--metrics", "ead,self_bleu", "--compare", "--draws", "3", "--csv", str(table), "--plot", str(picture)]
    assert main(["diversity", *files, *options]) == 0
    captured = capsys.readouterr()
    assert f"{files[0]}: 12 inputs x 3 outputs, 6.0 words an output" in captured.out
    assert "self_bleu (lower: more diverse)" in captured.out
    assert f"{files[1]} less {files[0]}" in captured.out and "p=" in captured.out
    assert "have 6.0 words on average" in captured.err and "matched lengths" in captured.err
    lines = list(csv.DictReader(table.open(encoding="utf-8")))
    assert len(lines) == 12
    assert [line["less"] for line in lines] == [""] * 8 + [files[0]] * 4
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["diversity", *files, "--metrics", "ead,self_bleu", "--compare", "--draws", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compared_with"] == files[0]
    per_input = found["comparisons"][files[1]]["per_input"]["ead"]
    both = [found["files"][file]["per_input"]["ead"]["value"] for file in files]
    assert per_input["value"] == pytest.approx(both[1] - both[0])
    assert 0 < per_input["p_value"] <= 1
    assert found["comparisons"][files[1]]["across_input"]["ead"]["p_value"] is None
    assert found["lower_is_more_diverse"] == ["self_bleu"] and len(found["warnings"]) == 1


def test_matched_lengths(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diversity", *files, "--match-lengths", "--compare", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["files"][file]["mean_words"] for file in files] == [6, 6]
    assert found["warnings"] == []


def test_k_limit_and_definition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", [["a b c", "d e f", "g"], ["a b c", "d e f"], ["x"]])
    options = ["--outputs-per-input", "2", "--limit", "2", "--definition", "released-code", "--json"]
    assert main(["diversity", file, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["per_input"]["distinct"]["value"] == pytest.approx(0.6)
    assert found["per_input"]["distinct"]["n"] == 2


def test_undefined_figures_are_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", [[""], [" "]])
    assert main(["diversity", file, "--metrics", "ead,self_bleu", "--json"]) == 0
    out = capsys.readouterr().out
    assert "NaN" not in out
    found = json.loads(out)
    assert found["per_input"]["ead"] == {
        "value": None,
        "stderr": None,
        "ci": [None, None],
        "n": 0,
        "reason": "2 of 2 texts (100.0%) have no words and are left out",
    }
    assert found["per_input"]["self_bleu"]["reason"] == "needs 2 outputs of an input, and there is one"
    assert main(["diversity", file, "--plot", str(tmp_path / "p.svg")]) == 0
    assert "undefined: 2 of 2 texts (100.0%) have no words and are left out" in capsys.readouterr().out


THAI = [["วันนี้อากาศดีมาก", "ผมชอบอ่านหนังสือเก่า", "ok then"], ["", "วันนี้อากาศดี", "🍕"]]


def test_the_script_and_texts_without_words_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", THAI)
    assert main(["diversity", file, "--metrics", "ead,rouge_l,compression_ratio,distinct_k", "--classes", "exact"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[1].startswith("Most outputs (75%) are in Thai script; Thai has no blanks between words, so every char")
    assert f"{file}: 2 of 6 texts (33.3%) have no words and are left out (ead, rouge_l)." in captured.err
    assert f"{file}: 1 of 6 texts (16.7%) are blank and are left out (compression_ratio)." in captured.err
    assert main(["diversity", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["script"] == "Thai" and found["scripts"] == {"Thai": 3, "Latin": 1}
    assert found["outputs_without_words"] == 2
    assert found["remarks"]["ead"] == {"have no words and are left out": 2}
    assert len(found["warnings"]) == 1


def test_a_tokenizer_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", [["ab", "ba"]])
    folder = tmp_path / "tokenizer"
    tiny_tokenizer().save_pretrained(folder)
    values = {}
    for name in ("words", "characters", str(folder)):
        assert main(["diversity", file, "--metrics", "distinct_1", "--tokenizer", name, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        values[name] = found["per_input"]["distinct_1"]["value"]
        assert found["settings"]["tokenizer"] == name
    assert list(values.values()) == [1, 0.5, 0.5]
    assert f"words are the tokens of {folder}" in found["words_counted"]
    assert main(["diversity", file, "--tokenizer", str(tmp_path / "none")]) == 1
    assert "There is no tokenizer at" in capsys.readouterr().err


def encoder(folder: Path) -> str:
    save_model(tiny_bert(), tiny_tokenizer(), folder / "bert")
    transformer = Transformer(str(folder / "bert"))
    pooling = Pooling(16)
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder / "encoder"))
    return str(folder / "encoder")


def test_models_by_their_folders(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {0: "entailment", 1: "neutral", 2: "contradiction"}
    nli = tiny_reward_model(num_labels=3, id2label=labels, label2id={v: k for k, v in labels.items()})
    options = [
        *("--metrics", "sentence_bert,vendi,nli,semantic_entropy,bert_score", "--classes", "embedding"),
        *("--encoder", encoder(tmp_path), "--embedding-cache", str(tmp_path / "cache")),
        *("--nli-model", str(save_model(nli, tiny_tokenizer(), tmp_path / "nli"))),
        *("--bert-score-model", str(tmp_path / "bert"), "--device", "cpu", "--json"),
    ]
    assert main(["diversity", files[0], *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(figure["value"] is not None for figure in found["per_input"].values())

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the encoder was called")

    monkeypatch.setattr(SentenceTransformer, "encode", refuse)
    assert main(["diversity", files[0], *options]) == 0
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "p", "outputs": []}', r"a.jsonl, line 2 has no outputs"),
        ('{"prompt": "p", "outputs": ["a"]}', r"a.jsonl, line 2 has 1 output(s), and the first row has 3"),
        ('{"prompt": "p", "output": "a"}', r'a.jsonl, line 2 has None for "outputs"; give a list of strings'),
        ('{"prompt": "p", "outputs": ["a", 1, "b"]}', r'for "outputs"; give a list of strings'),
        ('{"prompt": "p", "outputs": ["a"', r"a.jsonl, line 2 is not JSON"),
        ("[]", r"a.jsonl, line 2 is [], which is no JSON object"),
        (b"\xff\xfe", r"a.jsonl, line 2 is not UTF-8"),
    ],
)
def test_bad_lines(files: list[str], line: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(files[0])
    first = path.read_bytes().splitlines()[0]
    path.write_bytes(first + b"\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    assert main(["diversity", files[0]]) == 1
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("genrlhf:")]
    assert len(errors) == 1 and message in errors[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "eda"], "There is no metric 'eda'"),
        (["--metrics", ","], "--metrics names nothing"),
        (["--levels", "each"], "--levels has 'each'"),
        (["--draws", "0"], "--draws must be at least 1"),
        (["--outputs-per-input", "4"], "fewer than --outputs-per-input 4"),
        (["--compare"], "--compare needs two files"),
        (["--match-lengths"], "--match-lengths needs two files, not 1"),
        (["--plot", "p.gif"], "must end in .png, .pdf or .svg"),
        (["--vocab-size", "1"], "vocab_size is 1"),
        (["--metrics", "sentence_bert", "--encoder", "no/where"], "There is no sentence encoder at 'no/where'"),
        (["--metrics", "nli", "--nli-model", "no/where"], "There is no NLI model at 'no/where'"),
        (["--csv", "/proc/none/t.csv"], "cannot be written"),
    ],
)
def test_bad_options(files: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diversity", files[0], *options]) == 1
    assert message in capsys.readouterr().err


def test_a_classifier_of_something_else(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_model(tiny_reward_model(num_labels=3), tiny_tokenizer(), tmp_path / "nli")
    assert main(["diversity", files[0], "--metrics", "nli", "--nli-model", str(folder)]) == 1
    assert "not contradiction, neutral and entailment; set id2label" in capsys.readouterr().err


def test_files_that_do_not_line_up(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(tmp_path / "c.jsonl", some_outputs(2, 6), ["odd", *(f"prompt {i}" for i in range(1, 12))])
    assert main(["diversity", files[0], other, "--compare"]) == 1
    assert "1 of the 12 of the first are not among the 12 of the second, such as that of input 0" in (
        capsys.readouterr().err
    )
    assert main(["diversity", files[0], other, "--match-lengths"]) == 1
    assert "have different prompts" in capsys.readouterr().err
    empty = tmp_path / "d.jsonl"
    empty.write_text("")
    assert main(["diversity", str(empty)]) == 1
    assert "holds no rows" in capsys.readouterr().err
    assert main(["diversity", files[0], files[0], "--compare"]) == 1
    assert "A file is named twice" in capsys.readouterr().err


def test_the_names_of_all_metrics() -> None:
    command = [sys.executable, "-m", "genrlhf.cli", "diversity", "--list-metrics"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {"ead", "self_bleu", "nli", "vendi", "utility_k"} <= set(done.stdout.split())


def test_python_and_command_give_one_number_for_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = some_outputs(0, 6, n=60)
    file = write(tmp_path / "a.jsonl", outputs)
    options = ["--metrics", "rouge_l", "--max-pairs", "300", "--seed", "7", "--json"]
    for more, settings in (([], {}), (["--draws", "3"], {"seed": 7, "draws": 3})):
        assert main(["diversity", file, *options, *more]) == 0
        found = json.loads(capsys.readouterr().out)["across_input"]["rouge_l"]
        metric = Homogenisation(max_pairs=300, seed=7)
        same = across_input_diversity(outputs, metric, **settings)  # type: ignore[arg-type]
        assert 0 < found.pop("pair_error") < found["stderr"]
        assert found == same.to_dict()
    assert main(["diversity", file, "--metrics", "rouge_l", "--max-pairs", "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["across_input"]["rouge_l"]
    assert "pair_error" not in found
    assert found == across_input_diversity(outputs, Homogenisation(max_pairs=None)).to_dict()


def test_comparing_leaves_the_figures_of_a_file_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = some_outputs(0, 6, n=40), some_outputs(1, 6, n=40)
    files = [
        write(tmp_path / "a.jsonl", ours),
        write(tmp_path / "b.jsonl", theirs[::-1], [f"prompt {i}" for i in reversed(range(40))]),
    ]
    options = ["--metrics", "ead,rouge_l", "--max-pairs", "100", "--json"]
    assert main(["diversity", files[1], *options]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert main(["diversity", *files, *options, "--compare"]) == 0
    compared = json.loads(capsys.readouterr().out)
    for level in ("per_input", "across_input"):
        assert compared["files"][files[1]][level] == alone[level]


def test_metrics_over_classes_ask_for_them(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diversity", files[0], "--metrics", "semantic_entropy"]) == 1
    assert "must be told what makes them: give --classes exact" in capsys.readouterr().err
    assert main(["diversity", files[0], "--metrics", "semantic_entropy", "--classes", "exact"]) == 0


def test_released_code_names_its_sentence_encoder(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for definition, expected in (
        ("published", "all-MiniLM-L6-v2"),
        ("released-code", "bert-large-nli-stsb-mean-tokens"),
    ):
        assert main(["diversity", files[0], "--definition", definition, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["settings"]["encoder"] == f"sentence-transformers/{expected}"
        assert main(["diversity", files[0], "--definition", definition, "--metrics", "sentence_bert"]) == 1
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize("given", ["some", "1.5", ""])
def test_max_pairs_is_a_number_or_all(files: list[str], given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["diversity", files[0], "--max-pairs", given])
    assert "--max-pairs" in capsys.readouterr().err
