"""The open-ended task: prompts, sets that share nothing, demonstrations from any distribution, its reward, errors."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from genrlhf.data import Task, load_task
from genrlhf.errors import ConfigError, DataError
from tests import needs

FORMATS = {
    "train": {"qa": {"shot": "Q: {question}\nA: {answer}\n", "query": "Q: {question}\nA:", "stop": ["\n"]}},
    "held_out": {
        "list": {"head": "{title}:", "shot": " {answer},", "query": "", "stop": [",", "\n"]},
        "loud": {"shot": "{noun}: {ANSWER}\n", "query": "{noun}:", "upper_case": True},
        "numbered": {"shot": '{number}. "{answer}"\n', "query": '{number}. "', "stop": ['"']},
    },
}


def family(letter: str, split: str = "train", n: int = 20, **more: Any) -> dict[str, Any]:
    answers = [f"{letter}{i}" for i in range(n)]
    return {
        "split": split,
        "question": f"Name a {letter}.",
        "noun": f"a {letter}",
        "title": f"All {letter}",
        "exemplars": {"train": answers[:6], "eval": answers[6:12]},
        "checker": {"type": "list", "answers": answers},
        **more,
    }


def content(**families: Any) -> dict[str, Any]:
    return {"formats": FORMATS, "families": families or {"a": family("a"), "b": family("b", "held_out")}}


def load(source: Any = None, **options: Any) -> Task:
    sizes = {"n_demonstrations": 50, "n_prompts": 40, "n_validation": 10, "n_evaluation": 30}
    return load_task("open_ended", source=source or content(), **{**sizes, **options})


def test_prompts_of_every_format() -> None:
    task = load()
    for row in [*task.demonstrations, *task.prompts, *task.evaluation["id"]]:
        shown = "".join(f"Q: Name a a.\nA: {text}\n" for text in row["exemplars"])
        assert row["prompt"] == f"{shown}Q: Name a a.\nA:"
    made = {row["format"]: row for row in task.evaluation["new_formats"]}
    one, two, three = made["list"]["exemplars"]
    assert made["list"]["prompt"] == f"All a: {one}, {two}, {three},"
    one, two, three = made["loud"]["exemplars"]
    assert made["loud"]["prompt"] == f"a a: {one.upper()}\na a: {two.upper()}\na a: {three.upper()}\na a:"
    one, two, three = made["numbered"]["exemplars"]
    assert made["numbered"]["prompt"] == f'1. "{one}"\n2. "{two}"\n3. "{three}"\n4. "'


def test_sets_differ_in_formats_families_or_exemplars() -> None:
    task = load(content(a=family("a"), b=family("b", "held_out"), c=family("c", "control")))
    kinds = {name: {(row["family"], row["format"]) for row in rows} for name, rows in task.evaluation.items()}
    unseen = ("list", "loud", "numbered")
    assert kinds == {
        "id": {("a", "qa")},
        "new_formats": {("a", form) for form in unseen},
        "new_families": {("b", "qa")},
        "new_both": {("b", form) for form in unseen},
        "controls": {("c", "qa")},
    }
    assert all(set(rows["dataset"]) == {name} and len(rows) == 30 for name, rows in task.evaluation.items())
    trained = {text for row in task.demonstrations for text in row["exemplars"]}
    tested = {text for row in task.evaluation["id"] for text in row["exemplars"]}
    assert trained == {f"a{i}" for i in range(6)} and tested == {f"a{i}" for i in range(6, 12)}
    # In validation the same exemplars stand in orders that are not trained on.
    assert not set(task.validation["demonstrations"]["prompt"]) & {
        *task.demonstrations["prompt"],
        *task.prompts["prompt"],
    }
    for rows in (task.prompts, *task.evaluation.values()):
        assert len(set(rows["prompt"])) == len(rows)
    assert Counter(row["format"] for row in task.evaluation["new_both"]) == dict.fromkeys(unseen, 10)


def test_demonstrations_are_right_answers_of_the_distribution_that_is_named() -> None:
    uniform = load(n_demonstrations=2000)
    assert uniform.gold is not None
    assert set(uniform.gold(uniform.demonstrations["prompt"][:], uniform.demonstrations["completion"][:])) == {1.0}
    counts = Counter(uniform.demonstrations["completion"])
    # 20 answers of 100 expected each; chi-squared of 19 degrees of freedom is below 43.8 in 99.9 % of the draws.
    assert set(counts) == {f" a{i}" for i in range(20)}
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 43.8
    skewed, other = (
        Counter(
            load(n_demonstrations=2000, distribution="skewed", seed=seed).demonstrations["completion"]
        ).most_common()
        for seed in (0, 1)
    )
    assert skewed[0][1] == pytest.approx(2000 / sum(1 / rank for rank in range(1, 21)), rel=0.15)
    assert [text for text, _ in skewed] != [text for text, _ in other]
    given = load(distribution={"a": {"a3": 1.0, "a5": 0.0}})
    assert set(given.demonstrations["completion"]) == {" a3"}
    held = load(distribution=lambda name, answers: [float(answer != "a7") for answer in answers], n_demonstrations=500)
    assert set(held.demonstrations["completion"]) == {f" a{i}" for i in range(20) if i != 7}


def test_demonstrations_follow_as_exemplars_do() -> None:
    formats = {"train": {**FORMATS["train"], **FORMATS["held_out"]}}
    task = load({"formats": formats, "families": {"a": family("a")}})
    ends = {row["format"]: row["prompt"] + row["completion"] for row in task.demonstrations}
    for form, row in {row["format"]: row for row in task.demonstrations}.items():
        last = row["completion"].strip()
        assert row["completion"] == {"qa": f" {last}", "list": f" {last}", "loud": f" {last}", "numbered": last}[form]
    assert ends["loud"].split(" ")[-1].isupper() and '4. "a' in ends["numbered"]


def test_the_reward_is_exact_about_what_follows_and_about_capitals() -> None:
    task = load()
    assert task.gold is not None
    prompts = {
        row["format"]: row["prompt"] for rows in task.evaluation.values() for row in rows if row["family"] == "a"
    }
    cases = [
        ("qa", " a15\nQ: Name a a.\nA: no", 1.0),
        ("qa", " A15.", 1.0),
        ("qa", " a15, a16", 0.0),
        ("qa", "\na15", 0.0),
        ("qa", " b1", 0.0),
        ("list", " a15, nothing, at all", 1.0),
        ("loud", " A15\nmore", 1.0),
        ("loud", " a15", 0.0),
        ("numbered", 'a15"\n5. "a16', 1.0),
        ("qa", "", 0.0),
    ]
    asked = [prompts[form] for form, _, _ in cases]
    texts = [text for _, text, _ in cases]
    assert task.gold(asked, texts) == [value for _, _, value in cases]
    # By columns too, as trainers hand them, for prompts that are not the task's.
    forms = [form for form, _, _ in cases]
    named = task.gold(prompts=["?"] * len(cases), completions=texts, family=["a"] * len(cases), format=forms)
    assert named == [value for _, _, value in cases]
    with pytest.raises(DataError, match="The prompt 'unknown' is none of the task's; hand the columns family"):
        task.gold(["unknown"], ["a1"])


def test_copies_of_exemplars_can_count_nothing() -> None:
    task = load(copies_count=False)
    row = task.evaluation["id"][0]
    other = next(f"a{i}" for i in range(20) if f"a{i}" not in row["exemplars"])
    prompts, texts = [row["prompt"]] * 2, [f" {row['exemplars'][1]}.", f" {other}"]
    assert task.gold is not None and task.gold(prompts, texts) == [0.0, 1.0]
    assert task.gold(prompts, texts, exemplars=[[other], [other]], family=["a"] * 2, format=["qa"] * 2) == [1.0, 0.0]
    lenient = load()
    assert lenient.gold is not None and lenient.gold(prompts, texts) == [1.0, 1.0]
    assert lenient.gold.copies(prompts, texts) == [True, False]  # type: ignore[attr-defined]


def test_a_family_of_ones_own_with_a_function() -> None:
    def pairs(text: str) -> str | None:
        text = text.split("\n")[0].strip()
        return text if len(text) == 2 and text[0] == text[1] else None

    own = family("p", exemplars={"train": ["aa", "bb", "cc", "dd"], "eval": ["ee", "ff", "gg", "hh"]}, checker=pairs)
    task = load(families=["a", "pairs"], more={"pairs": own})
    # Its answers cannot be listed: its exemplars are demonstrated.
    shown = {row["completion"] for row in task.demonstrations if row["family"] == "pairs"}
    assert shown == {" aa", " bb", " cc", " dd"} and set(task.prompts["family"]) == {"a", "pairs"}


def test_same_seed_same_task_and_the_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(content()))
    first, second, other = load(file), load(), load(seed=1)
    for name in ("demonstrations", "prompts"):
        assert getattr(first, name).to_list() == getattr(second, name).to_list() != getattr(other, name).to_list()
    # Another checker is another reward, though its prompts are the same.
    aliases = content(a=family("a"), b=family("b", "held_out"))
    aliases["families"]["a"]["checker"]["aliases"] = {"first": "a0"}
    rewards = [task.gold.settings() for task in (first, second, other, load(aliases))]  # type: ignore[union-attr]
    assert rewards[0] == rewards[1] and rewards[0] not in rewards[2:]


def test_a_file_must_not_name_code(tmp_path: Path) -> None:
    (tmp_path / "evil.json").write_text(json.dumps(content(a=family("a", checker={"type": "os:system"}))))
    with pytest.raises(DataError, match="names 'os:system' as its checker, and a file of data must not name code"):
        load(tmp_path / "evil.json")
    assert load(more={"n": family("n", checker="tests.data.tasks.open_ended.test_checkers:any_text")})


def changed(**more: Any) -> dict[str, Any]:
    return content(a=family("a", **more))


ERRORS: list[tuple[Any, dict[str, Any], str]] = [
    ({"families": {}}, {}, "the given mapping holds .*; it must be a mapping with formats and families"),
    ({"formats": FORMATS, "families": {}}, {}, "the given mapping has no families"),
    ({"formats": {}, "families": {"a": family("a")}}, {}, r"has no format in formats\.train"),
    ({**content(), "formats": {"train": {"qa": {"shot": "{answer}"}}}}, {}, "format 'qa' is .*; give shot and query"),
    (
        {**content(), "formats": {"train": {"qa": {"shot": "{answer.__class__}", "query": ""}}}},
        {},
        "format 'qa', shot has the field 'answer.__class__'; there are question",
    ),
    ({**content(), "formats": {"train": {"qa": {"shot": "{", "query": ""}}}}, {}, "shot is '{', which is no template"),
    ({**content(), "formats": {"train": {"qa": {"shot": "Q", "query": ""}}}}, {}, "shot shows no {answer}: 'Q'"),
    (content(a={"question": "a"}), {}, "family 'a' is .*; give split, question, noun"),
    (changed(split="test"), {}, "family 'a' is of the split 'test'; give one of train, held_out, control"),
    (changed(question=" "), {}, "family 'a', question is ' '; give a text"),
    (changed(exemplars={"train": ["a1"]}), {}, "exemplars are .*; give lists of answers as train and eval"),
    (
        changed(exemplars={"train": ["a1", "a2"], "eval": ["a1", "a2", "a3"]}),
        {},
        "has the train exemplars a1, a2; give 3",
    ),
    (
        changed(exemplars={"train": ["a1", "a2", "b"], "eval": ["a1", "a2", "a3"]}),
        {},
        "train exemplar 'b' of the family 'a'",
    ),
    (content(a=family("a", "held_out")), {}, "None of the families a is of the split train"),
    (content(), {"families": ["c"]}, "There is no family 'c'; there are a, b"),
    (content(), {"distribution": "normal"}, "distribution is 'normal'; give 'uniform', 'skewed'"),
    (content(), {"distribution": {"a": {"b1": 1.0}}}, r"distribution\['a'\] has 'b1', which is no answer"),
    (content(), {"distribution": lambda name, answers: [1.0]}, r"distribution of 'a' is \[1.0\]; give 20 weights"),
    (
        changed(checker={"type": "word", "length": 2}),
        {},
        "has a family of English words, and .* does not exist; give words",
    ),
    (content(), {"n_evaluation": 0}, "n_evaluation=0"),
]


@pytest.mark.parametrize(("source", "options", "message"), ERRORS)
def test_errors(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as raised:
        load(source, **options)
    assert "\n" not in str(raised.value)


def test_what_comes_with_the_package() -> None:
    task = load_task("open_ended", n_demonstrations=100, n_evaluation=100)
    assert list(task.evaluation) == ["id", "new_formats", "new_families", "new_both", "controls"]
    assert task.gold is not None
    assert set(task.gold(task.demonstrations["prompt"][:], task.demonstrations["completion"][:])) == {1.0}
    assert len(set(task.evaluation["new_families"]["family"])) == 14


@needs.data("open_ended.json", "english_words.txt.gz")
def test_the_file_with_word_net_and_words() -> None:
    task = load_task("open_ended", source=needs.DATA / "open_ended.json", n_demonstrations=100)
    assert set(task.demonstrations["family"]) == {"us_state", "element", "country", "animal", "fruit", "colour", "even"}
    assert set(task.evaluation["controls"]["family"]) == {"month", "weekday", "die", "planet"}
    assert len(set(task.evaluation["new_both"]["family"])) == 20
    assert task.gold is not None
    assert set(task.gold(task.demonstrations["prompt"][:], task.demonstrations["completion"][:])) == {1.0}
