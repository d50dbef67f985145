"""Pairs drawn for people to label, the page that shows them, and the labels that come back."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import random
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.preference.counting.annotations import annotation_win_rates
from genrlhf.metrics.preference.validating.human_labels import MOST_BYTES, read_labels
from genrlhf.metrics.preference.validating.labelling import LabelItem, draw_pairs, key_rows, labelling_page, page_id

HOSTILE = [
    "</script><script>window.broken = 1</script>",
    '<img src=x onerror="window.broken = 1">',
    "<!--<script>",
    "line\u2028 and paragraph\u2029 separators",
    "half a character: \ud83d, the other half: \ude00",
    "{{data}} {{title}} {{ policy }} ${1} $& \\1 \\u003c",
    "&lt;b&gt; &amp; \"quotes\" 'too' \x00 \x1b[31m",
    "",
]


def row(instruction: str, first: str = "old", second: str = "new", **more: Any) -> dict[str, Any]:
    return {
        "instruction": instruction,
        "output_1": f"{instruction} by 1 of {sorted((first, second))}",
        "generator_1": first,
        "output_2": f"{instruction} by 2 of {sorted((first, second))}",
        "generator_2": second,
        **more,
    }


def turned(one: dict[str, Any]) -> dict[str, Any]:
    names = {"output_1": "output_2", "output_2": "output_1", "generator_1": "generator_2", "generator_2": "generator_1"}
    return {name: one[names.get(name, name)] for name in one}


def many(n: int = 40, start: str = "q") -> list[dict[str, Any]]:
    return [row(f"{start}{number}") for number in range(n)]


def saved(items: list[LabelItem], choices: dict[str, str], **changes: Any) -> str:
    labels = [{"item": item, "choice": choice, "seconds": 1.5, "at": "x"} for item, choice in choices.items()]
    document = {"format": "genrlhf-labels", "version": 1, "page": page_id(items), "annotator": "Ann", "labels": labels}
    return json.dumps({**document, **changes})


class Page(HTMLParser):
    """The elements of a page, and what its data element holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.inside: tuple[str, bool] = ("", False)
        self.content = {"data": "", "script": "", "style": "", "title": "", "h1": ""}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = (tag, ("type", "application/json") in attrs)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ("", False)

    def handle_data(self, data: str) -> None:
        tag, is_data = self.inside
        name = "data" if is_data else tag
        if name in self.content:
            self.content[name] += data


# Drawing.


def test_so_many_inputs_of_every_set_are_drawn_each_once() -> None:
    items = draw_pairs({"one": many(), "two": many(30)}, per_set=7)
    assert len(items) == 14 and len({item.item for item in items}) == 14
    for name in ("one", "two"):
        assert len({item.instruction for item in items if item.dataset == name}) == 7
    assert {item.instruction for item in items if item.dataset == "one"} != {
        item.instruction for item in items if item.dataset == "two"
    }


def test_neither_the_order_of_rows_and_sets_nor_other_rows_matter() -> None:
    rows = many()
    shuffled = random.Random(1).sample(rows, len(rows))
    items = draw_pairs({"one": rows, "two": rows}, per_set=9)
    assert draw_pairs({"two": shuffled, "one": shuffled}, per_set=9) == items
    more = {item.instruction for item in draw_pairs({"one": rows}, per_set=12)}
    assert {item.instruction for item in items if item.dataset == "one"} < more
    undrawn = [one for one in rows if one["instruction"] not in more]
    fewer = [one for one in rows if one not in undrawn[:5]]
    assert draw_pairs({"one": fewer, "two": rows}, per_set=9) == items


def test_the_seed_draws_inputs_sides_and_order() -> None:
    one, other = (draw_pairs({"one": many()}, per_set=20, seed=seed) for seed in (0, 1))
    assert {item.instruction for item in one} != {item.instruction for item in other}
    every, again = (draw_pairs({"one": many()}, per_set=40, seed=seed) for seed in (0, 1))
    # Of the pairs shown the same way round, too, the order differs.
    same = {item.item for item in every} & {item.item for item in again}
    assert [item.item for item in every if item.item in same] != [item.item for item in again if item.item in same]
    sides = {item.instruction: item.first for item in again}
    assert 0 < sum(sides[item.instruction] != item.first for item in every) < 40
    # Sets are mixed, and so are sides: of 40, that 32 are alike has a chance below 1 in 5000.
    assert 8 < sum(item.first == "a" for item in every) < 32
    both = [item.dataset for item in draw_pairs({"one": many(), "two": many(40, "p")}, per_set=40)]
    assert 20 < len(list(itertools.groupby(both))) < 60


