"""Verbalized sampling: what is read of an answer, what is drawn of it, and what is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.cli import main
from genrlhf.errors import ConfigError, ModelError
from genrlhf.sampling import SampleStore, VerbalizedSampler
from genrlhf.sampling.verbalized import LONGEST, Verbalized, VerbalizedSample, parse_responses
from genrlhf.studies.recipe import Sampling
from genrlhf.studies.stages.sample import sample
from genrlhf.types import Sample, SamplingParams
from tests.helpers import save_model, tiny_llama, tiny_tokenizer

PARAMS = SamplingParams(max_new_tokens=64)


def tagged(*pairs: tuple[str, Any]) -> str:
    return "\n".join(f"<response><text>{t}</text><probability>{p}</probability></response>" for t, p in pairs)


class Scripted:
    """A sampler that gives answers in turn."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = answers, list[Any]()

    def stream(self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()) -> Any:
        for place, prompt in enumerate(prompts):
            if place not in done:
                self.asked.append(prompt)
                yield place, [Sample(self.answers[i % len(self.answers)], "stop", 11) for i in range(n)]

    def sample(self, prompts: Any, n: int, params: Any, seed: int) -> list[list[str]]:
        return [[each.text for each in samples] for _, samples in self.stream(prompts, n, params, seed)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (tagged(("a", 0.5), ("b", "0.25")), [("a", 0.5), ("b", 0.25)]),
        (
            "<response><text>a</text></response><RESPONSE><TEXT>b</TEXT><probability>much</probability>",
            [("a", None), ("b", None)],
        ),
        # Cut off in the second, whose text is there.
        (
            "<response><text>a</text><probability>30%</probability></response><response><text>b c",
            [("a", 0.3), ("b c", None)],
        ),
        (
            'Here:\n```json\n{"responses": [{"text": "a", "probability": 20}, {"text": "b"}, 3]}\n```',
            [("a", 0.2), ("b", None)],
        ),
        ('[{"text": "a", "probability": -0.1}]', [("a", -0.1)]),
        (tagged(("a", 130), ("b", "nan"), ("c", "inf"), (" ", 0.5)), [("a", 1.3), ("b", None), ("c", None)]),
        ("I cannot do that.", []),
        ("[" * 90_000, []),
        ('{"responses": {"a": 1}}', []),
        ("x" * LONGEST + tagged(("a", 1)), []),
    ],
)
def test_answers_are_read_as_data(answer: str, expected: list[tuple[str, float | None]]) -> None:
    found = [(each.text, each.probability) for each in parse_responses(answer)]
    assert [text for text, _ in found] == [text for text, _ in expected]
    for (_, p), (_, q) in zip(found, expected, strict=True):
        assert p == (q if q is None else pytest.approx(q))


def test_one_response_a_call_is_drawn_by_the_stated_probabilities() -> None:
    stated = {"a": 0.3, "b": 0.15, "c": 0.05}  # over their sum: .6, .3, .1
    sampler = VerbalizedSampler(Scripted(tagged(*stated.items())), k=3)
    (drawn,) = sampler.sample(["q"], 4000, PARAMS, 0)
    counts = Counter(drawn)
    chi_square = sum((counts[x] - 4000 * p / 0.5) ** 2 / (4000 * p / 0.5) for x, p in stated.items())
    assert chi_square < 9.21  # 1 % of a chi-square of two degrees of freedom
    assert (drawn,) == tuple(VerbalizedSampler(Scripted(tagged(*stated.items())), k=3).sample(["q"], 4000, PARAMS, 0))
    assert drawn != VerbalizedSampler(Scripted(tagged(*stated.items())), k=3).sample(["q"], 4000, PARAMS, 1)[0]
    (_, samples) = next(iter(sampler.stream(["q"], 2, PARAMS, 0)))
    assert [(each.call, each.num_tokens) for each in samples] == [(0, 11), (1, 11)]  # type: ignore[attr-defined]
    assert [each.probability for each in samples] == pytest.approx([stated[each.text] / 0.5 for each in samples])  # type: ignore[attr-defined]


