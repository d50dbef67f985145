"""A study's YAML: what it may say, and what is wrong where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import ConfigError
from genrlhf.studies.recipe import Recipe, Sampling, read_recipe

LEAST = "task: embedded\nmethods: {sft: {}}\n"


def read(folder: Path, text: str) -> Recipe:
    file = folder / "study.yaml"
    file.write_text(text, encoding="utf-8")
    return read_recipe(file)


def test_what_is_said_and_what_stands_where_nothing_is(tmp_path: Path) -> None:
    text = """
    task: {name: embedded, n_prompts: 8}
    seeds: 3
    sampling: {temperatures: 0.5, stop: END}
    judge: none
    metrics: ead
    methods:
      base:
      sft: &few {learning_rate: 1e-3, save_strategy: "no"}
      gem: {<<: *few, beta: 0.5, learning_rate: 2.5E-4}
    """
    recipe = read(tmp_path, text)
    assert (recipe.seeds, recipe.sampling.temperatures, recipe.judge, recipe.metrics) == ([3], [0.5], None, ["ead"])
    assert recipe.sampling.stop == ("END",)
    assert recipe.methods["base"].settings == {}
    # YAML 1.1 takes 1e-3 for a text; and what is merged in is not there twice.
    assert recipe.methods["sft"].settings == {"learning_rate": 0.001, "save_strategy": "no"}
    assert recipe.methods["gem"].settings == {"learning_rate": 0.00025, "save_strategy": "no", "beta": 0.5}
    assert recipe.sampling.params(0.7).temperature == 0.7
    assert [recipe.sampling.outputs_of(row, name) for row, name in ((0, "id"), (500, "id"), (0, "ood"))] == [16, 1, 1]


def test_a_method_is_drawn_as_the_study_says_but_for_what_it_says_itself(tmp_path: Path) -> None:
    text = LEAST.replace("{}", "{sampling: {min_p: 0.1, temperatures: [2.0]}}") + "sampling: {max_new_tokens: 7}"
    sampling = read(tmp_path, text).sampling_of("sft")
    assert (sampling.min_p, sampling.max_new_tokens, sampling.temperatures) == (0.1, 7, [2.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAST + "sede: 1", r"study.yaml, the study: there is no field 'sede'; did you mean 'seeds'\?$"),
        (LEAST + "seeds: [0, 1, 0]", r"study.yaml, seeds: 0 is there twice; name each once\.$"),
        (LEAST + "seeds: []", "seeds: value should have at least 1 item, not"),
        (LEAST + "seeds: [true]", r"seeds\.0: input should be a valid integer, not True"),
        (LEAST + "seeds: [-1]", r"seeds\.0: input should be greater than or equal to 0, not -1"),
        (
            LEAST + "sampling: {temperature: 1}",
            r"sampling: there is no field 'temperature'; did you mean 'temperatures'\?",
        ),
        (
            LEAST + "sampling: {temperatures: [1.0, .inf]}",
            r"sampling\.temperatures\.1: input should be a finite number",
        ),
        (LEAST + "sampling: {temperatures: [1, 1.0]}", r"sampling\.temperatures: 1.0 is there twice"),
        (LEAST + "sampling: {temperatures: []}", r"sampling\.temperatures: "),
        (LEAST + "sampling: {top_p: 2}", "sampling: top_p must be above 0 and at most 1, not 2"),
        (
            LEAST + "sampling: {max_new_tokens: 0}",
            r"sampling\.max_new_tokens: input should be greater than or equal to 1",
        ),
        (LEAST + "preferences: {prompts: 3}", r"preferences\.from: is missing"),
        (LEAST + "task: tldr", "'task' is there twice; name each field once"),
        ("task: embedded\nmethods: {sft: {}, sft: {}}", "'sft' is there twice"),
        ("task: embedded\nmethods: {a/b: {}}", "'a/b' cannot be the name of a method"),
        ("task: embedded\nmethods: {results: {}}", "'results' cannot be the name of a method"),
        ("task: embedded\nmethods: {sft: 3}", r"methods\.sft: input should be a valid dictionary"),
        ("task: embedded\nmethods: {w: {interpolate: {end: sft, alpha: 2}}}", r"methods\.w\.interpolate\.alpha: "),
        ("task: embedded\nmethods: {w: {interpolate: {start: sft}}}", r"methods\.w\.interpolate\.end: is missing"),
        ("task: embedded\nmethods: {}", "methods: dictionary should have at least 1 item"),
        ("task: embedded", "methods: is missing"),
        ("methods: {sft: {}}", "task: is missing"),
        ("- a", r"holds \['a'\]; a study is a mapping with task and methods"),
        ("task: [", "is no YAML that can be read"),
        ("task: !!python/name:os.system ''", "is no YAML that can be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        read(tmp_path, text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Recipe(task="embedded"), "^methods: is missing"),
        (lambda: Recipe(task="embedded", methods={"sft": {}}, seeds=[-1]), r"seeds\.0: input should be greater"),
        (lambda: Recipe(task="embedded", methods={"sft": {"label": 3}}), r"methods\.sft\.label"),
        (lambda: Sampling(temperatures=[-1.0]), r"Sampling\.temperatures\.0"),
    ],
)
def test_what_is_built_in_python_raises_our_error(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
