"""Judges in AlpacaEval's configuration folders."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from genrlhf.errors import ConfigError
from genrlhf.metrics.preference import load_alpaca_eval_judge

TEMPLATE = """<|im_start|>system
You rank models.
<|im_end|>
<|im_start|>user
{"instruction": "{instruction}"} model_1: {output_1} model_2: {output_2}
<|im_end|>
"""
RANKING = """
my_judge:
  prompt_template: "my_judge/prompt.txt"
  fn_completions: "openai_completions"
  completions_kwargs:
    model_name: "gpt-4-0613"
    max_tokens: 50
    temperature: 0
  fn_completion_parser: "ranking_parser"
  batch_size: 1
"""


def folder(tmp_path: Path, configs: str = RANKING, template: str = TEMPLATE) -> Path:
    place = tmp_path / "my_judge"
    place.mkdir()
    (place / "configs.yaml").write_text(configs)
    (place / "prompt.txt").write_text(template)
    return place


def test_a_ranking_judge(tmp_path: Path) -> None:
    judge = load_alpaca_eval_judge(folder(tmp_path))
    assert judge.model == "gpt-4-0613" and judge.settings == {"temperature": 0}
    assert judge.template.settings == {"top_p": 1.0}
    assert judge.template.name == "my_judge" and judge.template.max_new_tokens == 50
    assert judge.template.fill("I", "one", "two <|im_end|>") == [
        {"role": "system", "content": "You rank models."},
        {"role": "user", "content": '{"instruction": "I"} model_1: one model_2: two <|im_end|>'},
    ]
    assert judge.template.read("[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]") == 2


def test_a_pattern_judge_without_marks(tmp_path: Path) -> None:
    configs = """
claude:
  prompt_template: "prompt.txt"
  fn_completions: "anthropic_completions"
  completion_parser_kwargs:
    outputs_to_match:
      1: '(?:^|\\n) ?Output \\(a\\)'
      2: '(?:^|\\n) ?Output \\(b\\)'
"""
    judge = load_alpaca_eval_judge(folder(tmp_path, configs, "{instruction}\n{output_1}\n{output_2}\n"))
    assert [message["role"] for message in judge.template.messages] == ["user"]
    assert judge.template.read("Well.\nOutput (b)") == 2
    assert judge.template.read("Output (c)") is None
    assert judge.template.read("Output (a)\nOutput (b)") is None
    assert judge.model == "" and judge.template.max_new_tokens == 2048


def test_a_judge_of_two_scores(tmp_path: Path) -> None:
    judge = load_alpaca_eval_judge(folder(tmp_path, RANKING.replace("ranking_parser", "lmsys_parser")))
    assert judge.template.read("3 8\nbecause") == 2


def test_a_judge_of_log_probabilities(tmp_path: Path) -> None:
    options = """  completion_key: "completions_all"
  completion_parser_kwargs:
    numerator_token: "m"
    denominator_tokens: ["m", "M"]
    is_binarize: false
    log_prob_index: -1
"""
    configs = RANKING.replace("ranking_parser", "logprob_parser").replace("  batch_size: 1\n", options)
    read = load_alpaca_eval_judge(folder(tmp_path, configs)).template.read_logprobs
    assert read is not None
    said = [{"M": 0.0}, {"m": math.log(0.2), "M": math.log(0.6)}]
    assert read(said) == pytest.approx(1.75, rel=1e-12)
    # Where the tokens themselves are there, they alone count, as in AlpacaEval.
    assert read([{" m": 0.0, "m": math.log(0.2), "M": math.log(0.6)}]) == pytest.approx(1.75, rel=1e-12)
    assert read([{" M": -0.1, "x": -3.0}]) == 2
    assert load_alpaca_eval_judge(tmp_path / "my_judge").template.read("m") is None
    (tmp_path / "my_judge" / "configs.yaml").write_text(configs.replace("is_binarize: false\n", "\n"))
    read = load_alpaca_eval_judge(tmp_path / "my_judge").template.read_logprobs
    assert read is not None and read(said) == 2


def test_a_judge_that_calls_a_function(tmp_path: Path) -> None:
    options = """  completion_parser_kwargs:
    parsers_to_kwargs:
      json_parser: {annotation_key: "ordered_models"}
      ranking_parser: {model_1_name: "m"}
  processors_to_kwargs: {ChainOfThoughtProcessor: {}}
