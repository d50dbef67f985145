"""TL;DR tasks from files, folders and loaded datasets: rows, shifts, disjoint splits, errors."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, DatasetDict

from genrlhf.data import Task, load_tldr, parse_tldr_prompt, tldr_prompt, write_rows
from genrlhf.errors import ConfigError, DataError

SUBREDDITS = ("pets", "law", "jobs", "travel")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def posts(n: int = 100, start: int = 0) -> list[dict[str, str]]:
    """Posts of 1 to 20 words, five a subreddit and length."""
    return [
        {
            "subreddit": SUBREDDITS[i % 4],
            "title": f"title {i}",
            "post": " ".join([f"word{i}"] * (1 + i // 4 % 20)),
            "summary": f"summary {i}.",
        }
        for i in range(start, start + n)
    ]


def as_prompts(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [
        {"prompt": tldr_prompt(row["subreddit"], row["title"], row["post"]), "completion": f" {row['summary']}"}
        for row in rows
    ]


def prompt_sets(task: Task) -> dict[str, set[str]]:
    sets = {f"evaluation {name}": set(rows["prompt"]) for name, rows in task.evaluation.items()}
    sets["validation"] = set(task.validation["demonstrations"]["prompt"])
    sets["train"] = set(task.demonstrations["prompt"])
    return sets


def assert_disjoint(task: Task) -> None:
    sets = prompt_sets(task)
    assert len(set().union(*sets.values())) == sum(map(len, sets.values()))


def everything(task: Task) -> dict[str, list[dict[str, Any]]]:
    named = {f"evaluation {name}": rows for name, rows in task.evaluation.items()}
    named |= {f"validation {name}": rows for name, rows in task.validation.items()}
    named |= {"train": task.demonstrations, "prompts": task.prompts}
    if task.preferences is not None:
        named["preferences"] = task.preferences
    return {name: rows.to_list() for name, rows in named.items()}


def file_of(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    write_rows(rows, folder / name)
    return folder / name


@pytest.mark.parametrize("shape", [posts, lambda: as_prompts(posts())], ids=["posts", "prompts"])
def test_a_file_without_splits(tmp_path: Path, shape: Callable[[], list[dict[str, str]]]) -> None:
    task = load_tldr(file_of(tmp_path, shape()), ood_subreddits=["law", "travel"])
    assert {name: len(rows) for name, rows in everything(task).items()} == {
        "evaluation id": 5,
        "evaluation ood": 50,
        "validation demonstrations": 5,
        "train": 40,
        "prompts": 40,
    }
    assert task.preferences is None and task.gold is None
    assert_disjoint(task)
    texts = {row["prompt"]: row["completion"] for row in as_prompts(posts())}
    for name, rows in everything(task).items():
        for row in rows:
            summary = row["completion" if name in ("train", "validation demonstrations") else "reference"]
            assert texts[row["prompt"]] == summary
            assert row["subreddit"] == parse_tldr_prompt(row["prompt"]).subreddit
            assert (row["subreddit"] in ("law", "travel")) == (name == "evaluation ood")
            assert {"summary", "split"}.isdisjoint(row) and ("completion" in row) != ("reference" in row)


def test_own_splits_in_a_column_are_kept(tmp_path: Path) -> None:
    labels = ["train"] * 6 + ["validation", "test", "test", "train"]
    rows = [{**row, "split": labels[i // 4 % 10], "author": f"a{i}"} for i, row in enumerate(posts())]
    task = load_tldr(file_of(tmp_path, rows, "rows.jsonl.gz"), ood_subreddits=["law"])
    by_label = {
        label: {row["title"] for row in rows if row["split"] == label and row["subreddit"] != "law"} for label in labels
    }
    assert set(task.demonstrations["title"]) == by_label["train"]
    assert set(task.validation["demonstrations"]["title"]) == by_label["validation"]
    assert set(task.evaluation["id"]["title"]) == by_label["test"]
    assert set(task.evaluation["ood"]["title"]) == {row["title"] for row in rows if row["subreddit"] == "law"}
    authors = {row["title"]: row["author"] for row in rows}
    assert all(row["author"] == authors[row["title"]] for row in task.demonstrations)


def test_shift_by_length() -> None:
    task = load_tldr(Dataset.from_list(as_prompts(posts())), max_words=15)
    lengths = {name: {len(parse_tldr_prompt(p).post.split()) for p in got} for name, got in prompt_sets(task).items()}
    assert lengths["evaluation ood"] == {16, 17, 18, 19, 20}
    assert len(task.evaluation["ood"]) == 20
    assert max(lengths["train"] | lengths["evaluation id"] | lengths["validation"]) == 15
    assert_disjoint(task)


def test_both_shifts() -> None:
    task = load_tldr(Dataset.from_list(posts()), ood_subreddits=["law"], max_words=15)
    assert list(task.evaluation) == ["id", "ood", "longer", "unseen_subreddits"]
    found = {
        name: {(row["subreddit"] == "law", len(row["post"].split()) > 15) for row in rows}
        for name, rows in task.evaluation.items()
    }
    assert found == {
        "id": {(False, False)},
        "ood": {(True, True)},
        "longer": {(False, True)},
        "unseen_subreddits": {(True, False)},
    }
    assert [len(task.evaluation[name]) for name in ("ood", "longer", "unseen_subreddits")] == [5, 15, 20]
    assert_disjoint(task)


def test_order_of_the_file_does_not_matter() -> None:
    rows = [*posts(), *[{**row, "summary": "another one"} for row in posts()]]
    mixed = random.Random(0).sample(rows, len(rows))
    first, second = (load_tldr(Dataset.from_list(r), ood_subreddits=["law"], n_evaluation=20) for r in (rows, mixed))
    assert everything(first) == everything(second)
    other = load_tldr(Dataset.from_list(rows), ood_subreddits=["law"], n_evaluation=20, seed=1)
    assert everything(other)["train"] != everything(first)["train"]
    assert_disjoint(first)


def test_sizes() -> None:
    small, large = (
        load_tldr(Dataset.from_list(posts()), ood_subreddits=["law"], n_train=n, n_validation=6, n_evaluation=7)
        for n in (10, 20)
    )
    assert [len(rows) for rows in everything(small).values()] == [7, 7, 6, 10, 10]
    assert everything(large)["train"][:10] == everything(small)["train"]
    for name in ("evaluation id", "evaluation ood", "validation demonstrations"):
        assert everything(large)[name] == everything(small)[name]


def test_prompts_that_occur_in_two_splits_are_evaluated_only() -> None:
    rows = as_prompts(posts())
    again = [{**row, "prompt": row["prompt"].replace("\n\nTL;DR:", " \n\nTL;DR: ")} for row in rows[80:95]]
    source = DatasetDict(
        train=Dataset.from_list(rows[:80] + again),
        validation=Dataset.from_list(rows[80:90]),
        test=Dataset.from_list(rows[85:]),
    )
    task = load_tldr(source)
    assert set(task.demonstrations["prompt"]) == {row["prompt"] for row in rows[:80]}
    assert set(task.validation["demonstrations"]["prompt"]) == {row["prompt"] for row in rows[80:85]}
    assert set(task.evaluation["id"]["prompt"]) == {row["prompt"] for row in rows[85:]}


def test_several_completions_of_one_prompt() -> None:
    rows = [{**row, "completion": f" {i}"} for row in as_prompts(posts(40)) for i in range(3)]
    task = load_tldr(Dataset.from_list(rows), n_evaluation=5)
    assert len(set(task.evaluation["id"]["prompt"])) == len(task.evaluation["id"]) == 5
    assert len(set(task.prompts["prompt"])) == len(task.prompts) == 40 - 5 - 4
    assert len(task.demonstrations) == 3 * len(task.prompts)
    assert set(task.prompts["prompt"]) == set(task.demonstrations["prompt"])
    assert not set(task.evaluation["id"]["prompt"]) & set(task.demonstrations["prompt"])


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_folders_in_hub_layout(tmp_path: Path, layout: str) -> None:
    rows = as_prompts(posts())
    folder = tmp_path / "dataset"
    for split, part in {"train": rows[:70], "validation": rows[70:80], "test": rows[80:]}.items():
        if layout == "jsonl":
            file_of(folder, part, f"{split}.jsonl")
        else:
            (folder / "data").mkdir(parents=True, exist_ok=True)
            Dataset.from_list(part).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    task = load_tldr(folder)
    assert prompt_sets(task) == {
        "train": {row["prompt"] for row in rows[:70]},
        "validation": {row["prompt"] for row in rows[70:80]},
        "evaluation id": {row["prompt"] for row in rows[80:]},
    }


def test_without_a_network_the_hub_is_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match=r"^trl-lib/tldr cannot be loaded: .*Give a file, a folder"):
        load_tldr()


def compared(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"prompt": row["prompt"], "chosen": f"{row['completion']}", "rejected": "bad "} for row in as_prompts(rows)]


def test_preferences_stay_in_distribution_and_off_the_held_out(caplog: pytest.LogCaptureFixture) -> None:
    # Of 80 further posts 45 are short and no law. One pair is about news, and one has the same text twice.
    further = compared(posts(80, start=1000))
    pairs = compared(posts()) + further + [{"prompt": "Article:\nnews\n\nTL;DR:", "chosen": "a", "rejected": "b"}]
    pairs += [{**pairs[0], "prompt": tldr_prompt("pets", "same", "post"), "rejected": pairs[0]["chosen"]}]
    with caplog.at_level(logging.WARNING, logger="genrlhf.data.tasks.tldr"):
        task = load_tldr(
            Dataset.from_list(posts()), preferences=Dataset.from_list(pairs), ood_subreddits=["law"], max_words=15
        )
    assert task.preferences is not None
    train, validation = set(task.preferences["prompt"]), set(task.validation["preferences"]["prompt"])
    demonstrated = set(task.demonstrations["prompt"])
    others = {pair["prompt"] for pair in further}
    assert not train & validation and (train | validation) - others == demonstrated
    for prompt in (train | validation) & others:
        post = parse_tldr_prompt(prompt)
        assert post.subreddit != "law" and len(post.post.split()) <= 15
    # 60 of the 100 posts are short and no law; 6 of them are evaluated and 6 validated with.
    assert (len(demonstrated), len(train | validation), len(validation)) == (48, 48 + 45, 9)
    assert "89 of 182 pairs are left out" in caplog.text
    assert all(row["chosen"].startswith(" summary") and row["rejected"] == " bad" for row in task.preferences)


def test_preferences_with_splits_of_their_own(tmp_path: Path) -> None:
    pairs = compared(posts(200, start=1000))
    named = [{**pair, "split": "validation" if i >= 160 else "train"} for i, pair in enumerate(pairs)] + [
        {**pairs[190], "rejected": "worse", "split": "train"}
    ]
    source = Dataset.from_list(posts())
    task = load_tldr(source, preferences=str(file_of(tmp_path, named)), n_validation=7)
    whole = load_tldr(source, preferences=str(file_of(tmp_path, named)))
    assert task.preferences is not None
    assert set(task.preferences["prompt"]) == {pair["prompt"] for pair in pairs[:160]}
    assert set(whole.validation["preferences"]["prompt"]) == {pair["prompt"] for pair in pairs[160:]}
    assert len(task.validation["preferences"]) == len(task.validation["demonstrations"]) == 7


BAD_ROWS: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    (posts(), {"ood_subreddits": ["laws"]}, r"no subreddit 'laws'; did you mean 'law'\? It has 'jobs', 'law', 'pets'"),
    (posts(), {"ood_subreddits": SUBREDDITS}, "is out of distribution: ood names all its subreddits"),
    (posts(), {"max_words": 20}, "all posts in distribution of the given Dataset are no longer than max_words=20"),
    (posts(4, start=4), {"max_words": 1}, "all posts in distribution of the given Dataset are longer than max_words=1"),
    (posts(), {"n_evaluation": 101}, "too few rows: 100"),
    (posts(), {"ood_subreddits": ["law"], "n_evaluation": 26}, r"the given Dataset \(ood\) has too few rows: 25"),
    (posts(), {"n_train": 81}, r"the given Dataset \(train\) has too few rows: 80"),
    (posts(2), {}, "none is left for 'train'"),
    (
        [{"text": "a"}],
        {},
        r"has the columns 'text'; it needs 'prompt' and 'completion', or 'subreddit', 'title', 'post'",
    ),
    ([{"prompt": "a"}], {}, r"the given Dataset \(train\) has no column 'completion'"),
    ([{"title": "a", "post": "b", "summary": "c"}], {}, "has no column 'subreddit'"),
    ([*posts(3), {**posts(1)[0], "summary": " "}], {}, r"\(train\), row 3, column 'summary' is empty"),
    ([*as_prompts(posts(2)), {"prompt": "a", "completion": "b"}], {}, r"\(train\), row 2: 'a' is no TL;DR prompt"),
    ([{**row, "split": "dev"} for row in posts(3)], {}, r"row 0, column 'split' is 'dev'; give one of 'train'"),
    ([{**row, "split": "test"} for row in posts(3)], {}, r"no rows in a split 'train', only the splits 'test'"),
    (
        [{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}],
        {},
        r"column 'prompt' holds \[\{.*but TL;DR needs plain text",
    ),
    (posts(), {"preferences": Dataset.from_list(as_prompts(posts()))}, r"has no column 'chosen'"),
    (
        posts(),
        {"preferences": Dataset.from_list(compared(posts(4, 4))), "ood_subreddits": SUBREDDITS[:3]},
        "too few rows",
    ),
]


@pytest.mark.parametrize(("rows", "options", "message"), BAD_ROWS)
def test_errors(rows: list[dict[str, Any]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_tldr(Dataset.from_list(rows), **options)


@pytest.mark.parametrize("option", ["n_train", "n_validation", "n_evaluation"])
def test_sizes_below_one(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"load_tldr\({option}=0\): give 1 or more, or None"):
        load_tldr(Dataset.from_list(posts()), **{option: 0})


def test_paths_that_do_not_exist_are_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "rows.jsonl", Path("./nowhere")):
        with pytest.raises(DataError, match="does not exist"):
            load_tldr(f"./{path}" if not path.is_absolute() else path)


def test_broken_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "train.jsonl").write_text("no json\n")
    with pytest.raises(DataError, match=r"dataset cannot be loaded: .*Give a file, a folder"):
        load_tldr(tmp_path / "dataset")


def test_splits_with_different_columns() -> None:
    rows = as_prompts(posts(20))
    source = {
        "train": Dataset.from_list([{**row, "n": 1} for row in rows]),
        "test": Dataset.from_list([{**row, "n": "x"} for row in rows]),
    }
    with pytest.raises(DataError, match="the splits of the given dict have different columns"):
        load_tldr(source)


def test_further_splits_are_named(caplog: pytest.LogCaptureFixture) -> None:
    rows = Dataset.from_list(posts(20))
    with caplog.at_level(logging.WARNING, logger="genrlhf.data.sources"):
        load_tldr({"train": rows, "test": Dataset.from_list(posts(5, 50)), "extra": rows})
    assert caplog.messages == ["the given dict: the splits 'extra' are not used."]
