"""Annotators differ in quality and style, and corruption makes summaries worse."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from genrlhf.data.embedded import EVALUATION_SETS, gold_score
from genrlhf.data.embedded.annotators import ANNOTATORS, corrupt, draw_annotator
from genrlhf.data.embedded.language import Post

N = 600


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    rng = random.Random(0)
    return [EVALUATION_SETS["id"].draw(rng) for _ in range(N)]


@pytest.fixture(scope="module")
def written(posts: list[Post]) -> dict[str, list[str]]:
    rng = random.Random(1)
    return {annotator.name: [annotator.write(post, rng) for post in posts] for annotator in ANNOTATORS}


def test_quality_runs_from_careful_to_gossip(posts: list[Post], written: dict[str, list[str]]) -> None:
    prompts = [post.prompt for post in posts]
    gold = {name: mean(gold_score(prompts, texts)) for name, texts in written.items()}
    assert max(gold, key=gold.__getitem__) == "careful"
    assert min(gold, key=gold.__getitem__) == "gossip"
    assert gold["careful"] > gold["headline"] + 0.15 > gold["hasty"] + 0.3
    assert gold["gossip"] < gold["hasty"] - 0.03


def test_styles_differ(written: dict[str, list[str]]) -> None:
    length = {name: mean(len(text.split()) for text in texts) for name, texts in written.items()}
    assert max(length, key=length.__getitem__) == "rambling"
    assert min(length, key=length.__getitem__) in ("headline", "hasty")


def test_many_ways_to_summarise_one_post(posts: list[Post]) -> None:
    rng = random.Random(2)
    assert len({draw_annotator(rng).write(posts[0], rng) for _ in range(100)}) > 80


def test_shares_are_kept() -> None:
    rng = random.Random(3)
    drawn = [draw_annotator(rng).name for _ in range(4000)]
    assert sum(annotator.share for annotator in ANNOTATORS) == pytest.approx(1)
    for annotator in ANNOTATORS:
        assert drawn.count(annotator.name) / 4000 == pytest.approx(annotator.share, abs=0.03)


def test_corruption_costs(posts: list[Post], written: dict[str, list[str]]) -> None:
    rng = random.Random(4)
    prompts = [post.prompt for post in posts]
    clean = written["careful"]
    spoilt = [corrupt(text, post, rng) for text, post in zip(clean, posts, strict=True)]
    assert mean(gold_score(prompts, spoilt)) < mean(gold_score(prompts, clean)) - 0.2
    assert all(text.startswith(" ") and text.strip() for text in spoilt)
