"""Pools as YAML files: templates, keys, and what is wrong in one line before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrlhf.annotators import read_pool
from genrlhf.errors import ConfigError
from genrlhf.metrics.preference import OpenAIJudge
from tests.helpers import save_model, tiny_reward_model, tiny_tokenizer

HERE = "http://127.0.0.1:9/v1"
MINE = "Which is better?\n{instruction}\n<<<{mark}\n{output_1}\n{mark}>>>\n<<<{mark}\n{output_2}\n{mark}>>>"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    file = folder / "pool.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_pool_of_several_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").write_text(MINE)
    save_model(tiny_reward_model(), tiny_tokenizer(), tmp_path / "rm")
    monkeypatch.setenv("OTHER_KEY", "sk-other-and-secret")
    file = write(
        tmp_path,
        f"""
defaults: {{base_url: "{HERE}", model: m, noise: 0.1}}
annotators:
  - {{temperature: 0.5, weight: 2}}
  - {{name: letter, answer: letter, noise: 0, key_variable: OTHER_KEY, prices: [1, 2]}}
  - {{template: mine.txt, answer: structured, max_tokens: 9}}
  - {{model: o4-mini}}
""",
    )
    pool = read_pool(file, seed=7, store=tmp_path / "s.sqlite")
    assert [one.name for one in pool.annotators] == [
        "m:instructions-ranking",
        "letter",
        "m:mine",
        "o4-mini:instructions-ranking",
    ]
    assert [one.noise for one in pool.annotators] == [0.1, 0, 0.1, 0.1] and pool.annotators[0].weight == 2
    judges = [one.judge for one in pool.annotators]
    assert all(isinstance(judge, OpenAIJudge) and judge.endpoint.store is not None for judge in judges)
    asked = [judge.endpoint.settings for judge in judges if isinstance(judge, OpenAIJudge)]
    # AlpacaFarm's annotators answer at 1; a model that takes no temperature is sent none.
    assert [one.get("temperature") for one in asked] == [0.5, 1.0, 1.0, None]
    assert asked[2]["max_tokens"] == 9 and judges[2].template.fenced  # type: ignore[attr-defined]
    assert "sk-other" not in repr(vars(judges[1].endpoint)) and "sk-other" not in repr(pool.annotators)  # type: ignore[attr-defined]
    assert {one.noise for one in read_pool(file, noise=0.0).annotators} == {0.0}
    (own,) = read_pool(write(tmp_path, f"annotators: [{{reward_model: {tmp_path / 'rm'}}}]")).annotators
    assert own.name == "reward_model:rm" and own.judge(["q"], ["a"], ["b"])[0] in (1.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("annotators: []", r"pool.yaml, annotators: list should have at least 1 item"),
        ("pool: x", r"there is no field 'pool'; there are annotators, defaults"),
        ("[1]", r"a pool of annotators is a mapping with annotators"),
        ("annotators: [{model: m}]", r"annotator 'm:instructions-ranking': There is no key for https://api.openai.com"),
        ("annotators: [{model: m, key_variable: NO_KEY_HERE}]", r"the environment has no NO_KEY_HERE"),
        ("annotators: [{model: m, api_key: sk-1}]", r"a key does not belong in a file; put it into OPENAI_API_KEY"),
        ("annotators: [{noise: 0.6, model: m}]", r"annotators.0.noise: input should be less than or equal to 0.5, not"),
        ("annotators: [{noise: -1, model: m}]", r"annotators.0.noise: input should be greater than or equal to 0"),
        ("annotators: [{model: m, weight: 0}]", r"The weights of all annotators are 0"),
        ("annotators: [{name: a, model: m}, {name: a, model: n}]", r"Two annotators are called 'a'"),
        ("annotators: [{name: a}]", r"annotators.0: give model, local_model or reward_model"),
        ("annotators: [{model: m, reward_model: r}]", r"reward_model and model are both given; keep one"),
        ("annotators: [{reward_model: r, temperature: 1}]", r"temperature is for the model of an endpoint"),
        ("annotators: [{model: m, template: none.txt}]", r"annotators.0: template 'none.txt' is none of instruct"),
        ("annotators: [{model: m, template: bad.txt}]", r"The template 'bad' has no {output_2}"),
        ("annotators: [{model: m, answer: loud}]", r"must be one of ranking, letter, "),
        ("annotators: [{model: m, temperature: hot}]", r"temperature must be a number, auto or none"),
        (f"defaults: {{model: m, base_url: '{HERE}'}}\nannotators: [{{name: a}}, {{name: b}}]", r"ask the same"),
        ("annotators: [{model: m, base_url: 'localhost:1'}]", r"does not begin with http://"),
        (f"annotators: [{{model: m, alpaca_eval: none, base_url: '{HERE}'}}]", r"There is no .*configs.yaml"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("{instruction} {output_1}")
    with pytest.raises(ConfigError, match=words) as caught:
        read_pool(write(tmp_path, text), store=tmp_path / "answers.sqlite")
    assert "\n" not in str(caught.value)
