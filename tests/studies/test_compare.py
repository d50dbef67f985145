"""Checkpoints and files of outputs side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrlhf.data.asking import Asking
from genrlhf.errors import ConfigError, DataError, JudgeError, ModelError, RewardError
from genrlhf.metrics import EAD, DistinctN
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.preference import ScoreJudge, generalisation_gap
from genrlhf.metrics.shift import shift_between
from genrlhf.studies import workshop
from genrlhf.studies.compare import is_outputs_file, run_comparison
from genrlhf.studies.compare_figures import RememberedScores
from genrlhf.studies.compare_models import AskedModel, Drawing
from genrlhf.studies.draws import sampler_of, sequence_kl
from genrlhf.studies.results import Results, read_results, to_json
from genrlhf.studies.results_text import results_table
from genrlhf.types import Sample, SamplingParams
from tests.helpers import save_model, tiny_llama, tiny_tokenizer
from tests.processes import run_in_two
from tests.studies.two_comparisons import compared

METRICS = {"distinct_1": DistinctN(1), "ead": EAD()}
PROMPTS = [
    {"prompt": f"q{n}", "reference": f"word {n}", "dataset": "id" if n < 4 else "far away/../x"} for n in range(6)
]
LONGER = ScoreJudge(lambda prompts, completions: [len(text) for text in completions])


def rows(outputs: Any, which: Sequence[int] = range(6)) -> list[dict[str, Any]]:
    return [{"prompt": f"q{n}", "outputs": outputs(n)} for n in which]


SHORT = rows(lambda n: ["a b", "a c"])
LONG = rows(lambda n: [f"a longer text {n}", "another of them", "a third"])
DRAWING = Drawing(n=2, temperatures=(0.5, 1.0), params=SamplingParams(max_new_tokens=4))


def compare(folder: Path, sources: dict[str, Any], **given: Any) -> Results:
    return run_comparison(sources, folder, metrics=METRICS, **{"prompts": PROMPTS, "drawing": DRAWING, **given})


def test_outputs_of_files_by_hand(tmp_path: Path) -> None:
    results = compare(tmp_path, {"short": SHORT, "long": LONG}, judge=LONGER)
    assert results["sets"] == ["id", "far away/../x"]
    assert (results["quality"], results["diversity"], results["reference"]) == ("pvr", "per_input.distinct_1", "short")
    short, long = (results["methods"][name]["temperatures"]["given"] for name in ("short", "long"))
    # Outputs of three characters against references of six, and longer ones.
    assert short["pvr"]["id"] == proportion_estimate([0.0] * 4)
    assert long["pvr"]["id"] == proportion_estimate([1.0] * 4)
    assert long["gaps"] == {"far away/../x": generalisation_gap(long["pvr"]["id"], long["pvr"]["far away/../x"])}
    assert "gap" not in long
    # "a b", "a c": three distinct words of four; across inputs one output each, "a b" four times.
    assert short["diversity"]["per_input"]["distinct_1"].value == pytest.approx(3 / 4)
    assert short["diversity"]["across_input"]["distinct_1"].value == pytest.approx(2 / 8)
    # The first two of the three outputs: 7 distinct words of 7.
    assert long["diversity"]["per_input"]["distinct_1"].value == pytest.approx(1.0)
    assert any("The first 2 outputs of every input are measured: short has no more" in w for w in results["warnings"])
    assert results["curves"]["long"]["why_not"] is not None
    assert to_json(read_results(tmp_path)["methods"]) == to_json(results["methods"])


def test_files_that_the_record_names_are_there(tmp_path: Path) -> None:
    results = compare(tmp_path, {"long": LONG})
    files = {entry["set"]: tmp_path / entry["file"] for entry in results["outputs"]}
    assert all(file.parent == tmp_path / "outputs" / "long@given" for file in files.values())
    lines = [json.loads(line) for line in files["id"].read_text().splitlines()]
    assert lines[1] == {
        "prompt": "q1",
        "dataset": "id",
        "reference": "word 1",
        "outputs": ["a longer text 1", "another of them", "a third"],
    }
    assert len(files["far away/../x"].read_text().splitlines()) == 2
    assert results["quality"] is None
    assert any("Quality was not measured" in line for line in results["warnings"])


def test_sets_whose_names_make_the_same_file_have_files_of_their_own(tmp_path: Path) -> None:
    prompts = [{"prompt": f"q{n}", "dataset": name} for n, name in enumerate(("a/b", "a:b", "A_b", "模型", "..", ""))]
    results = compare(tmp_path, {"long": LONG}, prompts=prompts)
    files = [entry["file"] for entry in results["outputs"]]
    assert len({file.lower() for file in files}) == 6 and all((tmp_path / file).is_file() for file in files)


def test_prompts_are_matched_by_what_they_say(tmp_path: Path) -> None:
    turned = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in reversed(LONG)]
    given = compare(tmp_path / "a", {"x": turned}, judge=LONGER)["methods"]["x"]["temperatures"]["given"]
    expected = compare(tmp_path / "b", {"x": LONG}, judge=LONGER)["methods"]["x"]["temperatures"]["given"]
    assert to_json(given) == to_json(expected)


def test_what_does_not_match_is_said_with_counts(tmp_path: Path) -> None:
    some = [*rows(lambda n: ["a b", "c d"], range(1, 9)), SHORT[2]]
    results = compare(tmp_path, {"some": some, "long": LONG})
    assert results["settings"]["inputs"] == {"id": 3, "far away/../x": 2}
    assert [line.split(";")[0] for line in results["warnings"][:3]] == [
        "some has no outputs for 1 of the 6 prompts of the prompts, such as 'q0'",
        "some has outputs for 3 prompt(s) that the prompts has not, such as 'q6'",
        "some: 1 row(s) have the prompt of an earlier row, and are left out.",
    ]


def test_without_prompts_those_of_the_first_file(tmp_path: Path) -> None:
    first = [{**row, "reference": f"r{n}"} for n, row in enumerate(SHORT[:3])]
    results = compare(tmp_path, {"first": first, "long": LONG}, prompts=None, judge=LONGER)
    assert results["sets"] == ["id"]
    assert results["methods"]["long"]["temperatures"]["given"]["pvr"]["id"].n == 3


def test_a_reference_from_any_file_or_the_outputs_of_a_baseline(tmp_path: Path) -> None:
    bare = [{"prompt": row["prompt"]} for row in PROMPTS]
    with pytest.raises(DataError, match="no references for the judge"):
        compare(tmp_path, {"short": SHORT, "long": LONG}, prompts=bare, judge=LONGER)
    referenced = [{**row, "reference": "of six"} for row in LONG[:2]] + LONG[2:]
    results = compare(tmp_path, {"short": SHORT, "long": referenced}, prompts=bare, judge=LONGER)
    assert results["methods"]["long"]["temperatures"]["given"]["pvr"]["id"].n == 2
    assert "4 of 6 inputs have no reference, and are not judged." in results["warnings"]
    results = compare(tmp_path, {"short": SHORT, "long": LONG}, prompts=bare, judge=LONGER, baseline="short")
    pvr = {name: results["methods"][name]["temperatures"]["given"]["pvr"]["id"].value for name in ("short", "long")}
    # A source beside itself is a tie everywhere.
    assert pvr == {"short": 0.5, "long": 1.0}


def test_equal_texts_are_a_tie_that_no_judge_is_asked_about(tmp_path: Path) -> None:
    asked: list[str] = []

    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        asked.extend(prompts)
        return [None if prompt == "q1" else 1.5 for prompt in prompts]

    same = [{**row, "outputs": ["word 0" if n == 0 else "other", "x"]} for n, row in enumerate(SHORT)]
    results = compare(tmp_path, {"same": same}, judge=judge)
    assert asked == [f"q{n}" for n in range(1, 6)]
    assert results["methods"]["same"]["temperatures"]["given"]["pvr"]["id"].n == 3
    assert "same: the judge has no answer to 1 of 5 comparisons." in results["warnings"]
    with pytest.raises(JudgeError, match="same: the judge answered none of 6 comparisons"):
        compare(tmp_path, {"same": SHORT, "long": LONG}, judge=lambda p, a, b: [None] * len(p)) and None


def test_a_score_is_asked_once_for_a_completion() -> None:
    asked: list[tuple[str, str]] = []

    def score(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        asked.extend(zip(prompts, completions, strict=True))
        return [float(len(text)) for text in completions]

    remembered = RememberedScores(score)
    assert remembered(["p", "p", "q"], ["a", "a", "bb"]) == [1.0, 1.0, 2.0]
    assert remembered(["q", "q"], ["bb", "a"]) == [2.0, 1.0]
    assert sorted(asked) == [("p", "a"), ("q", "a"), ("q", "bb")]
    with pytest.raises(RewardError, match="nan"):
        RememberedScores(lambda prompts, completions: [float("nan")])(["p"], ["a"])


def test_models_at_temperatures_beside_a_file(tmp_path: Path, causal_lm_folder: Path) -> None:
    sources = {"model": causal_lm_folder, "given": LONG}
    reward = lambda prompts, completions: [float(len(text)) for text in completions]  # noqa: E731
    results = compare(tmp_path, sources, reward=reward, free=["given"])
    assert list(results["methods"]["model"]["temperatures"]) == ["0.5", "1.0"]
    assert results["methods"]["given"]["free"] and results["quality"] == "reward"
    points = results["curves"]["model"]["points"]
    assert [point["temperature"] for point in points] == ["0.5", "1.0"]
    for entry in results["outputs"]:
        assert len((tmp_path / entry["file"]).read_text().splitlines()) == {"id": 4}.get(entry["set"], 2)
    weights = results["settings"]["sources"]["model"]
    assert set(weights) == {"model", "weights"}
    assert "front" in results_table(results).splitlines()[0]


def test_the_kl_from_one_of_the_models(tmp_path: Path, causal_lm_folder: Path) -> None:
    other, larger = (tmp_path / name for name in ("other", "larger"))
    save_model(tiny_llama(seed=1), tiny_tokenizer(), other)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["more"])
    save_model(tiny_llama(vocab_size=len(tokenizer)), tokenizer, larger)
    sources = {"base": str(causal_lm_folder), "other": str(other), "larger": str(larger), "file": SHORT}
    drawing = Drawing(n=2, temperatures=(0.0, 1.0), params=SamplingParams(max_new_tokens=4))
    results = compare(tmp_path / "out", sources, kl_from="base", texts=["the cat sat", "a dog"], drawing=drawing)
    forgotten = {
        name: [f.get("forgetting") for f in one["temperatures"].values()] for name, one in results["methods"].items()
    }
    assert forgotten["base"] == forgotten["larger"] == [None] * 2 and forgotten["file"] == [None]
    # The same at every temperature.
    assert forgotten["other"][0] == forgotten["other"][1] and forgotten["other"][0]["loss"].n == 2  # type: ignore[index]
    found = {
        (name, temperature): figures["kl"]
        for name, method in results["methods"].items()
        for temperature, figures in method["temperatures"].items()
        if "kl" in figures
    }
    samplers = [sampler_of(str(folder)) for folder in (other, causal_lm_folder)]
    prompts, params = [f"q{n}" for n in range(4)], SamplingParams(max_new_tokens=4)
    values = sequence_kl(samplers[0], samplers[1], prompts, params, seed=1)
    assert set(found) == {("base", "1.0"), ("other", "1.0")}
    assert found["base", "1.0"].value == 0
    assert found["other", "1.0"].value == pytest.approx(np.mean(values)) and found["other", "1.0"].n == 4
    assert any("larger: its vocabulary is another than that of" in line for line in results["warnings"])
    with pytest.raises(ConfigError, match="kl_from is file, a file of outputs; name a model"):
        compare(tmp_path / "out", sources, kl_from="file")
    with pytest.raises(ConfigError, match="texts need the model that the others come from"):
        compare(tmp_path / "out", sources, texts=["a b"])


def test_a_killed_comparison_goes_on(tmp_path: Path, causal_lm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(message: str) -> None:
        if "measuring" in message:
            raise KeyboardInterrupt

    sources = {"model": causal_lm_folder, "given": LONG}
    whole = compare(tmp_path / "whole", sources)
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path / "killed", sources, report=killed)
    assert not (tmp_path / "killed" / "results.json").exists()
    # A file that was being written, beside those that were whole.
    (begun,) = (tmp_path / "killed" / "stages" / "sample" / "model@1.0").glob("id-*")
    (begun / "stage.json").unlink()
    drawn = begun / "outputs.jsonl"
    drawn.write_text("".join(drawn.read_text().splitlines(keepends=True)[:2]) + '{"prompt": "q')
    loaded: list[Any] = []
    load = workshop.load_causal_lm
    monkeypatch.setattr(workshop, "load_causal_lm", lambda *a, **k: loaded.append(a) or load(*a, **k))
    again = compare(tmp_path / "killed", sources)
    assert len(loaded) == 1
    assert to_json(again["methods"]) == to_json(whole["methods"])
    # Finished, it needs no model.
    assert to_json(compare(tmp_path / "killed", sources)["methods"]) == to_json(whole["methods"])
    assert len(loaded) == 1


def test_other_settings_in_the_same_folder_are_drawn_beside_those_that_are_there(
    tmp_path: Path, causal_lm_folder: Path
) -> None:
    said: list[str] = []
    compare(tmp_path, {"model": causal_lm_folder})
    other = Drawing(n=3, params=SamplingParams(max_new_tokens=4))
    compare(tmp_path, {"model": causal_lm_folder}, drawing=other, report=said.append)
    assert any(line.startswith("sample/model@1.0/id: begins anew; n is 2 there and 3 here") for line in said)
    # What is there needs no model, nor a source that is added.
    said.clear()
    grown = compare(tmp_path, {"model": causal_lm_folder, "given": LONG}, report=said.append)
    assert list(grown["methods"]) == ["model", "given"] and not any("begins" in line for line in said)
    folders = [len(list(tmp_path.glob("stages/sample/model@*/*/stage.json")))]
    compare(tmp_path, {"model": causal_lm_folder}, drawing=replace(other, overwrite=True))
    folders.append(len(list(tmp_path.glob("stages/sample/model@*/*/stage.json"))))
    assert folders == [6, 2]


def test_references_of_today_stand_beside_outputs_that_are_there(tmp_path: Path, causal_lm_folder: Path) -> None:
    compare(tmp_path, {"model": causal_lm_folder})
    said: list[str] = []
    changed = [{**row, "reference": "other"} for row in PROMPTS]
    results = compare(tmp_path, {"model": causal_lm_folder}, prompts=changed, report=said.append)
    rows = [json.loads(line) for line in (tmp_path / results["outputs"][0]["file"]).read_text().splitlines()]
    assert [row["reference"] for row in rows] == ["other"] * 4 and not any("begins" in line for line in said)


def test_each_model_is_asked_in_its_own_way(tmp_path: Path, causal_lm_folder: Path) -> None:
    chat = save_model(tiny_llama(), tiny_tokenizer(chat_template=True), tmp_path / "chat")
    sources = {"plain": causal_lm_folder, "chat": chat}
    results = compare(tmp_path / "text", sources)
    assert any(line.startswith("chat has a chat template, and continues") for line in results["warnings"])
    asked = Drawing(n=2, chat=True, params=SamplingParams(max_new_tokens=4))
    results = compare(tmp_path / "asked", sources, drawing=asked)
    assert any(line.startswith("plain has no chat template, and continues") for line in results["warnings"])
    one, other = (
        (tmp_path / "asked" / "outputs" / f"{name}@1.0" / "id.jsonl").read_text() for name in ("plain", "chat")
    )
    # Same weights and seeds, another prompt; and the prompt on disk is the one that was given.
    assert one != other and '"prompt": "q0"' in other
    talk = [{"prompt": [{"role": "user", "content": "q0"}]}]
    with pytest.raises(DataError, match="plain has no chat template, and some prompts are conversations"):
        compare(tmp_path / "talk", sources, prompts=talk)


def test_values_are_paired_by_input(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    easy = generator.integers(1, 60, size=40)
    prompts = [{"prompt": f"q{n}", "reference": "r"} for n in range(40)]

    def texts(more: int, words: int) -> list[dict[str, Any]]:
        return [
            {"prompt": f"q{n}", "outputs": ["x" * (easy[n] + more + n % 2), " ".join("abcdefghij"[: words + n % 2])]}
            for n in range(40)
        ]

    reward = lambda prompts, completions: [float(len(text)) for text in completions]  # noqa: E731
    sources = {"worse": texts(0, 2), "better": texts(3, 6)}
    results = compare(tmp_path, sources, prompts=prompts, reward=reward, free=["better"], reference="worse")
    # Rewards differ by 3 with a deviation below 1 where they are paired, and by 17 between inputs.
    assert results["curves"]["worse"]["points"][0]["on_front"] is False
    first, second = (results["methods"][name]["temperatures"]["given"]["reward"]["id"] for name in sources)
    assert second.ci[0] < first.ci[1]


@pytest.mark.parametrize(
    ("sources", "given", "error", "words"),
    [
        ({}, {}, ConfigError, "nothing to compare"),
        ({"a/b": SHORT}, {}, ConfigError, "'a/b' is no name"),
        ({"a": SHORT}, {"reference": "b"}, ConfigError, "reference is 'b', which is none of a"),
        ({"a": SHORT}, {"baseline": "b"}, ConfigError, "baseline is 'b'"),
        ({"a": SHORT}, {"free": ["b"]}, ConfigError, "free is 'b'"),
        ({"a": SHORT}, {"limit": 0}, ConfigError, "limit is 0"),
        ({"a": []}, {}, DataError, "a has no outputs"),
        ({"a": [{"prompt": "q0", "outputs": []}]}, {}, DataError, r"a, row 0 has \[\] for"),
        ({"a": [{"prompt": None, "outputs": ["x"]}]}, {}, DataError, "a, row 0 has no prompt"),
        ({"a": rows(lambda n: ["x"])}, {}, DataError, "a has 1 output of an input, and the diversity"),
        ({"a": [{"prompt": "z", "outputs": ["x", "y"]}]}, {}, DataError, "outputs for none of the 6 prompts"),
        ({"a": SHORT[:3], "b": SHORT[3:]}, {}, DataError, "No prompt of the prompts has outputs in all of a, b"),
        ({"a": SHORT}, {"prompts": []}, DataError, "the prompts has no prompts"),
        ({"a": "no/model/here"}, {}, ModelError, "There is no model at 'no/model/here'"),
        ({"a": "nothing.jsonl"}, {}, DataError, "nothing.jsonl does not exist"),
    ],
)
def test_wrong_input_is_said_before_the_work(
    sources: Any, given: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        compare(tmp_path / "out", sources, **given)
    assert not (tmp_path / "out").exists()


def test_one_output_of_an_input_across_inputs(tmp_path: Path) -> None:
    one = rows(lambda n: [f"text {n}"])
    results = compare(tmp_path, {"one": one}, levels=["across_input"], judge=LONGER)
    assert results["diversity"] == "across_input.distinct_1"
    assert [point["temperature"] for point in results["curves"]["one"]["points"]] == ["given"]


@pytest.mark.parametrize(("n", "words"), [(0, "n is 0"), (1, "needs two")])
def test_too_few_outputs_of_a_model(n: int, words: str, tmp_path: Path, causal_lm_folder: Path) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        compare(tmp_path / "out", {"model": causal_lm_folder}, drawing=Drawing(n=n))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("-", True),
        ("x.jsonl", True),
        ("x.JSON.gz", True),
        ("log.eval", True),
        ("facebook/opt-125m", False),
        ("./sft", False),
        ("gpt2", False),
    ],
)
def test_files_are_told_from_models(source: str, expected: bool) -> None:
    assert is_outputs_file(source) is expected


def test_what_is_there_tells_a_file_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("{}")
    (tmp_path / "model.json").mkdir()
    assert is_outputs_file(str(tmp_path / "outputs"))
    assert not is_outputs_file(str(tmp_path / "model.json"))


def test_models_are_asked_as_their_folders_say(tmp_path: Path) -> None:
    model = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "m")
    one = {"drawing": replace(DRAWING, temperatures=(1.0,)), "prompts": [{"prompt": "q"}, {"prompt": "x"}]}
    plain = compare(
        tmp_path / "plain", {"m": model}, prompts=[{"prompt": "q!"}, {"prompt": "x!"}], drawing=one["drawing"]
    )
    Asking(after="!").save(model)
    asked = compare(tmp_path / "asked", {"m": model}, **one)
    ignored = compare(
        tmp_path / "ignored", {"m": model}, prompts=one["prompts"], drawing=replace(one["drawing"], ignore_asking=True)
    )
    files = [
        [json.loads(line) for line in (tmp_path / name / made["outputs"][0]["file"]).read_text().splitlines()]
        for name, made in (("plain", plain), ("asked", asked), ("ignored", ignored))
    ]
    texts = [[row["outputs"] for row in found] for found in files]
    assert texts[0] == texts[1] != texts[2]
    assert [row["prompt"] for row in files[1]] == ["q", "x"]
    assert any("m is asked as its folder says: '{prompt}!'" in line for line in asked["warnings"])
    assert not any("asked as" in line for line in ignored["warnings"])


class Answers:
    """A sampler whose calls are answered by two responses, the second of them the likelier by far."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tokens: set[int] = set()

    def stream(self, prompts: Any, n: int, params: Any, seed: int, **rest: Any) -> Any:
        self.asked += prompts
        self.tokens.add(params.max_new_tokens)
        text = "<response><text>a</text><probability>1e-9</probability></response>"
        text += "<response><text>b c</text><probability>0.9</probability></response>"
        yield from ((place, [Sample(text, "stop", 9)] * n) for place in range(len(prompts)))