def test_shown_are_the_outputs_of_the_row() -> None:
    rows = {one["instruction"]: one for one in many()}
    for item in draw_pairs({"one": list(rows.values())}):
        shown = {
            item.generator_a: item.output_a,
            item.generator_b: item.output_b,
        }
        one = rows[item.instruction]
        assert shown == {one["generator_1"]: one["output_1"], one["generator_2"]: one["output_2"]}
        assert (item.generator_a if item.first == "a" else item.generator_b) == one["generator_1"]


def test_all_pairs_of_a_drawn_input_are_taken_and_those_judged_twice_once() -> None:
    rows = [
        one for n in range(9) for one in (row(f"q{n}"), row(f"q{n}", "old", "newest"), row(f"q{n}", "new", "newest"))
    ]
    again = [{**one, "annotator": "gpt", "preference": 1} for one in rows]
    items = draw_pairs({"one": rows + again}, per_set=4)
    assert len(items) == 12
    pairs = {(item.instruction, frozenset((item.generator_a, item.generator_b))) for item in items}
    assert len(pairs) == 12 and len({instruction for instruction, _ in pairs}) == 4
    assert items == draw_pairs({"one": rows}, per_set=4)


def test_a_pair_in_both_orders_is_one() -> None:
    rows = many(12)
    both = draw_pairs({"one": [turned(one) for one in rows] + rows}, per_set=12)
    # "new" sorts before "old".
    assert {item.generator_a if item.first == "a" else item.generator_b for item in both} == {"new"}
    one_way = draw_pairs({"one": rows}, per_set=12)
    assert {item.generator_a if item.first == "a" else item.generator_b for item in one_way} == {"old"}
    # What is shown does not tell which came first.
    assert [(item.item, item.output_a) for item in both] == [(item.item, item.output_a) for item in one_way]


def test_of_several_outputs_of_two_models_one_pair_is_drawn() -> None:
    rows = [{**row(f"q{n}"), "output_2": f"sample {k}"} for n in range(30) for k in range(3)]
    items = draw_pairs({"one": rows}, per_set=30)
    assert len(items) == 30
    drawn = {text for item in items for text in (item.output_a, item.output_b) if text.startswith("sample")}
    assert drawn == {"sample 0", "sample 1", "sample 2"}


def test_an_item_is_named_by_what_is_shown_alone() -> None:
    secret = draw_pairs(
        {"one": [{**row(f"q{n}"), "generator_1": "x", "generator_2": "y"} for n in range(8)]}, per_set=8
    )
    items = draw_pairs({"one": [row(f"q{n}") for n in range(8)]}, per_set=8)
    assert all(re.fullmatch("[0-9a-f]{16}", item.item) for item in items)
    assert [item.item for item in items] == [item.item for item in secret]
    assert [item.output_a for item in items] == [item.output_a for item in secret]
    other = draw_pairs({"one": [{**row(f"q{n}"), "output_1": "z"} for n in range(8)]}, per_set=8)
    assert not {item.item for item in items} & {item.item for item in other}
    assert page_id(items) == page_id(secret) != page_id(other)
    assert re.fullmatch("[0-9a-f]{16}", page_id(items)) and page_id(items) != page_id(items[::-1])


def test_pairs_of_other_models_with_the_same_texts_are_apart() -> None:
    rows = [{**row("q", "old", name), "output_1": "same", "output_2": "texts"} for name in ("new", "newest")]
    items = draw_pairs({"one": rows}, per_set=1)
    assert len({item.item for item in items}) == 2
    [found] = {(item.output_a, item.output_b) for item in items}
    assert sorted(found) == ["same", "texts"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"instruction": "q", "output_1": "a"}], "test set 'one', row 0 has no 'generator_1'"),
        ([row("q"), {**row("p"), "output_2": None}], "row 1 has None for 'output_2'; a row to be labelled needs text"),
        ([row("q", "old", "old")], "row 0 compares 'old' with itself"),
        ([row("q"), row("q"), row("p")], r"'one' has 2 inputs, and 3 are to be drawn; lower per_set \(--per-set 2\)"),
        ([], "'one' has no rows; leave it out"),
    ],
)
def test_rows_that_cannot_be_drawn_from(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_pairs({"one": rows}, per_set=3)


def test_draws_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="per_set is 0"):
        draw_pairs({"one": many()}, per_set=0)
    with pytest.raises(DataError, match="no test sets"):
        draw_pairs({})
    with pytest.raises(DataError, match="no pairs to label"):
        labelling_page([])


# The page.


def hostile_items() -> list[LabelItem]:
    rows = [{**row(text, "llama-secret", "opt-secret"), "output_1": text, "output_2": f"{text}!"} for text in HOSTILE]
    return draw_pairs({"secret-set": rows}, per_set=len(HOSTILE))


