"""TL;DR's shifts as Kirk et al. made them, news out of distribution, shares, formats, and columns of other names."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.data import load_tldr, parse_tldr_prompt, read_rows, tldr_prompt
from genrlhf.errors import ConfigError, DataError
from tests import needs

SUBREDDITS = ("pets", "law", "jobs", "travel")


def posts(n: int = 100) -> list[dict[str, str]]:
    return [
        {
            "subreddit": SUBREDDITS[i % 4],
            "title": f"title {i}",
            "post": " ".join([f"word{i}"] * (1 + i // 4 % 20)),
            "summary": f"summary {i}.",
        }
        for i in range(n)
    ]


def articles(n: int = 5) -> list[dict[str, str]]:
    return [{"article": f"News {i}. It rains.", "highlights": f"Rain.\nOf day {i}.", "id": f"n{i}"} for i in range(n)]


def number_of(text: str) -> int:
    return int(text.split()[0].removeprefix("word"))


def test_one_subreddit_in_distribution_is_all_others_out_of_it() -> None:
    inside = load_tldr(Dataset.from_list(posts()), id_subreddits=["pets"])
    outside = load_tldr(Dataset.from_list(posts()), ood_subreddits=["law", "jobs", "travel"])
    for name in ("id", "ood"):
        assert inside.evaluation[name].to_list() == outside.evaluation[name].to_list()
    assert inside.demonstrations.to_list() == outside.demonstrations.to_list()
    assert set(inside.demonstrations["subreddit"]) == {"pets"}


@pytest.mark.parametrize(("words_by", "longer"), [("words", {"a b  c"}), ("blanks", {"a b  c", "a  b"})])
def test_length_is_counted_in_words_or_between_single_blanks(words_by: Any, longer: set[str]) -> None:
    # Kirk et al. count len(post.split(" ")): "a\nb\nc" is 1, "a  b" is 3, "a b  c" is 4.
    texts = ["a", "b", "c", "d", "e f", "a  b", "a b  c"]
    made = [{"subreddit": "s", "title": f"{i}", "post": text, "summary": "x"} for i, text in enumerate(texts)]
    task = load_tldr(Dataset.from_list(made), max_words=2, words_by=words_by)
    assert set(task.evaluation["ood"]["post"]) == longer
    broken = [*made, {"subreddit": "s", "title": "lines", "post": "a\nb\nc", "summary": "x"}]
    task = load_tldr(Dataset.from_list(broken), max_words=2, words_by=words_by)
    assert ("a\nb\nc" in task.evaluation["ood"]["post"]) == (words_by == "words")


def test_a_score_divides_at_the_median_of_the_training_rows() -> None:
    labels = ["train"] * 60 + ["test"] * 40
    rows = [{**row, "split": label} for row, label in zip(posts(), labels, strict=True)]
    pairs = [
        {"prompt": tldr_prompt(r["subreddit"], r["title"], r["post"]), "chosen": "a", "rejected": "b"} for r in rows
    ]
    task = load_tldr(Dataset.from_list(rows), score=number_of, preferences=Dataset.from_list(pairs))
    # The median of 0 … 59 is 29.5, whatever the test rows score; all test rows score more.
    assert {number_of(post) for post in task.evaluation["ood"]["post"]} == set(range(30, 100))
    seen = [*task.demonstrations["post"], *task.validation["demonstrations"]["post"], *task.evaluation["id"]["post"]]
    assert {number_of(post) for post in seen} == set(range(30))
    assert task.preferences is not None
    assert all(number_of(parse_tldr_prompt(prompt).post) < 30 for prompt in task.preferences["prompt"])


def test_three_shifts_have_each_alone_and_all_at_once(caplog: pytest.LogCaptureFixture) -> None:
    def score(post: str) -> int:
        return number_of(post) * 37 % 100

    def outside(row: dict[str, Any]) -> tuple[bool, bool, bool]:
        return row["subreddit"] == "law", len(row["post"].split()) > 15, score(row["post"]) > 49.5

    with caplog.at_level(logging.WARNING, logger="genrlhf.data.tasks.shifts"):
        task = load_tldr(Dataset.from_list(posts()), ood_subreddits=["law"], max_words=15, score=score)
    assert {name: set(map(outside, rows)) for name, rows in task.evaluation.items()} == {
        "id": {(False, False, False)},
        "ood": {(True, True, True)},
        "longer": {(False, True, False)},
        "unseen_subreddits": {(True, False, False)},
        "higher_score": {(False, False, True)},
    }
    mixed = sum(sum(outside(row)) == 2 for row in posts())
    assert f"{mixed} rows, out of distribution in two ways of three, are not used" in caplog.text


def test_news_are_out_of_distribution(tmp_path: Path) -> None:
    task = load_tldr(Dataset.from_list(posts()), ood=Dataset.from_list(articles()))
    rows = {row["id"]: row for row in task.evaluation["ood"]}
    assert len(rows) == 5 and rows["n1"]["prompt"] == "ARTICLE: News 1. It rains.\n\nTL;DR:"
    assert rows["n1"]["reference"] == " Rain.\nOf day 1." and rows["n1"]["dataset"] == "cnn_dailymail"
    assert set(task.evaluation["id"]["dataset"]) == {"tldr"}
    both = load_tldr(Dataset.from_list(posts()), ood=Dataset.from_list(articles()), max_words=15, n_evaluation=3)
    assert {name: len(rows) for name, rows in both.evaluation.items()} == {"id": 3, "ood": 3, "cnn_dailymail": 3}
    # The layout of the hub's repository, a file of one's own with other names, and the same through either.
    folder = tmp_path / "cnn" / "3.0.0"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        Dataset.from_list(articles(2 if split == "test" else 4)).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    hub = load_tldr(Dataset.from_list(posts()), ood=tmp_path / "cnn")
    own = [{"text": row["article"], "points": row["highlights"], "id": row["id"]} for row in articles(2)]
    (tmp_path / "own.json").write_text(json.dumps(own))
    mine = load_tldr(
        Dataset.from_list(posts()), ood=tmp_path / "own.json", ood_columns={"article": "text", "highlights": "points"}
    )
    columns = ["prompt", "reference", "id", "dataset"]
    assert (
        hub.evaluation["ood"].select_columns(columns).to_list()
        == mine.evaluation["ood"].select_columns(columns).to_list()
    )


def test_prompts_of_kirk_end_alike_in_one_line_break() -> None:
    made = [{"prompt": tldr_prompt("s", f"t {i}", f"a\n\nb {i}"), "completion": "x"} for i in range(20)]
    pairs = [{**row, "chosen": "a", "rejected": "b"} for row in made]
    task = load_tldr(
        Dataset.from_list(made),
        ood=Dataset.from_list(articles()),
        preferences=Dataset.from_list(pairs),
        prompt_format="kirk",
    )
    assert task.preferences is not None
    for rows in (task.demonstrations, task.prompts, task.preferences, task.evaluation["id"]):
        for prompt in rows["prompt"]:
            number = prompt.split("TITLE: t ")[1].split()[0]
            assert prompt == f"SUBREDDIT: r/s\nTITLE: t {number}\nPOST: a\n\nb {number}\nTL;DR:"
    assert all(prompt.endswith(" It rains.\nTL;DR:") for prompt in task.evaluation["ood"]["prompt"])
    assert not set(task.preferences["prompt"]) & set(task.evaluation["id"]["prompt"])


def test_shares_are_drawn_without_replacement_and_nested() -> None:
    tenth, half, whole = (load_tldr(Dataset.from_list(posts()), n_train=n).demonstrations for n in (0.1, 0.5, None))
    assert (len(tenth), len(half), len(whole)) == (8, 40, 80)
    assert len(set(half["title"])) == 40
    assert whole.select(range(40)).to_list() == half.to_list() and half.select(range(8)).to_list() == tenth.to_list()
    assert len(load_tldr(Dataset.from_list(posts()), n_validation=0.5).validation["demonstrations"]) == 5


def test_the_whole_test_set_beside_its_sides() -> None:
    labels = ["train", "train", "train", "test", "validation"]
    rows = [{**row, "split": labels[i // 4 % 5]} for i, row in enumerate(posts())]
    task = load_tldr(Dataset.from_list(rows), ood_subreddits=["law"], whole_test=True)
    assert set(task.evaluation["whole"]["title"]) == {row["title"] for row in rows if row["split"] == "test"}
    made = load_tldr(Dataset.from_list(posts()), ood_subreddits=["law"], whole_test=True)
    sides = {title for name in ("id", "ood") for title in made.evaluation[name]["title"]}
    assert set(made.evaluation["whole"]["title"]) == sides


def test_columns_of_other_names(tmp_path: Path) -> None:
    theirs = {"subreddit": "section", "title": "name", "post": "body", "summary": "short", "split": "part"}
    own = [{theirs.get(k, k): v for k, v in {**row, "split": "train"}.items()} for row in posts()]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({**row, "post": "not this"}) + "\n" for row in own))
    mine = load_tldr(tmp_path / "own.jsonl", columns=theirs)
    usual = load_tldr(Dataset.from_list(posts()))
    for name in ("demonstrations", "prompts"):
        assert getattr(mine, name)["prompt"][:] == getattr(usual, name)["prompt"][:]


def comparison(i: int, **info: Any) -> dict[str, Any]:
    return {
        "info": {"id": f"{i}", "post": None, "title": None, "subreddit": None, "article": None, **info},
        "summaries": [{"text": f" one {i}", "policy": "ref"}, {"text": f"two {i}", "policy": "sup"}],
        "choice": i % 2,
        "worker": f"w{i % 3}",
        "batch": "b",
        "split": "valid1" if i % 4 == 0 else "train",
        "extra": {"confidence": 5},
    }


def test_comparisons_as_they_were_published() -> None:
    given = [comparison(i, **{k: v for k, v in row.items() if k != "summary"}) for i, row in enumerate(posts())]
    news = [comparison(i, article=f"News {i}.") for i in range(6)]
    source = {"train": Dataset.from_list(given), "validation": Dataset.from_list(given[:4] + news)}
    task = load_tldr(Dataset.from_list(posts()), preferences=source, ood_preferences=source)
    assert task.preferences is not None
    texts = {tldr_prompt(r["subreddit"], r["title"], r["post"]): i for i, r in enumerate(posts())}
    for row in task.preferences:
        i = texts[row["prompt"]]
        sides = (f" one {i}", f" two {i}") if i % 2 == 0 else (f" two {i}", f" one {i}")
        assert (row["chosen"], row["rejected"]) == sides
        assert (row["worker"], row["confidence"]) == (f"w{i % 3}", 5)
        assert row["valid"] == ("valid1" if i % 4 == 0 else "train")
    assert not set(task.preferences["prompt"]) & set(task.evaluation["id"]["prompt"])
    one = load_tldr(Dataset.from_list(posts()), preferences=Dataset.from_list(given))
    assert set(one.validation["preferences"]["valid"]) == {"valid1"}
    assert one.preferences is not None and set(one.preferences["valid"]) == {"train"}
    assert set(task.validation["ood_preferences"]["prompt"]) == {f"ARTICLE: News {i}.\n\nTL;DR:" for i in range(6)}


def test_prompts_of_a_larger_set_without_what_is_held_out() -> None:
    larger = [*posts(), *({**row, "title": f"more {i}"} for i, row in enumerate(posts(50)))]
    task = load_tldr(Dataset.from_list(posts()), prompts=Dataset.from_list(larger), ood_subreddits=["law"])
    held = {p for rows in task.evaluation.values() for p in rows["prompt"]}
    held |= set(task.validation["demonstrations"]["prompt"])
    every = {tldr_prompt(r["subreddit"], r["title"], r["post"]) for r in larger if r["subreddit"] != "law"}
    assert set(task.prompts["prompt"]) == every - held


def test_a_leak_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = posts()
    source = {"train": Dataset.from_list(rows), "test": Dataset.from_list(rows[:7])}
    with caplog.at_level(logging.WARNING, logger="genrlhf.data.tasks.rows"):
        task = load_tldr(source)
    assert not set(task.evaluation["id"]["prompt"]) & set(task.demonstrations["prompt"])
    assert "(train): 7 of " in caplog.text and "whose prompts are held out" in caplog.text


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"id_subreddits": ["pet"]}, DataError, r"has no subreddit 'pet'; did you mean 'pets'\?"),
    ({"id_subreddits": list(SUBREDDITS)}, DataError, "id_subreddits names all subreddits"),
    ({"id_subreddits": "pets"}, ConfigError, r"give a list of subreddits, \['pets'\]"),
    ({"id_subreddits": ["pets"], "ood_subreddits": ["law"]}, ConfigError, "are both given"),
    ({"max_words": 15, "words_by": "tokens"}, ConfigError, "words_by is 'tokens'; give 'words' or 'blanks'"),
    ({"score": lambda post: math.nan}, ConfigError, "score returned nan for row 0"),
    ({"score": lambda post: "good"}, ConfigError, "score returned 'good' for row 0"),
    ({"score": lambda post: 1}, DataError, "no post to train on of the given Dataset scores above the median, 1"),
    ({"columns": {"pst": "body"}}, ConfigError, "columns says that 'pst' is called 'body'; it goes from 'subreddit'"),
    ({"columns": {"post": "bdy"}}, DataError, r"\(train\) has no column 'bdy', only 'subreddit'"),
    ({"ood": Dataset.from_list([{"article": "a", "summary": "b"}])}, DataError, "has no column 'highlights'"),
    ({"ood": Dataset.from_list([{"article": " ", "highlights": "b"}])}, DataError, "row 0, column 'article' is empty"),
    ({"ood_preferences": Dataset.from_list([comparison(0, post="a")])}, DataError, "has no comparison of an article"),
    ({"preferences": Dataset.from_list([comparison(1)])}, DataError, "row 0, column 'info' is .*; give a post or an"),
    ({"prompt_format": "trl"}, ConfigError, "prompt_format is 'trl'; give 'stiennon' or 'kirk'"),
    ({"n_train": 1.5}, ConfigError, r"n_train=1.5\): give 1 or more, or None; a share is a number between 0 and 1"),
    ({"n_evaluation": 0.5}, ConfigError, r"n_evaluation=0.5\): give 1 or more, or None\."),
]


@pytest.mark.parametrize(("options", "kind", "message"), ERRORS)
def test_errors(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        load_tldr(Dataset.from_list(posts()), **options)
    assert "\n" not in str(raised.value)


@needs.data("debian_synopses.jsonl.gz", "cnn_dailymail.jsonl.gz", "reddit_tifu.jsonl.gz")
@pytest.mark.parametrize(
    "make",
    [
        lambda data: load_tldr(
            data / "debian_synopses.jsonl.gz",
            id_subreddits=["net", "text"],
            max_words=40,
            ood=data / "cnn_dailymail.jsonl.gz",
            n_train=0.1,
        ),
        lambda data: load_tldr(data / "reddit_tifu.jsonl.gz", max_words=245, words_by="blanks", prompt_format="kirk"),
    ],
    ids=["debian", "tifu"],
)
def test_real_texts(make: Callable[[Path], Any]) -> None:
    task = make(needs.DATA)
    held = {" ".join(prompt.split()) for rows in task.evaluation.values() for prompt in rows["prompt"]}
    assert not held & {" ".join(prompt.split()) for prompt in task.demonstrations["prompt"]}
    assert all(len(rows) and all(rows["reference"]) for rows in task.evaluation.values())
    if "cnn_dailymail" in task.evaluation:
        assert len(task.evaluation["cnn_dailymail"]) == len(
            set(read_rows(needs.DATA / "cnn_dailymail.jsonl.gz")["article"])
        )
    else:
        # reddit_tifu has 593 posts; an independent count of those of more than 245 pieces.
        own = read_rows(needs.DATA / "reddit_tifu.jsonl.gz")["post"][:]
        assert len(task.evaluation["ood"]) == len({p for p in own if len(p.split(" ")) > 245})