def test_a_source_sampled_verbally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "m")
    answers = Answers()
    made = AskedModel.sampler
    monkeypatch.setattr(
        AskedModel,
        "sampler",
        lambda self, loaded, drawing: made(self, answers if self.name == "several" else loaded, drawing),
    )
    drawing = replace(DRAWING, temperatures=(1.0,), verbalized={"several": 2}, verbalized_tail=0.5)
    results = compare(tmp_path / "out", {"m": model, "several": model}, drawing=drawing, kl_from="m")
    files = {entry["method"]: tmp_path / "out" / entry["file"] for entry in results["outputs"] if entry["set"] == "id"}
    assert [json.loads(line)["outputs"] for line in files["several"].read_text().splitlines()] == [["b c"] * 2] * 4
    assert all("Generate 2 responses" in prompt and "below 0.5" in prompt for prompt in answers.asked)
    # Two responses of four tokens, and tags.
    assert answers.tokens == {2 * (4 + 32)}
    assert any("several: verbalized samples have no probability of their own" in line for line in results["warnings"])
    assert "kl" not in results["methods"]["several"]["temperatures"]["1.0"]
    # Another k is another drawing.
    answers.asked.clear()
    compare(tmp_path / "out", {"several": model}, drawing=replace(drawing, verbalized={"several": 3}))
    assert all("Generate 3 responses" in prompt for prompt in answers.asked) and answers.asked