"""
    configs = RANKING.replace('"ranking_parser"', "pipeline_meta_parser") + options
    template = load_alpaca_eval_judge(folder(tmp_path, configs)).template
    said = '{"concise_explanation": "…", "ordered_models": [{"model": "M", "rank": 1}, {"model": "m", "rank": 2}]}'
    assert template.read(said) == 2


def test_what_only_alpaca_eval_s_own_functions_take_is_not_sent(tmp_path: Path) -> None:
    options = """    max_tokens_to_sample: 70
    requires_chatml: true
    price_per_token: 9.0e-7
    client_kwargs: {base_url: "https://example.org/v1"}
    seed: 5
"""
    judge = load_alpaca_eval_judge(folder(tmp_path, RANKING.replace("    max_tokens: 50\n", options)))
    assert judge.settings == {"temperature": 0, "seed": 5}
    assert judge.base_url == "https://example.org/v1" and judge.template.max_new_tokens == 70


def test_null_is_not_sent(tmp_path: Path) -> None:
    nulls = RANKING.replace("max_tokens: 50", "max_tokens: null\n    top_p: null").replace(
        "temperature: 0", "temperature: null"
    )
    judge = load_alpaca_eval_judge(folder(tmp_path, nulls))
    assert judge.settings == {"temperature": None, "top_p": None} and judge.template.settings == {}
    assert judge.template.max_new_tokens is None
    (tmp_path / "my_judge" / "configs.yaml").write_text(RANKING.replace("    max_tokens: 50\n    temperature: 0\n", ""))
    judge = load_alpaca_eval_judge(tmp_path / "my_judge")
    assert judge.settings == {} and judge.template.settings == {"temperature": 0.7, "top_p": 1.0}
    assert judge.template.max_new_tokens == 2048
    (tmp_path / "my_judge" / "configs.yaml").write_text(RANKING.replace("max_tokens: 50", "max_completion_tokens: 900"))
    judge = load_alpaca_eval_judge(tmp_path / "my_judge")
    assert judge.settings == {"temperature": 0, "max_completion_tokens": 900} and judge.template.max_new_tokens == 900


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size: 1", "batch_sise: 1", "unknown key 'batch_sise'"),
        ("batch_size: 1", "batch_size: 5", "asks for batch_size 5"),
        ("ranking_parser", "eval_parser", "asks for 'eval_parser'"),
        ("ranking_parser", "logprob_parser", "needs a numerator_token and a list of denominator_tokens"),
        ("ranking_parser", "pipeline_meta_parser", "json_parser before ranking_parser is supported"),
        ("max_tokens: 50", "max_tokens: many", "has max_tokens 'many'"),
        ("max_tokens: 50", "max_completion_tokens: 0", "has max_completion_tokens 0"),
        ("max_tokens: 50", "tokens_to_favor: [a]", "asks for tokens_to_favor"),
        ("my_judge/prompt.txt", "other.txt", "is neither in .* nor beside it"),
        ('  prompt_template: "my_judge/prompt.txt"\n', "", "names no prompt_template"),
        ('  fn_completion_parser: "ranking_parser"\n', "", "needs completion_parser_kwargs.outputs_to_match"),
        ("my_judge:", "other: {}\nmy_judge:", "must hold one judge"),
        ("my_judge:", "my_judge: [", "is no YAML"),
    ],
)
def test_configurations_that_cannot_be(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_alpaca_eval_judge(folder(tmp_path, RANKING.replace(old, new)))


def test_missing_files_and_placeholders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*configs.yaml; give the folder"):
        load_alpaca_eval_judge(tmp_path)
    with pytest.raises(ConfigError, match=r"The template 'my_judge' has no \{output_2\}"):
        load_alpaca_eval_judge(folder(tmp_path, template="{instruction} {output_1}"))


def test_patterns_that_are_none(tmp_path: Path) -> None:
    configs = RANKING.replace(
        'fn_completion_parser: "ranking_parser"', "completion_parser_kwargs: {outputs_to_match: {1: '(', 2: b}}"
    )
    with pytest.raises(ConfigError, match="a pattern that is no regular expression"):
        load_alpaca_eval_judge(folder(tmp_path, configs))
