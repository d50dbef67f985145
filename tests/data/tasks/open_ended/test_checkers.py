"""Checkers of answers: exact about case, articles, blanks, marks and what follows; and all answers, where listed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from genrlhf.data.tasks.open_ended.checkers import Checker, make_checker, normal_form
from genrlhf.data.tasks.open_ended.families import SHIPPED, read_open_ended
from genrlhf.errors import ConfigError, DataError
from tests import needs

LISTS = {
    "answers": ["New York", "cat", "berry", "box", "glass", "The Gambia"],
    "aliases": {"NYC": "new york", "x": "gone"},
}


def checker(kind: str, **settings: Any) -> Checker:
    return make_checker({"type": kind, **settings}, "here", lambda: frozenset({"cab", "bee", "be"}))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" Ohio", "ohio"),
        (' "New  York." \nQ: Name', "new york"),
        ("**`Iowa`**!", "iowa"),
        ("\nOhio", ""),
        ("St. Lucia", "st. lucia"),
        ("a:b", "a:b"),
        ("  ", ""),
    ],
)
def test_normal_form(text: str, form: str) -> None:
    assert normal_form(text) == form


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("new york", "new york"),
        (" NYC.", "new york"),
        ("x", None),
        ("a cat", "cat"),
        ("some cats", "cat"),
        ("the  Boxes", "box"),
        ("berries", "berry"),
        ("glass", "glass"),
        ("glasses", "glass"),
        ("gambia", None),
        ("the gambia", "the gambia"),
        ("cat and dog", None),
        ("the", None),
        ("", None),
    ],
)
def test_lists_with_articles_and_plurals(text: str, answer: str | None) -> None:
    assert checker("list", **LISTS, drop_article=True, singular=True).answer(text) == answer


@pytest.mark.parametrize("text", ["a cat", "cats", "boxes", "berries"])
def test_lists_take_articles_and_plurals_where_they_are_told_to(text: str) -> None:
    assert checker("list", **LISTS).answer(text) is None


@pytest.mark.parametrize(
    ("settings", "right", "wrong"),
    [
        (
            {"max": 999, "property": "even"},
            ["0", " 2.", "998"],
            ["1", "02", "1000", "-2", "2.5", "two", "2 4", "٢", ""],
        ),
        ({"max": 99, "property": "prime"}, ["2", "97"], ["0", "1", "91", "101"]),
        ({"max": 99, "property": "square"}, ["0", "1", "81"], ["2", "100"]),
        ({"min": 1, "max": 6}, ["1", "6"], ["0", "7"]),
        ({"max": 9}, ["7"], ["7" * 5000]),
    ],
)
def test_integers(settings: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    made = checker("integer", **settings)
    assert [made.answer(text) for text in right] == [text.strip(" .") for text in right]
    assert [text for text in wrong if made.answer(text) is not None] == []


def test_patterns_keep_case_where_they_are_told_to() -> None:
    made = checker("regex", pattern="H|He|Li", case=True)
    assert [made.answer(text) for text in (" He.", "he", "HeX", "He\nLi", '"He"')] == ["He", None, None, "He", None]
    assert made.listed is not None and list(made.listed()) == ["H", "He", "Li"]
    loose = checker("regex", pattern="#[0-9a-f]{2}", case=False)
    assert loose.answer(" #AF ") == "#af" and loose.listed is None


def test_words_need_a_list_of_words() -> None:
    assert [checker("word", starts_with="b").answer(t) for t in (" Bee.", "cab", "bees")] == ["bee", None, None]
    assert checker("word", length=3).answer("be") is None
    made = checker("word", length=3)
    assert made.listed is not None and list(made.listed()) == ["bee", "cab"]


def test_dates() -> None:
    made = checker("date", months=["January", "February"], days=[31, 29])
    right = ["January 1", " February 29.", "January 2nd", "January  31"]
    assert [made.answer(t) for t in right] == ["january 1", "february 29", "january 2", "january 31"]
    wrong = [
        "january 1",
        "February 30",
        "January",
        "1 January",
        "January 01",
        "January 0",
        "March 1",
        "January 1, 2020",
    ]
    assert [text for text in wrong if made.answer(text) is not None] == []
    assert made.listed is not None and len(list(made.listed())) == 60


def test_cards() -> None:
    made = checker("card", ranks=["Ace", "2"], suits=["Clubs", "Hearts"], rank_words={"two": "2"})
    right = ["Ace of Clubs", "the two of hearts.", "2 of  Hearts"]
    assert [made.answer(t) for t in right] == ["ace of clubs", "2 of hearts", "2 of hearts"]
    assert [t for t in ("Ace", "3 of Clubs", "Ace of Spades", "a Ace of Clubs") if made.answer(t) is not None] == []
    assert made.listed is not None and len(list(made.listed())) == 4


def test_brackets_against_all_strings() -> None:
    made = checker("brackets", pairs=["()", "[]"], max_length=6)

    def balanced(text: str) -> bool:
        while "()" in text or "[]" in text:
            text = text.replace("()", "").replace("[]", "")
        return not text

    every = ["".join(marks) for n in range(1, 7) for marks in itertools.product("()[]", repeat=n)]
    right = {text for text in every if balanced(text)}
    assert {text for text in every if made.answer(text) is not None} == right
    assert made.listed is not None and set(made.listed()) == right
    assert made.answer(" ( ) [ ]") == "()[]" and made.answer("") is None and made.answer("(" * 10**5) is None


def only_even(text: str) -> str | None:
    return text.strip() if len(text.strip()) % 2 == 0 else None


def any_text(text: str) -> str | None:
    return text


def test_a_function_and_its_name_are_checkers() -> None:
    for given in (only_even, f"{__name__}:only_even", {"type": f"{__name__}:only_even"}):
        made = make_checker(given, "here", frozenset)
        assert made.answer(" ab") == "ab" and made.answer("a") is None and made.listed is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "lists"}, "here has the checker {'type': 'lists'}; give a function, .* one of list, integer, regex"),
        ({"type": "integer", "max": 9, "property": "odd"}, "the checker 'integer' cannot be made of .*'odd'"),
        ({"type": "integer", "most": 9}, "the checker 'integer' cannot be made of .*most"),
        ({"type": "regex", "pattern": "("}, "the checker 'regex' cannot be made of"),
        ("nothing", "here has the checker 'nothing'"),
        ("genrlhf.nothing:at_all", "here: the checker 'genrlhf.nothing:at_all' cannot be loaded"),
    ],
)
def test_errors(given: Any, message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        make_checker(given, "here", frozenset)


SOURCES = [SHIPPED, pytest.param(needs.DATA / "open_ended.json", marks=needs.data("open_ended.json"))]


@pytest.mark.parametrize("source", SOURCES, ids=["shipped", "shared"])
def test_every_answer_that_a_family_lists_is_one_of_as_many_as_it_says(source: Any) -> None:
    for family in read_open_ended(source).families.values():
        for text in itertools.chain(*family.exemplars.values()):
            assert family.checker.answer(f" {text}\nand more") is not None, (family.name, text)
        if (listed := family.answers()) is not None:
            assert len({family.checker.answer(text) for text in listed} - {None}) == family.size, family.name


SCRIPTS = {
    "Latin": ("São Tomé", ["são tomé", "SÃO TOMÉ", "Sa\u0303o Tome\u0301.", "\u00a0São\u00a0Tomé\u00a0", "«"]),
    "German": ("Straße", ["STRASSE", "strasse!", "Stra\u00adße", "Straße.\nQ: Name", "Strase"]),
    "Cyrillic": ("Новый Йорк", ["новый  йорк", "НОВЫЙ ЙОРК.", '"Новый Йорк"', "Новый И\u0306орк", "Нью-Йорк"]),
    "Greek": ("Αθήνας", ["ΑΘΉΝΑΣ", "αθήνασ", "Αθήνας;", "Αθη\u0301νας", "Αθήνα"]),
    "Arabic": ("القاهرة", ["القاهرة.", "\u200fالقاهرة\u200f", "القاهرة،", "القاهرة؟", "قاهرة"]),
    "Hebrew": ("ירושלים", ["ירושלים.", "\u200eירושלים", '"ירושלים"', "ירושלים,", "ירושל"]),
    "Devanagari": ("दिल्ली", ["दिल्ली।", " दिल्ली ", "*दिल्ली*", "दिल्ली॥", "दिल"]),
    "Thai": ("กรุงเทพ", ["กรุงเทพ", "กรุงเทพ.", "กรุงเทพฯ", "\u200bกรุงเทพ\u200b", "กรุง"]),
    "Han": ("北京", ["北京。", "「北京」", "\u3000北京\u3000", "北京，\n上海", "北"]),
    "Kana": ("トウキョウ", ["トウキョウ。", "『トウキョウ』", "トウキョウ！", "トウキョウ、", "トウ"]),
    "Hangul": ("서울", ["서울.", "\u1109\u1165\u110b\u116e\u11af", "서울!", "서울 ", "서"]),
    "Ethiopic": ("አዲስ አበባ", ["አዲስ አበባ።", "አዲስ  አበባ", "አዲስ አበባ.", "*አዲስ አበባ*", "አዲስ"]),
}
"""An answer, four ways to write it, and something else, in scripts of every kind that `genrlhf.text` tells apart."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_answers_in_any_script_are_known_by_how_they_look(script: str) -> None:
    answer, (*same, other) = SCRIPTS[script]
    checker = make_checker({"type": "list", "answers": [answer, "x"]}, "f", frozenset)
    assert {checker.answer(text) for text in (answer, *same)} == {normal_form(answer)}
    assert checker.answer(other) is None
    # Marks inside of an answer are its own.
    assert checker.answer(f"{answer}x") is None and checker.answer(f"{answer}。{answer}") is None