def test_what_cannot_be_sampled_verbally(tmp_path: Path) -> None:
    for name, what in (("short", "a file of outputs"), ("nobody", "none of short")):
        with pytest.raises(ConfigError, match=f"verbalized names '{name}', which is {what}; name a model"):
            compare(tmp_path, {"short": SHORT}, drawing=replace(DRAWING, verbalized={name: 5}))
    with pytest.raises(ConfigError, match="k is 1; ask for at least 2"):
        replace(DRAWING, verbalized={"m": 1})
    with pytest.raises(ConfigError, match="A tail or tokens of verbalized sampling are given, and no source"):
        replace(DRAWING, verbalized_tail=0.1)


def test_sets_are_apart_by_the_encoder_that_is_named(tmp_path: Path) -> None:
    places = {f"q{n}": [1.0, 0.1 * n] if n < 4 else [0.1 * n, 1.0] for n in range(6)}
    encode = lambda texts: np.array([places[text] for text in texts])  # noqa: E731
    results = compare(tmp_path, {"long": LONG}, encoder=encode)
    expected = shift_between([f"q{n}" for n in range(4)], ["q4", "q5"], encoder=encode).measured()
    assert to_json(results["shifts"]["far away/../x"]) == to_json(expected) and "embedding" in expected


@pytest.mark.enable_socket
def test_all_processes_of_a_launcher_have_the_results_and_hear_of_errors(
    tmp_path: Path, causal_lm_folder: Path
) -> None:
    run_in_two("tests.studies.two_comparisons", str(tmp_path / "two"), str(causal_lm_folder))
    alone = compared(tmp_path / "alone", str(causal_lm_folder))
    told = "m at temperature 1.0: the judge answered none of 5 comparisons; look at the judge."
    for rank, error in enumerate((told, f"Process 0 of 2 ended with JudgeError: {told}")):
        assert json.loads((tmp_path / "two" / f"found-{rank}.json").read_text()) == [alone, error]