def test_repairs_are_counted_and_nothing_is_replaced(caplog: Any) -> None:
    answers = [
        tagged(("a", 0.5), ("b", 0.5)),
        tagged(("a", 0.9), ("b", "?")),
        tagged(("a", -1), ("b", "120 %")),
        tagged(("a", "50 %")),
        "no",
    ]
    sampler = VerbalizedSampler(Scripted(*answers), k=2, keep="all")
    ((_, samples),) = sampler.stream(["q"], 10, PARAMS, 0)
    assert [(s.text, s.ended, s.call) for s in samples] == [  # type: ignore[attr-defined]
        ("a", True, 0), ("b", True, 0), ("a", True, 1), ("b", True, 1), ("", False, 2), ("", False, 2),
        ("a", True, 3), ("", False, 3), ("", False, 4), ("", False, 4),
    ]  # fmt: skip
    # All of a call without a probability are as likely; the tokens of a call are those of its samples.
    assert [s.probability for s in samples[2:4]] == [0.5, 0.5]  # type: ignore[attr-defined]
    assert [s.num_tokens for s in samples] == [6, 5] * 5
    record = sampler.record
    assert (record.calls, record.failed, record.fewer, record.uniform, record.dropped, record.percents) == (
        5,
        2,
        1,
        1,
        2,
        2,
    )
    assert (
        "Verbalized sampling: calls 5, failed 2, responses 7, fewer 1, uniform 1, dropped 2, percents 2." in caplog.text
    )
    # n that k does not divide.
    assert [
        len(s) for _, s in VerbalizedSampler(Scripted(answers[0]), k=2, keep="all").stream(["q"], 3, PARAMS, 0)
    ] == [3]
    # All probabilities 0 say nothing either.
    assert VerbalizedSampler(Scripted(tagged(("a", 0), ("b", 0))), k=2, keep="all").sample(["q"], 2, PARAMS, 0) == [
        ["a", "b"]
    ]


def test_how_it_asks() -> None:
    inner = Scripted(tagged(("a", 1)))
    VerbalizedSampler(inner, k=4, tail=0.1).sample(["q", [{"role": "user", "content": "hi"}]], 1, PARAMS, 0)
    text, (message,) = inner.asked
    assert text.startswith("q\n\nGenerate 4 responses to this") and "below 0.1" in text
    assert message["role"] == "user" and message["content"].startswith("hi\n\nGenerate 4 responses")
    VerbalizedSampler(inner).sample(["q"], 1, PARAMS, 0)
    assert "at random from the full distribution" in inner.asked[-1]


def test_a_store_keeps_whose_call_a_sample_is_of(tmp_path: Path) -> None:
    def store() -> SampleStore:
        made = SampleStore(
            tmp_path / "out.jsonl", [{"prompt": "q"}, {"prompt": "r"}], n=3, params=PARAMS, seed=0, model={}
        )
        made.open()
        made.load()
        return made

    first = store()
    first.run(VerbalizedSampler(Scripted(tagged(("a", 0.25), ("b", 0.75))), k=2, keep="all"))
    first.finish()
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["calls"] for row in rows] == [[0, 0, 1]] * 2
    assert [row["probabilities"] for row in rows] == [[0.25, 0.75, 0.25]] * 2
    assert store().done == {0, 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 1}, "k is 1; ask for at least 2 responses a call"),
        ({"keep": "some"}, "keep is 'some'; it must be draw or all"),
        ({"tail": 1.0}, r"tail is 1\.0; it must lie between 0 and 1"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VerbalizedSampler(Scripted(""), **given)


def test_a_model_that_does_not_follow_is_told_soon() -> None:
    with pytest.raises(
        ModelError, match="None of the first 16 calls was answered with responses .*'Sure!'; take a model"
    ):
        VerbalizedSampler(Scripted("Sure!")).sample(["q"], 20, PARAMS, 0)
    with pytest.raises(ConfigError, match="A response has no log-probability"):
        VerbalizedSampler(Scripted("")).sample(["q"], 1, SamplingParams(logprobs=True), 0)
    assert Verbalized("a", 0.5) == parse_responses(tagged(("a", 0.5)))[0]
    assert not VerbalizedSample("", "length", 0).ended


def test_an_arm_of_a_study_and_the_command_line(tmp_path: Path, capsys: Any) -> None:
    sampling = Sampling(verbalized=2, verbalized_tail=0.5, outputs_per_input=3, diversity_inputs=1)
    rows = Dataset.from_list([{"prompt": "q"}, {"prompt": "r"}])
    scripted: Any = Scripted(tagged(("a", 0.2), ("b", 0.3)))
    assert sample(tmp_path, rows, "id", scripted, sampling, temperature=1.0, seed=0) == {"inputs": 2, "outputs": 4}
    found = [json.loads(line)["outputs"] for line in (tmp_path / "outputs.jsonl").read_text().splitlines()]
    assert [len(outputs) for outputs in found] == [3, 1] and {text for each in found for text in each} <= {"a", "b"}
    assert all("below 0.5" in asked for asked in scripted.asked)

    folder = save_model(tiny_llama(max_position_embeddings=1024), tiny_tokenizer(), tmp_path / "model")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "q"}\n' * 20, encoding="utf-8")
    command = ["sample", "--model", str(folder), "--prompts", str(tmp_path / "prompts.jsonl"), "--max-new-tokens", "4"]
    for given, words in (
        (["--verbalized-tail", "0.1"], "--verbalized-tail says how --verbalized K asks; give that too"),
        (["--verbalized", "3"], "None of the first 16 calls was answered with responses and their probabilities"),
    ):
        assert main([*command, *given, "--output", str(tmp_path / f"{len(given)}{given[0]}.jsonl")]) == 1
        assert words in capsys.readouterr().err