def test_the_page_holds_the_texts_and_is_blind() -> None:
    items = hostile_items()
    source = labelling_page(items)
    assert "secret" not in source and "generator" not in source
    data = json.loads(Page(source).content["data"])
    assert data == {
        "page": page_id(items),
        "items": [
            {"item": item.item, "prompt": item.instruction, "a": item.output_a, "b": item.output_b} for item in items
        ],
    }


def test_texts_cannot_become_part_of_the_page() -> None:
    plain, hostile = (
        Page(labelling_page(draw_pairs({"one": rows}, per_set=1)))
        for rows in (many(1), [{**row(text), "output_1": text} for text in HOSTILE[:1]])
    )
    assert hostile.tags == plain.tags and hostile.tags.count("script") == 2
    page = Page(labelling_page(hostile_items(), title="".join(HOSTILE)))
    assert page.tags == plain.tags
    content = page.content["data"]
    assert content.isascii() and not set(content) & set("<>&")
    for name in ("script", "style"):
        assert page.content[name] == plain.content[name]


def test_the_title_is_text() -> None:
    page = Page(labelling_page(draw_pairs({"one": many(1)}, per_set=1), title="<b>{{data}} & \ud800"))
    assert page.content["title"] == page.content["h1"] == "<b>{{data}} & ?"


def test_the_policy_names_style_and_script_by_their_hashes() -> None:
    source = labelling_page(hostile_items())
    page = Page(source)
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', source)
    hashes = {}
    for tag in ("style", "script"):
        hashed = hashlib.sha256(page.content[tag].encode()).digest()
        hashes[tag] = f"'sha256-{base64.b64encode(hashed).decode()}'"
    assert html.unescape(policy).split("; ") == [
        "default-src 'none'",
        f"style-src {hashes['style']}",
        f"script-src {hashes['script']}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert source.index("Content-Security-Policy") < source.index("<style") < source.index("<script")
    # Nothing that the policy would have to let through.
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} and not names & {"src", "href", "style", "action"}
    assert "http:" not in source and "https:" not in source


# Labels.


@pytest.mark.parametrize("seed", range(4))
def test_labels_come_back_with_names_in_the_order_of_the_rows(seed: int) -> None:
    rows = many(12)
    items = draw_pairs({"one": rows}, per_set=12, seed=seed)
    # What "old" (generator_1) wrote is chosen in the first 5, then what "new" wrote in 4, then 2 ties and a skip.
    wanted: list[Any] = [1] * 5 + [2] * 4 + [1.5] * 2 + [None]
    choices = {}
    for item, preference in zip(items, wanted, strict=True):
        name = {1: "old", 2: "new"}.get(preference)
        side = "A" if item.generator_a == name else "B"
        choices[item.item] = side if name else {1.5: "tie", None: "skip"}[preference]
    found = read_labels(key_rows(items), {"labels.json": saved(items, choices)})
    by_instruction = {one["instruction"]: one for one in rows}
    assert found == [
        {**by_instruction[item.instruction], "annotator": "Ann", "preference": preference, "dataset": "one"}
        for item, preference in zip(items, wanted, strict=True)
    ]
    rate = annotation_win_rates(found)["new"]
    assert (rate.n_wins, rate.n_wins_base, rate.n_draws, rate.n_unanswered) == (4, 5, 2, 1)


def test_hostile_texts_survive_the_way_through_json() -> None:
    items = hostile_items()
    key = [json.loads(json.dumps(one)) for one in key_rows(items)]
    found = read_labels(key, {"labels.json": saved(items, {item.item: "A" for item in items})})
    assert {one["instruction"] for one in found} == set(HOSTILE)
    assert all((one["output_1"], one["output_2"]) == (one["instruction"], one["instruction"] + "!") for one in found)


def test_files_of_one_annotator_go_together_and_those_of_others_are_apart() -> None:
    items = draw_pairs({"one": many(3)}, per_set=3)
    first, second, third = (item.item for item in items)
    found = read_labels(
        key_rows(items),
        {
            "1.json": saved(items, {second: "tie"}),
            "2.json": saved(items, {first: "B"}, annotator="Bob").encode(),
            "3.json": b"\xef\xbb\xbf"
            + saved(items, {second: "tie", third: "skip", first: "tie"}, annotator=" Ann ").encode(),
        },
    )
    assert [(one["annotator"], one["instruction"]) for one in found] == [
        *(("Ann", item.instruction) for item in items),
        ("Bob", items[0].instruction),
    ]


ITEMS = draw_pairs({"one": many(3)}, per_set=3)
ONE = ITEMS[0].item


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "f.json cannot be read as JSON"),
        (b"\xff\xfe", "f.json cannot be read as JSON"),
        ("[" * 100_000, "f.json cannot be read as JSON"),
        ("[1]", "f.json does not hold labels, but a list; give a file that was saved on the labelling page"),
        ("null", "f.json does not hold labels, but None"),
        (saved(ITEMS, {ONE: "A"}, format="other"), "f.json does not hold labels, but an object"),
        (saved(ITEMS, {ONE: "A"}, format=["genrlhf-labels"]), "f.json does not hold labels"),
        (saved(ITEMS, {ONE: "A"}, version=2), "f.json holds labels of version 2"),
        (saved(ITEMS, {ONE: "A"}, version=True), "f.json holds labels of version True"),
        (
            saved(ITEMS, {ONE: "A"}, page="0" * 16),
            "holds labels of page '0000000000000000', and the key is that of page",
        ),
        (saved(ITEMS, {ONE: "A"}, page=[]), "holds labels of page a list"),
        (saved(ITEMS, {}, labels={"a": 1}), "has an object for its labels, which is no list"),
        (saved(ITEMS, {}, labels=None), "has None for its labels, which is no list"),
        (saved(ITEMS, {}), "f.json holds no label; leave it out"),
        (saved(ITEMS, {}, labels=[1]), "f.json, label 0 is 1, which is no object"),
        (
            saved(ITEMS, {ONE: "A", "f" * 16: "A"}),
            "f.json, label 1 is of item 'ffffffffffffffff', which the key does not",
        ),
        (saved(ITEMS, {}, labels=[{"item": {}, "choice": "A"}]), "label 0 is of item an object"),
        (saved(ITEMS, {}, labels=[{"choice": "A"}]), "label 0 is of item None"),
        (saved(ITEMS, {ONE: "C"}), "label 0 has the choice 'C'; it must be one of A, B, tie, skip"),
        (saved(ITEMS, {}, labels=[{"item": ONE, "choice": ["A"]}]), "label 0 has the choice a list"),
        (saved(ITEMS, {ONE: "A"}, annotator="  "), "f.json has the annotator '  '; write who labelled"),
        (saved(ITEMS, {ONE: "A"}, annotator=None), "has the annotator None"),
        (saved(ITEMS, {ONE: "A"}, annotator={}), "has the annotator an object"),
        (saved(ITEMS, {ONE: "A"}, annotator="\x1b[2Jx"), r"has the annotator '\\x1b\[2Jx'"),
        (saved(ITEMS, {ONE: "A"}, annotator="a\nb"), r"has the annotator 'a\\nb'"),
        (saved(ITEMS, {ONE: "A"}, annotator="\ud800"), r"has the annotator '\\ud800'"),
        (saved(ITEMS, {ONE: "A"}, annotator="x" * 101), "has the annotator 'xxx"),
        (
            saved(ITEMS, {}, labels=[{"item": ONE, "choice": "A"}, {"item": ONE, "choice": "B"}]),
            "'A' and 'B': f.json has both",
        ),
    ],
)
def test_files_that_are_not_what_the_page_saves(content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_labels(key_rows(ITEMS), {"f.json": content})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_file_that_is_too_large_is_not_read() -> None:
    with pytest.raises(DataError, match="f.json is larger than"):
        read_labels(key_rows(ITEMS), {"f.json": saved(ITEMS, {ONE: "A"}) + " " * MOST_BYTES})


def test_labels_that_contradict_one_another() -> None:
    files = {"1.json": saved(ITEMS, {ONE: "A"}), "2.json": saved(ITEMS, {ONE: "skip"})}
    with pytest.raises(
        DataError, match=f"Ann labelled item {ONE} 'A' and 'skip': the one is in 1.json, the other in 2.json; "
    ):
        read_labels(key_rows(ITEMS), files)
    with pytest.raises(DataError, match="no files of labels"):
        read_labels(key_rows(ITEMS), {})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ([], "The key holds no rows; give the key that was written with the page"),
        (many(1), "The key, row 0 has None for 'item'"),
        ([{**one, "first": "c"} for one in key_rows(ITEMS)], "row 0 has 'c' for 'first'"),
        ([*key_rows(ITEMS), key_rows(ITEMS)[0]], "row 3 has item '[0-9a-f]{16}' a second time"),
        ([*key_rows(ITEMS), *key_rows(ITEMS[:2])], "row 3 is of another page"),
    ],
)
def test_keys_that_are_none(key: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(key, {"f.json": saved(ITEMS, {ONE: "A"})})
